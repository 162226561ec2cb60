//! Reserves an address for a machine, and joins the machine to the network of this one by it.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::Pid;
use tokio::process::Command;

use crate::planes::SERVICE_CIDR;
use crate::scratch;

/// Set aside for tests of networks (RFC 2544): no real network uses it.
const RANGE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// Each machine has a network of four addresses: itself, this side, and the two that cannot be used.
const PREFIX: u8 = 30;
const SIZE: u32 = 4;
/// More than anyone starts at a time.
const COUNT: u32 = 256;

/// A network of two: the machine and this side. It is reserved, by a locked file, until dropped.
#[derive(Debug)]
pub(super) struct Network {
    number: u32,
    _reservation: File,
}

impl Network {
    /// Reserves a free one.
    pub(super) fn reserve() -> Result<Self> {
        let folder = scratch::home()?.join("networks");
        fs::create_dir_all(&folder)?;
        for number in 0..COUNT {
            if let Some(reservation) = lock(&folder, number)? {
                return Ok(Self { number, _reservation: reservation });
            }
        }
        bail!("{COUNT} machines run already")
    }

    /// Those that nobody has reserved: what is left of their machines can be removed.
    pub(super) fn unused() -> Result<Vec<Self>> {
        let folder = scratch::home()?.join("networks");
        let mut unused = Vec::new();
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Some(reservation) = lock(&folder, number)? {
                unused.push(Self { number, _reservation: reservation });
            }
        }
        Ok(unused)
    }

    /// Distinguishes the machines of this host.
    pub(super) fn id(&self) -> String {
        format!("weft-node-{}", self.number)
    }

    /// The address of the machine.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.nth(2)
    }

    /// What the script of the machine reads.
    pub(super) fn variables(&self) -> String {
        format!("ADDRESS={}\nPREFIX={PREFIX}\nSERVICES={SERVICE_CIDR}\n", self.address())
    }

    /// Where the kernel shows our end of it.
    pub(super) fn interface(&self) -> PathBuf {
        Path::new("/sys/class/net").join(self.name())
    }

    /// Gives the machine its interface; it vanishes with the machine.
    pub(super) async fn connect(&self, machine: Pid) -> Result<()> {
        let ours = self.name();
        let machine = machine.to_string();
        // That of a machine which has just ended may still be there.
        let _ = ip(&["link", "delete", &ours]).await;
        ip(&["link", "add", &ours, "type", "veth", "peer", "name", "node0", "netns", &machine]).await?;
        ip(&["address", "add", &format!("{}/{PREFIX}", self.nth(1)), "dev", &ours]).await?;
        ip(&["link", "set", &ours, "up"]).await
    }

    fn name(&self) -> String {
        format!("weft{}", self.number)
    }

    fn nth(&self, host: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(RANGE.to_bits() + self.number * SIZE + host)
    }
}

fn lock(folder: &Path, number: u32) -> Result<Option<File>> {
    let reservation = File::create(folder.join(number.to_string()))?;
    Ok(reservation.try_lock().is_ok().then_some(reservation))
}

async fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).kill_on_drop(true).output().await;
    let output = output.context("failed to run ip")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`ip {}` failed: {}", arguments.join(" "), errors.trim());
    Ok(())
}

//! Reserves loopback ports for the processes of this machine.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

use crate::scratch;

/// Below the range from which Linux takes ports for outgoing connections: a server that is
/// restarted finds its port free.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port reserved for this process, by a locked file, until dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: File,
}

impl Port {
    /// Reserves a free one.
    pub fn reserve() -> Result<Self> {
        let folder = scratch::home()?.join("ports");
        fs::create_dir_all(&folder)?;
        for _ in 0..COUNT {
            let number = next_candidate();
            let reservation = File::create(folder.join(number.to_string()))?;
            let reserved = reservation.try_lock().is_ok();
            if reserved && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _reservation: reservation });
            }
        }
        bail!("no free loopback port from {FIRST} on")
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.number.fmt(formatter)
    }
}

/// Processes begin at different places, so that they rarely try the same ports.
fn next_candidate() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
    let offset = (std::process::id().wrapping_mul(101).wrapping_add(step)) % u32::from(COUNT);
    FIRST + u16::try_from(offset).unwrap_or(0)
}

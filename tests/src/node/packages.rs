//! Installs the Debian packages of a node, and says what a machine lacks that no package brings.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;

/// What a node runs besides our own binaries.
const PACKAGES: [&str; 11] = [
    "busybox-static",
    "conntrack",
    CONTAINERD,
    "containernetworking-plugins",
    "ethtool",
    "iptables",
    "iproute2",
    "nftables",
    "procps",
    RUNC,
    "socat",
];

/// Where Docker is installed, its packages have these programs, and would be removed for Debian's.
const CONTAINERD: &str = "containerd";
const RUNC: &str = "runc";

const APT_GET: &str = "/usr/bin/apt-get";

/// Fails where the kernel or a container around us does not let us make what a node is made of.
const PROBE: &str = "
    ip link set lo up
    ip link add probe0 type veth peer name probe1
    ip link add probe2 type bridge
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/lower /mnt/upper /mnt/work /mnt/merged
    mount -t overlay overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work /mnt/merged
    iptables -t nat -A POSTROUTING -m comment --comment probe -m mark --mark 1 -j MASQUERADE
";

/// Why no node can run here, if it cannot.
pub async fn obstacle() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("a real node needs root".to_owned());
    }
    if let Err(error) = install().await {
        return Some(format!("{error:#}"));
    }
    let failed = probe().await.err()?;
    Some(format!("this machine cannot run a node: {failed:#}"))
}

/// Installs what is missing.
pub(super) async fn install() -> Result<()> {
    let missing = missing().await?;
    if missing.is_empty() {
        return Ok(());
    }
    apt_get(&["update", "--quiet"]).await?;
    let options = ["install", "--yes", "--quiet", "--no-install-recommends"];
    apt_get(&[&options[..], &missing].concat()).await
}

async fn missing() -> Result<Vec<&'static str>> {
    ensure!(Path::new(APT_GET).exists(), "a real node needs Debian packages, and there is no {APT_GET}");
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${Package} ${db:Status-Status}\\n"]).args(PACKAGES);
    // It fails where one of them is unknown, and prints the others.
    let output = query.kill_on_drop(true).output().await.context("failed to run dpkg-query")?;
    let output = String::from_utf8_lossy(&output.stdout);
    let installed = |package: &&str| {
        let elsewhere = [CONTAINERD, RUNC].contains(package) && is_a_program(package);
        elsewhere || output.lines().any(|line| line == format!("{package} installed"))
    };
    Ok(PACKAGES.into_iter().filter(|package| !installed(package)).collect())
}

fn is_a_program(name: &str) -> bool {
    ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]
        .iter()
        .any(|folder| Path::new(folder).join(name).exists())
}

async fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(APT_GET);
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.context("failed to run apt-get")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`apt-get {}` failed: {}", arguments.join(" "), errors.trim());
    }
    Ok(())
}

async fn probe() -> Result<()> {
    let mut command = Command::new("unshare");
    command.args([
        "--net",
        "--mount",
        "--pid",
        "--ipc",
        "--uts",
        "--fork",
        "--mount-proc",
        "sh",
        "-euc",
        PROBE,
    ]);
    let output = command.kill_on_drop(true).output().await.context("failed to run unshare")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", errors.trim());
    Ok(())
}

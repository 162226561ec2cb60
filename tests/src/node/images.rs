//! Makes the images of the node tests from programs of this repository and Debian's: no registry is asked.

mod clients;
mod debian;
mod nginx;

use std::path::Path;

use anyhow::Result;

use super::packages;
use crate::binaries::modules::{self, Program};
use crate::binaries::{self, statics};
use crate::image::{Content, Entry, Image, NON_ROOT, products};

/// What holds the namespaces of a pod.
pub const PAUSE: &str = "weft.test/pause:1";

/// The program of `tests/probe`, as a user that is not root.
pub const PROBE: &str = "weft.test/probe:1";

/// A shell with the usual commands. Two traps: its `wget -T` crashes, and its `nc` has no `-z`.
pub const BUSYBOX: &str = "docker.io/library/busybox:1.37";

/// The one of `examples/nginx`.
pub const NGINX: &str = "docker.io/library/nginx:1.29-alpine";

/// Serves the metrics API.
pub const METRICS_SERVER: &str = "weft.test/metrics-server:1";

/// Clients of an API server, see [`clients()`].
pub const CLIENTS: &str = "weft.test/clients:1";

/// Where Debian's package has it.
const BUSYBOX_PROGRAM: &str = "/bin/busybox";

/// The images that every node has.
pub async fn basic() -> Result<Vec<Image>> {
    packages::install().await?;
    let probe = statics::probe().await?;
    Ok(vec![pause(&probe), probe_image(&probe), busybox().await?, nginx::image().await?])
}

/// The two images of a virtual cluster; a cold build of the first takes minutes.
pub async fn products() -> Result<Vec<Image>> {
    let weft = products::weft(&statics::weft().await?);
    Ok(vec![weft, products::kubernetes(&binaries::kubernetes().await?)])
}

/// metrics-server, which only the tests of metrics need.
pub async fn metrics_server() -> Result<Image> {
    let binary = modules::program(Program::MetricsServer).await?;
    Ok(Image {
        reference: METRICS_SERVER.to_owned(),
        entrypoint: vec!["/metrics-server".to_owned()],
        user: NON_ROOT.to_owned(),
        entries: vec![program("metrics-server", &binary)],
        ..Image::default()
    })
}

/// What pods use their API server with, which only the test of tokens needs: client-go, Python's client and curl.
pub async fn clients() -> Result<Image> {
    clients::image().await
}

fn pause(probe: &Path) -> Image {
    Image {
        reference: PAUSE.to_owned(),
        entrypoint: vec!["/probe".to_owned(), "pause".to_owned()],
        user: NON_ROOT.to_owned(),
        entries: vec![program("probe", probe)],
        ..Image::default()
    }
}

fn probe_image(probe: &Path) -> Image {
    Image {
        reference: PROBE.to_owned(),
        entrypoint: vec!["/probe".to_owned()],
        command: vec!["serve".to_owned(), "8080".to_owned()],
        user: NON_ROOT.to_owned(),
        entries: vec![program("probe", probe)],
        ..Image::default()
    }
}

/// Every command is a link to the one program.
async fn busybox() -> Result<Image> {
    let listed = tokio::process::Command::new(BUSYBOX_PROGRAM).arg("--list").output().await?;
    let commands = String::from_utf8(listed.stdout)?;
    let links = commands.lines().filter(|command| *command != "busybox");
    let links = links.map(|command| Entry {
        path: format!("bin/{command}"),
        content: Content::Link("busybox".to_owned()),
    });
    let folders = [("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777)].map(folder);
    let users = Entry {
        path: "etc/passwd".to_owned(),
        content: Content::Text("root:x:0:0:root:/root:/bin/sh\n".to_owned()),
    };
    Ok(Image {
        reference: BUSYBOX.to_owned(),
        command: vec!["sh".to_owned()],
        environment: vec!["PATH=/bin".to_owned()],
        entries: links
            .chain(folders)
            .chain([users, program("bin/busybox", Path::new(BUSYBOX_PROGRAM))])
            .collect(),
        ..Image::default()
    })
}

fn program(path: &str, from: &Path) -> Entry {
    Entry { path: path.to_owned(), content: Content::Program(from.to_owned()) }
}

fn folder((path, mode): (&str, u32)) -> Entry {
    Entry { path: path.to_owned(), content: Content::Folder(mode) }
}

//! `weft connect`: makes a virtual cluster the current context, or runs a command with it.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use http::Uri;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::cli::forward;
use crate::cli::host::{self, ClusterFlags, Interrupt, Interrupts};
use crate::cli::output;
use crate::cluster::connection::Connection;
use crate::cluster::context::{self, Link};
use crate::cluster::forward::{Target, listen, serve};
use crate::cluster::forwarder::{Forwarder, server};
use crate::cluster::host::Host;
use crate::cluster::{Place, kubeconfig};

/// An address outside of the host cluster that does not answer by then is not reachable from here.
const REACHABLE: Duration = Duration::from_secs(2);
/// How long the virtual API server may take to answer through a new forwarder.
const ANSWERS: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
#[command(after_help = "\
Without an address that can be reached from here, a port-forwarder of this program runs in the background until
`weft disconnect`. It listens on loopback, and finds the pod again when it restarts.")]
pub(super) struct Connect {
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(flatten)]
    way: Way,
}

/// How to connect.
#[derive(Debug, Default, Args)]
struct Way {
    /// Print a kubeconfig, and leave yours alone.
    #[arg(long, conflicts_with = "foreground")]
    print: bool,
    /// Forward ports until Ctrl-C, in this process.
    #[arg(long)]
    foreground: bool,
    /// Address of the virtual API server, such as that of your own load balancer; nothing is forwarded.
    #[arg(long, value_name = "URL", conflicts_with_all = ["local_port", "foreground"])]
    server: Option<String>,
    /// Local port to forward; forwards even if there is an address to reach [default: one that is free].
    #[arg(long, value_name = "PORT")]
    local_port: Option<u16>,
    /// Command to run with KUBECONFIG set to the virtual cluster; your kubeconfig is left alone.
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["print", "foreground"])]
    command: Vec<OsString>,
}

pub(super) fn connect(arguments: &Connect) -> Result<ExitCode> {
    host::run(async {
        let (host, place) = arguments.cluster.find().await?;
        arguments.way.connect(&host, &place).await
    })
}

/// Connects to a virtual cluster that is there, with the defaults.
pub(super) async fn to(host: &Host, place: &Place) -> Result<ExitCode> {
    Way::default().connect(host, place).await
}

impl Way {
    async fn connect(&self, host: &Host, place: &Place) -> Result<ExitCode> {
        let connection = Connection::read(host, place).await?;
        let address = self.address(&connection).await;
        if !self.command.is_empty() {
            return self.with_command(host, place, &connection, address).await;
        }
        if self.foreground {
            return self.in_foreground(host, place, &connection).await;
        }
        let (cluster, started) = if let Some(cluster) = address {
            (cluster, None)
        } else {
            let (port, started) = self.background(host, place)?;
            (connection.cluster_at(&server(port)), started)
        };
        let name = context::name(place);
        if let Err(error) = answers(&connection, &cluster).await {
            let why = Forwarder::of(host, place)?.last_words();
            // Nobody would know of it.
            started.as_ref().map(Forwarder::stop).transpose()?;
            return Err(why.map_or(error, |why| anyhow::anyhow!("failed to connect to {place}: {why}")));
        }
        if self.print {
            output::print(&kubeconfig::single(&name, &cluster, connection.user())?);
            return Ok(ExitCode::SUCCESS);
        }
        select(host, place, &cluster, connection.user())?;
        output::note(&format!(
            "connected to {place} as context {name:?}; `weft disconnect {}` goes back",
            place.name
        ));
        Ok(ExitCode::SUCCESS)
    }

    /// The cluster's entry with an address that needs no forwarding.
    async fn address(&self, connection: &Connection) -> Option<Value> {
        if let Some(server) = &self.server {
            return Some(connection.cluster_at(server));
        }
        let outside =
            connection.cluster_outside().filter(|_| self.local_port.is_none() && !self.foreground)?;
        let server = outside.get("server")?.as_str()?;
        if is_reachable(server).await {
            return Some(outside.clone());
        }
        output::note(&format!("{server} cannot be reached from here; forwarding a local port instead"));
        None
    }

    /// The local port of the forwarder in the background, and that forwarder if it was started now.
    fn background(&self, host: &Host, place: &Place) -> Result<(u16, Option<Forwarder>)> {
        let forwarder = Forwarder::of(host, place)?;
        if let Some(record) = forwarder.running() {
            if self.local_port.is_none_or(|port| port == record.port) {
                return Ok((record.port, None));
            }
            forwarder.stop()?;
        }
        let record = forwarder.start(&forward::arguments(host, place, self.local_port))?;
        Ok((record.port, Some(forwarder)))
    }

    async fn with_command(
        &self,
        host: &Host,
        place: &Place,
        connection: &Connection,
        address: Option<Value>,
    ) -> Result<ExitCode> {
        let Some(cluster) = address else {
            let listener = listen(self.local_port).await?;
            forward::log("warn");
            let cluster = connection.cluster_at(&server(port(&listener)?));
            return tokio::select! {
                ended = serve(listener, Target::new(host, place.clone())) => {
                    ended?;
                    bail!("{place} was deleted")
                }
                code = self.run_command(place, &cluster, connection.user()) => code,
            };
        };
        self.run_command(place, &cluster, connection.user()).await
    }

    async fn run_command(&self, place: &Place, cluster: &Value, user: &Value) -> Result<ExitCode> {
        let folder = tempfile::tempdir().context("failed to create a folder for the kubeconfig")?;
        let file = folder.path().join("kubeconfig");
        // The folder is readable by its owner alone.
        std::fs::write(&file, kubeconfig::single(&context::name(place), cluster, user)?)?;
        let Some((program, arguments)) = self.command.split_first() else { bail!("there is no command") };
        // What the command does with a signal is its business.
        let mut interrupts = Interrupts::listen()?;
        let mut command = tokio::process::Command::new(program);
        let child = command.args(arguments).env("KUBECONFIG", &file).kill_on_drop(true).spawn();
        let mut child = child.with_context(|| format!("failed to run {}", program.display()))?;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                interrupt = interrupts.next() => pass_on(interrupt, &child),
            }
        };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
    }

    async fn in_foreground(&self, host: &Host, place: &Place, connection: &Connection) -> Result<ExitCode> {
        let listener = listen(self.local_port).await?;
        let address = server(port(&listener)?);
        let mut interrupts = Interrupts::listen()?;
        forward::log("info");
        select(host, place, &connection.cluster_at(&address), connection.user())?;
        let name = context::name(place);
        output::note(&format!("connected to {place} as context {name:?} at {address}; Ctrl-C ends it"));
        let ended = tokio::select! {
            ended = serve(listener, Target::new(host, place.clone())) => ended,
            _ = interrupts.next() => Ok(()),
        };
        host.files.disconnect(&name)?;
        ended.map(|()| ExitCode::SUCCESS)
    }
}

/// The terminal sends Ctrl-C to the command as well; a kill it gets from us alone.
fn pass_on(interrupt: Interrupt, child: &tokio::process::Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let (Interrupt::Kill, Some(pid)) = (interrupt, pid) {
        // It may have ended in this moment.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}

/// Writes the context and makes it the current one.
fn select(host: &Host, place: &Place, cluster: &Value, user: &Value) -> Result<()> {
    let name = context::name(place);
    let mut links = host.files.links()?.into_iter();
    if let Some((_, link)) = links.find(|(own, link)| *own == name && link.host_context != host.context) {
        let other = link.host_context.unwrap_or_default();
        bail!(
            "the context {name:?} is that of a virtual cluster on {other:?}; `weft disconnect {}` first",
            place.name
        );
    }
    let link = Link {
        cluster: place.name.clone(),
        namespace: place.namespace.clone(),
        host_context: host.context.clone(),
        previous_context: None,
    };
    host.files.connect(&name, cluster, user, &link)
}

/// Waits until the virtual API server answers.
async fn answers(connection: &Connection, cluster: &Value) -> Result<()> {
    let client = connection.client(cluster).await?;
    let server = cluster.get("server").and_then(Value::as_str).unwrap_or_default();
    let answer = timeout(ANSWERS, client.apiserver_version()).await;
    let answer = answer.with_context(|| format!("{server} did not answer within {} s", ANSWERS.as_secs()))?;
    answer.with_context(|| format!("the virtual API server at {server} does not answer"))?;
    Ok(())
}

async fn is_reachable(server: &str) -> bool {
    let Ok(uri) = server.parse::<Uri>() else { return false };
    let Some(host) = uri.host() else { return false };
    let address = (host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(443));
    timeout(REACHABLE, TcpStream::connect(address)).await.is_ok_and(|connected| connected.is_ok())
}

fn port(listener: &TcpListener) -> Result<u16> {
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_reachable_if_something_listens_there() {
        let listener = listen(None).await.unwrap();
        let address = server(port(&listener).unwrap());
        assert!(is_reachable(&address).await);
        drop(listener);
        assert!(!is_reachable(&address).await && !is_reachable("nowhere").await);
    }
}

//! Flags that say which host cluster and which virtual cluster a command is about, named as kubectl names them.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cluster::host::Host;
use crate::cluster::kubeconfig::Files;
use crate::cluster::{Place, find};

/// The host cluster.
#[derive(Debug, Clone, Args)]
pub(super) struct HostFlags {
    /// Kubeconfig of the host cluster [default: as kubectl's].
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Context of the host cluster [default: the current one, or the host's if that is a virtual cluster].
    #[arg(long, visible_alias = "kube-context", value_name = "NAME")]
    pub(super) context: Option<String>,
}

impl HostFlags {
    /// The kubeconfig files.
    pub(super) fn files(&self) -> Result<Files> {
        Files::find(self.kubeconfig.clone())
    }

    /// Access to the host cluster.
    pub(super) async fn open(&self) -> Result<Host> {
        Host::open(self.files()?, self.context.as_deref()).await
    }
}

/// A virtual cluster that is there.
#[derive(Debug, Clone, Args)]
pub(super) struct ClusterFlags {
    /// Name of the virtual cluster.
    pub(super) name: String,
    /// Its host namespace; needed only where several namespaces have a virtual cluster of this name.
    #[arg(short, long)]
    pub(super) namespace: Option<String>,
    #[command(flatten)]
    pub(super) host: HostFlags,
}

impl ClusterFlags {
    /// Access to the host, and where the virtual cluster is.
    pub(super) async fn find(&self) -> Result<(Host, Place)> {
        let host = self.host.open().await?;
        let set = find::one(&host, &self.name, self.namespace.as_deref()).await?;
        Ok((host, find::place(&set)))
    }
}

/// Runs a command that talks to servers.
pub(super) fn run<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    // One thread: all is waiting.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(command);
    // The end waits for nothing: a name that is still being resolved takes its time-outs, a plugin that compiles its seconds.
    runtime.shutdown_background();
    done
}

/// Why a command is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// SIGINT: a terminal sends it to every process that the person sees.
    CtrlC,
    /// SIGTERM: sent to this process alone.
    Kill,
}

/// Ctrl-C and a polite kill, from when this is made; one that comes while nobody waits is not lost.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    pub(super) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("failed to listen for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for one, and says which it was.
    pub(super) async fn next(&mut self) -> Interrupt {
        tokio::select! {
            _ = self.interrupt.recv() => Interrupt::CtrlC,
            _ = self.terminate.recv() => Interrupt::Kill,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        cluster: ClusterFlags,
    }

    #[test]
    fn flags_are_named_as_kubectl_and_helm_name_them() {
        let parse = |arguments: &[&str]| {
            let arguments = std::iter::once(&"weft").chain(arguments);
            Program::try_parse_from(arguments).unwrap().cluster
        };
        let flags = parse(&["one", "-n", "team-a", "--context", "kind", "--kubeconfig", "config"]);
        assert_eq!((flags.name.as_str(), flags.namespace.as_deref()), ("one", Some("team-a")));
        assert_eq!(flags.host.context.as_deref(), Some("kind"));
        assert_eq!(flags.host.kubeconfig, Some("config".into()));
        let flags = parse(&["one", "--namespace", "team-a", "--kube-context", "kind"]);
        assert_eq!(flags.host.context.as_deref(), Some("kind"));
    }
}

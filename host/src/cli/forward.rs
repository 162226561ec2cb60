//! `weft forward`: the port-forwarder in the background, which `weft connect` starts. Not for people.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::cli::host::{self, HostFlags, Interrupts};
use crate::cli::output;
use crate::cluster::Place;
use crate::cluster::forward::{Target, listen, serve};
use crate::cluster::forwarder::Forwarder;
use crate::cluster::host::Host;

#[derive(Debug, Args)]
pub(super) struct Forward {
    name: String,
    #[arg(short, long)]
    namespace: String,
    #[command(flatten)]
    pub(super) host: HostFlags,
    /// Local port.
    #[arg(long)]
    local_port: Option<u16>,
}

/// The arguments that make this program a forwarder.
pub(super) fn arguments(host: &Host, place: &Place, port: Option<u16>) -> Vec<String> {
    let mut arguments = vec!["forward".to_owned(), "--namespace".to_owned(), place.namespace.clone()];
    let flags = flags(host, place).host;
    let file = flags.kubeconfig.map(|file| file.display().to_string());
    for (flag, value) in [
        ("--kubeconfig", file),
        ("--context", flags.context),
        ("--local-port", port.map(|port| port.to_string())),
    ] {
        arguments.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
    }
    arguments.extend(["--".to_owned(), place.name.clone()]);
    arguments
}

/// The flags that name this host and this virtual cluster.
pub(super) fn flags(host: &Host, place: &Place) -> Forward {
    let kubeconfig = host.files.explicit().map(std::path::Path::to_owned);
    let host = HostFlags { kubeconfig, context: host.context.clone() };
    Forward { name: place.name.clone(), namespace: place.namespace.clone(), host, local_port: None }
}

/// Runs until it is ended, or until the virtual cluster is deleted.
pub(super) fn forward(arguments: &Forward) -> Result<ExitCode> {
    // Away from the terminal: it outlives the shell. It fails only for one that leads a session already.
    let _ = nix::unistd::setsid();
    log("info");
    let place = Place { namespace: arguments.namespace.clone(), name: arguments.name.clone() };
    host::run(async {
        let host = arguments.host.open().await?;
        let forwarder = Forwarder::of(&host, &place)?;
        // The port from before, so that a kubeconfig somewhere stays usable.
        let last = forwarder.recorded().map(|record| record.port);
        let listener = match (arguments.local_port, last) {
            (Some(port), _) => listen(Some(port)).await?,
            (None, Some(port)) => match listen(Some(port)).await {
                Ok(listener) => listener,
                Err(_) => listen(None).await?,
            },
            (None, None) => listen(None).await?,
        };
        let port = listener.local_addr().context("the listener has no address")?.port();
        let held = forwarder.hold(port)?;
        output::print(&format!("{port}\n"));
        info!(cluster = place.name, namespace = place.namespace, port, "forwarding");
        let mut interrupts = Interrupts::listen()?;
        tokio::select! {
            ended = serve(listener, Target::new(&host, place.clone())) => ended?,
            _ = interrupts.next() => {}
        }
        held.retire();
        Ok(ExitCode::SUCCESS)
    })
}

/// Logs to standard error; no request and no credentials are ever logged.
pub(super) fn log(level: &str) {
    let filter = EnvFilter::new(format!("off,weft={level}"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call keeps the first one's settings.
    let _ = subscriber.with_ansi(false).try_init();
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cluster::kubeconfig::Files;

    #[derive(clap::Parser)]
    struct Program {
        #[command(subcommand)]
        command: Command,
    }

    #[derive(clap::Subcommand)]
    enum Command {
        Forward(Forward),
    }

    #[tokio::test]
    async fn a_forwarder_is_started_for_the_same_host_and_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        let text = "{current-context: a, contexts: [{name: a, context: {cluster: c}}], clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]}";
        std::fs::write(&file, text).unwrap();
        let host = Host::open(Files::find(Some(file.clone())).unwrap(), None).await.unwrap();
        let place = Place { namespace: "team-a".to_owned(), name: "one".to_owned() };
        let arguments = arguments(&host, &place, Some(4711));
        let program = Program::try_parse_from(std::iter::once("weft".to_owned()).chain(arguments)).unwrap();
        let Command::Forward(forward) = program.command;
        assert_eq!((forward.name.as_str(), forward.namespace.as_str()), ("one", "team-a"));
        assert_eq!((forward.host.kubeconfig, forward.host.context.as_deref()), (Some(file), Some("a")));
        assert_eq!(forward.local_port, Some(4711));
    }
}

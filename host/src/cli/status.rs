//! `weft status`: one virtual cluster on one screen.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::cli::host::{self, ClusterFlags};
use crate::cli::output::{self, Format, bad, good, strong};
use crate::cli::{age, list};
use crate::cluster::find;
use crate::cluster::status::{State, Status, Storage};

#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    cluster: ClusterFlags,
    /// Output format.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

pub(super) fn status(arguments: &Show) -> Result<ExitCode> {
    host::run(async {
        let ClusterFlags { name, namespace, host } = &arguments.cluster;
        let host = host.open().await?;
        let set = find::one(&host, name, namespace.as_deref()).await?;
        let place = find::place(&set);
        let status = Box::pin(Status::read(&host, &set)).await;
        match arguments.output {
            Format::Json | Format::Yaml => output::print_value(&status, arguments.output)?,
            Format::Text | Format::Wide => {
                let context = list::context_of(&host, &place)?;
                output::print(&screen(&status, context.as_deref()));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn screen(status: &Status, context: Option<&str>) -> String {
    let state = status.summary.state;
    let word = if state == State::Ready { good(state.word()) } else { bad(state.word()) };
    let mut text = format!("{}  {word}\n\n", strong(&status.summary.place));
    let ready = |is_ready: bool| if is_ready { "ready" } else { "not ready" }.to_owned();
    let mut lines = vec![
        ("Version", status.summary.version.clone()),
        ("Age", age::since(status.summary.created)),
        ("API server", ready(status.api_server_ready)),
        ("Syncer", ready(status.syncer_ready)),
        ("Storage", status.storage.as_ref().map_or_else(|| "in the pod, lost with it".to_owned(), storage)),
        ("Context", context.unwrap_or("not connected").to_owned()),
    ];
    lines.extend(status.waiting_for.clone().map(|why| ("Waiting for", why)));
    for (name, value) in lines {
        let _ = writeln!(text, "{name:12} {value}");
    }
    if !status.containers.is_empty() {
        let rows: Vec<Vec<String>> = status
            .containers
            .iter()
            .map(|container| {
                let ready = if container.ready { "yes" } else { "no" };
                vec![
                    container.name.clone(),
                    container.state.clone(),
                    ready.to_owned(),
                    container.restarts.to_string(),
                ]
            })
            .collect();
        let _ = write!(text, "\n{}", output::table(&["CONTAINER", "STATE", "READY", "RESTARTS"], &rows));
    }
    if !status.warnings.is_empty() {
        let rows: Vec<Vec<String>> = status
            .warnings
            .iter()
            .map(|warning| {
                vec![
                    age::since(warning.at),
                    warning.object.clone(),
                    warning.reason.clone(),
                    warning.message.clone(),
                ]
            })
            .collect();
        let _ = write!(text, "\n{}", output::table(&["LAST SEEN", "OBJECT", "WARNING", "MESSAGE"], &rows));
    }
    text
}

fn storage(storage: &Storage) -> String {
    let Storage { claim, phase, size, class } = storage;
    let parts = [size.as_deref(), class.as_deref(), Some(phase.as_str())];
    format!("{} (claim {claim})", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Place;
    use crate::cluster::status::Summary;

    #[test]
    fn the_screen_says_what_is_waited_for_and_what_is_lost() {
        let place = Place { namespace: "team-a".to_owned(), name: "one".to_owned() };
        let summary = Summary { place, state: State::NotReady, version: "0.1.0".to_owned(), created: None };
        let mut status = Status {
            summary,
            api_server_ready: true,
            syncer_ready: false,
            ready_since: None,
            waiting_for: Some("0/3 nodes are available".to_owned()),
            containers: Vec::new(),
            storage: None,
            warnings: Vec::new(),
        };
        let text = screen(&status, None);
        for line in [
            "API server   ready",
            "Syncer       not ready",
            "Storage      in the pod",
            "Waiting for  0/3 nodes",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let (claim, phase) = ("data-one-0".to_owned(), "Bound".to_owned());
        status.storage = Some(Storage { claim, phase, size: Some("1Gi".to_owned()), class: None });
        assert!(screen(&status, None).contains("Storage      1Gi, Bound (claim data-one-0)"));
    }
}

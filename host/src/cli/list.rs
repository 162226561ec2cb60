//! `weft list`: the virtual clusters of a host cluster.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;

use crate::cli::age;
use crate::cli::host::{self, HostFlags};
use crate::cli::output::{self, Format};
use crate::cluster::find::{self, Scope};
use crate::cluster::forwarder::Forwarder;
use crate::cluster::host::Host;
use crate::cluster::status::Summary;
use crate::cluster::{Place, context};

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only this host namespace [default: all that you may list].
    #[arg(short, long)]
    namespace: Option<String>,
    /// All host namespaces; fails if you may not list them.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    #[command(flatten)]
    host: HostFlags,
    /// Output format.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

/// One line of the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(flatten)]
    summary: Summary,
    /// The context, if there is one.
    context: Option<String>,
    is_current: bool,
    /// Local port of its forwarder, if one runs.
    local_port: Option<u16>,
}

pub(super) fn list(arguments: &List) -> Result<ExitCode> {
    host::run(async {
        let host = arguments.host.open().await?;
        let (sets, scope) = find::all(&host, arguments.namespace.as_deref()).await?;
        if let (Scope::Namespace(namespace), None) = (&scope, &arguments.namespace) {
            let only = "you may not list the StatefulSets of all namespaces";
            if arguments.all_namespaces {
                anyhow::bail!("{only} in {}; choose one with -n", host.describe());
            }
            output::note(&format!("{only}; these are those of namespace {namespace}"));
        }
        let entries: Vec<Entry> =
            sets.iter().map(|set| entry(&host, Summary::of(set))).collect::<Result<_>>()?;
        match arguments.output {
            Format::Json | Format::Yaml => output::print_value(&entries, arguments.output)?,
            Format::Text | Format::Wide if entries.is_empty() => {
                let place = match &scope {
                    Scope::All => String::new(),
                    Scope::Namespace(namespace) => format!("namespace {namespace} of "),
                };
                output::note(&format!(
                    "no virtual clusters in {place}{}; `weft create NAME` creates one",
                    host.describe()
                ));
            }
            Format::Text | Format::Wide => output::print(&table(&entries, arguments.output == Format::Wide)),
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn entry(host: &Host, summary: Summary) -> Result<Entry> {
    let name = context_of(host, &summary.place)?;
    let is_current = name.is_some() && host.files.current()? == name;
    let local_port = Forwarder::of(host, &summary.place)?.running().map(|record| record.port);
    Ok(Entry { summary, context: name, is_current, local_port })
}

/// The context of a virtual cluster of this host.
pub(super) fn context_of(host: &Host, place: &Place) -> Result<Option<String>> {
    let links = host.files.links().context("failed to read your contexts")?;
    let wanted = context::name(place);
    let mut names = links.into_iter().filter(|(_, link)| link.host_context == host.context);
    Ok(names.find(|(name, _)| *name == wanted).map(|(name, _)| name))
}

fn table(entries: &[Entry], is_wide: bool) -> String {
    let mut head = vec!["NAME", "NAMESPACE", "STATUS", "VERSION", "CONNECTED", "AGE"];
    if is_wide {
        head.extend(["CONTEXT", "LOCAL PORT"]);
    }
    let row = |entry: &Entry| {
        let Place { namespace, name } = entry.summary.place.clone();
        let connected = match (&entry.context, entry.is_current) {
            (Some(_), true) => "current",
            (Some(_), false) => "yes",
            (None, _) => "no",
        };
        let mut row = vec![
            name,
            namespace,
            entry.summary.state.word().to_owned(),
            entry.summary.version.clone(),
            connected.to_owned(),
            age::since(entry.summary.created),
        ];
        if is_wide {
            let none = || "-".to_owned();
            row.push(entry.context.clone().unwrap_or_else(none));
            row.push(entry.local_port.map_or_else(none, |port| port.to_string()));
        }
        row
    };
    output::table(&head, &entries.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::status::State;

    #[test]
    fn a_wide_list_has_the_context_and_the_port() {
        let place = Place { namespace: "team-a".to_owned(), name: "one".to_owned() };
        let summary = Summary { place, state: State::Ready, version: "0.1.0".to_owned(), created: None };
        let entry = Entry {
            summary,
            context: Some("weft_team-a_one".to_owned()),
            is_current: true,
            local_port: Some(4711),
        };
        let narrow = table(std::slice::from_ref(&entry), false);
        assert_eq!(narrow.lines().nth(1).unwrap(), "one   team-a     Ready   0.1.0    current    -");
        let wide = table(&[entry], true);
        assert!(
            wide.contains("weft_team-a_one") && wide.contains("4711") && !narrow.contains("4711"),
            "{wide}"
        );
    }
}

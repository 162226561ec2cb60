//! `weft plugin list`: the plugins of a configuration in the order in which they run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::cli::configured::Configured;
use crate::cli::output::{Format, bad, faint, print, print_value, table};
use crate::cli::summary::size;
use crate::config::DeclaredMapping;
use crate::plugin::generation::Generation;
use crate::registry::descriptor::{Mapping, Role};

/// Arguments of `weft plugin list`.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// The configuration of the syncer.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// What is listed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    /// Of each kind, who runs, the first one first.
    kinds: BTreeMap<String, Vec<Row>>,
    /// Why others are not loaded, by name.
    not_loaded: BTreeMap<String, String>,
}

/// A syncer may run another version than the one in its folder: one that was rolled back, say.
const TITLE: &str = "what the configuration and the files in `plugins.folder` say; `/plugins` on a syncer's health port shows what runs";

/// One plugin's say in one kind.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    plugin: String,
    version: String,
    role: String,
    directions: String,
    on_failure: String,
    size_bytes: usize,
    digest: String,
    #[serde(skip)]
    place: u64,
}

/// Fails if there are plugins that do not load.
pub(super) fn list(arguments: &List) -> Result<ExitCode> {
    let configured = Configured::load(&arguments.config)?;
    let declared = configured.config.mappings.iter().map(declared);
    let rows = configured.bench.plugins().flat_map(|plugin| rows(plugin)).chain(declared);
    let listed = Listed { kinds: in_order(rows), not_loaded: configured.refused };
    match arguments.output {
        Format::Text => print(&listed.to_text(false)),
        Format::Wide => print(&listed.to_text(true)),
        format => print_value(&listed, format)?,
    }
    Ok(if listed.not_loaded.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A kind that is declared in `mappings`, shown as `/plugins` shows it.
fn declared(mapping: &DeclaredMapping) -> (String, Row) {
    let row = Row {
        plugin: "mappings".to_owned(),
        version: "-".to_owned(),
        role: Role::Add.to_string(),
        directions: "to-host,to-virtual".to_owned(),
        on_failure: "-".to_owned(),
        size_bytes: 0,
        digest: String::new(),
        place: Role::Add.order(),
    };
    (mapping.declaration().resource.kind().to_string(), row)
}

fn rows(plugin: &Generation) -> Vec<(String, Row)> {
    let descriptor = &plugin.loaded.descriptor;
    let row = |mapping: &Mapping| {
        let directions = [(mapping.to_host, "to-host"), (mapping.to_virtual, "to-virtual")];
        let directions: Vec<&str> =
            directions.into_iter().filter_map(|(is_set, name)| is_set.then_some(name)).collect();
        let row = Row {
            plugin: plugin.name.to_string(),
            version: descriptor.version.clone(),
            role: mapping.role.to_string(),
            directions: directions.join(","),
            on_failure: format!("{:?}", plugin.entry.on_failure).to_lowercase(),
            size_bytes: plugin.loaded.size,
            digest: plugin.loaded.digest.clone(),
            place: mapping.role.order(),
        };
        (mapping.resource.kind().to_string(), row)
    };
    descriptor.mappings.iter().map(row).collect()
}

/// The rows of each kind in the order in which they run.
fn in_order(rows: impl Iterator<Item = (String, Row)>) -> BTreeMap<String, Vec<Row>> {
    let mut kinds: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    rows.for_each(|(kind, row)| kinds.entry(kind).or_default().push(row));
    for rows in kinds.values_mut() {
        rows.sort_by(|a, b| (a.place, &a.plugin).cmp(&(b.place, &b.plugin)));
    }
    kinds
}

impl Listed {
    fn to_text(&self, is_wide: bool) -> String {
        let mut text = format!("{}\n", faint(TITLE));
        if self.kinds.is_empty() && self.not_loaded.is_empty() {
            text.push_str("no plugins\n");
        }
        if !self.kinds.is_empty() {
            let head = ["KIND", "PLUGIN", "VERSION", "ROLE", "DIRECTIONS", "ON FAILURE", "SIZE", "DIGEST"];
            let rows = self.kinds.iter().flat_map(|(kind, rows)| rows.iter().map(|row| row.cells(kind)));
            let shown = if is_wide { head.len() } else { 4 };
            text.push_str(&table(head.get(..shown).unwrap_or(&head), &rows.collect::<Vec<_>>()));
        }
        for (name, why) in &self.not_loaded {
            let _ = writeln!(text, "{} {name}: {why}", bad("not loaded"));
        }
        text
    }
}

impl Row {
    fn cells(&self, kind: &str) -> Vec<String> {
        let row = self.clone();
        let size = size(row.size_bytes);
        vec![
            kind.to_owned(),
            row.plugin,
            row.version,
            row.role,
            row.directions,
            row.on_failure,
            size,
            row.digest,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(plugin: &str, role: Role) -> (String, Row) {
        let empty = String::new;
        let row = Row {
            plugin: plugin.to_owned(),
            version: empty(),
            role: role.to_string(),
            directions: empty(),
            on_failure: empty(),
            size_bytes: 0,
            digest: empty(),
            place: role.order(),
        };
        ("v1/Pod".to_owned(), row)
    }

    #[test]
    fn the_first_line_says_what_is_shown_and_where_the_rest_is() {
        let listed = Listed { kinds: BTreeMap::new(), not_loaded: BTreeMap::new() };
        let text = listed.to_text(false);
        let first = text.lines().next().unwrap();
        assert!(first.contains("the configuration") && first.contains("`/plugins`"), "{text}");
    }

    #[test]
    fn a_declared_kind_is_listed_beside_those_of_plugins() {
        let mapping = serde_json::from_value(
            serde_json::json!({"apiVersion": "example.org/v1", "kind": "Widget", "plural": "widgets"}),
        );
        let kinds = in_order(std::iter::once(declared(&mapping.unwrap())));
        assert_eq!(kinds.keys().collect::<Vec<_>>(), ["example.org/v1/Widget"]);
        let text = Listed { kinds, not_loaded: BTreeMap::new() }.to_text(false);
        assert!(text.contains("Widget") && text.contains("mappings") && text.contains("add"), "{text}");
    }

    #[test]
    fn the_owner_comes_first_then_low_numbers_then_names() {
        let rows = [
            row("d", Role::Mutate(100)),
            row("b", Role::Mutate(200)),
            row("c", Role::Mutate(100)),
            row("a", Role::Mutate(200)),
            row("z", Role::Override),
        ];
        let kinds = in_order(rows.into_iter());
        let names: Vec<&str> = kinds["v1/Pod"].iter().map(|row| row.plugin.as_str()).collect();
        assert_eq!(names, ["z", "c", "d", "a", "b"]);
    }
}

//! A summary of a component, for people and for programs.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use weft_core::spec::Selection;

use crate::author::workbench::Examined;
use crate::cli::output::strong;
use crate::plugin::component::Loaded;
use crate::registry::descriptor::Mapping;

/// A summary of a component.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ComponentSummary {
    file: String,
    name: String,
    version: String,
    summary: String,
    /// Version of the interface that it is built for.
    interface: String,
    size_bytes: usize,
    digest: String,
    imports: Vec<String>,
    needs_wasi: bool,
    uses_time: bool,
    mappings: Vec<MappingSummary>,
    lookups: Vec<LookupSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings_schema: Option<serde_json::Value>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MappingSummary {
    kind: String,
    plural: String,
    role: String,
    directions: Vec<&'static str>,
    selection: &'static str,
    references: Vec<String>,
    selectors: Vec<String>,
    host_writes: Vec<String>,
    virtual_writes: Vec<String>,
    install_definition: bool,
}

#[derive(Debug, Serialize)]
struct LookupSummary {
    side: String,
    kind: String,
    fields: Vec<String>,
}

/// The package of the interface.
const PACKAGE: &str = "weft:mapping/";

impl ComponentSummary {
    /// The summary of the component in `file`.
    pub(super) fn new(file: &Path, examined: &Examined) -> Self {
        let Loaded { digest, size, imports, descriptor, .. } = examined.loaded.clone();
        let lookups = descriptor.lookups.iter().map(|lookup| LookupSummary {
            side: lookup.side.to_string(),
            kind: lookup.kind().to_string(),
            fields: lookup.fields.clone(),
        });
        let schema = descriptor.settings_schema.as_deref();
        Self {
            file: file.display().to_string(),
            interface: interface(&imports),
            size_bytes: size,
            digest,
            imports,
            needs_wasi: examined.needs_wasi,
            uses_time: descriptor.uses_time,
            mappings: descriptor.mappings.iter().map(MappingSummary::new).collect(),
            lookups: lookups.collect(),
            settings_schema: schema.and_then(|schema| serde_json::from_str(schema).ok()),
            name: descriptor.name,
            version: descriptor.version,
            summary: descriptor.summary,
        }
    }

    /// For people.
    pub(super) fn to_text(&self) -> String {
        let mut text = format!("{} {}: {}\n", strong(&self.name), self.version, self.summary);
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<10} {value}");
        };
        line("file", &self.file);
        line("size", &size(self.size_bytes));
        line("digest", &self.digest);
        line("interface", &self.interface);
        line("imports", &self.imports.join(", "));
        for mapping in &self.mappings {
            line("maps", &mapping.to_text());
            for (name, values) in mapping.details() {
                line("", &format!("  {name}: {values}"));
            }
        }
        for lookup in &self.lookups {
            let fields = if lookup.fields.is_empty() {
                String::new()
            } else {
                format!(" {}", lookup.fields.join(", "))
            };
            line("looks up", &format!("{} ({}){fields}", lookup.kind, lookup.side));
        }
        if self.needs_wasi {
            line("wasi", "needs stubs: `wasi: true`");
        }
        if self.uses_time {
            line("time", "outcomes depend on it");
        }
        text
    }
}

impl MappingSummary {
    fn new(mapping: &Mapping) -> Self {
        let directions = [(mapping.to_host, "to-host"), (mapping.to_virtual, "to-virtual")];
        let reference = |reference: &weft_core::references::Reference| {
            format!("{} -> {}", reference.path, reference.kind)
        };
        Self {
            kind: mapping.resource.kind().to_string(),
            plural: mapping.resource.plural.to_string(),
            role: mapping.role.to_string(),
            directions: directions.into_iter().filter_map(|(is_set, name)| is_set.then_some(name)).collect(),
            selection: match mapping.selection {
                Selection::All => "all",
                Selection::Used => "used",
            },
            references: mapping.references.iter().map(reference).collect(),
            selectors: mapping.selectors.clone(),
            host_writes: mapping.host_writes.clone(),
            virtual_writes: mapping.virtual_writes.clone(),
            install_definition: mapping.installs_definition,
        }
    }

    fn to_text(&self) -> String {
        let definition = if self.install_definition { ", installs its definition" } else { "" };
        let (kind, plural, role) = (&self.kind, &self.plural, &self.role);
        format!("{kind} ({plural}) {role}, {}{definition}", self.directions.join(" and "))
    }

    /// Lists that are not empty.
    fn details(&self) -> Vec<(&'static str, String)> {
        let writes = |name: &'static str| self.directions.contains(&name);
        let lists = [
            ("references", &self.references, true),
            ("selectors", &self.selectors, true),
            ("writes on the host", &self.host_writes, writes("to-host")),
            ("writes on the virtual object", &self.virtual_writes, writes("to-virtual")),
        ];
        let lists = lists.into_iter().filter(|(_, values, is_shown)| *is_shown && !values.is_empty());
        lists.map(|(name, values, _)| (name, values.join(", "))).collect()
    }
}

/// Bytes for people.
pub(super) fn size(bytes: usize) -> String {
    const KIB: usize = 1024;
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..1_048_576 => format!("{} KiB", bytes.div_ceil(KIB)),
        _ => format!("{}.{} MiB", bytes / KIB / KIB, bytes / KIB % KIB * 10 / KIB),
    }
}

/// The version of the interface, from the names of the imports.
fn interface(imports: &[String]) -> String {
    let ours = imports.iter().find_map(|name| name.strip_prefix(PACKAGE)?.split_once('@'));
    ours.map_or_else(|| "weft:mapping".to_owned(), |(_, version)| format!("weft:mapping {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        let sizes = [0, 1023, 1024, 40_000, 1_048_576, 20_000_000].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1 KiB", "40 KiB", "1.0 MiB", "19.0 MiB"]);
    }
}

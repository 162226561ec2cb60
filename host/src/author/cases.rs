//! Recorded cases: a request to a plugin and the expected outcome. No cluster is needed.

mod compare;
mod complete;
mod contains;
mod expect;
mod outcome;
mod patch;

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_core::object::{Fields, VirtualObject};
use weft_core::verdict::Word;

use crate::author::trace::Trace;
use crate::author::workbench::{Examined, Refusal, Workbench, surroundings};
use crate::config::DeclaredMapping;
use crate::plugin::generation;
use crate::yaml;

pub use compare::{Difference, compare};
pub use expect::{Expect, blessed, replace_expect};
pub use outcome::{Outcome, plain, with_reason};
pub use patch::Patch;

/// A request and the expected outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The function that is called.
    pub call: Direction,
    /// The plugin's settings.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub settings: Fields,
    /// The tenant's object.
    pub r#virtual: Fields,
    /// The current host object. Missing name, namespace and identity are added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Fields>,
    /// Other objects that lookups find: virtual objects, and host objects with an identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Fields>,
    /// The expected outcome.
    pub expect: Expect,
}

/// A function of the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Before the host object is written.
    ToHost,
    /// Before fields are synced back to the virtual object.
    ToVirtual,
}

/// Why a case cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("failed to read the case {path}")]
    Read {
        /// The file.
        path: String,
        /// The error of the system.
        source: std::io::Error,
    },
    /// Not YAML, a key that does not exist, or a value of the wrong type.
    #[error("the case {path} cannot be used: {why}")]
    Parse {
        /// The file.
        path: String,
        /// What and where.
        why: String,
    },
    /// A key that the call needs is missing or wrong.
    #[error("`{key}` {why}")]
    Key {
        /// The key.
        key: &'static str,
        /// What is wrong and what to do.
        why: String,
    },
    /// The plugin cannot be used.
    #[error("the plugin cannot be used")]
    Plugin(#[from] Refusal),
    /// The surroundings cannot be made.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl Case {
    /// Reads the case at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is not a case.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: shown.clone(), source })?;
        Self::parse(&shown, &text)
    }

    fn parse(path: &str, yaml: &str) -> Result<Self, Error> {
        yaml::read(yaml).map_err(|why| Error::Parse { path: path.to_owned(), why })
    }

    /// A case whose outcome is not recorded yet.
    pub fn new(call: Direction, r#virtual: Fields) -> Self {
        let (settings, host, objects) = (Fields::new(), None, Vec::new());
        Self { call, settings, r#virtual, host, objects, expect: Expect::verdict(Word::Apply) }
    }

    /// The outcome with nothing but `plugin` loaded.
    ///
    /// # Errors
    /// The case cannot be run. A failure of the plugin is an outcome, not an error.
    pub fn run(&self, bench: &Workbench, plugin: &Examined) -> Result<Outcome, Error> {
        match self.load_plugin(bench, plugin) {
            Ok(bench) => {
                let name = &plugin.loaded.descriptor.name;
                Ok(Outcome::of(self.trace(&bench, name)?, name))
            }
            // Settings are part of the case, so refusing them is an outcome.
            Err(Error::Plugin(Refusal::Unfit(error @ generation::Error::Settings { .. }))) => {
                Ok(Outcome::refused_settings(&plugin.loaded.descriptor.name, &error.to_string()))
            }
            Err(other) => Err(other),
        }
    }

    /// A workbench in the same sandbox with nothing but `plugin`, which has the settings of the case.
    ///
    /// # Errors
    /// The plugin cannot be used with them.
    pub fn load_plugin(&self, bench: &Workbench, plugin: &Examined) -> Result<Workbench, Error> {
        let mut entry = plugin.entry();
        entry.settings.clone_from(&self.settings);
        let mut bench = Workbench::in_sandbox(bench.sandbox().clone(), NOTHING_DECLARED)?;
        bench.take(plugin.loaded.clone(), entry)?;
        Ok(bench)
    }

    /// The trace of the case with the plugins in `bench`.
    ///
    /// # Errors
    /// `plugin` is not called for this case.
    pub fn trace(&self, bench: &Workbench, plugin: &str) -> Result<Trace, Error> {
        let source = VirtualObject::new(self.r#virtual.clone());
        let kind = weft_core::offline::key_of(&source).kind;
        self.check_mapping(bench, plugin, kind.as_str())?;
        let mut around = surroundings()?;
        complete::add_objects(&mut around, &source, &self.objects);
        let mapper = bench.mapper(&kind)?.clone();
        let host = self.host.as_ref().map(|given| complete::host(&around, mapper.as_ref(), &source, given));
        match (self.call, &host) {
            (Direction::ToHost, host) => Ok(bench.trace_to_host(&around, &source, host.as_ref())?),
            (Direction::ToVirtual, Some(host)) => Ok(bench.trace_to_virtual(&around, host, &source)?),
            (Direction::ToVirtual, None) => {
                let why = "is missing: `to-virtual` maps a host object".to_owned();
                Err(Error::Key { key: "host", why })
            }
        }
    }

    /// Passes if the plugin maps this kind in this direction.
    fn check_mapping(&self, bench: &Workbench, plugin: &str, kind: &str) -> Result<(), Error> {
        let found = bench.plugins().find(|loaded| *loaded.name == *plugin);
        let mappings = found.map(Arc::as_ref).map_or(&[][..], |found| &found.loaded.descriptor.mappings);
        let Some(mapping) = mappings.iter().find(|mapping| mapping.resource.kind().as_str() == kind) else {
            let kinds: Vec<String> =
                mappings.iter().map(|mapping| mapping.resource.kind().to_string()).collect();
            let why =
                format!("is of the kind {kind}, which {plugin} does not map; it maps {}", kinds.join(", "));
            return Err(Error::Key { key: "virtual", why });
        };
        let is_called = match self.call {
            Direction::ToHost => mapping.to_host,
            Direction::ToVirtual => mapping.to_virtual,
        };
        if is_called {
            return Ok(());
        }
        let why =
            format!("is {}, which {plugin} does not map: add it to the mapping's directions", self.call);
        Err(Error::Key { key: "call", why })
    }
}

/// A case runs with the built-in rules and the plugin, without declared mappings.
const NOTHING_DECLARED: &[DeclaredMapping] = &[];

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ToHost => "to-host",
            Self::ToVirtual => "to-virtual",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why a case with this expectation cannot be used.
    fn refused(expect: &str) -> String {
        let text = format!("call: to-host\nvirtual: {{}}\nexpect: {expect}\n");
        Case::parse("cases/a.yaml", &text).unwrap_err().to_string()
    }

    #[test]
    fn an_error_names_the_place_the_key_and_what_is_allowed() {
        for (expect, key, allowed) in [
            ("{verdikt: apply}", "`expect.verdikt`: unknown field", "verdict"),
            ("{verdict: aply}", "`expect.verdict`: ", "refused"),
            ("{verdict: apply, labels: [a]}", "`expect.labels`: ", "mapping"),
            ("{verdict: apply, patch: {op: add}}", "`expect.patch`: ", "`none`"),
            ("{verdict: apply, patch: [{op: put, path: /a}]}", "`expect.patch`: ", "`none`"),
            ("{verdict: apply, events: [{type: Bad, reason: A}]}", "`expect.events[0].type`: ", "Warning"),
        ] {
            let why = refused(expect);
            assert!(why.starts_with(&format!("the case cases/a.yaml cannot be used: {key}")), "{why}");
            assert!(why.contains(allowed) && why.contains("line 3"), "{why}");

            assert!(!why.contains('\n'), "{why}");
        }
        let why = Case::parse("a.yaml", "call: to-host\nexpct: {}\n").unwrap_err().to_string();
        assert!(
            why.contains("`expct`") && why.contains("objects, expect") && why.contains("line 2"),
            "{why}"
        );
    }

    #[test]
    fn the_case_in_the_manual_is_valid_and_every_key_is_documented() {
        let manual = include_str!("../../../wit/README.md");
        let (_, section) = manual.split_once("\n## Cases\n").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let (_, example) = section.split_once("```yaml\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        let case = Case::parse("wit/README.md", example).unwrap();
        assert_eq!(case.expect.verdict, Word::Apply);
        for text in ["nothing: 1", "expect: {nothing: 1}"] {
            let why = Case::parse("a.yaml", text).unwrap_err().to_string();
            let (_, known) = why.split_once("expected one of ").unwrap();
            let (known, _) = known.split_once(" at line").unwrap();
            for known in known.split(", ") {
                assert!(section.contains(&format!("`{known}`")), "`{known}` is not in the manual");
            }
        }
    }

    #[test]
    fn a_recorded_case_is_read_as_it_was_written() {
        let text = "call: to-virtual\nsettings: {a: 1}\nvirtual: {kind: Pod}\nhost: {}\nexpect: {verdict: wait, reason: Later}\n";
        let case = Case::parse("a.yaml", text).unwrap();
        let written = serde_saphyr::to_string(&case).unwrap();
        assert_eq!(Case::parse("b.yaml", &written).unwrap(), case);
    }
}

//! One version of a plugin with its settings: never changes, and is called until another replaces it.

mod rule;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use weft_core::causes::causes;
use weft_core::extension::{Answer, Direction, Extension, Failure};
use weft_core::names::Names;

use crate::config::grants::{Entry, LimitsEntry, RemovalPolicy};
use crate::plugin::apart::{self, Workplace};
use crate::plugin::bindings::exports::weft::mapping::mapper;
use crate::plugin::bindings::weft::mapping::types;
use crate::plugin::breaker::Breaker;
use crate::plugin::component::{Loaded, START};
use crate::plugin::convert;
use crate::plugin::imports::{Imports, Read};
use crate::plugin::log_lines::Lines;
use crate::plugin::metrics::Metrics;
use crate::plugin::recorder::{Recorded, Recorder};
use crate::plugin::sandbox::{self, Limits, Sandbox};
use crate::plugin::schema;
use crate::registry::Plugin;
use crate::registry::descriptor::{Descriptor, LookupPermission, Mapping};
use rule::Rule;

/// Lines of the log that one plugin may write at once, and a second.
const LINES: u32 = 100;

/// One version of a plugin with its settings.
pub struct Generation {
    /// Name of the plugin.
    pub name: Arc<str>,
    /// What was loaded.
    pub loaded: Loaded,
    /// The operator's entry, with what is granted on request.
    pub entry: Entry,
    pub(super) settings: String,
    pub(super) limits: Limits,
    permissions: Arc<[LookupPermission]>,
    lines: Lines,
    pub(super) sandbox: Arc<Sandbox>,
    metrics: Arc<Metrics>,
    /// Opens when the plugin keeps failing.
    pub breaker: Breaker,
    /// Recent calls, to try the next version with.
    pub recorder: Recorder,
}

/// Why a component that loads is not used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file has another name than the descriptor.
    #[error("its descriptor is named {found:?}; the file of that plugin is {found}.wasm")]
    Name {
        /// The descriptor's name.
        found: String,
    },
    /// The operator has pinned another file.
    #[error("its digest is {found}, but `digest` pins {pinned}")]
    Digest {
        /// The file's.
        found: String,
        /// The operator's.
        pinned: String,
    },
    /// It requests more than it is granted.
    #[error("it requests more than it is granted:{list}")]
    Grants {
        /// One line a piece.
        list: String,
    },
    /// The settings do not fit.
    #[error("its settings cannot be used:{list}")]
    Settings {
        /// One line a problem.
        list: String,
    },
    /// Its schema is not a JSON Schema.
    #[error("its settings schema is not a JSON Schema: {0}")]
    Schema(String),
    /// Its schema takes more time or memory than it may.
    #[error(transparent)]
    Apart(#[from] apart::Error),
    /// `configure` did not answer.
    #[error("it cannot take its settings")]
    Configure(#[from] sandbox::Error),
}

impl Generation {
    /// The version `loaded` of the plugin `name` with the operator's entry.
    ///
    /// # Errors
    /// Why it is not used, for the operator.
    pub fn new(
        name: &str,
        loaded: Loaded,
        entry: Entry,
        sandbox: Arc<Sandbox>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        check_name(name, &loaded)?;
        check_digest(&loaded.digest, &entry)?;
        let missing = loaded.descriptor.missing_grants(&entry);
        if !missing.is_empty() {
            return Err(Error::Grants { list: lines(&missing) });
        }
        check_schema(sandbox.workplace(), loaded.descriptor.settings_schema.as_deref(), &entry)?;
        let settings = Value::Object(entry.settings.clone()).to_string();
        let generation = Self {
            name: Arc::from(name),
            limits: limits(entry.limits),
            permissions: loaded.descriptor.lookups.clone().into(),
            lines: Lines::per_second(LINES),
            breaker: Breaker::default(),
            recorder: Recorder::default(),
            loaded,
            entry,
            settings,
            sandbox,
            metrics,
        };
        generation.configure()?;
        Ok(generation)
    }

    /// Whether host objects of kinds that it added are deleted when it is removed.
    pub fn cleans_up(&self) -> bool {
        self.entry.on_removal == RemovalPolicy::Delete
    }

    fn configure(&self) -> Result<(), Error> {
        let closed = self.imports("settings");
        let limits = Limits { memory: self.limits.memory.max(START.memory), ..START };
        let (answer, _) = self.sandbox.run(&self.loaded.prepared, closed, limits, |store, plugin| {
            plugin.weft_mapping_plugin().call_configure(store, &self.settings)
        });
        match answer? {
            Ok(()) => Ok(()),
            Err(problems) => Err(Error::Settings { list: problem_lines(&self.name, &problems) }),
        }
    }

    fn imports(&self, about: &str) -> Imports {
        Imports::closed(self.name.clone(), about, self.lines.clone())
    }

    /// Calls one of the two functions in a fresh instance.
    fn run(
        &self,
        direction: Direction,
        request: &mapper::Request,
        imports: Imports,
    ) -> (Result<types::Outcome, Failure>, Vec<Read>) {
        let (answer, imports) =
            self.sandbox.run(&self.loaded.prepared, imports, self.limits, |store, plugin| {
                if let Err(problems) =
                    plugin.weft_mapping_plugin().call_configure(&mut *store, &self.settings)?
                {
                    return Ok(Err(Failure::new("PluginSettings", problem_lines(&self.name, &problems))));
                }
                let mapper = plugin.weft_mapping_mapper();
                match direction {
                    Direction::ToHost => mapper.call_to_host(&mut *store, request),
                    Direction::ToVirtual => mapper.call_to_virtual(&mut *store, request),
                }
                .map(Ok)
            });
        let answer = answer.map_err(|error| failure(&error)).and_then(|answer| answer);
        (answer, imports.into_reads())
    }

    /// Makes a recorded call again; returns what is answered now.
    ///
    /// # Errors
    /// The call fails.
    pub fn replay(&self, names: &Names, recorded: &Recorded) -> Result<Answer, Failure> {
        let imports = self.replaying(names, recorded);
        let (answer, _) = self.run(recorded.direction, &recorded.to_request(), imports);
        convert::answer(&self.name, &answer?)
    }

    /// Answers what `recorded` looked up as it was answered then.
    pub(super) fn replaying(&self, names: &Names, recorded: &Recorded) -> Imports {
        let imports = self.imports("a recorded call");
        imports.recorded(names.clone(), &recorded.reads, self.permissions.clone())
    }
}

impl Plugin for Generation {
    fn name(&self) -> &str {
        &self.name
    }

    fn descriptor(&self) -> &Descriptor {
        &self.loaded.descriptor
    }

    fn may_act_for_others(&self) -> bool {
        self.entry.acts_for_others
    }

    fn extension(self: Arc<Self>, mapping: &Mapping) -> Arc<dyn Extension> {
        Arc::new(Rule::new(self, mapping.clone()))
    }
}

fn failure(error: &sandbox::Error) -> Failure {
    let reason = match error {
        sandbox::Error::Time(_) => "PluginTimeout",
        sandbox::Error::Memory(_) => "PluginMemory",
        _ => "PluginTrapped",
    };
    Failure::new(reason, causes(error))
}

/// What one call may take, in the sandbox's units.
fn limits(entry: LimitsEntry) -> Limits {
    let memory = usize::try_from(entry.mebibytes).unwrap_or(usize::MAX).saturating_mul(1024 * 1024);
    Limits { time: Duration::from_millis(entry.milliseconds), memory }
}

/// Passes if the plugin `name` is the one that the component is.
pub(super) fn check_name(name: &str, loaded: &Loaded) -> Result<(), Error> {
    let found = &loaded.descriptor.name;
    if found == name { Ok(()) } else { Err(Error::Name { found: found.clone() }) }
}

/// Passes if the operator has pinned no other file.
pub(super) fn check_digest(digest: &str, entry: &Entry) -> Result<(), Error> {
    match &entry.digest {
        Some(pinned) if pinned.trim_start_matches("sha256:") != digest => {
            Err(Error::Digest { found: digest.to_owned(), pinned: pinned.clone() })
        }
        _ => Ok(()),
    }
}

fn check_schema(workplace: &Workplace, schema: Option<&str>, entry: &Entry) -> Result<(), Error> {
    let Some(schema) = schema else { return Ok(()) };
    match schema::check_at(workplace, schema, &Value::Object(entry.settings.clone()))? {
        apart::Settings::Fit => Ok(()),
        apart::Settings::Schema(why) => Err(Error::Schema(why)),
        apart::Settings::Wrong(problems) => Err(Error::Settings { list: lines(&problems) }),
    }
}

fn problem_lines(plugin: &str, problems: &[types::Problem]) -> String {
    let line = |problem: &types::Problem| {
        let problem = convert::problem(plugin, problem);
        format!("{}: {problem}", problem.reason)
    };
    let problems: Vec<String> = problems.iter().take(8).map(line).collect();
    lines(&problems)
}

fn lines(items: &[String]) -> String {
    items.iter().fold(String::new(), |list, item| list + "\n  " + item)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::plugin::component;
    use crate::plugin::testing::{component, entry, generation, sandbox, team};

    fn loaded() -> Loaded {
        component::load(&sandbox(), &component(), false).unwrap()
    }

    #[test]
    fn a_version_with_what_it_requests_can_be_called() {
        let generation = generation(&component(), team("web")).unwrap();
        assert_eq!((&*generation.name, generation.settings.as_str()), ("team-label", r#"{"team":"web"}"#));
        assert!(!generation.cleans_up() && generation.breaker.pause().is_none());
    }

    #[test]
    fn a_pinned_digest_is_that_of_the_file_with_or_without_its_algorithm() {
        let loaded = loaded();
        let pinned = |digest: String| check_digest(&loaded.digest, &entry(json!({"digest": digest}))).is_ok();
        assert!(pinned(loaded.digest.clone()) && pinned(format!("sha256:{}", loaded.digest)));
        assert!(!pinned("sha256:00".to_owned()) && !pinned(loaded.digest[..12].to_owned()));
        assert!(check_digest(&loaded.digest, &Entry::default()).is_ok());
    }

    #[test]
    fn a_plugin_has_the_name_of_its_descriptor() {
        let error = check_name("other", &loaded()).unwrap_err().to_string();
        assert_eq!(
            error,
            "its descriptor is named \"team-label\"; the file of that plugin is team-label.wasm"
        );
    }

    #[test]
    fn settings_are_held_against_the_schema_and_their_values_are_not_repeated() {
        let schema = json!({"properties": {"team": {"type": "integer"}}, "required": ["tier"]}).to_string();
        let error =
            check_schema(&Workplace::Here, Some(&schema), &team("a-password")).unwrap_err().to_string();
        assert!(error.contains("settings/team: ") && error.contains("tier"), "{error}");
        assert!(!error.contains("a-password"), "{error}");
        assert!(check_schema(&Workplace::Here, None, &team("web")).is_ok());
        let error = check_schema(&Workplace::Here, Some("7 of 9"), &team("web")).unwrap_err().to_string();
        assert!(error.starts_with("its settings schema is not a JSON Schema"), "{error}");
    }

    #[test]
    fn the_limits_of_a_call_are_those_of_the_entry() {
        let entry = entry(json!({"limits": {"milliseconds": 40, "mebibytes": 3}}));
        let expected = Limits { time: Duration::from_millis(40), memory: 3 * 1024 * 1024 };
        assert_eq!(limits(entry.limits), expected);
    }

    #[test]
    fn why_a_call_failed_is_the_reason_of_the_event() {
        let reason = |error: sandbox::Error| failure(&error).reason;
        assert_eq!(reason(sandbox::Error::Time(Duration::from_millis(250))), "PluginTimeout");
        assert_eq!(reason(sandbox::Error::Memory(1)), "PluginMemory");
        assert_eq!(reason(sandbox::Error::Trap { why: "unreachable".to_owned() }), "PluginTrapped");
    }
}

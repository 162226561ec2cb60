//! `weft plugin check`: whether a component can be loaded, and what it has to be granted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use weft_core::causes::causes;
use weft_core::object::Fields;

use crate::author::workbench::{Examined, Refusal, Workbench};
use crate::cli::configured::Configured;
use crate::cli::output::{bad, faint, good, print};
use crate::cli::plugin::build;
use crate::cli::{input, project};
use crate::config::grants::Entry;
use crate::permissions::{self, Rule};
use crate::plugin::generation;

/// Arguments of `weft plugin check`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    /// The component, or the folder of the plugin, which is built where its source is newer.
    #[arg(value_name = "FILE", default_value = ".")]
    path: PathBuf,
    /// The configuration that it is to be loaded with.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Fails if the component cannot be loaded, or not with the configuration.
pub(super) fn check(arguments: &Check) -> Result<ExitCode> {
    let bench = project::workbench()?;
    let file = build::component(&bench, &arguments.path)?;
    let plugin = bench.examine(&file)?;
    let descriptor = &plugin.loaded.descriptor;
    let (name, version) = (&descriptor.name, &descriptor.version);
    let settings = project::settings(&arguments.path);
    let refusal = refusal(&bench, &plugin, settings.as_deref())?;
    if let Some(why) = refusal.as_ref().filter(|refusal| is_final(refusal)) {
        print(&format!("{} {name} {version}: no syncer loads it: {}\n", bad("no"), causes(why)));
        return Ok(ExitCode::FAILURE);
    }
    print(&format!("{} {name} {version} fits the interface\n", good("ok")));
    if file.file_stem().and_then(|stem| stem.to_str()) != Some(name) {
        print(&format!("{} in a plugin folder it has to be called {name}.wasm\n", faint("note")));
    }
    print(&format!("\n{}{}", grants(&plugin), rules(&plugin)));
    if let Some(why) = refusal {
        let with = settings
            .map_or_else(|| "without `settings`".to_owned(), |file| format!("with {}", file.display()));
        print(&format!("\n{} {with}: {}\n", faint("note"), causes(&why)));
    }
    match &arguments.config {
        Some(config) => check_with(&file, config),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Why the plugin is not loaded with the settings in `file`, or with none.
fn refusal(bench: &Workbench, plugin: &Examined, file: Option<&Path>) -> Result<Option<Refusal>> {
    let mut bench = Workbench::in_sandbox(bench.sandbox().clone(), &[])?;
    let settings = file.map(input::settings).transpose()?.unwrap_or_default();
    Ok(bench.take(plugin.loaded.clone(), Entry { settings, ..plugin.entry() }).err())
}

/// Whether neither other settings nor other rules beside it make a refusal go away.
fn is_final(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Unfit(generation::Error::Schema(_) | generation::Error::Apart(_)))
}

/// What the Role of a syncer needs for its kinds, to be pasted; empty where that is no more than for the built-in ones.
fn rules(plugin: &Examined) -> String {
    let needed = permissions::added_by(&plugin.entry(), &plugin.loaded.descriptor);
    let part = |title: &str, rules: &[Rule]| match serde_saphyr::to_string(&rules) {
        Ok(text) if !rules.is_empty() => format!("\n# {title}\n{text}"),
        _ => String::new(),
    };
    let title =
        "rules for the Role of the syncer on the host; `weft rbac` prints all that a configuration needs";
    part(title, &needed.namespaced) + &part("rules for its ClusterRole", &needed.cluster)
}

/// What to write into the configuration.
fn grants(plugin: &Examined) -> String {
    let entry = plugin.entry();
    let mut fields = Fields::new();
    fields.insert("kinds".to_owned(), json!(entry.kinds));
    if !entry.writes.is_empty() {
        fields.insert("writes".to_owned(), json!(entry.writes));
    }
    if plugin.loaded.descriptor.acts_for_others() {
        fields.insert("actsForOthers".to_owned(), json!("<true: its objects act for others on the host>"));
    }
    if !entry.lookups.is_empty() {
        fields.insert("lookups".to_owned(), json!(entry.lookups));
    }
    if entry.install_definitions {
        fields.insert("installDefinitions".to_owned(), true.into());
    }
    if entry.wasi {
        fields.insert("wasi".to_owned(), true.into());
    }
    if let Some(settings) = settings(plugin) {
        fields.insert("settings".to_owned(), settings);
    }
    let loaded = &plugin.loaded;
    let config = json!({"plugins": {"load": {&*loaded.descriptor.name: fields}}});
    let text = serde_saphyr::to_string(&config).unwrap_or_default();
    format!("{text}      # digest: {}   would pin this very file\n", loaded.digest)
}

/// Settings with what the schema says of each.
fn settings(plugin: &Examined) -> Option<Value> {
    let schema: Value = serde_json::from_str(plugin.loaded.descriptor.settings_schema.as_deref()?).ok()?;
    let properties = schema.get("properties")?.as_object()?.iter();
    let value = |(name, property): (&String, &Value)| {
        let text = |key: &str| property.get(key).and_then(Value::as_str).unwrap_or_default();
        let default = property.get("default").cloned();
        (name.clone(), default.unwrap_or_else(|| format!("<{}>", text("type")).into()))
    };
    Some(Value::Object(properties.map(value).collect()))
}

/// Whether the configuration lets the component in, beside all others that it has.
fn check_with(file: &Path, config: &Path) -> Result<ExitCode> {
    let mut configured = Configured::load(config)?;
    let plugin = configured.bench.examine(file)?;
    let shown = config.display();
    match fit(&mut configured, &plugin) {
        Ok(()) => {
            print(&format!("\n{} {shown} has all that it needs\n", good("ok")));
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => {
            print(&format!("\n{} {shown}: {why}\n", bad("no")));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn fit(configured: &mut Configured, plugin: &Examined) -> Result<(), String> {
    let name = &plugin.loaded.descriptor.name;
    let entry = match configured.config.plugins.entry(name) {
        None => return Err(format!("`plugins.load` has no entry for {name}; the one above is wanted")),
        Some(entry) if !entry.enabled => {
            return Err(format!("`plugins.load.{name}` says `enabled: false`"));
        }
        Some(entry) if plugin.needs_wasi && !entry.wasi => {
            return Err(format!("it imports WASI: it needs `plugins.load.{name}` with `wasi: true`"));
        }
        Some(entry) => configured.with_settings(name, entry)?,
    };
    configured.take(plugin.loaded.clone(), entry).map_err(|error| format!("{:#}", anyhow::Error::from(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_settings_may_mend_is_a_note_and_what_nothing_mends_is_no() {
        assert!(is_final(&generation::Error::Schema("not an object".to_owned()).into()));
        for settled_by_others in [
            generation::Error::Settings { list: "\n  team is missing".to_owned() },
            generation::Error::Grants { list: "\n  map v1/Pod".to_owned() },
        ] {
            assert!(!is_final(&settled_by_others.into()));
        }
    }
}

//! The misbehaving guest in a workbench.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use weft::author::workbench::{self, Translated, Workbench};
use weft::config::grants::Entry;
use weft_core::context::Notes;
use weft_core::object::{HostObject, VirtualObject};
use weft_core::offline::Offline;
use weft_core::policy::Policy;
use weft_core::verdict::{Hold, Problem};
use weft_tests::guests;
use weft_tests::guests::misbehaving::Guest;
use weft_tests::shared::in_runtime;

/// Data of a Secret that the guest may look up; also in base64, as the API returns it.
pub(super) const PLANTED: &str = "hunter2-hunter2";
pub(super) const PLANTED_IN_BASE_64: &str = "aHVudGVyMi1odW50ZXIy";

/// The guest among the built-in rules.
pub(super) struct Bench {
    workbench: Workbench,
    surroundings: Offline,
}

impl Bench {
    /// The guest with all grants that it requests, and with a generous deadline.
    pub(super) fn new() -> Result<Self> {
        Self::with(json!({"limits": {"milliseconds": 10_000, "mebibytes": 64}}))
    }

    /// The guest with this entry of the configuration.
    pub(super) fn with(entry: Value) -> Result<Self> {
        Self::of(Guest::Obedient, entry)
    }

    /// The guest that maps more kinds, and can print.
    pub(super) fn worst() -> Result<Self> {
        let limits = json!({"milliseconds": 10_000, "mebibytes": 64});
        Self::of(Guest::Worst, json!({"wasi": true, "limits": limits}))
    }

    fn of(guest: Guest, entry: Value) -> Result<Self> {
        let entry: Entry = serde_json::from_value(entry)?;
        let mut workbench = Workbench::new(Some(&guests::compiled()?), &[])?;
        workbench.load(&component(guest)?, Some(entry))?;
        Ok(Self { workbench, surroundings: surroundings()? })
    }

    /// Translates an object to the host, and checks that the next object is not affected.
    pub(super) fn to_host(&self, source: &VirtualObject) -> Result<Translated> {
        let translated = self.workbench.to_host(&self.surroundings, source, None)?;
        let next = self.workbench.to_host(&self.surroundings, &pod("unchanged", &Value::Null)?, None)?;
        ensure!(next.result.is_ok(), "the next pod is held up: {:?}", next.result);
        Ok(translated)
    }

    /// The host object of an object whose edit must pass.
    pub(super) fn admitted(&self, source: &VirtualObject) -> Result<HostObject> {
        match self.to_host(source)?.result {
            Ok(host) => Ok(host),
            Err(hold) => bail!("it is not written: {hold:?}"),
        }
    }

    /// The problem of an object for which the guest must fail.
    pub(super) fn fault(&self, source: &VirtualObject) -> Result<Problem> {
        match self.to_host(source)?.result {
            Ok(host) => bail!("it is written: {}", host.into_json()),
            Err(Hold::Fail(problem)) => Ok(problem),
            Err(hold) => bail!("it is not written, but not because of a failure: {hold:?}"),
        }
    }

    /// The message of an action.
    pub(super) fn answer(&self, action: &str, with: &str) -> Result<String> {
        Ok(self.fault(&pod(action, &json!(with))?)?.why)
    }

    /// A pod whose annotations request an action of `to-virtual`, before and after it.
    pub(super) fn back(&self, action: &str, with: &Value) -> Result<(VirtualObject, VirtualObject, Notes)> {
        let current = pod_with(&json!({"guest.test/back": action, "guest.test/with": text(with)}))?;
        let mut host = self.admitted(&current)?.into_json();
        set(&mut host, "status", json!({"phase": "Running"}));
        let host = HostObject::from_json(host).context("an object stays one")?;
        let (result, notes) = self.workbench.to_virtual(&self.surroundings, &host, &current)?;
        Ok((current, result, notes))
    }
}

/// The component of a guest.
pub(super) fn component(guest: Guest) -> Result<PathBuf> {
    in_runtime(guest.component())
}

/// A pod whose annotations request an action.
pub(super) fn pod(action: &str, with: &Value) -> Result<VirtualObject> {
    pod_with(&json!({"guest.test/do": action, "guest.test/with": text(with)}))
}

/// A ConfigMap whose annotations request an action.
pub(super) fn config_map(action: &str, with: &Value) -> Result<VirtualObject> {
    let annotations = json!({"guest.test/do": action, "guest.test/with": text(with)});
    object(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"mode": "fast"},
        "metadata": {"name": "settings", "namespace": "shop", "uid": "u-2", "annotations": annotations},
    }))
}

/// A pod with some of every privilege, so that an edit could add more.
fn pod_with(annotations: &Value) -> Result<VirtualObject> {
    let main = json!({
        "name": "main", "image": "nginx:1",
        "securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}},
        "ports": [{"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1", "protocol": "TCP"}],
        "livenessProbe": {"httpGet": {"port": 80}},
    });
    let metadata = json!({
        "name": "web", "namespace": "shop", "uid": "u-1", "labels": {"app": "web"}, "annotations": annotations,
    });
    let near = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "cache"}}});
    object(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": {
            "serviceAccountName": "builder",
            "dnsPolicy": "Default",
            "securityContext": {"runAsNonRoot": true},
            "priority": 0,
            "preemptionPolicy": "Never",
            "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [near]}},
            "containers": [main],
            "volumes": [
                {"name": "node", "hostPath": {"path": "/var/log/app"}},
                {"name": "settings", "configMap": {"name": "settings"}},
            ],
        },
    }))
}

fn surroundings() -> Result<Offline> {
    let mut surroundings = workbench::surroundings()?;
    // The operator allows everything: what is refused all the same, no plugin may add.
    surroundings.facts.policy = Policy::open();
    surroundings.add(object(json!({
        "apiVersion": "v1", "kind": "Secret", "data": {"password": PLANTED_IN_BASE_64},
        "metadata": {"name": "db", "namespace": "shop", "uid": "u-3"},
    }))?);
    Ok(surroundings)
}

fn object(json: Value) -> Result<VirtualObject> {
    VirtualObject::from_json(json).context("an object is one")
}

/// The value as an annotation.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn set(object: &mut Value, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}

/// Fails if a string could control a terminal, break a line, or fill a page.
pub(super) fn ensure_plain(text: &str) -> Result<()> {
    ensure_one_line(text)?;
    ensure!(text.len() <= 1024, "it has {} bytes: {text}", text.len());
    Ok(())
}

/// Fails if a string could control a terminal or break a line.
pub(super) fn ensure_one_line(text: &str) -> Result<()> {
    let ugly = text.chars().find(|c| c.is_control() || ('\u{2028}'..='\u{202e}').contains(c));
    ensure!(ugly.is_none(), "there is {ugly:?} in {text:?}");
    Ok(())
}

/// Fails unless a problem has this reason and field, and all of these words.
pub(super) fn ensure_says(problem: &Problem, reason: &str, field: &str, words: &[&str]) -> Result<()> {
    ensure!(problem.reason == reason, "the reason is {} and not {reason}: {problem}", problem.reason);
    let found = problem.field.as_deref().unwrap_or_default();
    ensure!(found == field, "the field is {found:?} and not {field:?}: {problem}");
    for word in words {
        ensure!(problem.why.contains(word), "{word:?} is missing: {problem}");
    }
    ensure_plain(&problem.why)?;
    ensure_plain(found)
}

/// Fails with the errors of all rows, each with its title.
pub(super) fn all<'a>(rows: impl IntoIterator<Item = (&'a str, Result<()>)>) -> Result<()> {
    let wrong: Vec<String> = rows
        .into_iter()
        .filter_map(|(title, result)| Some(format!("{title}: {:#}", result.err()?)))
        .collect();
    ensure!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

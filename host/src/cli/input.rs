//! Reads the objects and settings for commands.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;
use weft_core::confine::field_name;
use weft_core::object::{Fields, child_mut};
use weft_core::paths;

use crate::author::cases::{Case, Direction};
use crate::cli::project;

/// Common cluster-scoped kinds.
const CLUSTER_WIDE: &[&str] = &[
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "IngressClass",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
];

/// A request to a plugin.
#[derive(Debug, Args)]
pub(super) struct Request {
    /// The tenant's object; `-` for standard input.
    #[arg(short = 'f', long = "file", value_name = "OBJECT")]
    file: PathBuf,
    /// The plugin's settings; by default `settings.yaml` of the plugin's folder, or `<name>.settings.yaml` beside the component.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The current host object; missing name and identity are added.
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,
    /// Objects that the plugin can look up.
    #[arg(long, value_name = "FILE")]
    objects: Option<PathBuf>,
    /// Translate the host object back, rather than the tenant's object to the host.
    #[arg(long, requires = "host")]
    back: bool,
}

impl Request {
    /// A request for the translation of one object to the host.
    pub(super) fn new(file: PathBuf, settings: Option<PathBuf>) -> Self {
        Self { file, settings, host: None, objects: None, back: false }
    }

    /// The request as a case without an expectation, with the default settings of the plugin at `plugin`, a folder or a file.
    pub(super) fn read(&self, plugin: &Path) -> Result<Case> {
        let call = if self.back { Direction::ToVirtual } else { Direction::ToHost };
        let mut case = Case::new(call, object(&self.file)?);
        if let Some(file) = self.settings.clone().or_else(|| project::settings(plugin)) {
            case.settings = settings(&file)?;
        }
        if let Some(file) = &self.host {
            let [host] =
                <[Fields; 1]>::try_from(documents(file)?).map_err(|found| count_error(file, found.len()))?;
            case.host = Some(host);
        }
        if let Some(file) = &self.objects {
            case.objects = objects(file)?;
        }
        Ok(case)
    }
}

/// The files at `paths`; of a folder, the files that `kubectl apply -f` would read.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let found: Vec<PathBuf> = ["json", "yaml", "yml"]
            .iter()
            .flat_map(|extension| project::with_extension(path, extension))
            .collect();
        if found.is_empty() {
            bail!("there is no *.yaml, *.yml or *.json in {}", path.display());
        }
        files.extend(found);
    }
    Ok(files)
}

/// The one object of a file.
pub(super) fn object(file: &Path) -> Result<Fields> {
    let [object] = <[Fields; 1]>::try_from(objects(file)?).map_err(|found| count_error(file, found.len()))?;
    Ok(object)
}

/// The objects of a file, as `kubectl apply` would read them: lists are expanded, and the default namespace is
/// `default`.
pub(super) fn objects(file: &Path) -> Result<Vec<Fields>> {
    let mut found = Vec::new();
    for (index, document) in documents(file)?.into_iter().enumerate() {
        let at = format!("{}, object {}", file.display(), index + 1);
        if document.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List")) {
            let items = document.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            for item in items {
                found.push(checked(item, &format!("{at}, one of `items`"))?);
            }
        } else {
            found.push(checked(Value::Object(document), &at)?);
        }
    }
    Ok(found)
}

/// The settings of a plugin.
pub(super) fn settings(file: &Path) -> Result<Fields> {
    let found = documents(file)?;
    match <[Fields; 1]>::try_from(found) {
        Ok([settings]) => Ok(settings),
        Err(found) if found.is_empty() => Ok(Fields::new()),
        Err(found) => bail!("{} has {} documents; settings must be one", file.display(), found.len()),
    }
}

fn count_error(file: &Path, count: usize) -> anyhow::Error {
    anyhow::anyhow!("{} has {count} objects; give a file with one", file.display())
}

/// The documents of a file, without empty ones.
fn documents(file: &Path) -> Result<Vec<Fields>> {
    let yaml = read(file).with_context(|| format!("failed to read {}", file.display()))?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&yaml).map_err(|error| {
        anyhow::anyhow!("failed to parse {}: {}", file.display(), error.without_snippet())
    })?;
    let is_there = |document: &Value| !document.is_null();
    let fields = |document: Value| match document {
        Value::Object(fields) => Ok(fields),
        _ => bail!("{} has a document that is not an object; expected keys and values", file.display()),
    };
    documents.into_iter().filter(is_there).map(fields).collect()
}

fn read(file: &Path) -> std::io::Result<String> {
    if file == Path::new("-") {
        let mut input = String::new();
        std::io::stdin().read_to_string(&mut input)?;
        return Ok(input);
    }
    std::fs::read_to_string(file)
}

/// Where every object has strings.
const STRINGS: &[&str] = &[
    "/apiVersion",
    "/kind",
    "/metadata/name",
    "/metadata/namespace",
    "/metadata/labels/*",
    "/metadata/annotations/*",
];

/// Refuses what YAML 1.1, as kubectl reads it, takes for no string: `n` and `off` are false, `7` is a number.
fn ensure_strings(fields: &Fields, at: &str) -> Result<()> {
    let mut wrong = None;
    for path in STRINGS {
        paths::each_place(fields, path, &mut |place, value| {
            if let Some(value) = value.filter(|value| wrong.is_none() && !value.is_string()) {
                wrong = Some((field_name(place), value));
            }
        });
    }
    match wrong {
        Some((field, value)) => {
            bail!("{at}: `{field}` is {value} and must be a string: put it in quotes")
        }
        None => Ok(()),
    }
}

/// The object, if it has a type and a name.
fn checked(object: Value, at: &str) -> Result<Fields> {
    object.as_object().map_or(Ok(()), |fields| ensure_strings(fields, at))?;
    for (pointer, field) in
        [("/apiVersion", "apiVersion"), ("/kind", "kind"), ("/metadata/name", "metadata.name")]
    {
        if object.pointer(pointer).and_then(Value::as_str).is_none_or(str::is_empty) {
            bail!("{at}: `{field}` is missing; a Kubernetes object has apiVersion, kind and metadata.name");
        }
    }
    let Value::Object(mut fields) = object else { bail!("{at}: not an object") };
    let kind = fields.get("kind").and_then(Value::as_str).unwrap_or_default();
    if !CLUSTER_WIDE.contains(&kind) {
        child_mut(&mut fields, "metadata").entry("namespace").or_insert_with(|| "default".into());
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Fields>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.yaml");
        std::fs::write(&file, text).unwrap();
        objects(&file)
    }

    #[test]
    fn documents_and_lists_are_read_as_kubectl_reads_them() {
        let text = "---\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: a}}\n---\napiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod, metadata: {name: b}}]\n";
        let found = parse(text).unwrap();
        let namespaces: Vec<_> =
            found.iter().map(|object| object["metadata"].get("namespace").cloned()).collect();
        assert_eq!(namespaces, [None, Some("default".into())]);
    }

    #[test]
    fn the_settings_beside_a_plugin_are_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        let pod = write("pod.yaml", "{apiVersion: v1, kind: Pod, metadata: {name: a}}");
        write("settings.yaml", "team: web");
        let team = |settings: Option<PathBuf>, plugin: &Path| {
            Request::new(pod.clone(), settings).read(plugin).unwrap().settings.get("team").cloned()
        };
        assert_eq!(team(None, folder.path()), Some("web".into()));
        assert_eq!(team(Some(write("other.yaml", "team: shop")), folder.path()), Some("shop".into()));
        let component = write("a.wasm", "");
        assert_eq!(team(None, &component), None);
        write("a.settings.yaml", "team: beside");
        assert_eq!(team(None, &component), Some("beside".into()), "as a syncer finds them");
    }

    #[test]
    fn a_missing_field_is_named_with_the_file_and_the_object() {
        let error = parse("{apiVersion: v1, kind: Pod}").unwrap_err().to_string();
        assert!(error.contains("x.yaml, object 1: `metadata.name` is missing"), "{error}");
    }

    #[test]
    fn what_yaml_takes_for_no_string_is_named_and_not_left_out() {
        for (metadata, wrong) in [
            ("{name: a, namespace: n}", "`metadata.namespace` is false"),
            ("{name: 7}", "`metadata.name` is 7"),
            ("{name: a, labels: {b: c, example.com/on: yes}}", "`metadata.labels[example.com/on]` is true"),
        ] {
            let error = parse(&format!("{{apiVersion: v1, kind: Pod, metadata: {metadata}}}"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(&format!("x.yaml, object 1: {wrong} and must be a string")), "{error}");
        }
        assert!(
            parse("{apiVersion: v1, kind: Pod, metadata: {name: \"7\", namespace: \"n\", labels: null}}")
                .is_ok()
        );
    }
}

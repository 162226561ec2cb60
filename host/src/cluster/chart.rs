//! The Helm chart: embedded in the program, or a folder that the person names; and the objects that it renders.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use include_dir::{Dir, include_dir};
use serde_json::Value;
use tempfile::TempDir;

static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../charts/weft");

/// A chart in a folder.
pub struct Chart {
    folder: PathBuf,
    version: String,
    // Keeps the folder of the embedded chart.
    _extracted: Option<TempDir>,
}

impl Chart {
    /// The chart in `folder`, or the embedded one.
    pub fn open(folder: Option<&Path>) -> Result<Self> {
        let (folder, extracted) = if let Some(folder) = folder {
            (folder.to_owned(), None)
        } else {
            let extracted = tempfile::tempdir().context("failed to create a folder for the chart")?;
            EMBEDDED.extract(extracted.path()).context("failed to extract the chart")?;
            (extracted.path().to_owned(), Some(extracted))
        };
        let file = folder.join("Chart.yaml");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("failed to read {}; is it the folder of a chart?", file.display()))?;
        let chart: Value =
            serde_saphyr::from_str(&text).with_context(|| format!("failed to parse {}", file.display()))?;
        let version = chart.get("version").and_then(Value::as_str);
        let version = version.with_context(|| format!("{} has no version", file.display()))?.to_owned();
        Ok(Self { folder, version, _extracted: extracted })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// The objects of rendered manifests.
pub fn objects(manifests: &str) -> Result<Vec<Value>> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(manifests)
        .map_err(|error| anyhow::anyhow!("{}", error.without_snippet()))?;
    Ok(objects.into_iter().filter(Value::is_object).collect())
}

/// Manifests that `kubectl apply` puts into `namespace`, whatever the context's namespace is.
pub fn with_namespace(manifests: &str, namespace: &str) -> Result<String> {
    let mut text = String::new();
    for document in manifests.split("\n---\n") {
        let document = document.trim_start_matches("---\n");
        let Some(object) = objects(document)?.pop() else { continue };
        text.push_str("---\n");
        if object.pointer("/metadata/namespace").is_some() || is_cluster_wide(&object) {
            text.push_str(document);
        } else {
            text.push_str(&with_field(document, &object, namespace)?);
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}

/// The document with the namespace as the first field of its metadata, all else as it was written.
fn with_field(document: &str, object: &Value, namespace: &str) -> Result<String> {
    let mut text = String::new();
    for line in document.lines() {
        text.push_str(line);
        text.push('\n');
        if line.trim_end() == "metadata:" {
            let _ = writeln!(text, "  namespace: {namespace}");
        }
    }
    let wanted = |object: &Value| object.pointer("/metadata/namespace").is_some_and(|own| own == namespace);
    if objects(&text)?.first().is_some_and(wanted) {
        return Ok(text);
    }
    // Metadata in another style than charts use: written anew.
    let mut object = object.clone();
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        bail!("the chart renders an object without metadata")
    };
    metadata.insert("namespace".to_owned(), namespace.into());
    Ok(serde_saphyr::to_string(&object)?)
}

fn is_cluster_wide(object: &Value) -> bool {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    ["ClusterRole", "ClusterRoleBinding", "Namespace", "PriorityClass", "CustomResourceDefinition"]
        .contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_chart_is_there() {
        let chart = Chart::open(None).unwrap();
        assert!(!chart.version().is_empty() && chart.folder().join("values.yaml").is_file());
        assert!(Chart::open(Some(Path::new("/nowhere"))).is_err());
    }

    #[test]
    fn objects_without_a_namespace_get_one_and_stay_as_they_were_written() {
        let block = "# Source: a\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  text: |\n    b: c\n";
        let flow = "kind: Secret\nmetadata: {name: a}\n";
        let own = "kind: Pod\nmetadata: {name: a, namespace: other}\n";
        let wide = "kind: ClusterRole\nmetadata:\n  name: a\n";
        let text =
            with_namespace(&format!("---\n{block}---\n{flow}---\n{own}---\n{wide}---\n# nothing\n"), "ns")
                .unwrap();
        let namespaces: Vec<_> = objects(&text)
            .unwrap()
            .iter()
            .map(|object| object["metadata"].get("namespace").and_then(Value::as_str).map(str::to_owned))
            .collect();
        let [ns, other] = ["ns", "other"].map(|name| Some(name.to_owned()));
        assert_eq!(namespaces, [ns.clone(), ns, other, None]);
        assert!(text.contains("# Source: a\n") && text.contains("  text: |\n    b: c\n"), "{text}");
    }
}

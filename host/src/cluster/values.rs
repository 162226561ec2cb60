//! Values for the chart, as Helm's own flags take them; keys that do not exist are answered with the nearest that does.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::config::values::Values as Known;

/// Values for the chart.
#[derive(Debug, Default)]
pub struct Values {
    files: Vec<PathBuf>,
    sets: Vec<String>,
    // Holds files of our own.
    _folder: Option<TempDir>,
}

impl Values {
    /// `files`, the later ones over the earlier, and `sets`, such as `a.b=c`, over all of them. `-` is standard input,
    /// which becomes a file: Helm reads it twice.
    pub fn new(mut files: Vec<PathBuf>, sets: Vec<String>) -> Result<Self> {
        let Some(input) = files.iter_mut().find(|file| file.as_path() == Path::new("-")) else {
            return Ok(Self { files, sets, _folder: None });
        };
        let folder = tempfile::tempdir().context("failed to create a folder for the values")?;
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("failed to read the values from standard input")?;
        *input = folder.path().join("values.yaml");
        std::fs::write(&input, text).context("failed to write the values to a file")?;
        Ok(Self { files, sets, _folder: Some(folder) })
    }

    /// These values over others, which are YAML.
    pub fn over(&self, below: &str) -> Result<Self> {
        let folder = tempfile::tempdir().context("failed to create a folder for the values")?;
        let path = folder.path().join("below.yaml");
        std::fs::write(&path, below).context("failed to write the values to a file")?;
        let files = std::iter::once(path).chain(self.files.iter().cloned()).collect();
        Ok(Self { files, sets: self.sets.clone(), _folder: Some(folder) })
    }

    /// These values and one more assignment, over all of them.
    #[must_use]
    pub fn and(&self, set: &str) -> Self {
        let sets = self.sets.iter().cloned().chain([set.to_owned()]).collect();
        Self { files: self.files.clone(), sets, _folder: None }
    }

    /// The files.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The assignments.
    pub fn sets(&self) -> &[String] {
        &self.sets
    }

    /// Refuses keys that the chart does not have.
    pub fn check(&self) -> Result<()> {
        for file in self.files.iter().filter(|file| file.is_file()) {
            let text = std::fs::read_to_string(file);
            let text = text.with_context(|| format!("failed to read {}", file.display()))?;
            let values: Value = serde_saphyr::from_str(&text).map_err(|error| {
                anyhow::anyhow!("failed to parse {}: {}", file.display(), error.without_snippet())
            })?;
            refuse_unknown(&format!("the values in {} have", file.display()), &values)?;
        }
        for set in &self.sets {
            for value in set.split(',').filter_map(assignment) {
                refuse_unknown(&format!("`--set {set}` has"), &value)?;
            }
        }
        Ok(())
    }
}

fn refuse_unknown(whose: &str, values: &Value) -> Result<()> {
    let unknown = Known::unknown_keys(values);
    if !unknown.is_empty() {
        bail!("{whose} unknown keys:{unknown}");
    }
    Ok(())
}

/// `a.b=c` as a value; `None` for what only Helm understands: lists, escapes, and the rest of a value with a comma.
fn assignment(set: &str) -> Option<Value> {
    let (path, value) = set.split_once('=')?;
    if path.contains(['[', '\\', '{', '}']) {
        return None;
    }
    let wrap = |inner: Value, key: &str| Value::Object(Map::from_iter([(key.to_owned(), inner)]));
    Some(path.split('.').rev().fold(Value::String(value.to_owned()), wrap))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: Option<&str>, sets: &[&str]) -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.yaml");
        let files = file.map(|text| {
            std::fs::write(&path, text).unwrap();
            path.clone()
        });
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        Values::new(files.into_iter().collect(), sets).unwrap().check()
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_one() {
        for (file, set) in [(Some("persistance: {size: 1Gi}"), vec![]), (None, vec!["persistance.size=1Gi"])]
        {
            let error = check(file, &set).unwrap_err().to_string();
            assert!(error.contains("persistance: did you mean `persistence`?"), "{error}");
        }
    }

    #[test]
    fn what_exists_and_what_only_helm_understands_is_left_to_helm() {
        check(Some("persistence: {size: 1Gi}"), &["image.registry=a,dns.replicas=2"]).unwrap();
        check(None, &["pod.tolerations[0].key=a", "service.annotations.a\\.b=c"]).unwrap();
        check(Some(""), &[]).unwrap();
    }
}

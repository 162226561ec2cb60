//! What the operator has applied inside the virtual cluster: `deploy`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::Error;

/// What is applied inside the virtual cluster once its API server answers. Changes are applied without a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Deploy {
    /// Objects in YAML, one document each, or a list of objects. Definitions and namespaces come first; what fails is
    /// tried again until it passes. Each is applied once, and again when it changes here or the syncer starts and it is
    /// gone; what a tenant changes stays. An object that is removed here is not deleted.
    pub manifests: Manifests,
}

/// Objects, as a string of YAML documents or as a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string of YAML documents or a list of objects")]
pub enum Manifests {
    /// YAML documents.
    Text(String),
    /// Objects.
    Objects(Vec<Map<String, Value>>),
}

impl Default for Manifests {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// One object to apply.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its place among the documents that are not empty, from 1.
    pub number: usize,
    /// The object, with its kind and its name.
    pub object: Map<String, Value>,
}

impl Manifests {
    /// The objects, those within a `List` one by one.
    ///
    /// # Errors
    /// What is not an object of Kubernetes, as a line that names the document.
    pub fn documents(&self) -> Result<Vec<Document>, String> {
        let values: Vec<Value> = match self {
            Self::Text(text) => {
                serde_saphyr::from_multiple(text).map_err(|error| error.without_snippet().to_string())?
            }
            Self::Objects(objects) => objects.iter().cloned().map(Value::Object).collect(),
        };
        let mut documents = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            collect(index + 1, value, &mut documents)?;
        }
        Ok(documents)
    }
}

impl Deploy {
    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse = |why| Error::Value { key: "deploy.manifests", why };
        self.manifests.documents().map(drop).map_err(refuse)
    }
}

fn collect(number: usize, value: Value, documents: &mut Vec<Document>) -> Result<(), String> {
    let object = match value {
        // What stands between two separators, or nothing but comments.
        Value::Null => return Ok(()),
        Value::Object(object) => object,
        _ => return Err(format!("document {number} is not an object")),
    };
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version.is_empty() || kind.is_empty() {
        return Err(format!("document {number} lacks `apiVersion` or `kind`"));
    }
    if let (true, Some(Value::Array(items))) = (kind.ends_with("List"), object.get("items")) {
        return items.iter().try_for_each(|item| collect(number, item.clone(), documents));
    }
    let name = object.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Value::as_str);
    if name.is_none_or(str::is_empty) {
        return Err(format!("document {number}, {api_version}/{kind}, lacks `metadata.name`"));
    }
    documents.push(Document { number, object });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifests(value: Value) -> Manifests {
        serde_json::from_value(value).unwrap()
    }

    fn names(manifests: &Manifests) -> Vec<String> {
        let name =
            |document: Document| format!("{} {}", document.number, document.object["metadata"]["name"]);
        manifests.documents().unwrap().into_iter().map(name).collect()
    }

    const TWO: &str = "# first\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n";

    #[test]
    fn documents_are_counted_without_those_that_are_empty() {
        assert_eq!(names(&Manifests::default()), Vec::<String>::new());
        let found = names(&manifests(TWO.into()));
        assert_eq!(found, ["1 \"a\"", "2 \"b\""]);
    }

    #[test]
    fn a_list_of_objects_is_as_good_as_a_string_and_lists_are_taken_apart() {
        let pod = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [pod("b"), pod("c")]});
        assert_eq!(names(&manifests(json!([pod("a"), list]))), ["1 \"a\"", "2 \"b\"", "2 \"c\""]);
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_number() {
        for (value, why) in [
            (json!("a: ["), "line"),
            (json!("just words"), "document 1 is not an object"),
            (json!([{"kind": "Pod"}]), "document 1 lacks `apiVersion` or `kind`"),
            (json!([{"apiVersion": "v1", "kind": "Pod"}]), "document 1, v1/Pod, lacks `metadata.name`"),
        ] {
            let error = Deploy { manifests: manifests(value.clone()) }.check().unwrap_err().to_string();
            assert!(error.contains("`deploy.manifests`") && error.contains(why), "{value}: {error}");
        }
    }
}

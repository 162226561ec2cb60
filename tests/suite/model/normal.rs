//! Replaces what each server chooses by itself, so that two transcripts can be compared: UIDs, revisions, times, addresses.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What one server has chosen so far, in the order of its appearance.
#[derive(Default)]
pub(super) struct Names {
    chosen: BTreeMap<(&'static str, String), usize>,
    /// The newest revision that it has shown.
    newest: u64,
}

/// The start of what services get.
const ADDRESSES: &str = "10.96.";
const TIMES: &[&str] = &[
    "creationTimestamp",
    "deletionTimestamp",
    "lastTransitionTime",
    "lastProbeTime",
    "firstTimestamp",
    "time",
];

impl Names {
    /// An answer, or a frame of a watch, as it is compared.
    pub(super) fn normal(&mut self, answer: &Value) -> Value {
        if answer.get("type").is_some_and(|kind| kind == "BOOKMARK") {
            return json!({"type": "BOOKMARK", "place": self.place(at(answer, "/object"))});
        }
        match answer.get("items") {
            Some(items) => self.list(answer, items),
            None => self.value("", answer),
        }
    }

    /// A list is of a revision that other writers may have raised.
    fn list(&mut self, answer: &Value, items: &Value) -> Value {
        let metadata = at(answer, "/metadata");
        let items = self.value("items", items);
        json!({
            "kind": at(answer, "/kind"), "apiVersion": at(answer, "/apiVersion"), "items": items,
            "place": self.place(answer), "goes on": at(metadata, "/continue").as_str().is_some_and(|token| !token.is_empty()),
            "remaining": metadata.get("remainingItemCount"),
        })
    }

    /// Whether a list or a bookmark has got as far as what was shown before.
    fn place(&self, answer: &Value) -> &'static str {
        let revision = at(answer, "/metadata/resourceVersion").as_str().and_then(|text| text.parse().ok());
        match revision {
            None => "none",
            Some(0_u64) => "zero",
            Some(revision) if revision >= self.newest => "current",
            Some(_) => "older",
        }
    }

    fn value(&mut self, field: &str, value: &Value) -> Value {
        match value {
            Value::Object(fields) if fields.get("kind").is_some_and(|kind| kind == "Status") => {
                self.status(fields)
            }
            Value::Object(fields) => self.object(fields),
            Value::Array(elements) => elements.iter().map(|element| self.value(field, element)).collect(),
            Value::String(text) => self.text(field, text).into(),
            Value::Number(port) if field == "nodePort" => self.chosen("port", &port.to_string()).into(),
            other => other.clone(),
        }
    }

    fn object(&mut self, fields: &Map<String, Value>) -> Value {
        let base = fields.get("generateName").and_then(Value::as_str);
        let mut normal = Map::new();
        for (field, value) in fields.iter().filter(|(field, _)| *field != "managedFields") {
            let value = match (field.as_str(), base, value.as_str()) {
                ("name", Some(base), Some(name)) => format!("{base}… of {} characters", name.len()).into(),
                _ => self.value(field, value),
            };
            normal.insert(field.clone(), value);
        }
        normal.into()
    }

    /// Messages are for people, and nobody decides by them.
    fn status(&mut self, fields: &Map<String, Value>) -> Value {
        let details = fields.get("details").cloned().unwrap_or_default();
        let causes = at(&details, "/causes").as_array().into_iter().flatten();
        let mut causes: Vec<String> =
            causes.map(|cause| format!("{} {}", at(cause, "/field"), at(cause, "/reason"))).collect();
        causes.sort();
        // Some servers validate metadata twice.
        causes.dedup();
        let uid = at(&details, "/uid").as_str().map(|uid| self.chosen("uid", uid));
        json!({
            "kind": "Status", "status": fields.get("status"), "reason": fields.get("reason"), "code": fields.get("code"),
            "name": at(&details, "/name"), "of": at(&details, "/kind"), "group": at(&details, "/group"), "uid": uid, "causes": causes,
        })
    }

    fn text(&mut self, field: &str, text: &str) -> String {
        match field {
            "uid" => self.chosen("uid", text),
            "resourceVersion" => self.revision(text),
            "clusterIP" | "clusterIPs" if text.starts_with(ADDRESSES) => self.chosen("address", text),
            _ if TIMES.contains(&field) => "a time".to_owned(),
            _ => text.to_owned(),
        }
    }

    fn revision(&mut self, text: &str) -> String {
        let revision = text.parse().unwrap_or_default();
        let known = self.chosen.contains_key(&("revision", text.to_owned()));
        let name = self.chosen("revision", text);
        let order = if known || revision > self.newest { "" } else { ", older than one before" };
        self.newest = self.newest.max(revision);
        format!("{name}{order}")
    }

    fn chosen(&mut self, what: &'static str, text: &str) -> String {
        let next = self.chosen.keys().filter(|(kind, _)| *kind == what).count() + 1;
        let number = self.chosen.entry((what, text.to_owned())).or_insert(next);
        format!("{what} {number}")
    }
}

/// What is at a JSON pointer; null without it.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

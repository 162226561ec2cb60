//! `ConfigMap`s and `Secret`s: what their data may be, and that it stays where they are immutable.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::object::{default, fields, map, prune, text};
use super::refusal::Refusal;
use super::rules::{NONE, Rules, Subject};

pub(super) const CONFIG_MAPS: Rules =
    Rules { create: |object, subject| check_data(object, subject), update: update_config_map, ..NONE };
pub(super) const SECRETS: Rules = Rules { create: complete_secret, update: update_secret, ..NONE };

/// Left out when they are empty.
const DATA: &[&str] = &["data", "binaryData", "stringData", "immutable"];
const LONGEST_KEY: usize = 253;

fn check_data(object: &mut Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    prune(fields(object), DATA);
    for field in ["data", "binaryData"] {
        let data = object.get(field).and_then(Value::as_object);
        if let Some(key) = data.and_then(|data| data.keys().find(|key| !is_key(key))) {
            return Err(subject.invalid(&format!("{field}[{key}]"), "is no valid key of a config"));
        }
    }
    Ok(())
}

fn is_key(key: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !key.is_empty()
        && key.len() <= LONGEST_KEY
        && key.chars().all(is_inner)
        && key != "."
        && !key.starts_with("..")
}

fn update_config_map(object: &mut Value, old: &Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    check_data(object, subject)?;
    check_immutable(object, old, subject)
}

fn check_immutable(object: &Value, old: &Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    let is_true = |object: &Value| object.get("immutable").and_then(Value::as_bool).unwrap_or_default();
    if !is_true(old) {
        return Ok(());
    }
    let why = "field is immutable when `immutable` is set";
    if !is_true(object) {
        return Err(subject.field_forbidden("immutable", why));
    }
    match ["data", "binaryData"].iter().find(|field| object.get(**field) != old.get(**field)) {
        Some(field) => Err(subject.field_forbidden(field, why)),
        None => Ok(()),
    }
}

fn complete_secret(object: &mut Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    let plain = fields(object).remove("stringData");
    let plain = plain.as_ref().and_then(Value::as_object);
    for (key, value) in plain.into_iter().flatten() {
        let encoded = STANDARD.encode(value.as_str().unwrap_or_default());
        map(object, "data").insert(key.clone(), encoded.into());
    }
    default(fields(object), "type", "Opaque");
    let data = object.get("data").and_then(Value::as_object);
    for value in data.into_iter().flat_map(|data| data.values()).filter_map(Value::as_str) {
        if STANDARD.decode(value).is_err() {
            return Err(Refusal::bad_request("illegal base64 data in `data`"));
        }
    }
    check_data(object, subject)
}

fn update_secret(object: &mut Value, old: &Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    // A writer that names no type leaves it as it is.
    default(fields(object), "type", text(old, "/type"));
    complete_secret(object, subject)?;
    if text(object, "/type") != text(old, "/type") {
        return Err(subject.invalid("type", "field is immutable"));
    }
    check_immutable(object, old, subject)
}

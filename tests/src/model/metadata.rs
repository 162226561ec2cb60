//! What all kinds have in common: names, labels, and who sets which field of the metadata.

use serde_json::Value;

use super::call::Call;
use super::object::{default, elements, fields, metadata, prune, set, text};
use super::refusal::Refusal;
use super::rules::Subject;

/// Fields that the server sets, whatever the writer of a new object says.
const OF_SERVER: &[&str] = &["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];
/// Fields that are left out when they are empty.
const OPTIONAL: &[&str] = &[
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "generateName",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "creationTimestamp",
    "namespace",
    "uid",
    "resourceVersion",
];
const STANDARD_FINALIZERS: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// Checks that a body is of the kind, the namespace and the name of the path, and completes it.
pub(super) fn check_place(object: &mut Value, call: &Call) -> Result<(), Refusal> {
    let kind = call.kind;
    for (pointer, wanted) in [("/apiVersion", kind.api_version()), ("/kind", kind.name.to_owned())] {
        let found = text(object, pointer);
        if !found.is_empty() && found != wanted {
            return Err(Refusal::bad_request(format!("{pointer} is {found:?} and not {wanted:?}")));
        }
    }
    let namespace = text(object, "/metadata/namespace");
    if !namespace.is_empty() && namespace != call.namespace {
        return Err(Refusal::bad_request(
            "the namespace of the object does not match the namespace on the URL",
        ));
    }
    let name = text(object, "/metadata/name");
    if !call.name.is_empty() && !name.is_empty() && name != call.name {
        return Err(Refusal::bad_request("the name of the object does not match the name on the URL"));
    }
    fields(object).insert("apiVersion".into(), kind.api_version().into());
    fields(object).insert("kind".into(), kind.name.into());
    if kind.is_namespaced {
        metadata(object).insert("namespace".into(), call.namespace.clone().into());
    }
    tidy(object);
    Ok(())
}

/// Leaves out what is empty and what the server never shows.
pub(super) fn tidy(object: &mut Value) {
    let metadata = metadata(object);
    metadata.remove("managedFields");
    metadata.remove("selfLink");
    prune(metadata, OPTIONAL);
}

/// Forgets what only the server may set.
pub(super) fn clear(object: &mut Value) {
    metadata(object).retain(|name, _| !OF_SERVER.contains(&name.as_str()));
}

/// Takes from the state before what a writer cannot change.
pub(super) fn carry_over(object: &mut Value, old: &Value) {
    let fields = metadata(object);
    let before = |name: &str| old.pointer(&format!("/metadata/{name}")).cloned();
    for name in ["creationTimestamp", "generation"] {
        set(fields, name, before(name));
    }
    if let Some(end) = before("deletionTimestamp") {
        fields.insert("deletionTimestamp".into(), end);
    }
    for name in ["uid", "name", "resourceVersion", "deletionGracePeriodSeconds"] {
        if let Some(value) = before(name) {
            default(fields, name, value);
        }
    }
}

/// Validates names, labels and finalizers.
pub(super) fn validate(object: &Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    let is_label_name = matches!(subject.kind.plural, "namespaces" | "services");
    let is_valid = if is_label_name { is_label(&subject.name) } else { is_subdomain(&subject.name) };
    if !is_valid {
        return Err(subject.invalid("metadata.name", "is no name of a DNS subdomain"));
    }
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    for (key, value) in labels.into_iter().flatten() {
        if !is_qualified(key) || !value.as_str().is_some_and(is_label_value) {
            return Err(subject.invalid("metadata.labels", "a label is not valid"));
        }
    }
    let finalizers = elements(object, "/metadata/finalizers").iter().filter_map(Value::as_str);
    finalizers.enumerate().try_for_each(|(index, finalizer)| check_finalizer(index, finalizer, subject))
}

/// Finalizers are qualified names, and in the core group those without a prefix are known ones.
fn check_finalizer(index: usize, finalizer: &str, subject: &Subject<'_>) -> Result<(), Refusal> {
    let is_known =
        subject.kind.is_custom || finalizer.contains('/') || STANDARD_FINALIZERS.contains(&finalizer);
    let (field, why) = ("metadata.finalizers", "a finalizer is no qualified name");
    let one = format!("{field}[{index}]");
    match (is_qualified(finalizer), is_known) {
        (true, true) => Ok(()),
        (true, false) => Err(subject.invalid(&one, why)),
        (false, true) => Err(subject.invalid(field, why)),
        (false, false) => Err(subject.invalid(field, why).and(&one, "FieldValueInvalid", why)),
    }
}

/// Validates a new state against the one before.
pub(super) fn validate_update(object: &Value, old: &Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    let is_going = old.pointer("/metadata/deletionTimestamp").is_some();
    let before = elements(old, "/metadata/finalizers");
    if is_going && elements(object, "/metadata/finalizers").iter().any(|new| !before.contains(new)) {
        return Err(subject.field_forbidden(
            "metadata.finalizers",
            "no new finalizers can be added if the object is being deleted",
        ));
    }
    for name in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let pointer = format!("/metadata/{name}");
        if object.pointer(&pointer) != old.pointer(&pointer) {
            return Err(subject.invalid(&format!("metadata.{name}"), "field is immutable"));
        }
    }
    validate(object, subject)
}

fn is_subdomain(name: &str) -> bool {
    name.len() <= LONGEST_NAME && name.split('.').all(is_lower_label)
}

fn is_label(name: &str) -> bool {
    name.len() <= LONGEST_LABEL && is_lower_label(name)
}

fn is_lower_label(label: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !label.is_empty() && label.chars().all(is_inner) && !label.starts_with('-') && !label.ends_with('-')
}

/// Whether a label may have this value.
pub(super) fn is_label_value(value: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_outer = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    value.len() <= LONGEST_LABEL
        && value.chars().all(is_inner)
        && is_outer(value.chars().next())
        && is_outer(value.chars().next_back())
}

fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && !name.is_empty() && is_label_value(name),
        None => !key.is_empty() && is_label_value(key),
    }
}

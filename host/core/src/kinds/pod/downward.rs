//! Answers the downward API in the virtual cluster's terms.

use super::parts;
use crate::host_keys;
use crate::keys::{DOWNWARD_PREFIX, NAMESPACE_LABEL};
use crate::object::{Fields, VirtualObject};
use crate::policy::metadata::MetadataPolicy;

/// Where a file of the downward API gets its content on the host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HostField {
    /// The host's field path.
    pub(super) path: String,
    /// The annotation that the host pod must carry for it: key and value.
    pub(super) annotation: Option<(String, String)>,
}

/// The value of a field that differs between the two pods and never changes.
pub(super) fn constant(source: &VirtualObject, path: &str) -> Option<String> {
    match path {
        "metadata.name" => Some(source.name().to_owned()),
        "metadata.namespace" => Some(source.namespace().to_owned()),
        "metadata.uid" => Some(source.uid().to_owned()),
        "spec.serviceAccountName" => Some(parts::service_account(source).to_owned()),
        _ => None,
    }
}

/// The host's path for `metadata.labels['key']` and `metadata.annotations['key']`.
pub(super) fn keyed_path(policy: &MetadataPolicy, path: &str) -> Option<String> {
    let (map, rest) = path.split_once("['")?;
    let key = rest.strip_suffix("']")?;
    let policy = match map {
        "metadata.labels" => &policy.labels,
        "metadata.annotations" => &policy.annotations,
        _ => return None,
    };
    Some(format!("{map}['{}']", host_keys::to_host(policy, key)))
}

/// Where a downward API file of the field `path` gets its content; `None` when the host's own field is right.
pub(super) fn file_field(policy: &MetadataPolicy, source: &VirtualObject, path: &str) -> Option<HostField> {
    if path == "metadata.namespace" {
        return Some(HostField { path: format!("metadata.labels['{NAMESPACE_LABEL}']"), annotation: None });
    }
    if let Some(path) = keyed_path(policy, path) {
        return Some(HostField { path, annotation: None });
    }
    // A file follows the labels while the pod runs, so its content stands in an annotation and no literal.
    let (name, value) = match path {
        "metadata.labels" => ("labels", lines(source.labels())),
        "metadata.annotations" => ("annotations", lines(source.annotations())),
        "metadata.name" => ("name", constant(source, path)?),
        "metadata.uid" => ("uid", constant(source, path)?),
        "spec.serviceAccountName" => ("service-account-name", constant(source, path)?),
        _ => return None,
    };
    let key = format!("{DOWNWARD_PREFIX}{name}");
    Some(HostField { path: format!("metadata.annotations['{key}']"), annotation: Some((key, value)) })
}

/// Labels or annotations as a kubelet writes them: sorted, one `key="value"` in a line.
fn lines(map: Option<&Fields>) -> String {
    let lines = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", quote(value.as_str().unwrap_or_default())));
    lines.collect::<Vec<_>>().join("\n")
}

/// A Go string literal, which is what a kubelet writes.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if is_printable(c) => quoted.push(c),
            c => quoted.push_str(&code(c.into())),
        }
    }
    quoted.push('"');
    quoted
}

/// The escape of a character by its number.
fn code(number: u32) -> String {
    match number {
        ..0x80 => format!("\\x{number:02x}"),
        0x80..0x1_0000 => format!("\\u{number:04x}"),
        _ => format!("\\U{number:08x}"),
    }
}

/// Whether a character shows as itself: not a control, a format, an unassigned or a strange space character.
fn is_printable(c: char) -> bool {
    // The letter in front keeps combining marks, which Rust escapes only where a string begins.
    !['a', c].iter().collect::<String>().escape_debug().to_string().contains("\\u{")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> VirtualObject {
        VirtualObject::from_json(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "labels": {"b": "2", "a": "say \"hi\"\n"}},
            "spec": {},
        }))
        .unwrap()
    }

    #[test]
    fn identity_is_the_virtual_pods() {
        assert_eq!(constant(&pod(), "metadata.uid").as_deref(), Some("u1"));
        assert_eq!(constant(&pod(), "spec.serviceAccountName").as_deref(), Some("default"));
        assert_eq!(constant(&pod(), "status.podIP"), None);
    }

    #[test]
    fn one_label_is_read_under_its_host_key() {
        let of = |path: &str| keyed_path(&MetadataPolicy::default(), path);
        assert_eq!(of("metadata.labels['app']").as_deref(), Some("metadata.labels['app']"));
        for (key, on_host) in [
            ("weft.dev/a", "weft.dev.tenant.weft.dev/a"),
            ("sidecar.istio.io/inject", "sidecar.istio.io.tenant.weft.dev/inject"),
        ] {
            let path = of(&format!("metadata.annotations['{key}']"));
            assert_eq!(path, Some(format!("metadata.annotations['{on_host}']")));
        }
        assert_eq!(of("metadata.labels"), None);
    }

    #[test]
    fn all_labels_are_written_as_a_kubelet_writes_them() {
        let field = file_field(&MetadataPolicy::default(), &pod(), "metadata.labels").unwrap();
        assert_eq!(field.path, "metadata.annotations['downward.weft.dev/labels']");
        assert_eq!(field.annotation.unwrap().1, "a=\"say \\\"hi\\\"\\n\"\nb=\"2\"");
    }

    #[test]
    fn strange_characters_are_escaped_as_go_does() {
        assert_eq!(
            quote("\u{1}\u{7f}\u{a0}\u{200b}é\u{301}日\u{e0001}😀'"),
            "\"\\x01\\x7f\\u00a0\\u200bé\u{301}日\\U000e0001😀'\""
        );
    }

    #[test]
    fn what_is_the_same_on_both_sides_is_left_to_the_host() {
        assert_eq!(file_field(&MetadataPolicy::default(), &pod(), "status.podIP"), None);
    }
}

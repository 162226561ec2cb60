//! Compares two objects line by line, as YAML.

use std::fmt::Write as _;

use serde_json::Value;
use similar::{ChangeTag, TextDiff};
use weft_core::object::Fields;

use crate::cli::output::{bad, faint, good};

/// Lines of context around a change.
const AROUND: usize = 3;

/// The differences in the format of `diff -u`; empty if there are none.
pub(super) fn unified(names: (&str, &str), before: &Fields, after: &Fields) -> String {
    let (old, new) = (yaml(before), yaml(after));
    let diff = TextDiff::from_lines(&old, &new);
    let mut hunks = diff.unified_diff();
    hunks.context_radius(AROUND);
    let mut text = String::new();
    for hunk in hunks.iter_hunks() {
        if text.is_empty() {
            let _ =
                writeln!(text, "{}\n{}", bad(format!("--- {}", names.0)), good(format!("+++ {}", names.1)));
        }
        let _ = writeln!(text, "{}", faint(hunk.header()));
        for change in hunk.iter_changes() {
            let line = change.value().trim_end_matches('\n');
            let _ = match change.tag() {
                ChangeTag::Delete => writeln!(text, "{}", bad(format!("-{line}"))),
                ChangeTag::Insert => writeln!(text, "{}", good(format!("+{line}"))),
                ChangeTag::Equal => writeln!(text, " {line}"),
            };
        }
    }
    text
}

/// An object as YAML.
pub(super) fn yaml(object: &Fields) -> String {
    serde_saphyr::to_string(&Value::Object(object.clone())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: &Value) -> Fields {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn changed_lines_are_shown_with_their_context() {
        let before = fields(&json!({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1}));
        let after = fields(&json!({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 2}));
        let text = anstream::adapter::strip_str(&unified(("x", "y"), &before, &after)).to_string();
        assert_eq!(text, "--- x\n+++ y\n@@ -3,4 +3,4 @@\n c: 1\n d: 1\n e: 1\n-f: 1\n+f: 2\n");
        assert_eq!(unified(("x", "y"), &before, &before), "");
    }
}

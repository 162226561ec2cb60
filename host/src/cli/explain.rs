//! Explains a translation: each field that changed, and the rule that changed it.

use std::fmt::Write as _;

use weft_core::context::Notes;
use weft_core::verdict::Hold;

use crate::author::cases::with_reason;
use crate::author::trace::{By, Trace};
use crate::cli::changes::changes;
use crate::cli::output::{bad, faint, good, strong};

/// A line for each field that differs from the source: `field: before -> after  (by who)`.
pub(super) fn fields(trace: &Trace) -> String {
    let mut text = String::new();
    for stage in trace.stages() {
        let by = match &stage.by {
            By::Plugin(_) => strong(&stage.by),
            _ => faint(&stage.by),
        };
        for change in changes(&stage.before, &stage.after) {
            let side = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            let (before, after) = (side(change.before), side(change.after));
            let _ = writeln!(text, "{}: {} -> {}  (by {by})", change.field, bad(before), good(after));
        }
    }
    text
}

/// Why there is no object, in one line.
pub(super) fn hold(hold: &Hold) -> String {
    format!("{}: {}", hold.word(), with_reason(hold.problem()))
}

/// Conditions, events and failures of the rules, one line each.
pub(super) fn notes(notes: Notes) -> String {
    let mut text = String::new();
    for condition in notes.noted_conditions().values().flatten() {
        let (kind, status) = (&condition.kind, condition.status);
        let _ = writeln!(text, "condition  {kind}={status} {}: {}", condition.reason, condition.message);
    }
    let (events, failures) = notes.into_parts();
    for event in events {
        let severity = if event.is_warning { "Warning" } else { "Normal" };
        let by = event.by.plugin().map(|name| format!(" (plugin {name})")).unwrap_or_default();
        let _ = writeln!(text, "event      {severity} {}: {}{by}", event.reason, event.message);
    }
    for failure in failures {
        let _ = writeln!(text, "failed     {}: {failure}", failure.reason);
    }
    text
}

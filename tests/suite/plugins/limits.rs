//! Limits of a call: time, memory, stack, and work of the host that the guest's deadline does not cover.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::bench::{Bench, all, ensure_says, pod};

/// An action, the reason of the failure, and words of its message.
type Row = (&'static str, &'static str, &'static [&'static str]);

const ROWS: &[Row] = &[
    ("grow", "PluginMemory", &["more memory than 64 MiB"]),
    ("trap", "PluginTrapped", &["unreachable"]),
    ("panic", "PluginTrapped", &["panicked", "I give up"]),
    ("deep-recursion", "PluginTrapped", &["stack"]),
    ("huge-answer", "PluginTrapped", &["hostcall"]),
    ("huge-list", "PluginTrapped", &["hostcall"]),
    ("large-answer", "PluginEditTooLarge", &["more than 3 MiB"]),
    ("deep-json", "PluginEditUnreadable", &["not the JSON", "recursion limit"]),
    ("not-json", "PluginEditUnreadable", &["not the JSON"]),
    ("unknown-operation", "PluginEditUnreadable", &["unknown variant"]),
    ("unfit", "PluginEditUnfit", &["does not fit the draft"]),
    ("value-bomb", "PluginEditTooLarge", &["more than 200000 values"]),
    ("patch-bomb", "PluginEditTooLarge", &["mapping of v1/Pod", "more than"]),
    ("byte-bomb", "PluginEditTooLarge", &["mapping of v1/Pod", "more than 3 MiB"]),
    ("shift-bomb", "PluginEditTooLarge", &["mapping of v1/Pod", "moves values about"]),
    ("move-bomb", "PluginEditTooLarge", &["mapping of v1/Pod", "moves values about"]),
];

#[test]
fn a_call_that_exceeds_a_limit_fails_with_the_reason() -> Result<()> {
    let bench = Bench::new()?;
    all(ROWS.iter().map(|(action, reason, words)| {
        let problem = pod(action, &Value::Null).and_then(|source| bench.fault(&source));
        (*action, problem.and_then(|problem| ensure_says(&problem, reason, "", words)))
    }))
}

#[test]
fn a_call_that_does_not_end_is_interrupted_at_its_deadline() -> Result<()> {
    let bench = Bench::with(json!({"limits": {"milliseconds": 100, "mebibytes": 64}}))?;
    let problem = bench.fault(&pod("spin", &Value::Null)?)?;
    ensure_says(&problem, "PluginTimeout", "", &["longer than 100 ms"])
}

#[test]
fn an_invented_field_is_named_in_one_plain_line() -> Result<()> {
    let problem = Bench::new()?.fault(&pod("ugly-field", &Value::Null)?)?;
    let field = problem.field.clone().unwrap_or_default();
    ensure!(!field.is_empty(), "the problem has no field: {problem}");
    ensure_says(&problem, "PluginRefused", &field, &["host-writes"])
}

#[test]
fn with_on_failure_core_the_object_is_written_without_the_plugin() -> Result<()> {
    let bench = Bench::with(json!({"onFailure": "core"}))?;
    for (action, with) in [("trap", Value::Null), ("merge", json!({"metadata": {"name": "x"}}))] {
        let translated = bench.to_host(&pod(action, &with)?)?;
        ensure!(translated.result.is_ok(), "{action}: {:?}", translated.result);
        let (_, failures) = translated.notes.into_parts();
        ensure!(failures.len() == 1, "{action}: {failures:?}");
    }
    // Also for a reference that only the check of the whole object refuses.
    let foreign = json!({"spec": {"imagePullSecrets": [{"name": "vc-my-vcluster"}]}});
    let host = bench.admitted(&pod("merge", &foreign)?)?;
    ensure!(host.pointer("/spec/imagePullSecrets").is_none(), "the foreign name is there");
    Ok(())
}

/// A plugin has no clock and no randomness, because no such import is linked. What is left are the time in the request,
/// which is 0 unless the descriptor sets `uses-time`, and state of an instance.
#[test]
fn a_plugin_has_neither_time_nor_state() -> Result<()> {
    let bench = Bench::new()?;
    ensure!(bench.answer("time", "")? == "0", "it gets the time");
    for _ in 0..3 {
        ensure!(bench.answer("count", "")? == "1", "state of an earlier call has survived");
    }
    Ok(())
}

//! What a plugin may not take: time, memory, stack, and work of the host that no clock of the guest counts.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::bench::{Bench, all, ensure_says, pod};

/// A deed, the reason that is given for its end, and what is said.
type Row = (&'static str, &'static str, &'static [&'static str]);

const ROWS: &[Row] = &[
    ("grow", "PluginMemory", &["more memory than 64 MiB"]),
    ("trap", "PluginTrapped", &["unreachable"]),
    ("panic", "PluginTrapped", &["panicked", "I give up"]),
    ("deep-recursion", "PluginTrapped", &["stack"]),
    ("huge-answer", "PluginTrapped", &["hostcall"]),
    ("huge-list", "PluginTrapped", &["hostcall"]),
    ("large-answer", "PluginEditTooLarge", &["bytes", "at most are read"]),
    ("deep-json", "PluginEditUnreadable", &["not the JSON", "recursion limit"]),
    ("not-json", "PluginEditUnreadable", &["not the JSON"]),
    ("unknown-operation", "PluginEditUnreadable", &["unknown variant"]),
    ("unfit", "PluginEditUnfit", &["does not fit the draft"]),
    ("patch-bomb", "PluginEditUnfit", &["copies more than"]),
    ("shift-bomb", "PluginEditUnfit", &["moves values about"]),
    ("move-bomb", "PluginEditUnfit", &["moves values about"]),
];

#[test]
fn a_plugin_that_takes_too_much_is_stopped_and_the_tenant_is_told_of_what() -> Result<()> {
    let bench = Bench::new()?;
    all(ROWS.iter().map(|(deed, reason, words)| {
        let problem = pod(deed, &Value::Null).and_then(|source| bench.fault(&source));
        (*deed, problem.and_then(|problem| ensure_says(&problem, reason, "", words)))
    }))
}

#[test]
fn a_plugin_that_never_ends_is_stopped_when_its_time_is_over() -> Result<()> {
    let bench = Bench::with(json!({"limits": {"milliseconds": 100, "mebibytes": 64}}))?;
    let problem = bench.fault(&pod("spin", &Value::Null)?)?;
    ensure_says(&problem, "PluginTimeout", "", &["longer than 100 ms"])
}

#[test]
fn a_field_that_a_plugin_makes_up_is_told_in_one_plain_line() -> Result<()> {
    let problem = Bench::new()?.fault(&pod("ugly-field", &Value::Null)?)?;
    let field = problem.field.clone().unwrap_or_default();
    ensure!(!field.is_empty(), "the field is not told: {problem}");
    ensure_says(&problem, "PluginRefused", &field, &["host-writes"])
}

#[test]
fn an_object_of_a_plugin_that_fails_is_written_without_it_where_the_operator_says_so() -> Result<()> {
    let bench = Bench::with(json!({"onFailure": "core"}))?;
    for (deed, with) in [("trap", Value::Null), ("merge", json!({"metadata": {"name": "x"}}))] {
        let translated = bench.to_host(&pod(deed, &with)?)?;
        ensure!(translated.result.is_ok(), "{deed}: {:?}", translated.result);
        let (_, failures) = translated.notes.into_parts();
        ensure!(failures.len() == 1, "{deed}: {failures:?}");
    }
    // Also where it names what only the whole object shows to be foreign.
    let foreign = json!({"spec": {"imagePullSecrets": [{"name": "vc-my-vcluster"}]}});
    let host = bench.admitted(&pod("merge", &foreign)?)?;
    ensure!(host.pointer("/spec/imagePullSecrets").is_none(), "the foreign name is there");
    Ok(())
}

/// It has no clock and no randomness to begin with: nothing is linked that could give any. What is left are
/// the time in the request, which is 0 unless the descriptor asks for it, and what an instance remembers.
#[test]
fn a_plugin_cannot_give_two_answers_to_one_question() -> Result<()> {
    let bench = Bench::new()?;
    ensure!(bench.answer("time", "")? == "0", "it is told the time");
    for _ in 0..3 {
        ensure!(bench.answer("count", "")? == "1", "it remembers an earlier call");
    }
    Ok(())
}

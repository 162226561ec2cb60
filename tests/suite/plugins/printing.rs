//! What comes of output that a component with `wasi: true` prints: as WASI 0.2 says of `wasi:io/streams`, or a trap.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::bench::{Bench, all, ensure_one_line, ensure_says, pod};
use super::events::logged;

/// What the log says where something is missing.
const LEFT_OUT: &str = "lines are left out";
/// Longest line of the log: 4096 bytes of the plugin's, and what is said of whose it is.
const LINE: usize = 4096 + 200;
/// Most lines of one call, however long it prints: a hundred at once and a hundred each second.
const LINES: usize = 1100;

/// What is permitted, and what the guest says of it.
const PERMITTED: &[(&str, &str)] = &[
    ("print-permitted", "4096 Ok(()) Ok(())"),
    ("zeroes", "Ok(()) Ok(())"),
    ("splice", "closed: [true, true, true, true]"),
    ("surroundings", "0 0 false 0.0"),
    ("random-bytes", "65536"),
];

/// What is not, and words of the message.
const TRAPS: &[(&str, &[&str])] = &[
    ("print-at-once", &["it writes 5242880 bytes at once", "permits 4096"]),
    ("print-and-flush-at-once", &["it writes 5242880 bytes at once", "permits 4096"]),
    ("huge-zeroes", &["it writes 9223372036854775808 bytes at once", "permits 4096"]),
    ("huge-flushed-zeroes", &["it writes 9223372036854775808 bytes at once", "permits 4096"]),
    ("huge-random-bytes", &["it asks for 9223372036854775808 random bytes", "65536 are given"]),
    ("subscribe", &["wasi:io/streams@0.2.0", "output-stream.subscribe", "has not been defined"]),
    ("streams", &["handle limit exceeded"]),
];

#[test]
fn what_a_stream_permits_is_done_and_what_goes_beyond_is_a_trap_with_the_number() -> Result<()> {
    let bench = Bench::worst()?;
    all(PERMITTED.iter().map(|(action, said)| (*action, ensure_answers(&bench, action, said))))?;
    all(TRAPS.iter().map(|(action, words)| {
        let problem = pod(action, &Value::Null).and_then(|source| bench.fault(&source));
        (*action, problem.and_then(|problem| ensure_says(&problem, "PluginTrapped", "", words)))
    }))
}

fn ensure_answers(bench: &Bench, action: &str, said: &str) -> Result<()> {
    let answer = bench.answer(action, "")?;
    ensure!(answer == said, "it says {answer}");
    Ok(())
}

#[test]
fn what_is_printed_is_in_the_log_as_plain_lines() -> Result<()> {
    let bench = Bench::worst()?;
    let (answer, log) = logged(|| bench.answer("print", "one\n\u{1b}[31mtwo\nthree"));
    ensure!(answer? == "Ok(())", "it is not printed");
    for line in ["one", "two", "three"] {
        ensure!(log.matches(&format!("{line} plugin=")).count() == 1, "{line} is missing: {log}");
    }
    log.lines().try_for_each(ensure_one_line)?;
    ensure!(!log.contains(LEFT_OUT), "all of it is there: {log}");

    // A mapping of Secrets, or one that has looked one up, prints nothing that could be of it.
    let (_, log) = logged(|| bench.answer("print-secret", "db"));
    ensure!(log.contains("withheld") && !log.contains(super::bench::PLANTED_IN_BASE_64), "{log}");
    Ok(())
}

#[test]
fn a_flood_is_cut_with_a_note_and_the_call_is_answered() -> Result<()> {
    for (action, said) in [("print-flood", "0 failed, Ok(())"), ("print-long-line", "0 failed")] {
        // A plugin of its own for each: the note is not repeated at once.
        let bench = Bench::worst()?;
        let (answer, log) = logged(|| bench.answer(action, ""));
        let answer = answer?;
        ensure!(answer == said, "{action} was answered with {answer}");
        ensure!(log.contains(LEFT_OUT), "{action}: no note says that lines are missing");
        let lines: Vec<&str> = log.lines().collect();
        ensure!((100..LINES).contains(&lines.len()), "{action} made {} lines", lines.len());
        let longest = lines.iter().map(|line| line.len()).max().unwrap_or_default();
        ensure!(longest < LINE, "{action} made a line of {longest} bytes");
    }
    Ok(())
}

/// The host object is the one without the plugin's prints.
#[test]
fn a_mapping_that_prints_makes_the_object_that_it_makes_without() -> Result<()> {
    let bench = Bench::worst()?;
    let edit = json!({"metadata": {"labels": {"team": "a"}}});
    let host = bench.admitted(&pod("print-and-merge", &edit)?)?;
    ensure!(host.label("team") == Some("a"), "{}", host.into_json());
    Ok(())
}

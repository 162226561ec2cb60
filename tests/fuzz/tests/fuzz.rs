//! Runs every target: on what is known, and for some seconds on what libFuzzer makes of it.
#![expect(clippy::print_stdout, reason = "what was tried is part of the result")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use weft_fuzz::TARGETS;

/// How long each target runs; `WEFT_FUZZ_SECONDS` says otherwise.
const SECONDS: &str = "10";
/// Megabytes that a target may take: what it decodes is bounded.
const MEGABYTES: u32 = 1024;

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(folder: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, end)?);
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The golden objects as JSON: what a server would send.
fn golden() -> Result<Vec<String>> {
    let read = |path: &PathBuf| -> Result<String> {
        let object: Value = serde_saphyr::from_slice(&fs::read(path)?)?;
        Ok(object.to_string())
    };
    files(&folder("../../host/core/tests/golden"), ".virtual.yaml")?.iter().map(read).collect()
}

/// What a guest returns for each golden object: every verdict, and edits that go too far.
fn returned(golden: &[String]) -> Vec<String> {
    let problem = r#"{"reason":"Reason","message":"why","field":"/spec/containers/0/image"}"#;
    let kind = r#"{"group":"","version":"v1","kind":"Secret"}"#;
    let until = format!(r#"{{"kind":{kind},"namespace":"shop","name":"password"}}"#);
    let merge = r#""{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"hostNetwork\":true}}""#;
    let verdicts = [
        r#"{"Apply":"Unchanged"}"#.to_owned(),
        format!(r#"{{"Apply":{{"Merge":{merge}}}}}"#),
        format!(r#"{{"Apply":{{"Whole":{merge}}}}}"#),
        r#"{"Apply":{"Patch":"[{\"op\":\"remove\",\"path\":\"/spec\"}]"}}"#.to_owned(),
        format!(r#"{{"Skip":{problem}}}"#),
        format!(r#"{{"Reject":{problem}}}"#),
        format!(r#"{{"Wait":{{"problem":{problem},"until":[{until}],"after_ms":5}}}}"#),
    ];
    let event = r#"{"severity":"Warning","reason":"Reason","message":"two\nlines"}"#;
    let condition = r#"{"name":"Ready","status":true,"reason":"Reason","message":"m"}"#;
    let outcome = |verdict: &String| {
        format!(
            r#"{{"verdict":{verdict},"events":[{event}],"conditions":[{condition}],"extra":[["key","value"]]}}"#
        )
    };
    let pairs = golden.iter().zip(verdicts.iter().cycle());
    pairs
        .map(|(object, verdict)| format!(r#"{{"object":{object},"outcome":{}}}"#, outcome(verdict)))
        .collect()
}

/// What a target begins with.
fn seeds(target: &str) -> Result<Vec<String>> {
    let answers = [
        r#"{"metadata":{"labels":{"a":"b"},"annotations":{"c":"d"}},"spec":{"volumes":null,"hostNetwork":true}}"#,
        r#"[{"op":"add","path":"/spec/x","value":{"a":[1]}},{"op":"copy","from":"/metadata/labels","path":"/spec/y"},{"op":"remove","path":"/metadata/name"}]"#,
        r#"[{"op":"test","path":"/kind","value":"Pod"},{"op":"move","from":"/spec","path":"/status"},{"op":"replace","path":"","value":{}}]"#,
    ];
    let golden = golden()?;
    Ok(match target {
        "answer" => {
            let pairs = golden.iter().zip(answers.iter().cycle());
            pairs.map(|(object, answer)| format!("{object}\n{answer}")).collect()
        }
        "watch" => {
            let kinds = ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"].iter().cycle();
            let frames = golden.iter().zip(kinds);
            let frames = frames.map(|(object, kind)| format!(r#"{{"type":"{kind}","object":{object}}}"#));
            let list = format!(
                r#"{{"metadata":{{"resourceVersion":"7","continue":"x"}},"items":[{}]}}"#,
                golden.join(",")
            );
            frames.chain([list]).collect()
        }
        "guest" => returned(&golden),
        "object" => golden,
        _ => Vec::new(),
    })
}

/// What is kept for a target: seeds, and inputs for which a law did not hold once.
fn kept(target: &str) -> Result<Vec<PathBuf>> {
    let folder = folder("inputs").join(target);
    if folder.exists() { files(&folder, "") } else { Ok(Vec::new()) }
}

#[test]
fn laws_hold_for_all_that_is_known() -> Result<()> {
    for (name, target) in TARGETS {
        let (seeds, kept) = (seeds(name)?, kept(name)?);
        ensure!(seeds.len() + kept.len() > 0, "{name} has nothing to begin with");
        for seed in seeds {
            target(seed.as_bytes());
        }
        for path in kept {
            // A panic does not say which it was.
            println!("{}", path.display());
            target(&fs::read(path)?);
        }
    }
    Ok(())
}

macro_rules! fuzzed {
    ($($test:ident $target:literal)*) => {
        $(#[test]
        #[ignore = "needs instrumented code: `cargo verify fuzz`"]
        fn $test() -> Result<()> {
            fuzz($target)
        })*

        #[test]
        fn every_target_is_run() {
            let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$($target),*]);
        }
    };
}

fuzzed! {
    answers_of_plugins "answer"
    configurations_of_operators "configuration"
    what_guests_return "guest"
    names_of_objects "names"
    objects_of_tenants "object"
    bodies_of_watches "watch"
}

fn fuzz(target: &str) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let corpus = scratch.path().join("corpus");
    fs::create_dir(&corpus)?;
    for (number, seed) in seeds(target)?.iter().enumerate() {
        fs::write(corpus.join(format!("seed-{number}")), seed)?;
    }
    for (number, path) in kept(target)?.iter().enumerate() {
        fs::copy(path, corpus.join(format!("kept-{number}")))?;
    }
    let seconds = std::env::var("WEFT_FUZZ_SECONDS").unwrap_or_else(|_| SECONDS.to_owned());
    let output = Command::new(env!("CARGO_BIN_EXE_fuzz"))
        .env("WEFT_FUZZ_TARGET", target)
        .arg(&corpus)
        .args([format!("-max_total_time={seconds}"), format!("-rss_limit_mb={MEGABYTES}")])
        .args(["-timeout=10", "-max_len=16384", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", scratch.path().display()))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let found = files(scratch.path(), "")?.into_iter().find(|path| path.parent() == Some(scratch.path()));
        let found = found.map(fs::read).transpose()?.unwrap_or_default();
        bail!("{}\nput this input into inputs/{target}:\n{}", tail(&said), String::from_utf8_lossy(&found));
    }
    let done = said.lines().find(|line| line.contains("DONE")).unwrap_or_default();
    println!("{target}: {done}");
    Ok(())
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().rev().take(40).rev().copied().collect::<Vec<_>>().join("\n")
}

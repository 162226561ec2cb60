//! Events, conditions, problems and log lines of plugins: limits, and escaping.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use weft_core::verdict::Hold;

use super::bench::{Bench, ensure_one_line, ensure_plain, pod};

/// Most events or conditions of one outcome.
const MOST: usize = 8;

/// The result of `run`, and what it has logged.
pub(super) fn logged<T>(run: impl FnOnce() -> T) -> (T, String) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .finish();
    let result = tracing::subscriber::with_default(subscriber, run);
    let bytes = log.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (result, String::from_utf8_lossy(&bytes).into_owned())
}

/// Collects log output.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_problem_is_one_plain_line_with_a_valid_reason() -> Result<()> {
    let translated = Bench::new()?.to_host(&pod("ugly", &Value::Null)?)?;
    let Err(Hold::Reject(problem)) = translated.result else { bail!("it is not rejected") };
    ensure_plain(&problem.why)?;
    ensure_plain(problem.field.as_deref().context("the problem has a field")?)?;
    let is_plain = problem.reason.bytes().all(|byte| byte.is_ascii_alphanumeric());
    ensure!(is_plain && problem.reason.len() <= 64, "the reason is {:?}", problem.reason);
    Ok(())
}

#[test]
fn a_flood_of_events_is_cut_to_a_few_plain_ones() -> Result<()> {
    let translated = Bench::new()?.to_host(&pod("event-flood", &Value::Null)?)?;
    ensure!(translated.result.is_ok(), "{:?}", translated.result);
    let (events, _) = translated.notes.into_parts();
    ensure!(events.len() == MOST, "there are {} events", events.len());
    for event in &events {
        ensure_plain(&event.message)?;
        ensure!(
            event.by.plugin() == Some("guest") && event.reason == "Flood2J0owned31mfakeline",
            "{event:?}"
        );
    }
    Ok(())
}

#[test]
fn the_type_of_a_condition_begins_with_the_plugins_name() -> Result<()> {
    let bench = Bench::new()?;
    for name in ["Ready", "other.plugins.weft.dev/Ready", "weft.dev/Synced", ""] {
        let translated = bench.to_host(&pod("condition-forged", &json!(name))?)?;
        let noted = translated.notes.noted_conditions();
        ensure!(noted.keys().eq(["guest"]), "conditions of others are set: {:?}", noted.keys());
        let conditions: Vec<_> = noted.values().flatten().collect();
        ensure!(conditions.len() == MOST, "there are {} conditions", conditions.len());
        for condition in conditions {
            let own =
                condition.kind.strip_prefix("guest.plugins.weft.dev/").context("the prefix is missing")?;
            ensure!(own.bytes().all(|byte| byte.is_ascii_alphanumeric()), "the type is {:?}", condition.kind);
            ensure_plain(&condition.message)?;
        }
    }
    Ok(())
}

#[test]
fn a_plugin_that_waits_for_nothing_is_called_again_after_a_second() -> Result<()> {
    let bench = Bench::new()?;
    for action in ["wait-zero", "wait-for-ever", "wait-for-much"] {
        let translated = bench.to_host(&pod(action, &json!("soon"))?)?;
        let Err(Hold::Wait(wait)) = translated.result else { bail!("{action}: it does not wait") };
        let after = wait.after.with_context(|| format!("{action}: nothing requeues the object"))?;
        ensure!(after.as_millis() >= 1000, "{action}: it is called again after {after:?}");
        ensure!(wait.until.is_empty(), "{action}: impossible names are kept");
    }
    Ok(())
}

#[test]
fn log_lines_are_escaped_and_limited() -> Result<()> {
    let bench = Bench::new()?;
    let (_, log) = logged(|| bench.to_host(&pod("log", &json!("all is well"))?));
    ensure!(log.contains("all is well") && log.contains("Pod shop/web"), "{log}");

    let (_, log) = logged(|| bench.to_host(&pod("ugly-log", &Value::Null)?));
    let [line] = log.lines().collect::<Vec<_>>()[..] else { bail!("there are more lines than one: {log:?}") };
    ensure_one_line(line)?;
    ensure!(line.len() < 5000, "it has {} bytes", line.len());

    let (_, log) = logged(|| bench.to_host(&pod("log-flood", &Value::Null)?));
    let lines = log.lines().filter(|line| line.contains("flood ")).count();
    // Tokens are refilled every second, for as long as the call lasts.
    ensure!((1..2000).contains(&lines), "{lines} lines of 10000 are in the log");
    ensure!(log.contains("lines are left out"), "the log does not say that it is not all: {log}");
    Ok(())
}

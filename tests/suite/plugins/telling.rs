//! What a plugin can say: to the tenant, and to the operator's log.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use weft_core::verdict::Hold;

use super::bench::{Bench, ensure_one_line, ensure_plain, pod};

/// What one answer may tell.
const TOLD: usize = 8;

/// What `run` gives, and what is logged meanwhile.
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

/// Collects what is logged.
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
fn a_problem_is_told_in_one_plain_line_with_a_reason_that_the_api_takes() -> Result<()> {
    let translated = Bench::new()?.to_host(&pod("ugly", &Value::Null)?)?;
    let Err(Hold::Reject(problem)) = translated.result else { bail!("it is not rejected") };
    ensure_plain(&problem.why)?;
    ensure_plain(problem.field.as_deref().context("the field is told")?)?;
    let is_plain = problem.reason.bytes().all(|byte| byte.is_ascii_alphanumeric());
    ensure!(is_plain && problem.reason.len() <= 64, "the reason is {:?}", problem.reason);
    Ok(())
}

#[test]
fn a_flood_of_events_is_cut_to_a_few_plain_ones() -> Result<()> {
    let translated = Bench::new()?.to_host(&pod("event-flood", &Value::Null)?)?;
    ensure!(translated.result.is_ok(), "{:?}", translated.result);
    let (events, _) = translated.notes.into_parts();
    ensure!(events.len() == TOLD, "there are {} events", events.len());
    for event in &events {
        ensure_plain(&event.message)?;
        ensure!(event.by == "guest" && event.reason == "Flood2J0owned31mfakeline", "{event:?}");
    }
    Ok(())
}

#[test]
fn a_condition_bears_the_name_of_the_plugin_whatever_it_calls_itself() -> Result<()> {
    let bench = Bench::new()?;
    for name in ["Ready", "other.plugins.weft.dev/Ready", "weft.dev/Synced", ""] {
        let translated = bench.to_host(&pod("condition-forged", &json!(name))?)?;
        let noted = translated.notes.noted_conditions();
        ensure!(noted.keys().eq(["guest"]), "it speaks for others: {:?}", noted.keys());
        let conditions: Vec<_> = noted.values().flatten().collect();
        ensure!(conditions.len() == TOLD, "there are {} conditions", conditions.len());
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
fn a_plugin_that_waits_for_nothing_is_not_asked_again_at_once() -> Result<()> {
    let bench = Bench::new()?;
    for deed in ["wait-zero", "wait-for-ever", "wait-for-much"] {
        let translated = bench.to_host(&pod(deed, &json!("soon"))?)?;
        let Err(Hold::Wait(wait)) = translated.result else { bail!("{deed}: it does not wait") };
        let after = wait.after.with_context(|| format!("{deed}: nothing wakes it"))?;
        ensure!(after.as_millis() >= 1000, "{deed}: it is asked again after {after:?}");
        ensure!(wait.until.is_empty(), "{deed}: names that nobody can have are kept");
    }
    Ok(())
}

#[test]
fn a_plugin_can_log_but_neither_forge_lines_nor_flood() -> Result<()> {
    let bench = Bench::new()?;
    let (_, log) = logged(|| bench.to_host(&pod("log", &json!("all is well"))?));
    ensure!(log.contains("all is well") && log.contains("Pod shop/web"), "{log}");

    let (_, log) = logged(|| bench.to_host(&pod("ugly-log", &Value::Null)?));
    let [line] = log.lines().collect::<Vec<_>>()[..] else { bail!("there are more lines than one: {log:?}") };
    ensure_one_line(line)?;
    ensure!(line.len() < 5000, "it has {} bytes", line.len());

    let (_, log) = logged(|| bench.to_host(&pod("log-flood", &Value::Null)?));
    let lines = log.lines().filter(|line| line.contains("flood ")).count();
    // What was written of the last lines' tokens comes back by the second, for as long as a call may last.
    ensure!((1..2000).contains(&lines), "{lines} lines of 10000 are in the log");
    Ok(())
}

//! What each store of a virtual cluster bears: one API server on each in turn, and more and more writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use kube::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use weft_tests::binaries::{self, Programs};
use weft_tests::planes::{Component, Options, Plane, Role, Store};
use weft_tests::scratch::Scratch;

use crate::report::{Limit, Report, Row, say};
use crate::statistics::{ms, quantile};
use crate::usage;

/// Writers at once, and how many objects they create in all: enough for a p99, few enough for a minute a store.
const LEVELS: [(u32, u32); 4] = [(1, 500), (10, 2000), (50, 4000), (200, 4000)];
/// Where nothing may fail on the default store.
const JUDGED: u32 = 50;
/// With its frame an object of one kilobyte.
const PAYLOAD: usize = 900;
const MB: f64 = 1e6;

/// One store at one level.
struct Outcome {
    store: &'static str,
    writers: u32,
    objects: u32,
    took: Duration,
    /// In milliseconds, of the writes that succeeded.
    latencies: Vec<f64>,
    errors: Vec<String>,
    cpu: Duration,
    resident: u32,
}

/// What the writers of one level share.
struct Load {
    client: Client,
    path: String,
    prefix: &'static str,
    objects: u32,
    next: AtomicU32,
}

/// Measures every store that this machine can run.
pub(crate) async fn measure(programs: &Programs, report: &mut Report) -> Result<()> {
    let mut stores = vec![("SQLite (kine, pure Go)", Store::Kine), ("etcd", Store::DurableEtcd)];
    match binaries::kine_with_cgo().await {
        Ok(kine) => stores.insert(1, ("SQLite (kine, C)", Store::OtherKine(kine))),
        Err(reason) => report.note(format!("kine with the C library of SQLite was skipped: {reason:#}")),
    }
    let mut outcomes = Vec::new();
    for (name, store) in stores {
        say(&format!("an API server on {name}"));
        outcomes.extend(of_store(programs, name, &store).await?);
    }
    for outcome in outcomes.iter().filter(|outcome| !outcome.errors.is_empty()) {
        report.note(outcome.failure());
    }
    report.add(judged(&outcomes));
    let rows: Vec<Value> = outcomes.iter().map(Outcome::json).collect();
    report.section("storage", table(&outcomes), rows.into());
    Ok(())
}

async fn of_store(programs: &Programs, name: &'static str, store: &Store) -> Result<Vec<Outcome>> {
    let scratch = Scratch::new()?;
    let plane = Plane::start(Options {
        role: Role::Virtual,
        programs: programs.clone(),
        store: store.clone(),
        dir: scratch.path().join("plane"),
        extra: Vec::new(),
    })
    .await?;
    // Its own writes are not what is measured.
    plane.stop_component(Component::ControllerManager).await?;
    let mut outcomes = Vec::new();
    for (writers, objects) in LEVELS {
        let outcome = of_level(&plane, name, writers, objects).await?;
        say(&outcome.line());
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

async fn of_level(plane: &Plane, store: &'static str, writers: u32, objects: u32) -> Result<Outcome> {
    let client = plane.client_as("bench").await?;
    let namespace = format!("writers-{writers}");
    let body = json!({"metadata": {"name": namespace}}).to_string();
    post(&client, "/api/v1/namespaces", body).await.context("failed to create the namespace")?;
    // Every writer has its connection before the clock starts.
    run(&client, &namespace, "first", writers, writers).await?;
    let pid = *plane.pids().get(&Component::Store).context("the store does not run")?;
    let (started, before) = (Instant::now(), usage::cpu(pid)?);
    let (latencies, errors) = run(&client, &namespace, "object", writers, objects).await?;
    let took = started.elapsed();
    let cpu = usage::cpu(pid)?.saturating_sub(before);
    Ok(Outcome { store, writers, objects, took, latencies, errors, cpu, resident: usage::resident(pid)? })
}

/// So many writers create so many objects: latencies of what succeeded, and what failed said.
async fn run(
    client: &Client,
    namespace: &str,
    prefix: &'static str,
    writers: u32,
    objects: u32,
) -> Result<(Vec<f64>, Vec<String>)> {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let load = Arc::new(Load { client: client.clone(), path, prefix, objects, next: AtomicU32::new(0) });
    let mut tasks = JoinSet::new();
    for _ in 0..writers {
        let load = Arc::clone(&load);
        tasks.spawn(async move { load.write().await });
    }
    let (mut latencies, mut errors) = (Vec::new(), Vec::new());
    while let Some(writer) = tasks.join_next().await {
        let (seen, failed) = writer?;
        latencies.extend(seen);
        errors.extend(failed);
    }
    Ok((latencies, errors))
}

impl Load {
    /// One writer: the next object when the last one is answered, until none is left.
    async fn write(&self) -> (Vec<f64>, Vec<String>) {
        let (mut latencies, mut errors) = (Vec::new(), Vec::new());
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.objects {
                return (latencies, errors);
            }
            let body = object(&format!("{}-{number}", self.prefix));
            let sent = Instant::now();
            match post(&self.client, &self.path, body).await {
                Ok(()) => latencies.push(ms(sent.elapsed())),
                Err(error) => errors.push(format!("{error:#}")),
            }
        }
    }
}

fn object(name: &str) -> String {
    json!({"metadata": {"name": name}, "data": {"payload": "x".repeat(PAYLOAD)}}).to_string()
}

async fn post(client: &Client, path: &str, body: String) -> Result<()> {
    let request = http::Request::post(path).header("Content-Type", "application/json").body(body.into())?;
    client.request_text(request).await?;
    Ok(())
}

fn judged(outcomes: &[Outcome]) -> Row {
    let of_default = outcomes.iter().find(|outcome| outcome.writers == JUDGED);
    let (errors, objects) = of_default.map_or((f64::NAN, 0), |outcome| (outcome.failed(), outcome.objects));
    Row {
        key: "sqlite_errors_50_writers",
        what: "errors at 50 writers on SQLite (pure Go)",
        values: vec![("value", errors)],
        pods: objects,
        limits: vec![Limit::AtMost { must: 0.0, aim: 0.0 }],
    }
}

fn table(outcomes: &[Outcome]) -> String {
    let head = format!(
        "{:24} {:>8} {:>9} {:>9} {:>9} {:>7} {:>8} {:>8}\n",
        "store", "writers", "writes/s", "p50 ms", "p99 ms", "errors", "CPU s", "RSS MB"
    );
    let lines = outcomes.iter().map(|outcome| outcome.line() + "\n");
    head + &lines.collect::<String>()
}

impl Outcome {
    fn rate(&self) -> f64 {
        (f64::from(self.objects) - self.failed()) / self.took.as_secs_f64()
    }

    fn failed(&self) -> f64 {
        f64::from(u32::try_from(self.errors.len()).unwrap_or(u32::MAX))
    }

    fn line(&self) -> String {
        format!(
            "{:24} {:8} {:9.0} {:9.1} {:9.1} {:7} {:8.2} {:8.0}",
            self.store,
            self.writers,
            self.rate(),
            quantile(&self.latencies, 50),
            quantile(&self.latencies, 99),
            self.errors.len(),
            self.cpu.as_secs_f64(),
            f64::from(self.resident) / MB
        )
    }

    fn json(&self) -> Value {
        json!({
            "store": self.store,
            "writers": self.writers,
            "writes": self.objects,
            "writes_per_s": self.rate(),
            "p50_ms": quantile(&self.latencies, 50),
            "p99_ms": quantile(&self.latencies, 99),
            "errors": self.errors.len(),
            "store_cpu_s": self.cpu.as_secs_f64(),
            "store_rss_mb": f64::from(self.resident) / MB,
        })
    }

    fn failure(&self) -> String {
        let first = self.errors.first().map_or("", String::as_str);
        format!(
            "{} at {} writers: {} writes failed, the first by {first}",
            self.store,
            self.writers,
            self.errors.len()
        )
    }
}

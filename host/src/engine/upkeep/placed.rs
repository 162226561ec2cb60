//! Records on the host which pods it has placed, while the virtual API server cannot be written to.
//!
//! Such a pod may have run, and only the syncer knows: after a restart it would be created a second time once the host
//! has lost it. The record is an annotation of the host Service of the virtual API server, so it goes with the virtual cluster
//! and holds up nothing. It is written only when a binding has failed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::debug;
use weft_core::change::Change;
use weft_core::keys::PLACED;
use weft_core::names::HostName;
use weft_core::object::{Host, HostObject, Kind};
use weft_core::plan;

use crate::api::{self, Api};
use crate::engine::apply::Writer;
use crate::engine::cache::state::State;
use crate::engine::resources::services;

/// After a write that failed.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is checked whether the caches are complete.
const SYNCED: Duration = Duration::from_millis(100);
/// All annotations of an object have 256 KiB; a UID has 36 characters.
const MOST: usize = 4000;

/// Keeps the record.
pub(crate) struct PlacedRecord {
    pub(crate) state: Arc<State>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) host: Api<Host>,
    /// Name of the host Service of the virtual API server.
    pub(crate) service: String,
    pub(crate) ready: watch::Receiver<bool>,
}

/// Takes what a syncer before this one has recorded on the Service.
pub(crate) fn recall(state: &State, service: &HostObject) {
    let recorded = service.annotation(PLACED).unwrap_or_default();
    recorded.split(',').filter(|uid| !uid.is_empty()).for_each(|uid| state.bindings.failed(uid));
}

impl PlacedRecord {
    /// Brings the record up to date whenever a binding fails or is made good, for ever.
    pub(crate) async fn keep(mut self) {
        if self.ready.wait_for(|ready| *ready).await.is_err() {
            return;
        }
        while !self.state.is_synced() {
            tokio::time::sleep(SYNCED).await;
        }
        if !self.state.bindings.all_failed().is_empty() {
            self.state.bindings.keep_failed(&self.unbound());
        }
        loop {
            self.state.bindings.changed().await;
            while let Err(error) = self.write().await {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "failed to record pods whose bindings failed; trying again"
                );
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// The UIDs of the virtual pods that show no place.
    fn unbound(&self) -> HashSet<String> {
        let mut unbound = HashSet::new();
        if let Some(pods) = self.state.synced(&Kind::new("v1/Pod")) {
            pods.r#virtual.each("", &mut |pod| {
                if !plan::has_run(pod) {
                    unbound.insert(pod.uid().to_owned());
                }
            });
        }
        unbound
    }

    async fn write(&self) -> Result<(), api::Error> {
        let service = self.host.get(&services(), self.state.names.namespace(), &self.service).await?;
        let failed: Vec<String> = self.state.bindings.all_failed().into_iter().take(MOST).collect();
        let record = failed.join(",");
        if service.annotation(PLACED).unwrap_or_default() == record {
            return Ok(());
        }
        let record = if record.is_empty() { Value::Null } else { record.into() };
        let change = Change::merge(json!({"metadata": {"annotations": {PLACED: record}}}));
        let name = HostName::of(&service);
        self.writer.patch_host(&services(), &name, service.uid(), &change).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    use http::Method;

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::testing::{Bench, echo, pod, settle};

    const PATCH: &str = "PATCH /api/v1/namespaces/team-a/services/vc";

    /// A host whose Service keeps its record, and a recorder that runs.
    fn recording(recorded: &str) -> (Bench, tokio::task::JoinHandle<()>) {
        let record = Mutex::new(json!(recorded));
        let on_host = move |asked: &Asked| {
            let mut record = record.lock().unwrap();
            if asked.method == Method::PATCH {
                *record = asked.body["metadata"]["annotations"][PLACED].clone();
                return echo(asked);
            }
            Answer::ok(
                json!({"metadata": {"name": "vc", "uid": "uid-service", "annotations": {PLACED: *record}}}),
            )
        };
        let bench = Bench::new(on_host, echo);
        let service = json!({"metadata": {"annotations": {PLACED: recorded}}});
        recall(&bench.state, &HostObject::from_json(service).unwrap());
        let record = PlacedRecord {
            state: bench.state.clone(),
            writer: bench.writer.clone(),
            host: bench.host.clone(),
            service: "vc".to_owned(),
            ready: watch::Sender::new(true).subscribe(),
        };
        (bench, tokio::spawn(record.keep()))
    }

    fn records(bench: &Bench) -> Vec<Value> {
        let patches = bench.host_requests.bodies(&Method::PATCH);
        patches.iter().map(|patch| patch["metadata"]["annotations"][PLACED].clone()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_binding_that_fails_is_recorded_until_it_is_made_good() {
        let (bench, task) = recording("");
        settle().await;
        assert_eq!(records(&bench), Vec::<Value>::new(), "nothing is written while all is well");
        bench.state.bindings.failed("uid-1");
        settle().await;
        bench.state.bindings.failed("uid-2");
        settle().await;
        bench.state.bindings.shown("uid-1");
        bench.state.bindings.accepted("uid-2");
        settle().await;
        assert_eq!(records(&bench), [json!("uid-1"), json!("uid-1,uid-2"), Value::Null]);
        assert_eq!(bench.host_requests.lines().iter().filter(|line| *line == PATCH).count(), 3);
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_recorded_before_a_restart_counts_while_the_pod_is_there_and_unbound() {
        let (bench, task) = recording("uid-gone,uid-1");
        bench.put_virtual("v1/Pod", pod());
        settle().await;
        assert!(bench.state.bindings.was_placed("uid-1"));
        assert!(!bench.state.bindings.was_placed("uid-gone"));
        assert_eq!(records(&bench), [json!("uid-1")]);
        task.abort();
    }
}

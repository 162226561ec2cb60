//! The state of a virtual cluster in a few facts, for `weft list` and `weft status`.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde::Serialize;

use crate::cluster::events::Happened;
use crate::cluster::host::Host;
use crate::cluster::progress::{Seen, Step};
use crate::cluster::{Place, VERSION_LABEL, cause, find};

/// More warnings than these fill the screen.
const WARNINGS: usize = 5;

/// One virtual cluster, as its StatefulSet shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Its name and host namespace.
    #[serde(flatten)]
    pub place: Place,
    /// Whether it serves.
    pub state: State,
    /// The version of weft.
    pub version: String,
    /// When it was created.
    pub created: Option<Timestamp>,
}

/// Whether a virtual cluster serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum State {
    /// All of its pods are ready.
    Ready,
    /// Some are not: it starts, or something is wrong.
    NotReady,
    /// It is to have no pods.
    ScaledToZero,
    /// It is being deleted.
    Deleting,
}

impl State {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::NotReady => "Not ready",
            Self::ScaledToZero => "Scaled to zero",
            Self::Deleting => "Deleting",
        }
    }
}

/// One virtual cluster, with its pod, its storage and what went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// As in the list.
    #[serde(flatten)]
    pub summary: Summary,
    /// Whether the virtual API server answers.
    pub api_server_ready: bool,
    /// Whether the syncer has filled its caches.
    pub syncer_ready: bool,
    /// Since when its pod is ready.
    pub ready_since: Option<Timestamp>,
    /// What it waits for, if it is not ready and that can be seen.
    pub waiting_for: Option<String>,
    /// The containers of its pod.
    pub containers: Vec<Container>,
    /// Its volume.
    pub storage: Option<Storage>,
    /// The last warnings of the host about it, oldest first.
    pub warnings: Vec<Warning>,
}

/// A container of the control plane's pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Whether it is ready; of the init container, whether it is done.
    pub ready: bool,
    /// Such as `running` or `CrashLoopBackOff`.
    pub state: String,
    /// How often it was restarted.
    pub restarts: i32,
}

/// The volume claim of the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Its name.
    pub claim: String,
    /// Such as `Bound`.
    pub phase: String,
    /// What there is, or else what was asked for.
    pub size: Option<String>,
    /// The StorageClass.
    pub class: Option<String>,
}

/// A warning event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Warning {
    /// When it happened last.
    pub at: Option<Timestamp>,
    /// Kind and name of the object.
    pub object: String,
    /// Its reason.
    pub reason: String,
    /// Its message.
    pub message: String,
}

impl Summary {
    /// The facts that a StatefulSet shows.
    pub fn of(set: &StatefulSet) -> Self {
        let wanted = set.spec.replicas.unwrap_or(1);
        let ready = set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default();
        let state = if set.metadata.deletion_timestamp.is_some() {
            State::Deleting
        } else if wanted == 0 {
            State::ScaledToZero
        } else if ready >= wanted {
            State::Ready
        } else {
            State::NotReady
        };
        let version = set.labels().get(VERSION_LABEL).cloned().unwrap_or_default();
        Self { place: find::place(set), state, version, created: set.creation_timestamp().map(|time| time.0) }
    }
}

impl Status {
    /// Reads what there is of the virtual cluster of `set`.
    pub async fn read(host: &Host, set: &StatefulSet) -> Self {
        let place = find::place(set);
        let seen = Seen::read(host, &place).await;
        let cause = match unfinished(&seen) {
            Some(step) => cause::of(host, &place, &seen, step).await,
            None => None,
        };
        Self { waiting_for: cause, ..Self::of(set, &seen) }
    }

    /// The facts of `set` and of what else is seen.
    fn of(set: &StatefulSet, seen: &Seen) -> Self {
        let statuses = seen.pod.as_ref().and_then(|pod| pod.status.as_ref());
        let init = statuses.and_then(|status| status.init_container_statuses.as_ref());
        let containers = statuses.and_then(|status| status.container_statuses.as_ref());
        let warnings: Vec<Warning> =
            seen.events.iter().filter(|event| event.is_warning).map(warning).collect();
        Self {
            summary: Summary::of(set),
            api_server_ready: seen.is_ready("api"),
            syncer_ready: seen.is_ready("syncer"),
            ready_since: seen.ready_since(),
            waiting_for: unfinished(seen).and_then(|step| seen.waiting_for(step)),
            containers: init.into_iter().chain(containers).flatten().map(container).collect(),
            storage: seen.claim.as_ref().map(storage),
            warnings: warnings.iter().skip(warnings.len().saturating_sub(WARNINGS)).cloned().collect(),
        }
    }
}

/// The first step that is not done. An installation may be without a DNS.
fn unfinished(seen: &Seen) -> Option<Step> {
    Step::all(false).iter().copied().find(|step| !seen.has(*step))
}

fn container(status: &ContainerStatus) -> Container {
    let state = status.state.clone().unwrap_or_default();
    let state = match (state.waiting, state.terminated) {
        (Some(waiting), _) => waiting.reason.unwrap_or_else(|| "waiting".to_owned()),
        (None, Some(ended)) => ended.reason.unwrap_or_else(|| format!("exit code {}", ended.exit_code)),
        (None, None) if state.running.is_some() => "running".to_owned(),
        (None, None) => "waiting".to_owned(),
    };
    Container { name: status.name.clone(), ready: status.ready, state, restarts: status.restart_count }
}

fn storage(claim: &PersistentVolumeClaim) -> Storage {
    let status = claim.status.clone().unwrap_or_default();
    let spec = claim.spec.clone().unwrap_or_default();
    let asked = spec.resources.and_then(|resources| resources.requests);
    let size = status.capacity.or(asked).and_then(|sizes| sizes.get("storage").map(|size| size.0.clone()));
    Storage {
        claim: claim.name_any(),
        phase: status.phase.unwrap_or_else(|| "Pending".to_owned()),
        size,
        class: spec.storage_class_name,
    }
}

fn warning(event: &Happened) -> Warning {
    Warning {
        at: event.at,
        object: format!("{} {}", event.kind, event.name),
        reason: event.reason.clone(),
        message: event.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(replicas: i32, ready: i32, deleted: Option<&str>) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "one", "namespace": "team-a", "labels": {VERSION_LABEL: "0.1.0"}, "deletionTimestamp": deleted},
            "spec": {"replicas": replicas, "selector": {}, "serviceName": "", "template": {}},
            "status": {"replicas": replicas, "readyReplicas": ready},
        }))
        .unwrap()
    }

    #[test]
    fn a_cluster_is_ready_if_all_its_pods_are() {
        let state = |replicas, ready| Summary::of(&set(replicas, ready, None)).state;
        assert_eq!(
            [state(1, 1), state(3, 2), state(0, 0)],
            [State::Ready, State::NotReady, State::ScaledToZero]
        );
        assert_eq!(Summary::of(&set(1, 1, Some("2026-01-01T00:00:00Z"))).state, State::Deleting);
        assert_eq!(Summary::of(&set(1, 1, None)).version, "0.1.0");
    }

    #[test]
    fn a_status_shows_containers_storage_and_the_last_warnings() {
        let container = |name: &str, state: Value| json!({"name": name, "ready": false, "image": "", "imageID": "", "restartCount": 2, "state": state});
        let pod = json!({"metadata": {"name": "one-0"}, "status": {
            "initContainerStatuses": [container("init", json!({"terminated": {"exitCode": 0, "reason": "Completed"}}))],
            "containerStatuses": [container("api", json!({"waiting": {"reason": "CrashLoopBackOff"}}))],
        }});
        let claim = json!({"metadata": {"name": "data-one-0"}, "spec": {"storageClassName": "fast",
            "resources": {"requests": {"storage": "1Gi"}}}});
        let event = |number: usize| Happened {
            at: None,
            is_warning: number != 3,
            kind: "Pod".to_owned(),
            name: "one-0".to_owned(),
            reason: "BackOff".to_owned(),
            message: number.to_string(),
        };
        let seen = Seen {
            pod: serde_json::from_value(pod).unwrap(),
            claim: serde_json::from_value(claim).unwrap(),
            events: (0..8).map(event).collect(),
            ..Seen::default()
        };
        let status = Status::of(&set(1, 0, None), &seen);
        let names: Vec<&str> = status.containers.iter().map(|container| container.state.as_str()).collect();
        assert_eq!(names, ["Completed", "CrashLoopBackOff"]);
        let storage = status.storage.unwrap();
        assert_eq!((storage.phase.as_str(), storage.size.as_deref()), ("Pending", Some("1Gi")));
        let messages: Vec<&str> = status.warnings.iter().map(|warning| warning.message.as_str()).collect();
        assert_eq!(messages, ["2", "4", "5", "6", "7"]);
    }
}

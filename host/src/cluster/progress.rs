//! How far a starting virtual cluster is, and what it waits for: read off its pod and its events.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use weft_core::keys::{CLUSTER_LABEL, NAMESPACE_LABEL};

use crate::cluster::Place;
use crate::cluster::events::{self, Happened};
use crate::cluster::host::Host;

/// What a virtual cluster passes through, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The pod has a node.
    Scheduled,
    /// The init container has made keys and launch files; its image is pulled and the volumes are mounted.
    Initialized,
    /// Every container has started; all images are pulled.
    Started,
    /// The virtual API server answers.
    ApiServer,
    /// The syncer has filled its caches.
    Syncer,
    /// The virtual cluster's CoreDNS answers.
    Dns,
}

impl Step {
    /// All of them, or without the last one for a virtual cluster that is not to have a DNS of its own.
    pub fn all(with_dns: bool) -> &'static [Self] {
        const ALL: &[Step] =
            &[Step::Scheduled, Step::Initialized, Step::Started, Step::ApiServer, Step::Syncer, Step::Dns];
        if with_dns { ALL } else { ALL.split_last().map_or(ALL, |(_, before)| before) }
    }

    /// What is true when it is done.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "control plane pod scheduled",
            Self::Initialized => "control plane initialized",
            Self::Started => "images pulled, containers started",
            Self::ApiServer => "API server ready",
            Self::Syncer => "syncer ready",
            Self::Dns => "DNS ready",
        }
    }
}

/// What is seen of a virtual cluster on the host at one moment.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Its StatefulSet.
    pub set: Option<StatefulSet>,
    /// The pod of the control plane.
    pub pod: Option<Pod>,
    /// Its volume claim.
    pub claim: Option<PersistentVolumeClaim>,
    /// Host pods of its CoreDNS.
    pub dns: Vec<Pod>,
    /// Events about the above, oldest first.
    pub events: Vec<Happened>,
}

impl Seen {
    /// Looks at everything. What cannot be read is left out.
    pub async fn read(host: &Host, place: &Place) -> Self {
        let sets: Api<StatefulSet> = Api::namespaced(host.client.clone(), &place.namespace);
        let pods: Api<Pod> = Api::namespaced(host.client.clone(), &place.namespace);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(host.client.clone(), &place.namespace);
        let (pod, claim) = (format!("{}-0", place.name), format!("data-{}-0", place.name));
        let dns = format!("{CLUSTER_LABEL}={},{NAMESPACE_LABEL}=kube-system,k8s-app=kube-dns", place.name);
        let dns = ListParams::default().labels(&dns);
        let (set, pod, claim, dns, events) = tokio::join!(
            sets.get_opt(&place.name),
            pods.get_opt(&pod),
            claims.get_opt(&claim),
            pods.list(&dns),
            events::read(host, place),
        );
        Self {
            set: set.ok().flatten(),
            pod: pod.ok().flatten(),
            claim: claim.ok().flatten(),
            dns: dns.map(|list| list.items).unwrap_or_default(),
            events,
        }
    }

    /// Whether the pod is the one that the StatefulSet wants now, not one from before an upgrade.
    pub fn is_current(&self) -> bool {
        let Some(set) = &self.set else { return true };
        let Some(status) = &set.status else { return false };
        let revision = |pod: &Pod| pod.labels().get("controller-revision-hash").cloned();
        status.observed_generation == set.metadata.generation
            && self.pod.as_ref().is_some_and(|pod| revision(pod) == status.update_revision)
    }

    /// Whether a step is done.
    pub fn has(&self, step: Step) -> bool {
        match step {
            Step::Scheduled => self.condition("PodScheduled"),
            Step::Initialized => self.condition("Initialized"),
            Step::Started => {
                let mut containers = self.containers().peekable();
                containers.peek().is_some() && containers.all(has_started)
            }
            Step::ApiServer => self.is_ready("api"),
            Step::Syncer => self.is_ready("syncer"),
            Step::Dns => self.dns.iter().any(|pod| condition(pod, "Ready")),
        }
    }

    /// Whether the container `name` is ready.
    pub fn is_ready(&self, name: &str) -> bool {
        self.containers().any(|container| container.name == name && container.ready)
    }

    /// Since when the pod is ready.
    pub fn ready_since(&self) -> Option<Timestamp> {
        let conditions = self.pod.as_ref()?.status.as_ref()?.conditions.as_ref()?;
        let ready =
            conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
        ready.last_transition_time.as_ref().map(|time| time.0)
    }

    /// What a step waits for, if that can be seen.
    pub fn waiting_for(&self, step: Step) -> Option<String> {
        let Some(pod) = &self.pod else { return self.warning("StatefulSet") };
        match step {
            Step::Scheduled => self.claim_problem().or_else(|| unscheduled(pod)),
            Step::Initialized => self.container_problem(true),
            Step::Started => self.container_problem(false),
            Step::ApiServer => self.not_ready(&["store", "api"]),
            Step::Syncer => self.not_ready(&["syncer"]),
            Step::Dns => Some(match self.dns.first() {
                None => "the syncer has created no pod of CoreDNS yet".to_owned(),
                Some(pod) => unscheduled(pod)
                    .or_else(|| statuses(pod, false).find_map(waiting))
                    .unwrap_or_else(|| format!("pod {} is not ready", pod.name_any())),
            }),
        }
    }

    /// Whether the container `name` runs.
    pub fn runs(&self, name: &str) -> bool {
        let is_running = |state: &ContainerState| state.running.is_some();
        self.containers()
            .any(|container| container.name == name && container.state.as_ref().is_some_and(is_running))
    }

    /// How containers of the pod failed that are not ready since.
    pub fn failures(&self) -> Vec<String> {
        let containers = self.pod.iter().flat_map(|pod| statuses(pod, true).chain(statuses(pod, false)));
        containers.filter(|container| !container.ready).filter_map(failure).collect()
    }

    fn condition(&self, kind: &str) -> bool {
        self.pod.as_ref().is_some_and(|pod| condition(pod, kind))
    }

    fn containers(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.pod.iter().flat_map(|pod| statuses(pod, false))
    }

    fn container_problem(&self, init: bool) -> Option<String> {
        let pod = self.pod.as_ref()?;
        let problem = statuses(pod, init).find_map(waiting);
        // "ContainerCreating" says nothing; the last event does: pulling an image, or a volume that is not mounted.
        problem.or_else(|| self.last("Pod").map(|event| event.message.clone()))
    }

    fn not_ready(&self, names: &[&str]) -> Option<String> {
        let mut containers = self.containers().filter(|container| names.contains(&container.name.as_str()));
        let container = containers.find(|container| !container.ready)?;
        let failed = failure(container).or_else(|| waiting(container));
        Some(failed.unwrap_or_else(|| format!("container {} runs and is not ready yet", container.name)))
    }

    fn claim_problem(&self) -> Option<String> {
        let claim = self.claim.as_ref()?;
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase == Some("Bound") {
            return None;
        }
        // A claim that waits for its pod to be scheduled has an event that says so, which is no problem.
        self.warning("PersistentVolumeClaim").map(|why| format!("volume claim {}: {why}", claim.name_any()))
    }

    fn warning(&self, kind: &str) -> Option<String> {
        let event = self.events.iter().rev().find(|event| event.is_warning && event.kind == kind);
        event.map(|event| event.message.clone())
    }

    fn last(&self, kind: &str) -> Option<&Happened> {
        self.events.iter().rev().find(|event| event.kind == kind)
    }
}

/// What a pod without a node waits for.
fn unscheduled(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
    if scheduled.status == "True" { None } else { scheduled.message.clone() }
}

/// Why a container cannot start.
fn waiting(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().unwrap_or("Waiting");
    if ["ContainerCreating", "PodInitializing"].contains(&reason) {
        return None;
    }
    if let Some(ended) = failure(container) {
        return Some(ended);
    }
    let message = waiting.message.as_deref().unwrap_or_default();
    Some(format!("container {}: {reason}: {message}", container.name).trim_end_matches(": ").to_owned())
}

/// How a container failed, if it did, with the last line that it logged.
fn failure(container: &ContainerStatus) -> Option<String> {
    let ended = |state: &Option<ContainerState>| state.as_ref().and_then(|state| state.terminated.clone());
    let ended = ended(&container.state).or_else(|| ended(&container.last_state))?;
    if ended.exit_code == 0 {
        return None;
    }
    let reason = ended.reason.filter(|reason| reason != "Error").map(|reason| format!(" ({reason})"));
    let (name, code, restarts) = (&container.name, ended.exit_code, container.restart_count);
    let reason = reason.unwrap_or_default();
    let failed = format!("container {name} ended with exit code {code}{reason}, {restarts} restarts");
    let log = ended.message.unwrap_or_default();
    let line = log.lines().map(str::trim).rfind(|line| !line.is_empty());
    Some(line.map_or(failed.clone(), |line| format!("{failed}: {line}")))
}

fn has_started(container: &ContainerStatus) -> bool {
    let is_waiting = container.state.as_ref().is_some_and(|state| state.waiting.is_some());
    container.restart_count > 0 || (container.state.is_some() && !is_waiting)
}

fn condition(pod: &Pod, kind: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == kind && condition.status == "True")
}

fn statuses(pod: &Pod, init: bool) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let list = if init {
        status.and_then(|status| status.init_container_statuses.as_ref())
    } else {
        status.and_then(|status| status.container_statuses.as_ref())
    };
    list.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(status: &Value, events: Vec<Happened>) -> Seen {
        let pod = serde_json::from_value(json!({"metadata": {"name": "one-0"}, "status": status})).unwrap();
        Seen { pod: Some(pod), events, ..Seen::default() }
    }

    fn container(name: &str, ready: bool, state: &Value) -> Value {
        json!({"name": name, "ready": ready, "image": "", "imageID": "", "restartCount": 0, "state": state})
    }

    fn event(kind: &str, is_warning: bool, message: &str) -> Happened {
        let (name, reason) = ("one-0".to_owned(), "Reason".to_owned());
        Happened { at: None, is_warning, kind: kind.to_owned(), name, reason, message: message.to_owned() }
    }

    #[test]
    fn steps_are_done_one_after_the_other() {
        let conditions =
            json!([{"type": "PodScheduled", "status": "True"}, {"type": "Initialized", "status": "True"}]);
        let running = json!({"running": {}});
        let containers = [("store", true), ("api", true), ("syncer", false)]
            .map(|(name, ready)| container(name, ready, &running));
        let seen = seen(&json!({"conditions": conditions, "containerStatuses": containers}), Vec::new());
        let done: Vec<Step> = Step::all(true).iter().copied().filter(|step| seen.has(*step)).collect();
        assert_eq!(done, [Step::Scheduled, Step::Initialized, Step::Started, Step::ApiServer]);
        assert_eq!(seen.waiting_for(Step::Syncer).unwrap(), "container syncer runs and is not ready yet");
        assert!(!Step::all(false).contains(&Step::Dns) && Step::all(false).contains(&Step::Syncer));
    }

    #[test]
    fn nothing_is_done_before_there_is_a_pod() {
        let mut seen = Seen::default();
        assert!(Step::all(true).iter().all(|step| !seen.has(*step)));
        seen.events = vec![event("StatefulSet", true, "pods \"one-0\" is forbidden: violates PodSecurity")];
        assert!(seen.waiting_for(Step::Scheduled).unwrap().contains("PodSecurity"));
    }

    #[test]
    fn a_pod_that_fits_on_no_node_says_why() {
        let why = "0/3 nodes are available: 3 Insufficient memory.";
        let conditions = json!([{"type": "PodScheduled", "status": "False", "message": why}]);
        let seen = seen(&json!({"conditions": conditions}), Vec::new());
        assert_eq!(seen.waiting_for(Step::Scheduled).unwrap(), why);
    }

    #[test]
    fn an_image_that_is_pulled_and_one_that_cannot_be_are_named() {
        let creating = container("init", false, &json!({"waiting": {"reason": "PodInitializing"}}));
        let pulling = vec![event("Pod", false, "Pulling image \"ghcr.io/weft/weft:0.1.0\"")];
        let pulled = seen(&json!({"initContainerStatuses": [creating]}), pulling);
        assert!(pulled.waiting_for(Step::Initialized).unwrap().contains("Pulling image"));
        let refused = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
        let refused =
            seen(&json!({"initContainerStatuses": [container("init", false, &refused)]}), Vec::new());
        assert_eq!(
            refused.waiting_for(Step::Initialized).unwrap(),
            "container init: ErrImagePull: not found"
        );
    }

    #[test]
    fn a_container_that_ends_is_a_failure_with_its_exit_code_and_its_last_line() {
        let mut init = container(
            "init",
            false,
            &json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}),
        );
        init["lastState"] =
            json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "started\nfailed\n\n"}});
        init["restartCount"] = json!(2);
        let seen = seen(&json!({"initContainerStatuses": [init]}), Vec::new());
        let wanted = "container init ended with exit code 137 (OOMKilled), 2 restarts: failed";
        assert_eq!(seen.failures(), [wanted]);
        assert_eq!(seen.waiting_for(Step::Initialized).unwrap(), wanted);
    }

    #[test]
    fn a_pod_from_before_an_upgrade_does_not_count() {
        let set = json!({
            "metadata": {"generation": 2},
            "spec": {"selector": {}, "serviceName": "", "template": {}},
            "status": {"replicas": 1, "observedGeneration": 2, "updateRevision": "new"},
        });
        let is_current = |revision: &str, set: &Value| {
            let mut seen = seen(&json!({}), Vec::new());
            seen.set = serde_json::from_value(set.clone()).unwrap();
            let labels = seen.pod.as_mut().unwrap().labels_mut();
            labels.insert("controller-revision-hash".to_owned(), revision.to_owned());
            seen.is_current()
        };
        assert!(is_current("new", &set) && !is_current("old", &set));
        let mut unseen = set;
        unseen["status"]["observedGeneration"] = json!(1);
        assert!(!is_current("new", &unseen));
    }

    #[test]
    fn a_claim_without_a_volume_is_named() {
        let mut seen = seen(&json!({}), vec![event("PersistentVolumeClaim", true, "no class \"fast\"")]);
        let claim = json!({"metadata": {"name": "data-one-0"}, "status": {"phase": "Pending"}});
        seen.claim = serde_json::from_value(claim).ok();
        assert_eq!(seen.waiting_for(Step::Scheduled).unwrap(), "volume claim data-one-0: no class \"fast\"");
    }
}

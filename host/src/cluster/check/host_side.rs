//! Checks of what a virtual cluster has on its host.

use std::time::Instant;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use weft_core::causes::chain;
use weft_core::labels;

use super::{Check, Outcome, named};
use crate::cluster::host::Host;
use crate::cluster::preflight::permissions::{self, Permission};
use crate::cluster::status::{Container, Status};
use crate::cluster::{Place, VERSION_LABEL};

/// What people who use a virtual cluster do on the host.
const NEEDED: &[Permission] = &[
    ("", "pods", &["list"]),
    ("", "pods/portforward", &["create"]),
    ("", "secrets", &["get"]),
    ("", "events", &["list"]),
];
/// A container that was restarted more often has a problem.
const RESTARTS: i32 = 3;
/// Warnings older than this were probably overcome.
const RECENT_SECONDS: i64 = 600;

pub(super) fn checks<'a>(host: &'a Host, place: &'a Place, set: &'a StatefulSet) -> Vec<Check<'a>> {
    vec![
        named("host", "API server", api_server(host)),
        named("host", "permissions", permissions(host, place)),
        named("host", "version", async { version(set, env!("CARGO_PKG_VERSION")) }),
        named("host", "control plane", async { control_plane(&read(host, set).await, place) }),
        named("host", "storage", async { storage(&read(host, set).await) }),
        named("host", "events", async { events(&read(host, set).await, Timestamp::now()) }),
        named("host", "Service", service(host, place)),
        named("host", "syncer's permissions", binding(host, place)),
    ]
}

async fn read(host: &Host, set: &StatefulSet) -> Status {
    Box::pin(Status::read(host, set)).await
}

async fn api_server(host: &Host) -> Outcome {
    let started = Instant::now();
    match host.client.apiserver_version().await {
        Ok(version) => {
            Outcome::ok(format!("Kubernetes {}, {} ms", version.git_version, started.elapsed().as_millis()))
        }
        Err(error) => {
            Outcome::error(error.to_string(), "check the context, and whether its server can be reached")
        }
    }
}

async fn permissions(host: &Host, place: &Place) -> Outcome {
    match permissions::missing(host, &place.namespace, NEEDED).await {
        Ok(missing) if missing.is_empty() => Outcome::ok("you may connect and see events"),
        Ok(missing) => {
            Outcome::warning(missing.join("; "), "ask for a Role with these permissions in the namespace")
        }
        Err(error) => Outcome::error(chain(error.as_ref()), "check your credentials for the host cluster"),
    }
}

fn version(set: &StatefulSet, own: &str) -> Outcome {
    match set.labels().get(VERSION_LABEL) {
        Some(version) if version == own => Outcome::ok(format!("weft {version}")),
        other => {
            let version = other.map_or("unknown", String::as_str);
            Outcome::warning(
                format!("weft {version}, and this program is {own}"),
                format!("use weft {version}, or `weft create {} --upgrade`", set.name_any()),
            )
        }
    }
}

fn control_plane(status: &Status, place: &Place) -> Outcome {
    let logs = |container: &Container| {
        let Place { namespace, name } = place;
        format!("`kubectl logs --previous -n {namespace} {name}-0 -c {}` shows why", container.name)
    };
    if !status.api_server_ready || !status.syncer_ready {
        let why = status.waiting_for.clone().unwrap_or_else(|| "it is not ready".to_owned());
        let failed = status.containers.iter().find(|container| !container.ready && container.restarts > 0);
        let hint = failed.map_or_else(|| format!("`weft status {}` shows its containers", place.name), logs);
        return Outcome::error(why, hint);
    }
    match status.containers.iter().find(|container| container.restarts > RESTARTS) {
        Some(container) => Outcome::warning(
            format!("container {} was restarted {} times", container.name, container.restarts),
            logs(container),
        ),
        None => Outcome::ok("API server and syncer are ready"),
    }
}

fn storage(status: &Status) -> Outcome {
    match &status.storage {
        None => Outcome::warning(
            "the virtual cluster's state is in its pod, and lost with it",
            "install with `persistence.enabled=true` if it is to survive",
        ),
        Some(storage) if storage.phase == "Bound" => {
            Outcome::ok(format!("volume claim {} is bound", storage.claim))
        }
        Some(storage) => Outcome::error(
            format!("volume claim {} is {}", storage.claim, storage.phase),
            format!("`kubectl describe pvc {}` says why", storage.claim),
        ),
    }
}

fn events(status: &Status, now: Timestamp) -> Outcome {
    // What happened before the pod became ready is overcome.
    let is_open = |at: Timestamp| status.ready_since.is_none_or(|ready| at > ready);
    let is_recent = |at: Timestamp| now.as_second() - at.as_second() < RECENT_SECONDS;
    let mut newest_first = status.warnings.iter().rev();
    match newest_first.find(|warning| warning.at.is_some_and(|at| is_recent(at) && is_open(at))) {
        None => Outcome::ok("no warnings in the last ten minutes"),
        Some(warning) => Outcome::warning(
            format!("{}: {}: {}", warning.object, warning.reason, warning.message),
            format!("`weft status {}` shows the last warnings", status.summary.place.name),
        ),
    }
}

async fn service(host: &Host, place: &Place) -> Outcome {
    let services: Api<Service> = Api::namespaced(host.client.clone(), &place.namespace);
    let slices: Api<EndpointSlice> = Api::namespaced(host.client.clone(), &place.namespace);
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={}", place.name));
    let (service, slices) = tokio::join!(services.get_opt(&place.name), slices.list(&of_service));
    let ready = slices.map(|list| list.items.iter().any(has_ready_endpoint));
    match (service, ready) {
        (Ok(None), _) => Outcome::error(
            format!("there is no Service {}", place.name),
            "its host objects were deleted with it; create the virtual cluster again",
        ),
        (Ok(Some(_)), Ok(false)) => Outcome::error(
            format!("Service {} has no ready endpoint", place.name),
            "its pod is not ready, or the selector was changed",
        ),
        (Ok(Some(service)), _) => selector(&service)
            .unwrap_or_else(|| Outcome::ok(format!("Service {} has an endpoint", place.name))),
        (Err(error), _) => Outcome::warning(error.to_string(), "ask for permission to read Services"),
    }
}

/// What is to be said of a Service that tenants' pods may be behind.
fn selector(service: &Service) -> Option<Outcome> {
    let selector = service.spec.as_ref()?.selector.as_ref()?;
    let selector = selector.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    labels::may_select_tenants(&selector).then(|| {
        Outcome::warning(
            format!(
                "Service {} selects {}, labels that tenants can give their pods",
                service.name_any(),
                labels::as_text(&selector)
            ),
            "add a label of the domain weft.dev to its selector and to the pod of the control plane, as the chart does",
        )
    })
}

fn has_ready_endpoint(slice: &EndpointSlice) -> bool {
    let endpoints = slice.endpoints.iter().flatten();
    endpoints
        .filter_map(|endpoint| endpoint.conditions.as_ref())
        .any(|conditions| conditions.ready == Some(true))
}

async fn binding(host: &Host, place: &Place) -> Outcome {
    let name = format!("weft-syncer-{}", place.name);
    let bindings: Api<RoleBinding> = Api::namespaced(host.client.clone(), &place.namespace);
    match bindings.get_opt(&name).await {
        Ok(Some(_)) => Outcome::ok(format!("RoleBinding {name} is there")),
        Ok(None) => Outcome::error(
            format!("there is no RoleBinding {name}, so the syncer may do nothing"),
            format!("`weft create {} --upgrade` puts it back", place.name),
        ),
        Err(error) => Outcome::warning(error.to_string(), "ask for permission to read RoleBindings"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::check::Level;
    use crate::cluster::status::{State, Storage, Summary, Warning};

    fn place() -> Place {
        Place { namespace: "team-a".to_owned(), name: "one".to_owned() }
    }

    fn status() -> Status {
        let summary = Summary { place: place(), state: State::Ready, version: String::new(), created: None };
        let container =
            Container { name: "api".to_owned(), ready: true, state: "running".to_owned(), restarts: 0 };
        Status {
            summary,
            api_server_ready: true,
            syncer_ready: true,
            ready_since: None,
            waiting_for: None,
            containers: vec![container],
            storage: None,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_service_whose_pods_tenants_can_imitate_is_a_warning_with_its_name_and_labels() {
        let with = |selector: serde_json::Value| -> Service {
            serde_json::from_value(json!({"metadata": {"name": "one"}, "spec": {"selector": selector}}))
                .unwrap()
        };
        let outcome = selector(&with(json!({"app": "weft", "tier": "api"}))).unwrap();
        assert_eq!(outcome.level, Level::Warning);
        assert!(outcome.message.contains("Service one selects app=weft,tier=api"), "{}", outcome.message);
        assert_eq!(selector(&with(json!({"app": "weft", "weft.dev/control-plane": "one"}))), None);
        assert_eq!(selector(&with(json!(null))), None);
    }

    #[test]
    fn a_control_plane_is_checked_by_its_containers() {
        assert_eq!(control_plane(&status(), &place()).level, Level::Ok);
        let mut restarted = status();
        restarted.containers[0].restarts = 9;
        assert_eq!(control_plane(&restarted, &place()).level, Level::Warning);
        restarted.api_server_ready = false;
        restarted.containers[0].ready = false;
        let outcome = control_plane(&restarted, &place());
        assert!(outcome.level == Level::Error && outcome.hint.unwrap().contains("-c api"));
    }

    #[test]
    fn state_that_would_be_lost_is_a_warning_and_an_unbound_claim_an_error() {
        let mut status = status();
        assert_eq!(storage(&status).level, Level::Warning);
        let with = |phase: &str| Storage {
            claim: "data-one-0".to_owned(),
            phase: phase.to_owned(),
            size: None,
            class: None,
        };
        status.storage = Some(with("Bound"));
        assert_eq!(storage(&status).level, Level::Ok);
        status.storage = Some(with("Pending"));
        assert_eq!(storage(&status).level, Level::Error);
    }

    #[test]
    fn only_recent_warnings_count() {
        let mut status = status();
        let now = Timestamp::from_second(10_000).unwrap();
        for (at, level) in [(9_000, Level::Ok), (9_900, Level::Warning)] {
            let at = Timestamp::from_second(at).ok();
            let [object, reason, message] = ["Pod one-0", "BackOff", "why"].map(str::to_owned);
            status.warnings = vec![Warning { at, object, reason, message }];
            assert_eq!(events(&status, now).level, level);
        }
        status.ready_since = Timestamp::from_second(9_950).ok();
        assert_eq!(events(&status, now).level, Level::Ok);
    }

    #[test]
    fn another_version_than_this_programs_is_a_warning() {
        let set: StatefulSet = serde_json::from_value(json!({
            "metadata": {"name": "one", "labels": {VERSION_LABEL: "0.1.0"}},
            "spec": {"selector": {}, "serviceName": "", "template": {}},
        }))
        .unwrap();
        assert_eq!(version(&set, "0.1.0").level, Level::Ok);
        assert_eq!(version(&set, "0.2.0").level, Level::Warning);
    }
}

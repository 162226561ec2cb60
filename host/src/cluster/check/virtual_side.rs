//! Checks of a virtual cluster through its own API server.

use std::collections::BTreeMap;
use std::time::Instant;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};

use super::{Check, Outcome, named};

/// Enough to judge by.
const LIMIT: u32 = 500;
/// Warnings older than this were probably overcome, and pods that wait for less may still start.
const RECENT_SECONDS: i64 = 600;
/// The API server's leases, one for each of its replicas.
const IDENTITIES: &str = "apiserver.kubernetes.io/identity=kube-apiserver";
/// They are renewed every ten seconds; clocks differ a little.
const UNRENEWED_SECONDS: i64 = 40;
/// The API server says this of an address that it finds in use and books at once, such as the one that `default/kubernetes` gets
/// from the host.
const ADDRESS_BOOKED: &str = "ClusterIPNotAllocated";

pub(super) fn checks(client: &Client) -> Vec<Check<'_>> {
    vec![
        named("virtual", "API server", api_server(client)),
        named("virtual", "storage", storage(client)),
        named("virtual", "DNS", dns(client)),
        named("virtual", "pods", pods(client)),
        named("virtual", "events", events(client)),
    ]
}

async fn api_server(client: &Client) -> Outcome {
    let started = Instant::now();
    match client.apiserver_version().await {
        Ok(version) => {
            Outcome::ok(format!("Kubernetes {}, {} ms", version.git_version, started.elapsed().as_millis()))
        }
        Err(error) => {
            Outcome::error(error.to_string(), "its container's log says more: `kubectl logs -c api`")
        }
    }
}

/// An API server that can no longer write still answers: reading goes on.
async fn storage(client: &Client) -> Outcome {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
    match leases.list(&ListParams::default().labels(IDENTITIES)).await {
        Err(error) => Outcome::error(error.to_string(), "try again"),
        Ok(leases) => renewal(&leases.items, server_time(client).await.unwrap_or_else(Timestamp::now)),
    }
}

/// The server's clock wrote the leases; ours may be wrong.
async fn server_time(client: &Client) -> Option<Timestamp> {
    let request = http::Request::get("/version").body(kube::client::Body::empty()).ok()?;
    let response = client.send(request).await.ok()?;
    let date = response.headers().get(http::header::DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::parse(date).ok().map(|time| time.timestamp())
}

fn renewal(leases: &[Lease], now: Timestamp) -> Outcome {
    let renewed = leases.iter().filter_map(|lease| lease.spec.as_ref()?.renew_time.as_ref());
    match renewed.map(|time| now.as_second() - time.0.as_second()).min() {
        Some(age) if age > UNRENEWED_SECONDS => Outcome::error(
            format!(
                "nothing has been stored for {age} s: the API server cannot renew its own lease, and what is created now may be lost"
            ),
            "make the claim larger if its volume is full; `kubectl logs -c store` may say more",
        ),
        _ => Outcome::ok("the API server can write"),
    }
}

async fn dns(client: &Client) -> Outcome {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "kube-system");
    match slices.list(&ListParams::default().labels("kubernetes.io/service-name=kube-dns")).await {
        Err(error) => Outcome::error(error.to_string(), "try again"),
        Ok(slices) => {
            let endpoints = slices.items.iter().flat_map(|slice| slice.endpoints.iter().flatten());
            let mut conditions = endpoints.filter_map(|endpoint| endpoint.conditions.as_ref());
            if conditions.any(|conditions| conditions.ready == Some(true)) {
                return Outcome::ok("Service kube-system/kube-dns has an endpoint");
            }
            Outcome::error(
                "Service kube-system/kube-dns has no ready endpoint, so pods resolve no names",
                "`kubectl get pods -n kube-system -l k8s-app=kube-dns` in the virtual cluster",
            )
        }
    }
}

async fn pods(client: &Client) -> Outcome {
    let pods: Api<Pod> = Api::all(client.clone());
    match pods.list(&ListParams::default().fields("status.phase=Pending").limit(LIMIT)).await {
        Err(error) => Outcome::error(error.to_string(), "try again"),
        Ok(pods) => pending(&pods.items, Timestamp::now()),
    }
}

fn pending(pods: &[Pod], now: Timestamp) -> Outcome {
    let age = |pod: &&Pod| pod.creation_timestamp().map_or(0, |time| now.as_second() - time.0.as_second());
    let mut waiting = pods.iter().filter(|pod| age(pod) > RECENT_SECONDS);
    let Some(first) = waiting.next() else {
        return Outcome::ok("no pod is Pending for more than ten minutes");
    };
    let (namespace, name) = (first.namespace().unwrap_or_default(), first.name_any());
    Outcome::warning(
        format!(
            "{} pods are Pending for more than ten minutes, such as {namespace}/{name}",
            waiting.count() + 1
        ),
        format!("`kubectl describe pod -n {namespace} {name}` in the virtual cluster says why"),
    )
}

async fn events(client: &Client) -> Outcome {
    let events: Api<Event> = Api::all(client.clone());
    match events.list(&ListParams::default().fields("type=Warning").limit(LIMIT)).await {
        Err(error) => Outcome::error(error.to_string(), "try again"),
        Ok(events) => warnings(&events.items, Timestamp::now()),
    }
}

fn warnings(events: &[Event], now: Timestamp) -> Outcome {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for event in events.iter().filter(|event| is_recent(event, now)) {
        let reason = event.reason.as_deref().unwrap_or_default();
        if reason != ADDRESS_BOOKED {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    if reasons.is_empty() {
        return Outcome::ok("no warnings in the last ten minutes");
    }
    let reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    Outcome::warning(
        format!("warnings in the last ten minutes: {}", reasons.join(", ")),
        "`kubectl get events -A --field-selector type=Warning` in the virtual cluster",
    )
}

fn is_recent(event: &Event, now: Timestamp) -> bool {
    let series =
        event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let at = series.or(last).or(event.event_time.as_ref().map(|time| time.0));
    at.is_some_and(|at| now.as_second() - at.as_second() < RECENT_SECONDS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::check::Level;

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_lease_that_is_not_renewed_says_that_nothing_is_stored() {
        let lease = |renewed: &str| -> Lease {
            serde_json::from_value(json!({"metadata": {}, "spec": {"renewTime": renewed}})).unwrap()
        };
        let (old, new) = (lease("2026-01-01T00:59:00.000000Z"), lease("2026-01-01T00:59:50.000000Z"));
        let outcome = renewal(std::slice::from_ref(&old), now());
        assert!(outcome.level == Level::Error && outcome.message.contains("for 60 s"), "{outcome:?}");
        assert_eq!(renewal(&[old, new], now()).level, Level::Ok);
    }

    #[test]
    fn a_pod_that_has_just_been_created_may_be_pending() {
        let pod = |created: &str| -> Pod {
            serde_json::from_value(
                json!({"metadata": {"name": "a", "namespace": "b", "creationTimestamp": created}}),
            )
            .unwrap()
        };
        assert_eq!(pending(&[pod("2026-01-01T00:59:00Z")], now()).level, Level::Ok);
        let outcome = pending(&[pod("2026-01-01T00:10:00Z"), pod("2026-01-01T00:20:00Z")], now());
        assert!(outcome.level == Level::Warning && outcome.message.starts_with("2 pods"), "{outcome:?}");
    }

    #[test]
    fn recent_warnings_are_counted_by_reason() {
        let event = |reason: &str, last: &str| -> Event {
            serde_json::from_value(
                json!({"metadata": {}, "involvedObject": {}, "reason": reason, "lastTimestamp": last}),
            )
            .unwrap()
        };
        let old = event("BackOff", "2026-01-01T00:10:00Z");
        let mended = event("ClusterIPNotAllocated", "2026-01-01T00:59:00Z");
        assert_eq!(warnings(&[old.clone(), mended], now()).level, Level::Ok);
        let new = event("HostRefused", "2026-01-01T00:59:00Z");
        let outcome = warnings(&[new.clone(), old, new], now());
        assert!(outcome.message.ends_with(": 2 HostRefused"), "{outcome:?}");
    }
}

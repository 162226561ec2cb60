//! Events of the host cluster about the objects of a virtual cluster, for people who wait.

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams};

use crate::cluster::Place;
use crate::cluster::host::Host;

/// Events last an hour; a namespace with more than these has other problems.
const LIMIT: u32 = 1000;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// When it happened last.
    pub at: Option<Timestamp>,
    /// Whether it is a warning.
    pub is_warning: bool,
    /// The kind of the object.
    pub kind: String,
    /// The name of the object.
    pub name: String,
    /// The reason, such as `FailedScheduling`.
    pub reason: String,
    /// The message, in one line.
    pub message: String,
}

/// The events about the virtual cluster's own objects, oldest first. Whoever may not read events sees none.
pub async fn read(host: &Host, place: &Place) -> Vec<Happened> {
    let events: Api<Event> = Api::namespaced(host.client.clone(), &place.namespace);
    let list = events.list(&ListParams::default().limit(LIMIT)).await;
    let mut found: Vec<Happened> =
        list.map(|list| list.items).unwrap_or_default().into_iter().map(happened).collect();
    found.retain(|event| is_about(place, &event.name));
    found.sort_by_key(|event| event.at);
    found
}

/// Whether an object of this name is one of the control plane's: the set, its pods or its claims.
fn is_about(place: &Place, name: &str) -> bool {
    let pod = name.strip_prefix("data-").unwrap_or(name);
    let rest = pod.strip_prefix(place.name.as_str());
    rest.is_some_and(|rest| {
        let ordinal = rest.strip_prefix('-').unwrap_or_default();
        rest.is_empty() || (!ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

fn happened(event: Event) -> Happened {
    let series = event.series.and_then(|series| series.last_observed_time).map(|time| time.0);
    let last = event.last_timestamp.map(|time| time.0);
    let message = event.message.unwrap_or_default();
    Happened {
        at: series.or(last).or(event.event_time.map(|time| time.0)),
        is_warning: event.type_.as_deref() == Some("Warning"),
        kind: event.involved_object.kind.unwrap_or_default(),
        name: event.involved_object.name.unwrap_or_default(),
        reason: event.reason.unwrap_or_default(),
        message: message.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_other_clusters_in_the_namespace_are_not_shown() {
        let place = Place { namespace: "team-a".to_owned(), name: "one".to_owned() };
        for name in ["one", "one-0", "one-12", "data-one-0"] {
            assert!(is_about(&place, name), "{name}");
        }
        for name in ["one-two-0", "ones-0", "data-two-0", "web-0-x-shop-x-one", "one-"] {
            assert!(!is_about(&place, name), "{name}");
        }
    }
}

//! Who else writes to an object: the field manager that a server remembers.

use std::sync::Arc;

use serde::Deserialize;
use tracing::debug;
use weft_core::object::{Host, Key, ResourceType, Virtual};

use crate::api::{self, Api, Error};
use crate::engine::apply::{FIELD_MANAGER, Side};
use crate::engine::cache::state::State;
use crate::engine::events::reason::Reason;

/// An object, as far as it says who has written to it
/// (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#managers>).
#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default, rename = "managedFields")]
    managed_fields: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    manager: String,
    /// RFC 3339, in UTC: its strings are in its order.
    #[serde(default)]
    time: String,
}

/// Finds out who else writes to what we write to.
pub(crate) struct Referee {
    pub(crate) state: Arc<State>,
    pub(crate) host: Api<Host>,
    pub(crate) r#virtual: Api<Virtual>,
}

/// What there is to say about a fight.
pub(super) struct Fight {
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Referee {
    /// The fight about the object of `key` on this side, if the server knows another writer.
    pub(super) async fn find(&self, side: Side, key: &Key, resource: &ResourceType) -> Option<Fight> {
        let names = &self.state.names;
        let (reason, manager) = match side {
            Side::Host => {
                let name = names.host_name(&key.name);
                let path = api::object_path(resource, names.namespace(), name.as_str(), None);
                (Reason::HostContested, last_other_manager(&self.host, &path).await)
            }
            Side::Virtual => {
                let path = api::object_path(resource, &key.name.namespace, &key.name.name, None);
                (Reason::VirtualContested, last_other_manager(&self.r#virtual, &path).await)
            }
        };
        let manager = manager.unwrap_or_else(|error| {
            debug!(%key, error = &error as &dyn std::error::Error, "cannot see who else writes");
            None
        })?;
        let message = format!(
            "the field manager {manager:?} changes again and again what the syncer writes, which changes it back at most twelve times a minute"
        );
        Some(Fight { reason, message })
    }
}

/// The field manager other than ours that has last written to the object at `path`, if there is one.
async fn last_other_manager<S>(api: &Api<S>, path: &str) -> Result<Option<String>, Error> {
    let object: Object = serde_json::from_slice(&api.send(api::get(path)).await?).map_err(Error::Decode)?;
    let others = object.metadata.managed_fields.into_iter().filter(|entry| entry.manager != FIELD_MANAGER);
    Ok(others.max_by(|one, other| one.time.cmp(&other.time)).map(|entry| entry.manager))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use http::Method;
    use serde_json::json;

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::testing::{Bench, echo, key, service};

    #[tokio::test]
    async fn the_last_other_manager_is_named_on_either_side() {
        let entry =
            |manager: &str, time: &str| json!({"manager": manager, "time": time, "fieldsV1": {"f:data": {}}});
        let of = |entries: serde_json::Value| {
            move |_: &Asked| Answer::ok(json!({"metadata": {"managedFields": entries.clone()}}))
        };
        let entries = json!([
            entry("kubectl-edit", "2026-01-01T00:00:00Z"),
            entry("rotator", "2026-01-02T00:00:00Z"),
            entry("weft", "2026-01-03T00:00:00Z"),
        ]);
        let bench = Bench::new(of(entries), of(json!([entry("weft", "2026-01-03T00:00:00Z")])));
        let (state, host, r#virtual) = (bench.state.clone(), bench.host.clone(), bench.r#virtual.clone());
        let referee = Referee { state, host, r#virtual };
        let (key, maps) = (key("v1/ConfigMap", "shop", "web"), ResourceType::core("ConfigMap", "configmaps"));
        let fight = referee.find(Side::Host, &key, &maps).await.unwrap();
        assert!(
            fight.reason == Reason::HostContested && fight.message.contains("\"rotator\""),
            "{}",
            fight.message
        );
        assert!(referee.find(Side::Virtual, &key, &maps).await.is_none(), "nobody else has written");
        let asked = [bench.host_requests.lines(), bench.virtual_requests.lines()].concat();
        let expected = ["team-a/configmaps/web-x-shop-x-vc", "shop/configmaps/web"];
        assert_eq!(asked, expected.map(|path| format!("GET /api/v1/namespaces/{path}")));
        let silent = Bench::new(|_| Answer::failure(500, "InternalError"), echo);
        let (state, host, r#virtual) = (silent.state.clone(), silent.host.clone(), silent.r#virtual.clone());
        assert!(Referee { state, host, r#virtual }.find(Side::Host, &key, &maps).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_object_that_another_client_changes_all_the_time_is_changed_back_now_and_then() {
        let others = json!([{"manager": "rotator", "time": "2026-01-01T00:00:00Z"}]);
        let on_host = move |asked: &Asked| match asked.method {
            Method::GET => Answer::ok(json!({"metadata": {"managedFields": others.clone()}})),
            _ => echo(asked),
        };
        let bench = Bench::new(on_host, echo);
        let (syncer, key) = (bench.syncer(Vec::new()), key("v1/Service", "shop", "web"));
        bench.put_virtual("v1/Service", service("web", "5"));
        syncer.reconcile(&key).await;
        for version in 1000..1060 {
            let mut flipped = bench.created_on_host();
            flipped["spec"]["selector"]["app"] = "flipped".into();
            flipped["metadata"]["resourceVersion"] = version.to_string().into();
            bench.put_host("v1/Service", flipped);
            syncer.reconcile(&key).await;
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let patches = bench.host_requests.bodies(&Method::PATCH).len();
        assert!((4..=13).contains(&patches), "{patches} in a minute");
        assert_eq!(bench.reasons().await, ["Warning HostObjectContested"]);
    }
}

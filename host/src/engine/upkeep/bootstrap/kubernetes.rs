//! The virtual Service `default/kubernetes`, at the address where host pods reach the virtual API server.

use std::net::IpAddr;
use std::sync::Arc;

use tracing::{info, warn};
use weft_core::change::Change;
use weft_core::kinds::service;
use weft_core::object::VirtualObject;

use super::{Bootstrap, Error};
use crate::api;
use crate::engine::resources::services;

/// What fails where the two clusters have different ranges of Service addresses.
const MOVE: &str = "move the virtual Service default/kubernetes to the address of the host's Service, which must lie in the \
                    virtual cluster's --service-cluster-ip-range";

impl Bootstrap {
    /// Moves the virtual Service `default/kubernetes` to the address at which host pods reach the virtual
    /// API server.
    pub(super) async fn move_kubernetes(&self, addresses: &[IpAddr]) -> Result<(), Error> {
        let failed = |source| Error::Api { action: MOVE, source };
        let current = self.r#virtual.get(&services(), "default", "kubernetes").await.map_err(failed)?;
        let addresses: Vec<String> = addresses.iter().take(1).map(ToString::to_string).collect();
        if current.text("/spec/clusterIP") == addresses.first().map(String::as_str) {
            return Ok(());
        }
        if let Some(trial) = service::trial_of_move(&current, &addresses) {
            self.writer.try_virtual(&services(), &trial).await.map_err(failed)?;
        }
        let mut latest = current.clone();
        for change in service::move_to(&current, &addresses) {
            match self.patch_kubernetes(&latest, &change).await {
                Ok(patched) => latest = VirtualObject::clone(&patched),
                Err(refusal) => {
                    self.move_back(&latest).await;
                    return Err(failed(refusal));
                }
            }
        }
        info!(address = ?addresses.first(), "moved the virtual Service default/kubernetes");
        Ok(())
    }

    /// Gives it back what it had, if it was left halfway: in between, no pod could reach the API server.
    async fn move_back(&self, halfway: &VirtualObject) {
        for change in service::move_back(halfway) {
            if let Err(error) = self.patch_kubernetes(halfway, &change).await {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "failed to give default/kubernetes its address back"
                );
            }
        }
    }

    async fn patch_kubernetes(
        &self,
        current: &VirtualObject,
        change: &Change,
    ) -> Result<Arc<VirtualObject>, api::Error> {
        self.writer.patch_virtual(&services(), &current.virtual_name(), current.uid(), change).await
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::testing::{Bench, echo, invalid};
    use crate::engine::upkeep::bootstrap::tests::{KUBERNETES, bench, bootstrap, service, writes};

    #[tokio::test]
    async fn the_virtual_api_service_moves_to_the_address_on_the_host() {
        let bench = bench(Some(service()), "10.96.0.1", true);
        bootstrap(&bench).run().await.unwrap();
        let move_it = format!("PATCH {KUBERNETES}");
        assert_eq!(writes(&bench), ["POST /api/v1/namespaces/default/services", &move_it, &move_it]);
        assert!(
            bench.virtual_requests.all().iter().any(|asked| asked.has("dryRun=All")),
            "it is tried first"
        );
        let patches = bench.virtual_requests.bodies(&Method::PATCH);
        assert!(patches.iter().all(|patch| patch["metadata"]["uid"] == "uid-kubernetes"), "{patches:?}");
        assert_eq!(patches.last().unwrap()["spec"]["clusterIP"], "10.0.0.5", "{patches:?}");
    }

    #[tokio::test]
    async fn an_address_that_the_virtual_cluster_would_not_take_leaves_the_service_as_it_is() {
        let refusing = |asked: &Asked| match (asked.method.clone(), asked.path.as_str()) {
            (Method::GET, KUBERNETES) => Answer::ok(json!({
                "metadata": {"name": "kubernetes", "namespace": "default", "uid": "u", "resourceVersion": "1"},
                "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"]},
            })),
            (Method::POST, _) => Answer::Reply(
                http::StatusCode::UNPROCESSABLE_ENTITY,
                json!({
                    "kind": "Status", "code": 422, "reason": "Invalid", "message": "not in the valid range",
                    "details": {"causes": [{"field": "spec.clusterIPs", "message": "not in the valid range"}]},
                }),
            ),
            _ => echo(asked),
        };
        let bench = Bench::new(echo, refusing);
        let error = bootstrap(&bench).move_kubernetes(&["192.168.0.5".parse().unwrap()]).await.unwrap_err();
        assert!(error.to_string().contains("--service-cluster-ip-range"), "{error}");
        assert!(bench.virtual_requests.bodies(&Method::PATCH).is_empty(), "it was begun");
    }

    #[tokio::test]
    async fn an_address_that_is_taken_after_the_dry_run_gives_the_service_its_own_back() {
        let service = |spec: serde_json::Value, annotations: serde_json::Value| {
            Answer::ok(json!({"metadata": {
                "name": "kubernetes", "namespace": "default", "uid": "u", "resourceVersion": "1", "annotations": annotations,
            }, "spec": spec}))
        };
        let serving = move |asked: &Asked| match (asked.method.clone(), &asked.body["spec"]["clusterIP"]) {
            (Method::GET, _) => service(
                json!({"type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"]}),
                json!({}),
            ),
            (Method::PATCH, serde_json::Value::Null) => {
                service(asked.body["spec"].clone(), asked.body["metadata"]["annotations"].clone())
            }
            (Method::PATCH, address) if address == "10.96.0.9" => invalid(&["spec.clusterIPs"]),
            _ => echo(asked),
        };
        let bench = Bench::new(echo, serving);
        let error = bootstrap(&bench).move_kubernetes(&["10.96.0.9".parse().unwrap()]).await.unwrap_err();
        assert!(error.to_string().contains("--service-cluster-ip-range"), "{error}");
        let patches = bench.virtual_requests.bodies(&Method::PATCH);
        let specs: Vec<_> = patches.iter().map(|patch| &patch["spec"]).collect();
        assert_eq!(specs.len(), 3, "there, on, and back: {patches:?}");
        assert_eq!(
            (&specs[0]["type"], &specs[1]["clusterIP"]),
            (&json!("ExternalName"), &json!("10.96.0.9"))
        );
        assert_eq!((&specs[2]["type"], &specs[2]["clusterIP"]), (&json!("ClusterIP"), &json!("10.96.0.1")));
    }
}

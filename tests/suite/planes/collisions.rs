//! Addresses and ports that the host cannot give: the host gives others, and the virtual Service takes them.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::shared::in_shared_world;

use super::both::{Both, at, create, ensure_same, text, uid};

/// Creates a Service on the host that is not the syncer's, in another namespace than the tenant's.
async fn foreign(both: &Both, spec: Value) -> Result<()> {
    let services: Api<Service> = Api::namespaced(both.host_client(), "default");
    let name = format!("foreign-{}", both.namespace());
    create(&services, json!({"metadata": {"name": name}, "spec": spec})).await?;
    Ok(())
}

/// Waits until the host has something else than `taken` at `pointer`, and the virtual Service the same.
async fn agrees(both: &Both, first: &Value, pointer: &str, taken: &Value) -> Result<()> {
    let sentence = format!("both sides have another {pointer} than {taken}");
    let (last, _) = eventually(&sentence, SOON, async || {
        let pair = both.pair::<Service>("web").await?;
        let given = pair.1.pointer(pointer).cloned().unwrap_or_default();
        ensure!(!given.is_null() && given != *taken, "the host has {given}: {}", at(&pair.1, "/spec"));
        ensure_same(&pair, &["/spec/type", "/spec/clusterIP", "/spec/clusterIPs", "/spec/ports", pointer])?;
        Ok(pair)
    })
    .await?;
    ensure!(uid(&last) == uid(first), "the virtual Service was made anew");
    let note = last.pointer("/metadata/annotations/weft.dev~1moving");
    ensure!(note.is_none(), "the note of the move is still there: {note:?}");
    Ok(())
}

#[test]
fn a_cluster_ip_that_the_host_has_given_away_is_replaced_by_the_hosts() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        foreign(&both, json!({"clusterIP": "10.96.0.201", "ports": [{"port": 1}]})).await?;
        let spec = json!({"clusterIP": "10.96.0.201", "ports": [{"port": 80}]});
        let web = both.create::<Service>(json!({"metadata": {"name": "web"}, "spec": spec})).await?;
        agrees(&both, &web, "/spec/clusterIP", &json!("10.96.0.201")).await?;
        both.event("web", "AllocationReplaced", "instead of the address 10.96.0.201").await
    })
}

#[test]
fn a_node_port_that_the_host_has_given_away_is_replaced_by_the_hosts() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        foreign(&both, json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30011}]})).await?;
        let ports = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": 30011}]);
        let spec = json!({"type": "NodePort", "ports": ports});
        let web = both.create::<Service>(json!({"metadata": {"name": "web"}, "spec": spec})).await?;
        agrees(&both, &web, "/spec/ports/1/nodePort", &json!(30011)).await?;
        let given = both.get::<Service>("web").await?["spec"]["ports"][1]["nodePort"].clone();
        let replaced = format!("{given} instead of the node port 30011 of port 81");
        both.event("web", "AllocationReplaced", &replaced).await
    })
}

#[test]
fn a_change_to_a_node_port_that_the_host_has_given_away_ends_with_the_hosts() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        foreign(&both, json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30012}]})).await?;
        let web = both
            .create::<Service>(json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}))
            .await?;
        both.arrives::<Service>("web").await?;
        let spec = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30012}]});
        both.edit::<Service>("web", json!({"spec": spec})).await?;
        agrees(&both, &web, "/spec/ports/0/nodePort", &json!(30012)).await?;

        // From here on nothing is left to request, and other changes pass.
        both.edit::<Service>("web", json!({"spec": {"selector": {"app": "web"}}})).await?;
        eventually("a later change of the selector is on the host", SOON, async || {
            let host = both.host::<Service>("web").await?;
            ensure!(text(&host, "/spec/selector/app") == "web", "{}", host["spec"]);
            Ok(())
        })
        .await
    })
}

#[test]
fn an_external_name_that_becomes_a_service_with_a_taken_address_ends_with_the_hosts() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        foreign(&both, json!({"clusterIP": "10.96.0.202", "ports": [{"port": 1}]})).await?;
        let spec = json!({"type": "ExternalName", "externalName": "db.example.com", "ports": [{"port": 80}]});
        let web = both.create::<Service>(json!({"metadata": {"name": "web"}, "spec": spec})).await?;
        both.arrives::<Service>("web").await?;
        let spec = json!({"type": "ClusterIP", "externalName": null, "clusterIP": "10.96.0.202"});
        both.edit::<Service>("web", json!({"spec": spec})).await?;
        agrees(&both, &web, "/spec/clusterIP", &json!("10.96.0.202")).await
    })
}

#[test]
fn a_health_check_port_that_the_host_has_given_away_is_replaced_by_the_hosts() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        foreign(&both, json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30013}]})).await?;
        let spec = json!({
            "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30013,
            "ports": [{"port": 80}],
        });
        let web = both.create::<Service>(json!({"metadata": {"name": "web"}, "spec": spec})).await?;
        agrees(&both, &web, "/spec/healthCheckNodePort", &json!(30013)).await?;
        both.event("web", "AllocationReplaced", "instead of the health check node port 30013").await
    })
}

#[test]
fn a_change_to_a_health_check_port_that_is_given_away_ends_with_the_hosts() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        foreign(&both, json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30014}]})).await?;
        let web = both
            .create::<Service>(json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}))
            .await?;
        both.arrives::<Service>("web").await?;
        let spec =
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30014});
        both.edit::<Service>("web", json!({"spec": spec})).await?;
        agrees(&both, &web, "/spec/healthCheckNodePort", &json!(30014)).await
    })
}

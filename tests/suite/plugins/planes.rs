//! A misbehaving plugin with two real API servers: only the objects that make it misbehave are affected.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Event, Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::guests::misbehaving::Guest;
use weft_tests::shared::in_shared_world;
use weft_tests::tenant::Tenant;
use weft_tests::world::World;

use super::bench::{PLANTED, PLANTED_IN_BASE_64, ensure_plain};
use crate::planes::place::{Kind, Place, patch, pod, with};

/// Longest pause of a plugin after a few failures, and of an object after a failure.
pub(super) const HEALED: std::time::Duration = std::time::Duration::from_secs(90);

/// A tenant whose syncer has the guest.
pub(super) async fn with_guest(
    world: &World,
    cluster: &str,
    host_namespace: &str,
    entry: &Value,
) -> Result<Tenant> {
    let component = Guest::Obedient.component().await?;
    let folder = component.parent().context("a file has a folder")?;
    let plugins = json!({"plugins": {"folder": folder, "grants": "requested", "load": {"guest": entry}}});
    world.another_tenant(cluster, host_namespace, &plugins).await
}

/// A tenant whose syncer has the guest, and one of its namespaces.
async fn tenant_with_guest(world: &World, namespace: &str, entry: Value) -> Result<(Tenant, Place)> {
    let tenant = with_guest(world, "guarded", &format!("{namespace}-guarded"), &entry).await?;
    let place = plant(&tenant).await?;
    Ok((tenant, place))
}

/// A namespace of the tenant, with a Secret that must not be seen elsewhere.
pub(super) async fn plant(tenant: &Tenant) -> Result<Place> {
    let place = Place::fresh(tenant, "shop").await?;
    place.create::<Secret>(json!({"metadata": {"name": "db"}, "stringData": {"password": PLANTED}})).await?;
    Ok(place)
}

/// A pod that uses a Secret.
pub(super) fn taking(name: &str, secret: &str) -> Value {
    let sources = json!([{"secretRef": {"name": secret}}]);
    pod(name, json!({"containers": [{"name": "main", "image": "nginx:1", "envFrom": sources}]}))
}

/// A pod whose annotations request an action.
pub(super) fn doing(name: &str, action: &str, given: &str) -> Value {
    with(pod(name, json!({})), "annotations", actions(action, given))
}

/// The annotations that request an action of the guest.
pub(super) fn actions(action: &str, given: &str) -> Value {
    json!({"guest.test/do": action, "guest.test/with": given})
}

/// A Service, and a pod that requests no action.
pub(super) async fn ensure_others_are_synced(place: &Place, name: &str) -> Result<()> {
    let ports = json!({"selector": {"app": name}, "ports": [{"port": 80}]});
    place.create::<Service>(json!({"metadata": {"name": name}, "spec": ports})).await?;
    place.create::<Pod>(pod(name, json!({}))).await?;
    eventually(&format!("the other pod and the service {name} are on the host"), HEALED, async || {
        let hosts = place.on_host::<Service>().get_opt(&place.host_name(name)).await?;
        ensure!(hosts.is_some(), "the service is not there");
        place.pair(name).await
    })
    .await?;
    Ok(())
}

pub(super) async fn ensure_not_on_the_host<K: Kind>(place: &Place, name: &str) -> Result<()> {
    let there = place.on_host::<K>().get_opt(&place.host_name(name)).await?;
    ensure!(there.is_none(), "{name} is on the host: {there:#?}");
    Ok(())
}

/// The syncer is ready, and neither its log nor an event has secrets or control characters.
pub(super) async fn ensure_healthy(tenant: &Tenant, place: &Place) -> Result<()> {
    tenant.probe("/readyz").await?;
    let log = std::fs::read_to_string(tenant.syncer_log())?;
    for secret in [PLANTED, PLANTED_IN_BASE_64] {
        let line = log.lines().find(|line| line.contains(secret));
        ensure!(line.is_none(), "the log has the data of a Secret: {line:?}");
    }
    ensure!(!log.contains('\u{1b}'), "the log has control characters");
    let events = place.on_virtual::<Event>().list(&ListParams::default()).await?.items;
    let ours = events.iter().filter(|event| event.reporting_component.as_deref() == Some("weft"));
    ours.filter_map(|event| event.message.as_deref()).try_for_each(ensure_plain)
}

#[test]
fn a_plugin_that_spins_does_not_delay_other_kinds() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let slow = json!({"limits": {"milliseconds": 2000, "mebibytes": 64}});
        let (tenant, place) = tenant_with_guest(world, namespace, slow).await?;
        place.run(taking("first", "db")).await?;
        let spinning: Vec<String> = (0..20).map(|number| format!("spins-{number}")).collect();
        for name in &spinning {
            place.create::<Pod>(doing(name, "spin", "")).await?;
        }

        let ports = json!({"selector": {"app": "web"}, "ports": [{"port": 80}]});
        place.create::<Service>(json!({"metadata": {"name": "web"}, "spec": ports})).await?;
        patch(&place.on_virtual::<Secret>(), "db", json!({"stringData": {"more": "yes"}})).await?;
        eventually("the service and the changed secret are on the host", SOON, async || {
            let service = place.on_host::<Service>().get_opt(&place.host_name("web")).await?;
            ensure!(service.is_some(), "the service is not there");
            let secret = place.on_host::<Secret>().get(&place.host_name("db")).await?;
            ensure!(secret.data.iter().flatten().any(|(key, _)| key == "more"), "the secret is the old one");
            Ok(())
        })
        .await?;
        for name in &spinning {
            ensure_not_on_the_host::<Pod>(&place, name).await?;
        }
        ensure_healthy(&tenant, &place).await
    })
}

#[test]
fn a_plugin_that_keeps_failing_is_paused_and_called_again_later() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let (tenant, place) = tenant_with_guest(world, namespace, json!({})).await?;
        let bad: Vec<String> = (0..12).map(|number| format!("bad-{number}")).collect();
        for name in &bad {
            place.create::<Pod>(doing(name, "merge", r#"{"spec":{"hostNetwork":true}}"#)).await?;
        }
        eventually("an event on one of the pods reports the pause", HEALED, async || {
            let events = place.on_virtual::<Event>().list(&ListParams::default()).await?.items;
            let is_paused = |event: &Event| event.reason.as_deref() == Some("PluginPaused");
            ensure!(events.iter().any(is_paused), "no event reports it");
            Ok(())
        })
        .await?;

        // Half of the objects are changed so that the plugin no longer fails, the others are deleted.
        for name in bad.iter().take(6) {
            patch(
                &place.on_virtual::<Pod>(),
                name,
                json!({"metadata": {"annotations": {"guest.test/do": "unchanged"}}}),
            )
            .await?;
        }
        for name in bad.iter().skip(6) {
            place.on_virtual::<Pod>().delete(name, &DeleteParams::default().grace_period(0)).await?;
        }
        ensure_others_are_synced(&place, "good").await?;
        for name in bad.iter().take(6) {
            eventually(&format!("{name} is on the host"), HEALED, async || place.pair(name).await).await?;
        }
        ensure_healthy(&tenant, &place).await
    })
}

//! A plugin that misbehaves, between two real API servers: it hurts the objects that make it misbehave.

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
use crate::planes::place::{Place, patch, pod, with};

/// The longest pause of a plugin that failed a few times, and of an object that it has failed.
const HEALED: std::time::Duration = std::time::Duration::from_secs(90);

/// A deed, what it is done with, and the reason of the event that tells of it.
const DEEDS: &[(&str, &str, &str)] = &[
    ("spin", "", "PluginTimeout"),
    ("grow", "", "PluginMemory"),
    ("panic", "", "PluginTrapped"),
    ("deep-recursion", "", "PluginTrapped"),
    ("huge-answer", "", "PluginTrapped"),
    ("not-json", "", "PluginEditUnreadable"),
    ("patch-bomb", "", "PluginEditUnfit"),
    ("shift-bomb", "", "PluginEditUnfit"),
    ("merge", r#"{"metadata":{"namespace":"kube-system"}}"#, "PluginRefused"),
    ("merge", r#"{"spec":{"hostNetwork":true}}"#, "PluginRefused"),
    ("merge", r#"{"spec":{"imagePullSecrets":[{"name":"vc-my-vcluster"}]}}"#, "PluginRefused"),
    ("merge", r#"{"metadata":{"labels":{"weft.dev/cluster":"other"}}}"#, "PluginRefused"),
    ("log-secret", "db", "Told"),
    ("panic-secret", "db", "PluginTrapped"),
    ("ugly", "", "Sync2J0owned31mfakelineRefusedRefusedRefusedRefusedRefusedRefuse"),
];
/// So many failures in a row are no reason yet to pause the plugin.
const AT_ONCE: usize = 4;

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

/// A tenant whose syncer has the guest, and a namespace of it.
async fn guarded(world: &World, namespace: &str, entry: Value) -> Result<(Tenant, Place)> {
    let tenant = with_guest(world, "guarded", &format!("{namespace}-guarded"), &entry).await?;
    let place = Place::fresh(&tenant, "shop").await?;
    place.create::<Secret>(json!({"metadata": {"name": "db"}, "stringData": {"password": PLANTED}})).await?;
    Ok((tenant, place))
}

/// A pod that makes the guest do something.
pub(super) fn doing(name: &str, deed: &str, given: &str) -> Value {
    with(pod(name, json!({})), "annotations", deeds(deed, given))
}

/// The annotations that tell the guest what to do.
pub(super) fn deeds(deed: &str, given: &str) -> Value {
    json!({"guest.test/do": deed, "guest.test/with": given})
}

/// A Service, and a pod that the guest has nothing to do with.
async fn an_honest_pod_and_a_service_are_synced(place: &Place, name: &str) -> Result<()> {
    let ports = json!({"selector": {"app": name}, "ports": [{"port": 80}]});
    place.create::<Service>(json!({"metadata": {"name": name}, "spec": ports})).await?;
    place.create::<Pod>(pod(name, json!({}))).await?;
    eventually(&format!("the honest pod and the service {name} are on the host"), HEALED, async || {
        let hosts = place.on_host::<Service>().get_opt(&place.host_name(name)).await?;
        ensure!(hosts.is_some(), "the service is not there");
        place.pair(name).await
    })
    .await?;
    Ok(())
}

async fn ensure_not_on_the_host(place: &Place, name: &str) -> Result<()> {
    let there = place.on_host::<Pod>().get_opt(&place.host_name(name)).await?;
    ensure!(there.is_none(), "the pod {name} is on the host: {there:#?}");
    Ok(())
}

/// The syncer lives, and neither its log nor an event's text holds what it must not.
async fn ensure_sound(tenant: &Tenant, place: &Place) -> Result<()> {
    tenant.probe("/readyz").await?;
    let log = std::fs::read_to_string(tenant.syncer_log())?;
    for secret in [PLANTED, PLANTED_IN_BASE_64] {
        let line = log.lines().find(|line| line.contains(secret));
        ensure!(line.is_none(), "the log has the data of a Secret: {line:?}");
    }
    ensure!(!log.contains('\u{1b}'), "the log has what a terminal would obey");
    let events = place.on_virtual::<Event>().list(&ListParams::default()).await?.items;
    let ours = events.iter().filter(|event| event.reporting_component.as_deref() == Some("weft"));
    ours.filter_map(|event| event.message.as_deref()).try_for_each(ensure_plain)
}

#[test]
fn a_plugin_that_misbehaves_on_some_objects_keeps_no_other_from_being_synced() -> Result<()> {
    in_shared_world(async |world, namespace| {
        // What was refused once is not tried again, so that the plugin does not fail all the time.
        // Memory runs out before time does, also on a machine that has much to do.
        let limits = json!({"milliseconds": 3000, "mebibytes": 64});
        let entry = json!({"onFailure": "deny", "limits": limits});
        let (tenant, place) = guarded(world, namespace, entry).await?;
        for (turn, deeds) in DEEDS.chunks(AT_ONCE).enumerate() {
            let pods: Vec<_> = (0..).map(|at| format!("bad-{turn}-{at}")).zip(deeds).collect();
            for (name, (deed, given, _)) in &pods {
                place.create::<Pod>(doing(name, deed, given)).await?;
            }
            for (name, (deed, _, reason)) in &pods {
                // What a plugin says too fast is told half a minute later.
                let told = eventually(deed, HEALED, async || place.event(name, reason).await);
                let event = told.await.context(*deed)?;
                ensure!(event.type_.as_deref() == Some("Warning"), "{deed}: {event:?}");
                ensure_not_on_the_host(&place, name).await?;
            }
            an_honest_pod_and_a_service_are_synced(&place, &format!("good-{turn}")).await?;
        }
        ensure_sound(&tenant, &place).await
    })
}

#[test]
fn a_plugin_that_spins_keeps_no_other_kind_waiting() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let slow = json!({"limits": {"milliseconds": 2000, "mebibytes": 64}});
        let (tenant, place) = guarded(world, namespace, slow).await?;
        let sources = json!([{"secretRef": {"name": "db"}}]);
        let containers = json!([{"name": "main", "image": "nginx:1", "envFrom": sources}]);
        place.run(pod("first", json!({"containers": containers}))).await?;
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
            ensure_not_on_the_host(&place, name).await?;
        }
        ensure_sound(&tenant, &place).await
    })
}

#[test]
fn a_plugin_that_keeps_failing_is_paused_and_called_again_when_it_behaves() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let (tenant, place) = guarded(world, namespace, json!({})).await?;
        let bad: Vec<String> = (0..12).map(|number| format!("bad-{number}")).collect();
        for name in &bad {
            place.create::<Pod>(doing(name, "merge", r#"{"spec":{"hostNetwork":true}}"#)).await?;
        }
        eventually("the pause is told on one of the pods", HEALED, async || {
            let events = place.on_virtual::<Event>().list(&ListParams::default()).await?.items;
            let is_paused = |event: &Event| event.reason.as_deref() == Some("PluginPaused");
            ensure!(events.iter().any(is_paused), "no event tells of it");
            Ok(())
        })
        .await?;

        // The behaviour stops for one half by a change, for the other because the objects go.
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
        an_honest_pod_and_a_service_are_synced(&place, "good").await?;
        for name in bad.iter().take(6) {
            eventually(&format!("{name} is on the host"), HEALED, async || place.pair(name).await).await?;
        }
        ensure_sound(&tenant, &place).await
    })
}

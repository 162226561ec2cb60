//! Events of the host are mirrored to the tenant, with virtual names.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt as _;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::shared::in_shared_world;

use super::place::{Place, ensure_at, pod};

#[test]
fn an_event_about_a_host_pod_is_mirrored_to_the_virtual_pod() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let pair = place.run(pod("web", json!({}))).await?;
        let host_name = pair.host_pod.name_any();
        let host_namespace = &place.host_namespace;
        let message = format!(
            "Back-off restarting failed container main in pod {host_name}_{host_namespace}(x); \
             object \"{host_namespace}\"/\"{}\" not registered; {host_namespace}/{host_name} waits",
            place.host_name("settings"),
        );
        let event = json!({
            "metadata": {"name": format!("{host_name}.17f0"), "namespace": host_namespace},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "namespace": host_namespace, "name": host_name,
                "uid": pair.host_pod.uid(), "fieldPath": "spec.containers{main}",
            },
            "type": "Warning", "reason": "BackOff", "message": message, "count": 1,
            "source": {"component": "kubelet", "host": "node-0"},
        });
        let event: Event = serde_json::from_value(event)?;
        place.on_host::<Event>().create(&PostParams::default(), &event).await?;

        let mirrored = place.event("web", "BackOff").await?;
        ensure_at(&mirrored, "/involvedObject/uid", &json!(pair.virtual_pod.uid()))?;
        ensure_at(&mirrored, "/involvedObject/fieldPath", &json!("spec.containers{main}"))?;
        ensure_at(&mirrored, "/type", &json!("Warning"))?;
        let text = serde_json::to_string(&mirrored)?;
        for word in [host_name.as_str(), host_namespace, &place.host_name("settings")] {
            ensure!(!text.contains(word), "the event has the host's name {word:?}: {text}");
        }
        let message = mirrored.message.as_deref().unwrap_or_default();
        ensure!(
            message.contains("\"settings\"") && message.contains(&format!("{namespace}/web")),
            "{message}"
        );

        let again = Patch::Merge(json!({"count": 7}));
        let name = event.name_any();
        place.on_host::<Event>().patch(&name, &PatchParams::default(), &again).await?;
        eventually("the event's count follows", SOON, async || {
            ensure_at(&place.event("web", "BackOff").await?, "/count", &json!(7))
        })
        .await?;
        let series = json!({"count": 3, "lastObservedTime": "2026-01-01T00:00:00.000000Z"});
        let again = Patch::Merge(json!({"message": format!("{host_name} waits longer"), "series": series}));
        place.on_host::<Event>().patch(&name, &PatchParams::default(), &again).await?;
        eventually("the event's message and series follow", SOON, async || {
            let event = place.event("web", "BackOff").await?;
            ensure_at(&event, "/message", &json!("web waits longer"))?;
            ensure_at(&event, "/series/count", &json!(3))
        })
        .await?;

        // The pod of before had the same host name, and another UID.
        let mut of_before = serde_json::to_value(&event)?;
        for (suffix, reason, uid) in
            [("1", "OfBefore", Some("uid-before")), ("2", "OfNow", pair.host_pod.metadata.uid.as_deref())]
        {
            of_before["metadata"] =
                json!({"name": format!("{host_name}.{suffix}"), "namespace": host_namespace});
            of_before["involvedObject"]["uid"] = json!(uid);
            of_before["reason"] = reason.into();
            let event: Event = serde_json::from_value(of_before.clone())?;
            place.on_host::<Event>().create(&PostParams::default(), &event).await?;
        }
        place.event("web", "OfNow").await?;
        let wrong = place.on_virtual::<Event>().list(&ListParams::default()).await?;
        ensure!(wrong.iter().all(|event| event.reason.as_deref() != Some("OfBefore")), "{wrong:?}");
        Ok(())
    })
}

#[test]
fn the_tenant_reads_where_its_pod_was_scheduled() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        place.run(pod("web", json!({}))).await?;
        let event = place.event("web", "Scheduled").await?;
        let message = event.message.clone().unwrap_or_default();
        ensure!(message.contains(&format!("{namespace}/web")), "{message}");
        let text = serde_json::to_string(&event)?;
        ensure!(!text.contains(&place.host_namespace), "the event has the host namespace: {text}");
        Ok(())
    })
}

//! The effect of each verdict with two real API servers: the rows of the table in `wit/README.md`.

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, Secret};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::shared::in_shared_world;
use weft_tests::tenant::Tenant;
use weft_tests::world::World;

use super::planes::{actions, doing, with_guest};
use crate::planes::place::{Place, at, condition, patch, pod, with};

/// The ConfigMap of every test.
const SETTINGS: &str = "settings";
/// Requests no change.
const UNCHANGED: (&str, &str) = ("unchanged", "");

/// A namespace of a tenant whose syncer has the guest.
///
/// The tests share the tenant: each counts the calls of a kind and a verdict that no other one counts.
struct Judged {
    tenant: &'static Tenant,
    place: Place,
}

impl Judged {
    async fn new(world: &World, namespace: &str) -> Result<Self> {
        static TENANT: OnceCell<Result<Tenant>> = OnceCell::const_new();
        match TENANT.get_or_init(|| start(world)).await {
            Ok(tenant) => Ok(Self { tenant, place: Place::fresh(tenant, namespace).await? }),
            Err(error) => bail!("the tenant with the guest failed to start: {error:#}"),
        }
    }

    /// Creates a ConfigMap, and a pod that uses it.
    async fn create_settings(&self, action: (&str, &str)) -> Result<()> {
        let object = json!({"metadata": {"name": SETTINGS}, "data": {"mode": "old"}});
        self.place.create::<ConfigMap>(with(object, "annotations", actions(action.0, action.1))).await?;
        self.use_config_map("user", SETTINGS).await
    }

    async fn use_config_map(&self, user: &str, name: &str) -> Result<()> {
        let sources = json!([{"configMapRef": {"name": name}}]);
        let containers = json!([{"name": "main", "image": "nginx:1", "envFrom": sources}]);
        self.place.create::<Pod>(pod(user, json!({"containers": containers}))).await?;
        Ok(())
    }

    /// Changes the ConfigMap, and the action of the guest.
    async fn change_settings(&self, mode: &str, action: (&str, &str)) -> Result<()> {
        let change =
            json!({"metadata": {"annotations": actions(action.0, action.1)}, "data": {"mode": mode}});
        patch(&self.place.on_virtual::<ConfigMap>(), SETTINGS, change).await?;
        Ok(())
    }

    /// The `mode` of the host's ConfigMap; none if the host has no ConfigMap.
    async fn mode_on_host(&self) -> Result<Option<String>> {
        let name = self.place.host_name(SETTINGS);
        let found = self.place.on_host::<ConfigMap>().get_opt(&name).await?;
        Ok(found.map(|found| found.data.and_then(|data| data.get("mode").cloned()).unwrap_or_default()))
    }

    async fn ensure_mode(&self, expected: Option<&str>) -> Result<()> {
        let found = self.mode_on_host().await?;
        ensure!(found.as_deref() == expected, "the host's ConfigMap has {found:?}, expected {expected:?}");
        Ok(())
    }

    /// Waits until the host's ConfigMap has this `mode`, or is not there.
    async fn reaches_host(&self, expected: Option<&str>) -> Result<()> {
        let sentence = format!("the host's ConfigMap has the mode {expected:?}");
        eventually(&sentence, SOON, async || self.ensure_mode(expected).await).await
    }

    /// Changes the action of the guest for a pod.
    async fn change_pod(&self, name: &str, action: (&str, &str), turn: &str) -> Result<()> {
        let change =
            json!({"metadata": {"annotations": actions(action.0, action.1), "labels": {"turn": turn}}});
        patch(&self.place.on_virtual::<Pod>(), name, change).await?;
        Ok(())
    }

    /// How often a rule of this kind has returned this verdict.
    async fn calls(&self, kind: &str, verdict: &str) -> Result<u64> {
        let metrics = self.tenant.probe("/metrics").await?;
        let labels = [format!("kind=\"{kind}\""), format!("verdict=\"{verdict}\"")];
        let line = metrics.lines().find(|line| {
            line.starts_with("weft_plugin_calls_total{") && labels.iter().all(|label| line.contains(label))
        });
        let Some(line) = line else { return Ok(0) };
        let count = line.rsplit(' ').next().and_then(|count| count.parse().ok());
        count.with_context(|| format!("no number in {line:?}"))
    }

    /// Waits until there were more calls than `before`, and returns their number.
    async fn called(&self, kind: &str, verdict: &str, before: u64) -> Result<u64> {
        eventually(&format!("a {kind} has another {verdict}"), SOON, async || {
            let now = self.calls(kind, verdict).await?;
            ensure!(now > before, "there are {now} calls, and there were {before}");
            Ok(now)
        })
        .await
    }

    /// The number of calls once everything pending is done: another ConfigMap that was created later is synced.
    async fn calls_at_rest(&self, kind: &str, verdict: &str) -> Result<u64> {
        self.called(kind, verdict, 0).await?;
        self.place.create::<ConfigMap>(json!({"metadata": {"name": "later"}})).await?;
        self.use_config_map("later", "later").await?;
        self.place.running("later").await?;
        let (api, name) = (self.place.on_host::<ConfigMap>(), self.place.host_name("later"));
        eventually("the later ConfigMap is on the host", SOON, async || Ok(api.get(&name).await?)).await?;
        self.calls(kind, verdict).await
    }

    /// Waits for a Warning event of the guest about `name` with `message`.
    async fn warned(&self, name: &str, message: &str) -> Result<()> {
        eventually(&format!("an event about {name} says {message:?}"), SOON, async || {
            let events = self.events_about(name).await?;
            let is_it = |event: &&Event| {
                event.type_.as_deref() == Some("Warning")
                    && event.reason.as_deref() == Some("Requested")
                    && event.message.as_deref().is_some_and(|found| found.contains(message))
            };
            ensure!(events.iter().any(|event| is_it(&event)), "the events are {events:#?}");
            Ok(())
        })
        .await
    }

    async fn ensure_no_events(&self, name: &str) -> Result<()> {
        let events = self.events_about(name).await?;
        ensure!(events.is_empty(), "there are events: {events:#?}");
        Ok(())
    }

    /// The guest's events about `name`.
    async fn events_about(&self, name: &str) -> Result<Vec<Event>> {
        let about = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let mut events = self.place.on_virtual::<Event>().list(&about).await?.items;
        events.retain(|event| event.reporting_component.as_deref() == Some("weft"));
        Ok(events)
    }

    /// Waits until the tenant's pod runs and is ready, with this condition of the guest and no other one.
    async fn has_condition(&self, name: &str, expected: Option<&str>) -> Result<Pod> {
        let sentence = format!("{name} is ready and has the guest's condition {expected:?}");
        eventually(&sentence, SOON, async || {
            let pod = self.place.on_virtual::<Pod>().get(name).await?;
            ensure!(condition(&pod, "Ready") == "True", "it is not ready: {:#?}", pod.status);
            ensure_condition(&pod, expected)?;
            Ok(pod)
        })
        .await
    }

    async fn ensure_turn_on_host(&self, name: &str, expected: Value) -> Result<()> {
        let found = at(&self.place.pair(name).await?.host_pod, "/metadata/labels/turn")?;
        ensure!(found == expected, "the host pod's turn is {found}, expected {expected}");
        Ok(())
    }
}

async fn start(world: &World) -> Result<Tenant> {
    // A busy machine is no failure of the guest.
    let entry = json!({"limits": {"milliseconds": 3000, "mebibytes": 64}});
    with_guest(world, "judged", "judged", &entry).await
}

fn ensure_condition(pod: &Pod, expected: Option<&str>) -> Result<()> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let guests: Vec<_> = conditions
        .filter_map(|condition| Some((condition.type_.strip_prefix("guest.plugins.weft.dev/")?, condition)))
        .collect();
    let names: Vec<&str> = guests.iter().map(|(name, _)| *name).collect();
    ensure!(names == Vec::from_iter(expected), "the guest's conditions are {names:?}");
    for (name, condition) in guests {
        let said = (condition.status.as_str(), condition.reason.as_deref(), condition.message.as_deref());
        ensure!(said == ("True", Some("Requested"), Some("as requested")), "{name} says {said:?}");
        ensure!(condition.last_transition_time.is_some(), "{name} has no time");
    }
    Ok(())
}

#[test]
fn what_is_skipped_stays_as_it_is_on_the_host_until_the_plugin_lets_it_through() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let judged = Judged::new(world, namespace).await?;
        judged.create_settings(("skip", "not yet")).await?;
        judged.called("v1/ConfigMap", "skip", 0).await?;
        judged.place.running("user").await?;
        judged.ensure_mode(None).await?;

        judged.change_settings("old", UNCHANGED).await?;
        judged.reaches_host(Some("old")).await?;
        let calls = judged.calls("v1/ConfigMap", "skip").await?;
        judged.change_settings("new", ("skip", "no more")).await?;
        judged.called("v1/ConfigMap", "skip", calls).await?;
        judged.ensure_mode(Some("old")).await?;

        judged.change_settings("new", UNCHANGED).await?;
        judged.reaches_host(Some("new")).await?;
        judged.ensure_no_events(SETTINGS).await
    })
}

#[test]
fn an_absent_object_is_deleted_on_the_host_and_created_again_later() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let judged = Judged::new(world, namespace).await?;
        judged.create_settings(("absent", "not here")).await?;
        judged.called("v1/ConfigMap", "absent", 0).await?;
        judged.place.running("user").await?;
        judged.ensure_mode(None).await?;

        judged.change_settings("old", UNCHANGED).await?;
        judged.reaches_host(Some("old")).await?;
        judged.change_settings("new", ("absent", "not here any more")).await?;
        judged.reaches_host(None).await?;
        let ours = judged.place.on_virtual::<ConfigMap>().get(SETTINGS).await?;
        ensure!(ours.metadata.deletion_timestamp.is_none(), "the tenant's is deleted: {ours:?}");

        judged.change_settings("new", UNCHANGED).await?;
        judged.reaches_host(Some("new")).await?;
        judged.ensure_no_events(SETTINGS).await
    })
}

#[test]
fn an_absent_pod_ends_as_if_the_host_had_deleted_it() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let judged = Judged::new(world, namespace).await?;
        let object = doing("web", "absent", "not here");
        judged.place.create::<Pod>(object).await?;
        judged.called("v1/Pod", "absent", 0).await?;
        let hosts = judged.place.host_objects::<Pod>().await?;
        ensure!(hosts.is_empty(), "the host has {hosts:#?}");

        judged.change_pod("web", UNCHANGED, "next").await?;
        let pair = judged.place.running("web").await?;
        judged.change_pod("web", ("absent", "not here any more"), "last").await?;
        // A pod ends with its host pod, so the tenant's pod ends as well.
        judged.place.gone(&pair).await
    })
}

#[test]
fn a_rejected_object_has_an_event_and_is_mapped_again_when_it_changes() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let judged = Judged::new(world, namespace).await?;
        judged.create_settings(("reject", "at first")).await?;
        judged.warned(SETTINGS, "at first").await?;
        judged.ensure_mode(None).await?;

        judged.change_settings("old", UNCHANGED).await?;
        judged.reaches_host(Some("old")).await?;
        for message in ["once more", "and again"] {
            judged.change_settings("new", ("reject", message)).await?;
            judged.warned(SETTINGS, message).await?;
            judged.ensure_mode(Some("old")).await?;
        }
        judged.change_settings("new", UNCHANGED).await?;
        judged.reaches_host(Some("new")).await
    })
}

#[test]
fn a_failed_object_has_an_event_and_is_retried_without_a_change() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let judged = Judged::new(world, namespace).await?;
        judged.create_settings(UNCHANGED).await?;
        judged.reaches_host(Some("old")).await?;

        judged.change_settings("new", ("fail", "out of order")).await?;
        judged.warned(SETTINGS, "out of order").await?;
        let mut calls = judged.calls_at_rest("v1/ConfigMap", "fail").await?;
        for _ in 0..2 {
            calls = judged.called("v1/ConfigMap", "fail", calls).await?;
        }
        judged.ensure_mode(Some("old")).await?;

        judged.change_settings("new", UNCHANGED).await?;
        judged.reaches_host(Some("new")).await
    })
}

#[test]
fn an_object_that_waits_for_a_secret_is_mapped_again_when_the_secret_changes() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let judged = Judged::new(world, namespace).await?;
        judged.create_settings(UNCHANGED).await?;
        judged.reaches_host(Some("old")).await?;
        judged.change_settings("new", ("wait-for-secret", &format!("{namespace}/db"))).await?;
        let calls = judged.calls_at_rest("v1/ConfigMap", "wait").await?;

        let secret = json!({"metadata": {"name": "db"}, "stringData": {"password": "first"}});
        judged.place.create::<Secret>(secret).await?;
        let calls = judged.called("v1/ConfigMap", "wait", calls).await?;
        let secrets = judged.place.on_virtual::<Secret>();
        patch(&secrets, "db", json!({"stringData": {"password": "second"}})).await?;
        judged.called("v1/ConfigMap", "wait", calls).await?;
        judged.ensure_mode(Some("old")).await?;

        judged.change_settings("new", UNCHANGED).await?;
        judged.reaches_host(Some("new")).await?;
        judged.ensure_no_events(SETTINGS).await
    })
}

#[test]
fn an_object_that_waits_for_a_time_is_mapped_again_by_itself() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let judged = Judged::new(world, namespace).await?;
        let object = doing("web", "wait-a-second", "soon");
        judged.place.create::<Pod>(object).await?;
        let mut calls = judged.calls_at_rest("v1/Pod", "wait").await?;
        for _ in 0..2 {
            calls = judged.called("v1/Pod", "wait", calls).await?;
        }
        let there = judged.place.on_host::<Pod>().get_opt(&judged.place.host_name("web")).await?;
        ensure!(there.is_none(), "the pod that waits is on the host: {there:#?}");

        judged.change_pod("web", UNCHANGED, "next").await?;
        judged.place.running("web").await?;
        judged.ensure_no_events("web").await
    })
}

#[test]
fn a_condition_is_set_with_apply_and_skip_and_removed_by_an_outcome_without_it() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let judged = Judged::new(world, namespace).await?;
        judged.place.run(pod("web", json!({}))).await?;
        judged.change_pod("web", ("condition", "Seen"), "first").await?;
        judged.has_condition("web", Some("Seen")).await?;
        judged.change_pod("web", UNCHANGED, "second").await?;
        judged.has_condition("web", None).await?;
        judged.change_pod("web", ("condition-skip", "Held"), "third").await?;
        judged.has_condition("web", Some("Held")).await?;
        // The condition shows that the plugin was called for the last change.
        judged.ensure_turn_on_host("web", json!("second")).await?;

        judged.change_pod("web", UNCHANGED, "fourth").await?;
        judged.has_condition("web", None).await?;
        eventually("the last change is on the host", SOON, async || {
            judged.ensure_turn_on_host("web", json!("fourth")).await
        })
        .await
    })
}

#[test]
fn a_condition_of_a_pod_that_is_skipped_at_first_is_removed_when_it_runs() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let judged = Judged::new(world, namespace).await?;
        let object = doing("web", "condition-skip", "Held");
        judged.place.create::<Pod>(object).await?;
        eventually("the tenant's pod has the condition", SOON, async || {
            ensure_condition(&judged.place.on_virtual::<Pod>().get("web").await?, Some("Held"))
        })
        .await?;
        let there = judged.place.on_host::<Pod>().get_opt(&judged.place.host_name("web")).await?;
        ensure!(there.is_none(), "the pod that is skipped is on the host: {there:#?}");

        judged.change_pod("web", UNCHANGED, "next").await?;
        judged.place.running("web").await?;
        judged.has_condition("web", None).await?;
        judged.ensure_no_events("web").await
    })
}

#[test]
fn the_status_of_a_skipped_pod_is_still_synced_back() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let judged = Judged::new(world, namespace).await?;
        let pair = judged.place.run(pod("web", json!({}))).await?;
        judged.change_pod("web", ("condition-skip", "Held"), "next").await?;
        judged.has_condition("web", Some("Held")).await?;

        let said = Patch::Merge(json!({"status": {"message": "said on the host"}}));
        let (hosts, name) = (judged.place.on_host::<Pod>(), pair.host_pod.metadata.name);
        let name = name.context("a pod has a name")?;
        hosts.patch_status(&name, &PatchParams::default(), &said).await?;
        eventually("the tenant's pod has the host's message", SOON, async || {
            let pod = judged.place.on_virtual::<Pod>().get("web").await?;
            let message = at(&pod, "/status/message")?;
            ensure!(message == "said on the host", "the message is {message}");
            Ok(())
        })
        .await?;
        judged.has_condition("web", Some("Held")).await?;
        judged.ensure_turn_on_host("web", Value::Null).await
    })
}

//! Rules come, change and go while the syncer's engine runs; rules that misbehave affect only what they map.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use weft_core::conditions;
use weft_core::context::{Condition, Ctx};
use weft_core::edit::Edit;
use weft_core::extension::{Answer, Request};
use weft_core::mapper::Mapper;
use weft_core::object::{Kind, ResourceType};
use weft_core::verdict::{Hold, Wait};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::shared::in_own_world;
use weft_tests::world::{Options, World};

use super::in_process::{Running, answer, followed_by, merged, problem};
use super::widgets::{DEFINITION, Widgets, declared, define, served, widgets};

fn unchanged() -> Answer {
    answer(Ok(Edit::Unchanged))
}

fn wait(after: Option<Duration>) -> Answer {
    answer(Err(Hold::Wait(Box::new(Wait { problem: problem("NotYet"), until: BTreeSet::new(), after }))))
}

fn accounts() -> ResourceType {
    ResourceType::core("ServiceAccount", "serviceaccounts")
}

/// Labels widgets with how many marked ConfigMaps and ServiceAccounts there are; only the first are synced.
fn counting() -> Arc<dyn Mapper> {
    let looks_up = [accounts(), ResourceType::core("ConfigMap", "configmaps")];
    followed_by(declared(), &looks_up, |ctx: &Ctx<'_>, _: &Request<'_>| {
        if !ctx.lookup.is_complete(&accounts().kind()) {
            return wait(None);
        }
        let mark = [("mark".to_owned(), "yes".to_owned())];
        let maps = ctx.lookup.find(&Kind::new("v1/ConfigMap"), Some("default"), &mark).len();
        let accounts = ctx.lookup.find(&accounts().kind(), None, &mark).len();
        let labels = json!({"maps": maps.to_string(), "accounts": accounts.to_string()});
        merged(json!({"metadata": {"labels": labels}}))
    })
}

/// Does what the first part of a widget's name says.
fn misbehaving(calls: Arc<AtomicUsize>, blocked: Arc<AtomicBool>) -> Arc<dyn Mapper> {
    followed_by(declared(), &[], move |ctx: &Ctx<'_>, request: &Request<'_>| {
        let name = request.virtual_object.name();
        match name.split('-').next().unwrap_or_default() {
            "panics" => panic_on_purpose(),
            "blocks" => {
                while blocked.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            "rejected" => return answer(Err(Hold::Reject(problem("NotLikeThis")))),
            "fails" => return answer(Err(Hold::Fail(problem("DidNotWork")))),
            "waits" if calls.fetch_add(1, Ordering::Relaxed) < 2 => {
                return wait(Some(Duration::from_millis(10)));
            }
            "flaps" => {
                let condition = Condition {
                    kind: conditions::kind("outside", "Fine"),
                    status: "True",
                    reason: "Counted".to_owned(),
                    message: format!("{} at {}", calls.fetch_add(1, Ordering::Relaxed), ctx.now.text),
                };
                return Answer { conditions: Some(vec![condition]), ..unchanged() };
            }
            _ => {}
        }
        unchanged()
    })
}

#[expect(clippy::panic, reason = "that is what the test is about")]
fn panic_on_purpose() {
    panic!("a rule breaks off on purpose");
}

/// Lets go of what blocks, also when the test has failed: the engine ends when its threads do.
struct Release(Arc<AtomicBool>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

async fn world() -> Result<World> {
    World::without_syncer(Options::build().await?).await
}

#[test]
fn kinds_come_change_and_go_while_the_engine_runs() -> Result<()> {
    in_own_world(async {
        let world = world().await?;
        let engine = Running::start(&world).await?;
        let all = Widgets::of(&world).await?;
        let (both, nothing) = (&all.both, BTreeSet::new);

        // A kind that no server has does not delay others.
        engine.set(&[declared()], nothing());
        both.create_pod("before", json!({})).await?;
        both.runs("before").await?;

        define(&both.host_client(), &["v1"]).await?;
        // Definitions are reconciled when rules change.
        engine.set(&[declared()], nothing());
        all.create("one").await?;
        let first = all.arrives("one").await?;

        engine.set(&[counting()], nothing());
        all.has_label("one", "maps", "0").await?;
        all.has_label("one", "accounts", "0").await?;
        let marked = |name: &str| json!({"metadata": {"name": name, "labels": {"mark": "yes"}}});
        both.create::<ConfigMap>(marked("a")).await?;
        all.has_label("one", "maps", "1").await?;
        both.create::<ServiceAccount>(marked("b")).await?;
        all.has_label("one", "accounts", "1").await?;
        both.delete::<ConfigMap>("a").await?;
        all.has_label("one", "maps", "0").await?;
        ensure!(all.on_host("one").await?.metadata.uid == first.metadata.uid, "it was made anew");

        // A kind without rules is left as it is.
        engine.set(&[], nothing());
        all.create("two").await?;
        both.create_pod("after", json!({})).await?;
        both.runs("after").await?;
        ensure!(all.on_host("two").await.is_err() && all.on_host("one").await.is_ok());
        engine.set(&[counting()], nothing());
        all.arrives("two").await?;

        // Unless it is to be cleaned up.
        engine.set(&[], [widgets().kind()].into());
        eventually("no widget is on the host", SOON, async || {
            let left = all.host.list(&ListParams::default()).await?.items;
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await?;
        ensure!(all.r#virtual.list(&ListParams::default()).await?.items.len() == 2);
        engine.set(&[declared()], nothing());
        all.arrives("one").await?;
        all.arrives("two").await?;
        Ok(())
    })
}

#[test]
fn rules_that_misbehave_affect_only_what_they_map() -> Result<()> {
    in_own_world(async {
        let world = world().await?;
        let engine = Running::start(&world).await?;
        let all = Widgets::of(&world).await?;
        let both = &all.both;
        define(&both.host_client(), &["v1"]).await?;
        let (calls, blocked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        engine.set(&[misbehaving(calls.clone(), blocked.clone())], BTreeSet::new());

        all.create("panics").await?;
        all.event_about("panics", "MapperPanicked").await?;
        all.create("rejected").await?;
        let message = all.event_about("rejected", "NotLikeThis").await?;
        ensure!(message == "because of NotLikeThis (plugin outside)", "{message}");
        all.create("fails").await?;
        all.event_about("fails", "DidNotWork").await?;
        let started = Instant::now();
        all.create("waits").await?;
        all.arrives("waits").await?;
        ensure!(started.elapsed() >= Duration::from_secs(2), "nobody waits for {:?}", started.elapsed());

        // As many as may are under way, and none ends.
        let _release = Release(blocked.clone());
        for number in 0..60 {
            all.create(&format!("blocks-{number}")).await?;
        }
        both.create::<ConfigMap>(json!({"metadata": {"name": "quick"}, "data": {"a": "b"}})).await?;
        both.create_pod("quick", json!({"volumes": [{"name": "v", "configMap": {"name": "quick"}}]})).await?;
        both.arrives::<Pod>("quick").await.context("a pod waits for rules that block")?;
        blocked.store(false, Ordering::Relaxed);
        eventually("every widget has arrived that was blocked", SOON, async || {
            let found = all.host.list(&ListParams::default()).await?.items.len();
            ensure!(found > 60, "{found}");
            Ok(())
        })
        .await?;

        // Each write of a condition brings the widget back.
        calls.store(0, Ordering::Relaxed);
        all.create("flaps").await?;
        all.arrives("flaps").await?;
        let started = Instant::now();
        eventually("it is called again and again", SOON, async || {
            ensure!(calls.load(Ordering::Relaxed) >= 4);
            Ok(())
        })
        .await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (calls, took) = (calls.load(Ordering::Relaxed), started.elapsed());
        ensure!(calls <= 6 + usize::try_from(took.as_secs() + 1)?, "{calls} calls in {took:?}");
        let flaps = all.r#virtual.get("flaps").await?;
        let kind = flaps.data.pointer("/status/conditions/0/type");
        ensure!(kind == Some(&json!("outside.plugins.weft.dev/Fine")), "{}", flaps.data);
        Ok(())
    })
}

#[test]
fn definitions_follow_the_host_as_far_as_nothing_is_lost() -> Result<()> {
    in_own_world(async {
        let world = world().await?;
        let engine = Running::start(&world).await?;
        let all = Widgets::of(&world).await?;
        let (host, r#virtual) = (all.both.host_client(), all.both.virtual_client());
        let look = || engine.set(&[declared()], BTreeSet::new());
        let serves = async |wanted: &[&str]| {
            eventually(&format!("{wanted:?} are served"), SOON, async || {
                let found = served(&r#virtual).await?;
                ensure!(found == wanted, "{found:?}");
                Ok(())
            })
            .await
        };
        look();
        define(&host, &["v1"]).await?;
        look();
        serves(&["v1"]).await?;
        define(&host, &["v1", "v2"]).await?;
        look();
        serves(&["v1", "v2"]).await?;
        define(&host, &["v1"]).await?;
        look();
        all.event_about(DEFINITION, "DefinitionNotUpdated").await?;
        serves(&["v1", "v2"]).await?;

        // What the tenant deletes is made again, as the host has it now.
        let definitions: Api<CustomResourceDefinition> = Api::all(r#virtual.clone());
        definitions.delete(DEFINITION, &DeleteParams::default()).await?;
        eventually("the definition is gone", SOON, async || {
            ensure!(definitions.get_opt(DEFINITION).await?.is_none());
            Ok(())
        })
        .await?;
        look();
        serves(&["v1"]).await?;

        // What the tenant makes its own stays.
        let forget = json!({"metadata": {"annotations": {"weft.dev/definition": null}}});
        definitions.patch(DEFINITION, &PatchParams::default(), &Patch::Merge(forget)).await?;
        define(&host, &["v1", "v3"]).await?;
        look();
        all.event_about(DEFINITION, "DefinitionRespected").await?;
        serves(&["v1"]).await
    })
}

//! What hostile tenants ask for, of real servers: nothing of it reaches the host beyond what the operator allows.
//!
//! These are all the specs of the core's tests, in each place, that a virtual API server accepts.

mod asked;
#[path = "../../../host/core/tests/support/hostile_specs.rs"]
mod hostile_specs;
#[expect(dead_code, reason = "shared with the tests of the core, which use more of it")]
#[path = "../../../host/core/tests/support/powers.rs"]
mod powers;
mod seen;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::json;
use weft_tests::eventually::eventually;
use weft_tests::shared::in_shared_world;
use weft_tests::tenant::Tenant;

use self::asked::{Asked, BESIDE, CLUSTER, Own, RUNTIME_CLASS, SHOP, STORAGE_CLASS};
use self::seen::{Accepted, Outcome, Seen, kinds};
use super::both::Both;
use super::place::{Place, pod};

/// Hundreds of events, at the few writes a second that the syncer gives them.
const LATER: Duration = Duration::from_mins(1);
/// How many requests of ours are under way at once.
const CLIENTS: usize = 16;
/// Fewer would show little.
const MANY: usize = 100;

#[test]
#[expect(clippy::print_stdout, reason = "what was tried is part of the result")]
fn nothing_that_a_hostile_tenant_asks_for_reaches_the_host() -> Result<()> {
    in_shared_world(async |world, _| {
        // Its operator allows nothing more than by default, but the class that a virtual API server gives to claims.
        let allowed = json!({"claims": {"storageClasses": [STORAGE_CLASS]}});
        let tenant = world.another_tenant(CLUSTER, "hostile", &allowed).await?;
        let (both, own) = settle(&tenant).await?;
        let all = asked::hostile(&own);
        let tried = all.len();
        let hostile = ask(&both, all).await?;
        let outcomes = judged(&both, &hostile, |_| true).await?;
        let harmless = ask(&both, asked::harmless(&own)).await?;
        judged(&both, &harmless, |outcome| outcome == Outcome::Reached).await?;

        let of = |wanted| outcomes.iter().filter(move |(outcome, _)| *outcome == wanted);
        let reached: Vec<&String> = of(Outcome::Reached).map(|(_, seen)| seen).collect();
        println!(
            "{} hostile objects on real servers, {} refused by an event, {} synced without what they asked for, {} left alone, \
             {} reach the host ({} more were refused by the virtual API server, and {} harmless ones reach the host)",
            outcomes.len(),
            of(Outcome::Refused).count(),
            of(Outcome::Changed).count(),
            of(Outcome::LeftAlone).count(),
            reached.len(),
            tried - hostile.len(),
            harmless.len(),
        );
        ensure!(reached.is_empty(), "these reach the host: {reached:#?}");
        ensure!(outcomes.len() >= MANY, "only {} were judged", outcomes.len());
        for (kind, _) in kinds() {
            ensure!(harmless.iter().any(|accepted| accepted.asked.kind == kind), "no harmless {kind}");
        }
        let mut ephemeral = harmless.iter().filter(|accepted| accepted.asked.ephemeral.is_some());
        ensure!(ephemeral.next().is_some(), "no harmless ephemeral container");
        Ok(())
    })
}

/// A running pod of the tenant's, and what else the objects need to be accepted.
async fn settle(tenant: &Tenant) -> Result<(Both, Own)> {
    let shop = Place::fresh(tenant, SHOP).await?;
    // Pods are refused in a namespace that has no service account yet.
    Place::fresh(tenant, BESIDE).await?.run(pod("own", json!({}))).await?;
    let own = shop.run(pod("own", json!({}))).await?.virtual_pod;
    shop.create::<Service>(json!({"metadata": {"name": "own"}, "spec": {"ports": [{"port": 80}]}})).await?;
    let class = json!({"metadata": {"name": RUNTIME_CLASS}, "handler": "kata", "overhead": {"podFixed": {"cpu": "1"}}});
    let class: RuntimeClass = serde_json::from_value(class)?;
    shop.all_virtual().create(&PostParams::default(), &class).await?;
    let ip = own.status.and_then(|status| status.pod_ip).context("the pod has no address")?;
    Ok((Both::of_tenant(tenant, SHOP).await?, Own { name: "own".to_owned(), ip }))
}

/// Creates all of them; what the virtual API server refuses or drops is not in the result.
async fn ask(both: &Both, all: Vec<Asked>) -> Result<Vec<Accepted>> {
    let created = stream::iter(all).map(|asked| create(both, asked)).buffer_unordered(CLIENTS);
    let created: Vec<Accepted> = created.try_filter_map(async |accepted| Ok(accepted)).try_collect().await?;
    eventually("the pods run that ephemeral containers are to be added to", LATER, async || {
        let seen = Seen::of(both).await?;
        let mut debugged = created.iter().filter(|accepted| accepted.asked.ephemeral.is_some());
        let missing = debugged.find(|accepted| !seen.is_on_host(accepted));
        ensure!(
            missing.is_none(),
            "{} is not on the host",
            missing.map_or("", |missing| missing.asked.name())
        );
        Ok(())
    })
    .await?;
    let attached = stream::iter(created).map(|accepted| attach(both, accepted)).buffer_unordered(CLIENTS);
    attached.try_filter_map(async |accepted| Ok(accepted)).try_collect().await
}

async fn create(both: &Both, asked: Asked) -> Result<Option<Accepted>> {
    if asked.kind == "Endpoints" {
        // The host has Endpoints of Services only.
        let service = json!({"metadata": {"name": asked.name()}, "spec": {"ports": [{"port": 80}]}});
        both.create::<Service>(service).await?;
    }
    let object: DynamicObject = serde_json::from_value(asked.object.clone())?;
    let created = api(both, &asked)?.create(&PostParams::default(), &object).await;
    let Some(created) = taken(created).with_context(|| format!("failed to create {asked:?}"))? else {
        return Ok(None);
    };
    let uid = created.uid().unwrap_or_default();
    let keeps_it = asked.ephemeral.is_some() || asked.is_in(&serde_json::to_value(created)?);
    Ok(keeps_it.then_some(Accepted { asked, uid }))
}

/// Adds the ephemeral container that is asked for, if one is.
async fn attach(both: &Both, accepted: Accepted) -> Result<Option<Accepted>> {
    let Some(containers) = &accepted.asked.ephemeral else { return Ok(Some(accepted)) };
    let patch = Patch::Strategic(json!({"spec": {"ephemeralContainers": containers}}));
    let (api, name) = (api(both, &accepted.asked)?, accepted.asked.name());
    let patched = api.patch_subresource("ephemeralcontainers", name, &PatchParams::default(), &patch).await;
    let Some(patched) = taken(patched).with_context(|| format!("failed to patch {accepted:?}"))? else {
        return Ok(None);
    };
    let keeps_it = accepted.asked.is_in(&serde_json::to_value(patched)?);
    Ok(keeps_it.then_some(accepted))
}

fn api(both: &Both, asked: &Asked) -> Result<Api<DynamicObject>> {
    let (_, resource) =
        kinds().into_iter().find(|(kind, _)| *kind == asked.kind).context("an unknown kind")?;
    Ok(Api::namespaced_with(both.virtual_client(), asked.namespace, &resource))
}

/// What the server has stored; nothing if it is not to its liking.
fn taken(answer: kube::Result<DynamicObject>) -> Result<Option<DynamicObject>> {
    match answer {
        Ok(stored) => Ok(Some(stored)),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What became of each, with what was seen of it, once all have come to an end.
async fn judged(
    both: &Both,
    all: &[Accepted],
    is_end: fn(Outcome) -> bool,
) -> Result<Vec<(Outcome, String)>> {
    // What was seen once counts: a pod on a node that is not there is collected after a while.
    let mut outcomes: Vec<Option<(Outcome, String)>> = vec![None; all.len()];
    eventually("each object is refused by its field or is on the host", LATER, async || {
        let seen = Seen::of(both).await?;
        let mut open = Vec::new();
        for (known, accepted) in outcomes.iter_mut().zip(all) {
            let before = known.as_ref().map(|(outcome, _)| *outcome);
            let now = before.max(seen.outcome(accepted));
            if let Some(outcome) = now.filter(|_| now != before) {
                *known = Some((outcome, seen.describe(accepted)));
            }
            if !now.is_some_and(is_end) {
                open.push(seen.describe(accepted));
            }
        }
        ensure!(open.is_empty(), "{} are not: {open:#?}", open.len());
        Ok(())
    })
    .await?;
    Ok(outcomes.into_iter().flatten().collect())
}

//! A life of two pods with what they use, as faults disturb it, and what both sides show in its course.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service};
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use weft_tests::eventually::eventually;
use weft_tests::fault_proxy::{Applied, FaultProxy, Matcher, Rule, deletes, patches, posts};
use weft_tests::pairs::Identity;
use weft_tests::world::World;

use crate::planes::both::{Both, Namespaced, at, create, name_of, text, uid};

/// How long it may take to heal: the longest pause after failures, and room.
const HEALED: Duration = Duration::from_mins(1);

/// Each write that a pod's life takes on the host.
fn on_host() -> Vec<Matcher> {
    vec![
        posts("pods"),
        posts("configmaps"),
        posts("secrets"),
        posts("services"),
        patches("configmaps"),
        deletes("pods"),
        deletes("services"),
    ]
}

/// Each write that it takes on the virtual side.
fn on_virtual() -> Vec<Matcher> {
    vec![posts("serviceaccounts/token"), patches("pods/status"), posts("pods/binding"), deletes("pods")]
}

/// A fault of the writes of a kind.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) fault: fn(Matcher) -> Rule,
}

/// Fails unless a disturbed life was as the undisturbed one, and at least half of the faults happened.
pub(super) fn ends_as(undisturbed: &[String; 2], disturbed: &[String; 2], faults: &[Applied]) -> Result<()> {
    for (now, before) in disturbed.iter().zip(undisturbed) {
        ensure!(now == before, "the end is {now}, undisturbed it is {before}");
    }
    let happened = faults.iter().filter(|applied| applied.times() > 0).count();
    ensure!(happened >= faults.len() / 2, "only {happened} of {} faults happened", faults.len());
    Ok(())
}

/// A fault for each write of a life, on either side.
pub(super) fn at_each_write(
    [host, inner]: [&FaultProxy; 2],
    fault: impl Fn(Matcher) -> Rule,
) -> Vec<Applied> {
    let on_host = on_host().into_iter().map(|write| host.rule(fault(write)));
    let on_virtual = on_virtual().into_iter().map(|write| inner.rule(fault(write)));
    on_host.chain(on_virtual).collect()
}

/// A whole life, in a namespace of its own: what both sides show while the pods run, after a change, and in the end.
pub(super) async fn live(world: &World, namespace: &str) -> Result<[String; 2]> {
    go_on(&begin(world, namespace).await?).await
}

/// Creates all that a life takes.
async fn begin(world: &World, namespace: &str) -> Result<Both> {
    let both = Both::of(world, namespace).await?;
    create(&Api::<Namespace>::all(both.virtual_client()), json!({"metadata": {"name": namespace}})).await?;
    both.create::<ConfigMap>(json!({"metadata": {"name": "settings"}, "data": {"a": "1"}})).await?;
    both.create::<Secret>(json!({"metadata": {"name": "password"}, "stringData": {"a": "1"}})).await?;
    both.create::<Service>(json!({
        "metadata": {"name": "web"}, "spec": {"selector": {"app": "one"}, "ports": [{"port": 80}]},
    }))
    .await?;
    for name in ["one", "two"] {
        let volumes = json!([
            {"name": "settings", "configMap": {"name": "settings"}},
            {"name": "password", "secret": {"secretName": "password"}},
        ]);
        both.create_pod(name, json!({"volumes": volumes})).await?;
    }
    Ok(both)
}

/// Everything of the namespace on the host, without what differs from run to run.
async fn host_state(both: &Both) -> Result<BTreeMap<String, Value>> {
    let mut state = BTreeMap::new();
    add::<Pod>(both, &mut state, &["/status/phase", "/spec/volumes/0", "/spec/volumes/1"]).await?;
    add::<ConfigMap>(both, &mut state, &["/data"]).await?;
    add::<Secret>(both, &mut state, &["/data/a"]).await?;
    add::<Service>(both, &mut state, &["/spec/ports", "/spec/type"]).await?;
    Ok(state)
}

async fn add<K: Namespaced>(both: &Both, state: &mut BTreeMap<String, Value>, shown: &[&str]) -> Result<()> {
    for object in both.host_api::<K>().list(&ListParams::default()).await?.items {
        let Some(identity) = Identity::of(&object).filter(|found| found.namespace == both.namespace()) else {
            continue;
        };
        let object = serde_json::to_value(object)?;
        let fields: Vec<String> = shown.iter().map(|pointer| at(&object, pointer).to_string()).collect();
        let (key, shown) = (format!("{} {}", identity.kind, identity.name), fields.join(" "));
        let shown = shown.replace(both.namespace(), "<namespace>");
        ensure!(state.insert(key.clone(), shown.into()).is_none(), "the host has {key} twice");
    }
    Ok(())
}

/// The pods on the virtual side, as far as the host decides about them.
async fn virtual_state(both: &Both) -> Result<Vec<Value>> {
    let pods = both.virtual_api::<Pod>().list(&ListParams::default()).await?.items;
    let shown = |pod: Pod| -> Result<Value> {
        let pod = serde_json::to_value(pod)?;
        let conditions = at(&pod, "/status/conditions").as_array().cloned().unwrap_or_default();
        let conditions = conditions.iter().map(|one| (at(one, "/type").clone(), at(one, "/status").clone()));
        Ok(json!([name_of(&pod), at(&pod, "/status/phase"), conditions.collect::<Vec<_>>()]))
    };
    pods.into_iter().map(shown).collect()
}

/// The Secret with the token of a pod, which has one.
async fn token_secret(both: &Both, pod: &str) -> Result<String> {
    let pod = both.host::<Pod>(pod).await?;
    let name = text(&pod, "/spec/volumes/2/projected/sources/0/secret/name").to_owned();
    let secret = serde_json::to_value(both.host_api::<Secret>().get(&name).await?)?;
    let tokens = at(&secret, "/data").as_object().map_or(0, serde_json::Map::len);
    ensure!(tokens == 1, "the Secret {name} has {tokens} tokens");
    Ok(name)
}

async fn go_on(both: &Both) -> Result<[String; 2]> {
    for pod in ["one", "two"] {
        eventually("it runs", HEALED, async || both.runs(pod).await).await.with_context(|| pod.to_owned())?;
    }
    let first = uid(&both.host::<Pod>("one").await?).to_owned();
    let token = eventually("the pod has its token", HEALED, async || token_secret(both, "one").await).await?;
    both.edit::<ConfigMap>("settings", json!({"data": {"a": "2"}})).await?;
    eventually("the host has the change", HEALED, async || {
        let host = both.host::<ConfigMap>("settings").await?;
        ensure!(at(&host, "/data/a") == "2", "{host}");
        Ok(())
    })
    .await?;
    let running = format!("{:#?} {:#?}", host_state(both).await?, virtual_state(both).await?);
    ensure!(uid(&both.host::<Pod>("one").await?) == first, "the host pod was replaced");
    both.delete::<Pod>("one").await?;
    both.delete::<Service>("web").await?;
    eventually("what was deleted is on neither side", HEALED, async || {
        ensure!(both.virtual_api::<Pod>().get_opt("one").await?.is_none(), "the virtual pod is there");
        let token = both.host_api::<Secret>().get_opt(&token).await?;
        ensure!(token.is_none(), "the token of the pod is there");
        let state = host_state(both).await?;
        ensure!(
            !state.keys().any(|key| key.ends_with("Pod one") || key.ends_with("Service web")),
            "{state:#?}"
        );
        Ok(())
    })
    .await?;
    Ok([running, format!("{:#?} {:#?}", host_state(both).await?, virtual_state(both).await?)])
}

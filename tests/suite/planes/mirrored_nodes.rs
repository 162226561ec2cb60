//! The virtual cluster sees the selected nodes of the host, its pods run on them alone, and a `DaemonSet` on each.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use weft_core::kinds::pod::quantity;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::shared::in_own_world;
use weft_tests::world::{Options, World};

use super::both::edit;
use super::controllers::workload;
use super::place::{Place, at, ensure_at, pod};

const ZONE: &str = "topology.kubernetes.io/zone";
const MIRRORED: &str = "weft.dev/mirrored";

/// Mirrors the nodes of a zone: `node-0` and `node-1` of three.
async fn world() -> Result<World> {
    let nodes = json!({
        "mode": "mirrored", "selector": {ZONE: "zone-a"}, "labels": ["kubernetes.io/*", "topology.kubernetes.io/*"],
        "netAllocatable": true,
    });
    World::without_syncer(Options { config: json!({"nodes": nodes}), ..Options::build().await? }).await
}

#[test]
fn selected_nodes_are_mirrored_and_pods_and_daemon_sets_run_on_them_alone() -> Result<()> {
    in_own_world(async {
        let world = world().await?;
        let tenant = world.tenant();
        let place = Place::of(tenant, "default").await?;
        let theirs = serde_json::from_value(json!({"metadata": {"name": "theirs"}}))?;
        let theirs = place.all_virtual::<Node>().create(&PostParams::default(), &theirs).await?;

        says_what_it_may_not(&world, &place).await?;
        tenant.grant().await?;
        tenant.syncer_ready().await?;
        shows(&place, &["node-0", "node-1"]).await?;
        shows_what_is_free(&place).await?;
        runs_daemons_where_the_host_may(&place).await?;

        // A node that is no longer selected goes with its last pod, and the tenant's own stays as it is.
        edit(&place.all_host::<Node>(), "node-1", json!({"metadata": {"labels": {ZONE: "zone-b"}}})).await?;
        place.delete::<DaemonSet>("agent").await?;
        // It may have been on the node that the host has tainted, and be gone with it.
        let own = place.on_virtual::<Pod>();
        if own.get_opt("first").await?.is_some() {
            own.delete("first", &DeleteParams::default()).await?;
        }
        shows(&place, &["node-0"]).await?;
        let left = place.all_virtual::<Node>().get("theirs").await?;
        ensure!(left.spec == theirs.spec && left.labels() == theirs.labels(), "{left:?}");
        Ok(())
    })
}

/// Without its permissions on the whole host the syncer names the rules that it lacks, and pods run on made-up nodes.
async fn says_what_it_may_not(world: &World, place: &Place) -> Result<()> {
    let (tenant, client) = (world.tenant(), world.host().client().await?);
    let bindings = Api::<ClusterRoleBinding>::all(client);
    bindings.delete(&tenant.cluster_role(), &DeleteParams::default()).await?;
    tenant.launch_syncer()?;
    eventually("readiness names the rules", SOON, async || {
        let why = tenant.probe("/readyz").await.err().context("it is ready")?.to_string();
        for resource in ["nodes", "pods"] {
            let rule = format!("resources: [{resource}], verbs: [list, watch]");
            ensure!(why.contains("ClusterRole needs the rule") && why.contains(&rule), "{why}");
        }
        Ok(())
    })
    .await?;
    let first = place.run(pod("first", json!({}))).await?;
    ensure_at(&first.host_pod, "/spec/nodeSelector", &json!({ZONE: "zone-a"}))?;
    let name = at(&first.host_pod, "/spec/nodeName")?;
    let node = place.all_virtual::<Node>().get(name.as_str().context("a node")?).await?;
    ensure!(node.labels().contains_key("weft.dev/fake-node"), "{node:?}");
    Ok(())
}

/// Waits until these nodes are mirrored, and no other is of the syncer.
async fn shows(place: &Place, names: &[&str]) -> Result<()> {
    eventually(&format!("{names:?} are mirrored"), SOON, async || {
        let all = place.all_virtual::<Node>().list(&ListParams::default()).await?.items;
        let ours = all.iter().filter(|node| node.name_any() != "theirs");
        let seen: Vec<String> = ours.clone().map(ResourceExt::name_any).collect();
        ensure!(seen == names, "{seen:?}");
        for node in ours {
            let host = place.all_host::<Node>().get(&node.name_any()).await?;
            ensure!(
                node.labels().contains_key(MIRRORED) && node.labels().get(ZONE) == host.labels().get(ZONE)
            );
            ensure!(!node.labels().contains_key("weft.dev/fake-node"), "{node:?}");
            for field in ["/status/capacity", "/spec/unschedulable", "/status/nodeInfo/kubeletVersion"] {
                ensure_at(node, field, &at(&host, field)?)?;
            }
        }
        Ok(())
    })
    .await
}

/// What a pod of others requests is not free, and what a pod of this virtual cluster requests is.
async fn shows_what_is_free(place: &Place) -> Result<()> {
    let others = Api::<Pod>::default_namespaced(place.all_host::<Pod>().into_client());
    let requests = json!({"containers": [{"name": "main", "image": "nginx", "resources": {"requests": {"cpu": "250m"}}}]});
    let mut on_node = requests.clone();
    if let Some(spec) = on_node.as_object_mut() {
        spec.insert("nodeName".to_owned(), "node-0".into());
    }
    let other = serde_json::from_value(json!({"metadata": {"name": "other"}, "spec": on_node}))?;
    others.create(&PostParams::default(), &other).await?;
    let mut own = requests;
    if let Some(spec) = own.as_object_mut() {
        spec.insert("nodeSelector".to_owned(), json!({"kubernetes.io/hostname": "node-0"}));
    }
    place.run(pod("own", own)).await?;
    free(place, &json!({"cpu": 250_000_000_i64, "pods": 1_000_000_000_i64})).await?;
    others.delete("other", &DeleteParams::default().grace_period(0)).await?;
    free(place, &json!({"cpu": 0, "pods": 0})).await
}

/// Waits until `node-0` lacks just these amounts, in billionths, of what the host's has.
async fn free(place: &Place, taken: &Value) -> Result<()> {
    eventually(&format!("pods of others take {taken}"), SOON, async || {
        let shown = place.all_virtual::<Node>().get("node-0").await?;
        let host = place.all_host::<Node>().get("node-0").await?;
        for (name, amount) in taken.as_object().into_iter().flatten() {
            let field = format!("/status/allocatable/{name}");
            let nanos =
                |value: Value| value.as_str().and_then(quantity::nanos).with_context(|| field.clone());
            let missing = nanos(at(&host, &field)?)? - nanos(at(&shown, &field)?)?;
            ensure!(Some(missing) == amount.as_i64().map(i128::from), "{name}: {missing}");
        }
        Ok(())
    })
    .await
}

/// A `DaemonSet` leaves out a node that the host has tainted, and runs on each when it is not.
async fn runs_daemons_where_the_host_may(place: &Place) -> Result<()> {
    let taints = |taints: Value| json!({"spec": {"taints": taints}});
    let hosts = place.all_host::<Node>();
    let maintenance = json!([{"key": "example.com/maintenance", "effect": "NoExecute"}]);
    edit(&hosts, "node-1", taints(maintenance)).await?;
    eventually("the taint is shown", SOON, async || {
        let node = place.all_virtual::<Node>().get("node-1").await?;
        ensure_at(&node, "/spec/taints/0/key", &json!("example.com/maintenance"))?;
        ensure_at(&node, "/spec/taints/0/effect", &json!("NoSchedule"))
    })
    .await?;
    place.create::<DaemonSet>(workload("agent", json!({}))).await?;
    daemons_run_on(place, &["node-0"]).await?;
    edit(&hosts, "node-1", taints(json!(null))).await?;
    daemons_run_on(place, &["node-0", "node-1"]).await
}

async fn daemons_run_on(place: &Place, nodes: &[&str]) -> Result<()> {
    eventually(&format!("the set runs on {nodes:?}"), SOON, async || {
        // The tenant's own node has a kubelet of its own, which is not there.
        let pods = place.on_virtual::<Pod>().list(&ListParams::default().labels("app=agent")).await?.items;
        let mut seen = BTreeSet::new();
        for pod in pods {
            let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
            let wanted = at(&pod, &format!("{terms}/nodeSelectorTerms/0/matchFields/0/values/0"))?;
            if wanted == "theirs" {
                continue;
            }
            let pair = place.running(&pod.name_any()).await?;
            ensure_at(&pair.host_pod, "/spec/nodeName", &wanted)?;
            seen.insert(wanted.as_str().unwrap_or_default().to_owned());
        }
        ensure!(seen.iter().eq(nodes), "{seen:?}");
        Ok(())
    })
    .await
}

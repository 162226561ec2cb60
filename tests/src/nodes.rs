//! Gives a plane fake nodes, whose kubelet is kwok.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use crate::eventually::{SOON, eventually};

/// Creates `node-0` … and waits until they are ready.
pub async fn create(client: &Client, count: usize) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    for number in 0..count {
        let node = serde_json::from_value(node(number))?;
        nodes.create(&PostParams::default(), &node).await.context("failed to create a Node")?;
    }
    for number in 0..count {
        let name = format!("node-{number}");
        eventually(&format!("{name} is ready"), SOON, async || ensure_ready(&nodes.get(&name).await?))
            .await?;
    }
    Ok(())
}

/// Two nodes of three share a zone, so that spreading over zones differs from spreading over nodes.
fn node(number: usize) -> Value {
    let name = format!("node-{number}");
    let zone = if number % 3 == 2 { "zone-b" } else { "zone-a" };
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name,
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/os": "linux",
            "topology.kubernetes.io/region": "region-1",
            "topology.kubernetes.io/zone": zone,
        }},
    })
}

/// Whether pods can be scheduled to it.
pub fn ensure_ready(node: &Node) -> Result<()> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.filter(|condition| condition.type_ == "Ready").any(|ready| ready.status == "True");
    let untainted = node.spec.iter().all(|spec| spec.taints.iter().flatten().next().is_none());
    ensure!(ready && untainted, "{node:?}");
    Ok(())
}

//! A virtual cluster that mirrors the node of its host: what the node has, a `DaemonSet` on it, and logs and commands there.

use anyhow::{Result, ensure};
use weft_tests::binaries::modules::Program;
use weft_tests::eventually::eventually;
use weft_tests::installed::Person;
use weft_tests::node::images::PROBE;
use weft_tests::shared::on_shared_node;

use super::cluster::{Cluster, LONG, PATIENCE};

/// One pod on each node, which runs until it is deleted.
const DAEMONS: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: PROBE, args: [serve, "8080"]}]
"#;

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn a_mirrored_node_has_what_its_host_node_has_and_daemons_run_on_it() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let person = Person::new(node, namespace, Program::Helm4).await?;
        let mirrored = ["--set", "nodes.mode=mirrored,nodes.netAllocatable=true"];
        let cluster = Cluster::create(node, &person, namespace, "vc", &mirrored).await?;
        has_what_its_host_has(&person, &cluster).await?;
        eventually("the DaemonSet is created", LONG, async || {
            cluster.kubectl(&["apply", "-f", "-"], &DAEMONS.replace("PROBE", PROBE)).await
        })
        .await?;
        cluster.kubectl(&["rollout", "status", "daemonset/agent", PATIENCE], "").await?;
        let desired = ["get", "daemonset", "agent", "-o", "jsonpath={.status.desiredNumberScheduled}"];
        let (desired, nodes) = (cluster.kubectl(&desired, "").await?, names(&person, None).await?);
        ensure!(desired == nodes.split_whitespace().count().to_string(), "{desired} on {nodes}");
        let get = ["exec", "daemonset/agent", "--", "/probe", "get", "http://127.0.0.1:8080/"];
        eventually("the pod answers a command", LONG, async || cluster.kubectl(&get, "").await).await?;
        let logs = cluster.kubectl(&["logs", "daemonset/agent"], "").await?;
        ensure!(logs.contains("serving on port 8080"), "the log is {logs:?}");
        cluster.delete().await?;
        let role = format!("weft-syncer:{namespace}:vc");
        let left = ["get", "clusterrole,clusterrolebinding", "-o", "name"];
        let left = person.run("kubectl", &left, "").await?;
        ensure!(!left.contains(&role), "{role} is left behind");
        Ok(())
    })
}

/// Names of the nodes, inside or on the host.
async fn names(person: &Person, cluster: Option<&Cluster<'_>>) -> Result<String> {
    get(person, cluster, "{.items[*].metadata.name}").await
}

async fn get(person: &Person, cluster: Option<&Cluster<'_>>, path: &str) -> Result<String> {
    let path = format!("jsonpath={path}");
    let get = ["get", "nodes", "-o", &path];
    match cluster {
        Some(cluster) => cluster.kubectl(&get, "").await,
        None => person.run("kubectl", &get, "").await,
    }
}

async fn has_what_its_host_has(person: &Person, cluster: &Cluster<'_>) -> Result<()> {
    eventually("the virtual cluster has the host's node", LONG, async || {
        for same in [
            "{.items[*].metadata.name}",
            "{.items[*].status.capacity.cpu}",
            "{.items[*].status.capacity.memory}",
            "{.items[*].status.nodeInfo.kubeletVersion}",
            "{.items[*].status.conditions[?(@.type=='Ready')].lastTransitionTime}",
        ] {
            let (inside, outside) = (get(person, Some(cluster), same).await?, get(person, None, same).await?);
            ensure!(inside == outside && !inside.is_empty(), "{same} is {inside}, and {outside} on the host");
        }
        // The control plane itself is none of the tenant's pods.
        let free = "{.items[*].status.allocatable.pods}";
        let (inside, outside) = (get(person, Some(cluster), free).await?, get(person, None, free).await?);
        ensure!(inside.parse::<u32>()? < outside.parse::<u32>()?, "{inside} of {outside} pods are free");
        let hidden =
            "{.items[*].status.images}{.items[*].status.nodeInfo.machineID}{.items[*].spec.providerID}";
        let hidden = get(person, Some(cluster), hidden).await?;
        ensure!(hidden.is_empty(), "it shows {hidden}");
        Ok(())
    })
    .await
}

//! A virtual cluster on a real node, installed and used by the commands that a person types.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weft_tests::binaries::modules::Program;
use weft_tests::eventually::eventually;
use weft_tests::installed::Person;
use weft_tests::node::images::PROBE;
use weft_tests::shared::{alone_on_shared_node, on_shared_node};

use super::cluster::{Cluster, LONG, PATIENCE};
use super::steps::objects;
use super::tokens::clients_use_them;

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn a_virtual_cluster_runs_the_example_and_leaves_nothing() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let person = Person::new(node, namespace, Program::Helm4).await?;
        let before = objects(&person, namespace).await?;
        let cluster = Cluster::create(node, &person, namespace, "vc", &[]).await?;
        cluster.kubectl(&["apply", "-f", example()], "").await?;
        cluster.kubectl(&["rollout", "status", "deployment/nginx", "-n", "nginx", PATIENCE], "").await?;
        cluster.kubectl(&["rollout", "status", "statefulset/store", "-n", "nginx", PATIENCE], "").await?;
        cluster.run_probe("nginx").await?;
        names_resolve(&cluster).await?;
        clients_use_them(node, &person, &cluster).await.context("tokens")?;
        leave_a_failed_test(&person, namespace).await?;
        a_connection_in_the_foreground_ends_with_its_context(&person, &cluster).await?;
        cluster.delete().await?;
        let left: Vec<String> = objects(&person, namespace).await?.difference(&before).cloned().collect();
        ensure!(left.is_empty(), "these are left: {left:?}");
        Ok(())
    })
}

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn every_container_can_die_and_so_can_the_node() -> Result<()> {
    alone_on_shared_node(async |node, namespace| {
        let person = Person::new(node, namespace, Program::Helm4).await?;
        let plugins = ["--set", "plugins.folder=/etc/weft"];
        let cluster = Cluster::create(node, &person, namespace, "vc", &plugins).await?;
        cluster.run_probe("default").await?;
        for container in ["store", "api", "controllers", "syncer"] {
            cluster.kill(container).await?;
            cluster.works(container).await.with_context(|| format!("after {container} was killed"))?;
        }
        plugins_are_remembered(&person, namespace).await?;
        let addresses = cluster.service_addresses().await?;
        node.reboot().await?;
        cluster.works("reboot").await.context("after the node was started again")?;
        plugins_are_remembered(&person, namespace).await?;
        assert_eq!(cluster.service_addresses().await?, addresses, "Services keep their addresses");
        cluster.delete().await
    })
}

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn etcd_stores_it_as_well_and_helm_3_installs_tests_and_upgrades_it() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let person = Person::new(node, namespace, Program::Helm3).await?;
        let etcd = ["--set", "controlPlane.storage.type=etcd"];
        let cluster = Cluster::create(node, &person, namespace, "vc", &etcd).await?;
        person.run("helm", &["test", "vc", "-n", namespace], "").await?;
        let started = cluster.started().await?;
        upgrade(&person, namespace, "log.level=debug").await?;
        eventually("the new level is applied", PROPAGATION, async || {
            let log = person.run("kubectl", &["logs", "vc-0", "-c", "syncer", "-n", namespace], "").await?;
            ensure!(log.contains("DEBUG"), "no line of the new level");
            Ok(())
        })
        .await?;
        assert_eq!(cluster.started().await?, started, "a change of the log level restarts nothing");
        let other =
            ["create", "vc", "-n", namespace, "--upgrade", "--set", "controlPlane.storage.type=sqlite"];
        let said = person.refused(&other).await?;
        ensure!(said.contains("keeps its objects in etcd"), "{said}");
        upgrade(&person, namespace, "controlPlane.api.extraArgs={--event-ttl=2h}").await?;
        eventually("the pod is a new one", LONG, async || {
            ensure!(cluster.started().await? != started);
            Ok(())
        })
        .await?;
        cluster.works("upgrade").await?;
        cluster.delete().await
    })
}

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn two_in_one_namespace_do_not_notice_each_other() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let person = Person::new(node, namespace, Program::Helm4).await?;
        let one = Cluster::create(node, &person, namespace, "one", &["--set", "persistence.enabled=false"]);
        let one = one.await?;
        let two = Cluster::create(node, &person, namespace, "two", &["--set", "persistence.enabled=false"]);
        let two = two.await?;
        for cluster in [&one, &two] {
            cluster.run_probe("default").await?;
        }
        one.delete().await?;
        two.works("neighbour").await.context("after the other one was deleted")?;
        let pods = two.kubectl(&["get", "pods", "-n", "default", "-o", "name"], "").await?;
        ensure!(pods.contains("pod/probe"), "{pods}");
        two.delete().await
    })
}

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn plain_kubectl_installs_what_is_printed() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let person = Person::new(node, namespace, Program::Helm3).await?;
        let printed = person.weft(&["create", "plain", "-n", namespace, "--print"]).await?;
        let again = person.weft(&["create", "plain", "-n", namespace, "--print"]).await?;
        ensure!(printed == again, "it is rendered the same twice");
        person.run("kubectl", &["apply", "-n", namespace, "-f", "-"], &printed).await?;
        let cluster = Cluster::at(node, &person, namespace, "plain");
        cluster.works("kubectl").await?;
        cluster.delete().await
    })
}

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/weft");

/// How long the kubelet may take to show pods a changed ConfigMap.
const PROPAGATION: std::time::Duration = std::time::Duration::from_secs(150);

/// The pod of a `helm test` that has failed, which Helm keeps for its log and forgets.
/// The folder of compiled plugins is the syncer's alone: it would say that it does not use it.
async fn plugins_are_remembered(person: &Person, namespace: &str) -> Result<()> {
    let log = person.run("kubectl", &["logs", "vc-0", "-c", "syncer", "-n", namespace], "").await?;
    ensure!(!log.contains("plugins.cache"), "{log}");
    Ok(())
}

async fn leave_a_failed_test(person: &Person, namespace: &str) -> Result<()> {
    let template = ["template", "vc", CHART, "-n", namespace, "--show-only", "templates/tests/pod.yaml"];
    let broken = ["--set", "image.weft.tag=none"];
    let pod = person.run("helm", &[&template[..], &broken[..]].concat(), "").await?;
    person.run("kubectl", &["apply", "-n", namespace, "-f", "-"], &pod).await.map(drop)
}

/// Changes one value of the release `vc`.
pub(super) async fn upgrade(person: &Person, namespace: &str, value: &str) -> Result<()> {
    let arguments = ["upgrade", "vc", CHART, "-n", namespace, "--reuse-values", "--set", value];
    person.run("helm", &arguments, "").await.map(drop)
}

/// Short, qualified and full names, that of a pod of a StatefulSet, and none of the host's.
async fn names_resolve(cluster: &Cluster<'_>) -> Result<()> {
    for name in
        ["nginx", "nginx.nginx", "nginx.nginx.svc.cluster.local", "store-0.store", "kubernetes.default"]
    {
        let found = cluster.probe("nginx", &["lookup", name]).await;
        found.with_context(|| format!("{name} does not resolve"))?;
    }
    let host_name = format!("{}.{}.svc.cluster.local", cluster.name(), cluster.namespace());
    let found = cluster.probe("nginx", &["lookup", &host_name]).await;
    ensure!(found.is_err(), "a name of the host resolves: {found:?}");
    Ok(())
}

/// The context is there while the command runs; Ctrl-C takes it along, and the one before is the current one again.
async fn a_connection_in_the_foreground_ends_with_its_context(
    person: &Person,
    cluster: &Cluster<'_>,
) -> Result<()> {
    let current = ["config", "current-context"];
    let before = person.run("kubectl", &current, "").await?;
    let connect = ["connect", cluster.name(), "-n", cluster.namespace(), "--foreground"];
    let mut command = person.command("weft", &connect);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
    let context = format!("weft_{}_{}\n", cluster.namespace(), cluster.name());
    eventually("its context is the current one", LONG, async || {
        let now = person.run("kubectl", &current, "").await?;
        ensure!(now == context, "{now}");
        Ok(())
    })
    .await?;
    let namespaces = person.run("kubectl", &["get", "namespaces", "-o", "name"], "").await?;
    ensure!(namespaces.contains("namespace/nginx"), "{namespaces}");
    kill(Pid::from_raw(i32::try_from(child.id().context("it has ended")?)?), Signal::SIGINT)?;
    let status = child.wait().await?;
    ensure!(status.success(), "it ended with {status}");
    assert_eq!(person.run("kubectl", &current, "").await?, before);
    let contexts = person.run("kubectl", &["config", "get-contexts", "-o", "name"], "").await?;
    ensure!(!contexts.contains("weft_"), "{contexts}");
    Ok(())
}

fn example() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/nginx")
}

/// Of a pod that answers on behalf of the tests.
pub(super) fn probe_pod(namespace: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: probe, namespace: {namespace}, labels: {{app: probe}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: probe, image: {PROBE}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: probe, namespace: {namespace}}}
spec:
  selector: {{app: probe}}
  ports: [{{port: 80, targetPort: 8080}}]
"
    )
}

//! One installed virtual cluster, as the tests of this tier see it.

use anyhow::{Context as _, Result, bail, ensure};
use weft_tests::eventually::eventually;
use weft_tests::installed::Person;
use weft_tests::node::Node;

use super::installed::probe_pod;

/// For commands of kubectl that wait.
pub(super) const PATIENCE: &str = "--timeout=120s";

/// A virtual cluster on a node.
pub(super) struct Cluster<'a> {
    node: &'a Node,
    person: &'a Person,
    namespace: String,
    name: String,
}

impl<'a> Cluster<'a> {
    /// Creates one with `weft create`, which returns when it is ready.
    pub(super) async fn create(
        node: &'a Node,
        person: &'a Person,
        namespace: &str,
        name: &str,
        flags: &[&str],
    ) -> Result<Self> {
        let command = [&["create", name, "-n", namespace, "--timeout", "3m"], flags].concat();
        person.weft(&command).await?;
        Ok(Self::at(node, person, namespace, name))
    }

    /// One that is there.
    pub(super) fn at(node: &'a Node, person: &'a Person, namespace: &str, name: &str) -> Self {
        Self { node, person, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Runs kubectl inside, through `weft connect`.
    pub(super) async fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        let connect = ["connect", &self.name, "-n", &self.namespace, "--", "kubectl"];
        self.person.run("weft", &[&connect[..], arguments].concat(), input).await
    }

    /// Starts a pod that answers, with a Service before it.
    pub(super) async fn run_probe(&self, namespace: &str) -> Result<()> {
        eventually("the probe is created", LONG, async || {
            self.kubectl(&["apply", "-f", "-"], &probe_pod(namespace)).await
        })
        .await?;
        self.kubectl(&["wait", "--for=condition=Ready", "pod/probe", "-n", namespace, PATIENCE], "").await?;
        Ok(())
    }

    /// Runs the program of the probe in the host pod of a virtual namespace's probe.
    pub(super) async fn probe(&self, namespace: &str, arguments: &[&str]) -> Result<String> {
        let pod = format!("probe-x-{namespace}-x-{}", self.name);
        let exec = ["exec", &pod, "-n", &self.namespace, "--", "/probe"];
        self.person.run("kubectl", &[&exec[..], arguments].concat(), "").await
    }

    /// Fails unless its API server takes an object and a new pod of it runs.
    pub(super) async fn works(&self, pod: &str) -> Result<()> {
        let run = ["run", pod, "--image", weft_tests::node::images::PROBE, "--restart=Never"];
        let works = eventually("a new pod is created", LONG, async || {
            let created = self.kubectl(&run, "").await;
            // It may have been, though the answer was lost.
            let is_there = self.kubectl(&["get", "pod", pod], "").await.is_ok();
            if is_there { Ok(()) } else { created.map(drop) }
        });
        works.await?;
        let ready = ["wait", "--for=condition=Ready", &format!("pod/{pod}"), "--timeout=5s"];
        eventually("the new pod runs", LONG, async || self.kubectl(&ready, "").await).await.map(drop)
    }

    /// Kills the process of a container of the control plane, and waits until it runs again.
    pub(super) async fn kill(&self, container: &str) -> Result<()> {
        let before = self.container(container).await?;
        self.node
            .run(&["ctr", "--namespace", "k8s.io", "task", "kill", "--signal", "SIGKILL", &before])
            .await?;
        eventually("the container is another one", LONG, async || {
            let now = self.container(container).await?;
            ensure!(now != before && !now.is_empty(), "it is still {now}");
            Ok(())
        })
        .await
    }

    /// When the pod of the control plane was started.
    pub(super) async fn started(&self) -> Result<String> {
        self.get_pod("{.status.startTime}").await
    }

    /// The addresses of the virtual Services.
    pub(super) async fn service_addresses(&self) -> Result<String> {
        let path = "jsonpath={range .items[*]}{.metadata.name}={.spec.clusterIP} {end}";
        eventually("the Services are listed", LONG, async || {
            self.kubectl(&["get", "services", "--all-namespaces", "-o", path], "").await
        })
        .await
    }

    /// Deletes it; `weft delete` waits until nothing is left.
    pub(super) async fn delete(&self) -> Result<()> {
        self.person.weft(&["delete", &self.name, "-n", &self.namespace, "--yes"]).await.map(drop)
    }

    /// The id of a container, as containerd knows it.
    async fn container(&self, name: &str) -> Result<String> {
        let path = format!("{{.status.containerStatuses[?(@.name=='{name}')].containerID}}");
        let id = self.get_pod(&path).await?;
        let Some(id) = id.strip_prefix("containerd://") else { bail!("{name} has no container: {id:?}") };
        Ok(id.to_owned())
    }

    async fn get_pod(&self, path: &str) -> Result<String> {
        let pod = format!("{}-0", self.name);
        let path = format!("jsonpath={path}");
        let get = ["get", "pod", &pod, "-n", &self.namespace, "-o", &path];
        self.person.run("kubectl", &get, "").await.context("failed to read the pod of the control plane")
    }
}

/// How long the control plane may take to be back, on a busy machine.
pub(super) const LONG: std::time::Duration = std::time::Duration::from_mins(2);

//! Logs, exec, attach, port-forward and cp work in a virtual cluster as they do on its host: each case is run on both.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::try_join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use weft_tests::binaries::modules::Program;
use weft_tests::eventually::eventually;
use weft_tests::installed::{Person, memory_of_syncer};
use weft_tests::node::Node;
use weft_tests::node::images::{BUSYBOX, PROBE};
use weft_tests::shared::on_shared_node;

use super::amounts::amounts;
use super::cluster::{Cluster, LONG, PATIENCE};
use super::sides::{Side, sides};

/// So many must be possible at once, and each may take so much of the syncer's memory, in KiB.
const STREAMS: usize = 200;
const LARGEST_STREAM: usize = 256;
/// So many are opened at the same time.
pub(super) const OPENERS: usize = 16;
/// So many lines are read between two pauses of a slow reader: two megabytes a second. Sockets on the way hold tens of them, the
/// more the longer it is, and a pong to kubectl waits behind these: after a minute without one, kubectl gives up.
const BURST: usize = 40_000;
const PAUSE: Duration = Duration::from_millis(100);
/// So many pods are tried for one whose ended container the kubelet keeps.
const RESTARTED_PODS: usize = 3;

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn streams_work_in_a_virtual_cluster_as_on_its_host() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let person = Person::new(node, namespace, Program::Helm4).await?;
        let cluster = Cluster::create(node, &person, namespace, "vc", &[]).await?;
        let sides = sides(&person, &cluster);
        for side in &sides {
            side.behaves().await.with_context(|| format!("on the {} cluster", side.name))?;
        }
        let [_, inside] = &sides;
        inside.websockets_are_not_translated().await?;
        cluster.run_probe("default").await?;
        others_are_refused(&person, &cluster).await?;
        many_are_open_at_once(node, &person, &cluster).await?;
        they_end_with_the_syncer_and_work_after_it(&person, &cluster).await?;
        cluster.delete().await
    })
}

impl Side<'_> {
    async fn behaves(&self) -> Result<()> {
        let pods = [PODS, RESTARTED].join("---").replace("BUSYBOX", BUSYBOX).replace("PROBE", PROBE);
        eventually("the pods are created", LONG, async || self.run(&["apply", "-f", "-"], &pods).await)
            .await?;
        let pods = ["pod/shell", "pod/reader", "pod/web", "pod/chatty"];
        let wait = [&["wait", "--for=condition=Ready", PATIENCE], &pods[..]].concat();
        self.run(&wait, "").await?;
        let (slowly, rotated, others) =
            tokio::join!(self.output_is_read_slowly(), self.a_rotated_log_is_followed(), self.all_else());
        slowly.context("a slow reader").and(rotated.context("a rotated log")).and(others)?;
        self.run(&["delete", "pod", "shell", "reader", "web", "again", "chatty", "--now"], "").await.map(drop)
    }

    async fn all_else(&self) -> Result<()> {
        self.logs_are_shown().await.context("logs")?;
        self.logs_are_followed().await.context("logs -f")?;
        self.the_log_before_a_restart_is_kept().await.context("logs --previous")?;
        self.commands_run().await.context("exec")?;
        self.every_exit_code_comes_back().await.context("exit codes")?;
        self.a_terminal_is_resized().await.context("exec -it")?;
        self.a_container_is_attached_to().await.context("attach")?;
        self.a_port_is_forwarded().await.context("port-forward")?;
        self.files_are_copied().await.context("cp")?;
        self.many_files_are_copied().await.context("cp of a folder")
    }

    /// A translation would end a connection in the API server and begin another one, which is not closed alike.
    async fn websockets_are_not_translated(&self) -> Result<()> {
        let metrics = self.run(&["get", "--raw", "/metrics"], "").await?;
        let counted =
            metrics.lines().filter(|line| line.starts_with("apiserver_websocket_streaming_requests"));
        let (passed_on, others): (Vec<&str>, _) =
            counted.partition(|line| line.contains(r#"proxy_type="proxied_to_kubelet""#));
        ensure!(!passed_on.is_empty() && others.is_empty(), "passed on: {passed_on:?}, not: {others:?}");
        Ok(())
    }

    /// Nothing is lost, however long everybody on the way has to wait. Two losses are of every cluster: what a command has
    /// written when it ends and nobody has read yet, and the rest for a reader that does nothing, or next to nothing, for a minute
    /// (kubectl's pings are not answered then).
    async fn output_is_read_slowly(&self) -> Result<()> {
        let lines_in_all = amounts().pauses * BURST;
        let command = format!("seq 1 {lines_in_all}; sleep 3600");
        let (mut child, mut lines) =
            self.start(&["exec", "shell", "-c", "main", "--", "sh", "-c", &command])?;
        let mut number = 0;
        while let Some(line) = soon(lines.next_line()).await?? {
            number += 1;
            ensure!(line == number.to_string(), "line {number} is {line:?}");
            if number == lines_in_all {
                child.kill().await?;
                return Ok(());
            }
            if number % BURST == 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
        bail!("only {number} lines came");
    }

    async fn logs_are_shown(&self) -> Result<()> {
        assert_eq!(self.run(&["logs", "shell", "-c", "quiet"], "").await?, "only line\n");
        assert_eq!(self.run(&["logs", "shell", "-c", "setup"], "").await?, "set up\n");
        assert_eq!(self.run(&["logs", "shell", "-c", "main", "--limit-bytes=5"], "").await?, "first");
        let last = self.run(&["logs", "shell", "-c", "main", "--tail=1", "--timestamps"], "").await?;
        ensure!(last.contains('T') && last.trim_end().contains(" tick"), "{last}");
        let recent =
            self.run(&["logs", "shell", "-c", "quiet", "--since-time=2100-01-01T00:00:00Z"], "").await?;
        assert_eq!(recent, "", "nothing was said since");
        let all = self.run(&["logs", "shell", "--all-containers", "--prefix"], "").await?;
        ensure!(
            all.contains("[pod/shell/quiet] only line") && all.contains("[pod/shell/main] first"),
            "{all}"
        );
        let output = self.attempt(&["logs", "shell", "-c", "quiet", "--previous"], "").await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && said.contains("previous terminated container"), "{said}");
        Ok(())
    }

    /// Lines come while the container writes them, not at the end.
    async fn logs_are_followed(&self) -> Result<()> {
        let (mut child, mut lines) = self.start(&["logs", "shell", "-c", "main", "-f", "--tail=1"])?;
        for _ in 0..4 {
            let line = soon(lines.next_line()).await??.context("the log goes on")?;
            ensure!(line.starts_with("tick"), "{line}");
        }
        child.kill().await?;
        Ok(())
    }

    /// Every line comes, though the kubelet begins new files meanwhile.
    async fn a_rotated_log_is_followed(&self) -> Result<()> {
        let (mut child, mut lines) = self.start(&["logs", "chatty", "-f"])?;
        assert_eq!(soon(lines.next_line()).await??.as_deref(), Some("begin"));
        self.run(&["exec", "chatty", "--", "touch", "/tmp/go"], "").await?;
        for number in 0..LOG_LINES {
            let line = soon(lines.next_line()).await??.with_context(|| format!("no line {number}"))?;
            ensure!(line == number.to_string(), "line {number} is {line:?}");
        }
        child.kill().await?;
        eventually("the first line is in an older file", LONG, async || {
            let kept = self.run(&["logs", "chatty", "--limit-bytes=5"], "").await?;
            ensure!(kept != "begin", "it is in the newest one");
            Ok(())
        })
        .await
    }

    /// A kubelet decides itself when it removes a container that has ended, and on a busy machine it may do so at once: then
    /// another pod is tried.
    async fn the_log_before_a_restart_is_kept(&self) -> Result<()> {
        for _ in 0..RESTARTED_PODS {
            eventually("the container runs again", LONG, async || {
                let now = self.run(&["logs", "again"], "").await?;
                ensure!(now == "second life\n", "{now:?}");
                Ok(())
            })
            .await?;
            let before = self.run(&["logs", "again", "--previous"], "").await?;
            if !before.starts_with("unable to retrieve container logs") {
                ensure!(before == "first life\n", "{before:?}");
                return Ok(());
            }
            let path = "jsonpath={.status.containerStatuses}";
            eprintln!("removed: {before}: {}", self.run(&["get", "pod", "again", "-o", path], "").await?);
            self.run(&["replace", "--force", "-f", "-"], &RESTARTED.replace("BUSYBOX", BUSYBOX)).await?;
        }
        bail!("of {RESTARTED_PODS} pods, no container that ended was kept");
    }

    async fn a_container_is_attached_to(&self) -> Result<()> {
        let output = self.run(&["attach", "-i", "reader"], "one\ntwo\n").await?;
        ensure!(output.contains("read one") && output.contains("read two"), "{output}");
        Ok(())
    }

    async fn a_port_is_forwarded(&self) -> Result<()> {
        let (mut child, mut lines) = self.start(&["port-forward", "pod/web", ":8080"])?;
        let line = soon(lines.next_line()).await??.context("it forwards")?;
        let address = line.split_whitespace().nth(2).with_context(|| format!("{line:?} names no address"))?;
        for _ in 0..3 {
            // One client more that goes away in the middle of an answer: the forwarding goes on.
            let mut rude = TcpStream::connect(address).await?;
            rude.write_all(b"GET / HTTP/1.0\r\n").await?;
            rude.set_zero_linger()?;
            drop(rude);
            let mut client = TcpStream::connect(address).await?;
            client.write_all(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n").await?;
            let mut answer = String::new();
            soon(client.read_to_string(&mut answer)).await??;
            ensure!(answer.contains("200 OK"), "{answer:?}");
        }
        child.kill().await?;
        Ok(())
    }
}

/// What the kubelet's endpoint does not do: the rest of a kubelet, and containers that are not in the tenant's pod.
async fn others_are_refused(person: &Person, cluster: &Cluster<'_>) -> Result<()> {
    let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"], "").await?;
    let connect = ["connect", cluster.name(), "-n", cluster.namespace(), "--", "kubectl"];
    for path in ["pods", "stats/summary", "configz", "runningpods/"] {
        let path = format!("--raw=/api/v1/nodes/{node}/proxy/{path}");
        let output = person.attempt("weft", &[&connect[..], &["get", &path]].concat(), "").await?;
        let said = String::from_utf8_lossy(&output.stderr);
        // The virtual API server itself says so: it passes nobody on to a loopback address.
        ensure!(!output.status.success() && said.contains("address not allowed"), "{path}: {said}");
    }
    let other = ["-n", "default", "exec", "probe", "-c", "other", "--", "/probe"];
    let output = person.attempt("weft", &[&connect[..], &other].concat(), "").await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("other"), "{said}");
    Ok(())
}

/// Two hundred ports forwarded by `WebSocket`, which the virtual API server passes to the kubelet as they are.
async fn many_are_open_at_once(node: &Node, person: &Person, cluster: &Cluster<'_>) -> Result<()> {
    let connect = ["connect", cluster.name(), "-n", cluster.namespace(), "--print"];
    let kubeconfig = Kubeconfig::from_yaml(&person.weft(&connect).await?)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let pods: Api<Pod> = Api::namespaced(Client::try_from(config)?, "default");
    let before = memory_of_syncer(node).await?;
    let open = stream::iter(0..STREAMS).map(|_| async {
        let mut forwarder = soon(pods.portforward("probe", &[8080])).await??;
        let stream = forwarder.take_stream(8080).context("a stream of the port")?;
        anyhow::Ok((forwarder, stream))
    });
    let mut open: Vec<_> = open.buffer_unordered(OPENERS).try_collect().await?;
    let grown = memory_of_syncer(node).await?.saturating_sub(before);
    ensure!(grown <= STREAMS * LARGEST_STREAM, "{STREAMS} streams take {grown} KiB");
    let answers = open.iter_mut().map(async |(_, stream)| {
        stream.write_all(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n").await?;
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await??;
        ensure!(answer.contains("200 OK"), "{answer:?}");
        Ok(())
    });
    try_join_all(answers).await.map(drop)
}

/// What is open ends, and does not hang; what is opened afterwards works.
async fn they_end_with_the_syncer_and_work_after_it(person: &Person, cluster: &Cluster<'_>) -> Result<()> {
    let follow = ["connect", cluster.name(), "-n", cluster.namespace(), "--", "kubectl", "-n", "default"];
    let follow = [&follow[..], &["logs", "probe", "-f"]].concat();
    let mut command = person.command("weft", &follow);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("it has an output")?).lines();
    soon(lines.next_line()).await??.context("the log begins")?;
    cluster.kill("syncer").await?;
    soon(child.wait()).await??;
    eventually("a command runs in the pod", LONG, async || {
        cluster
            .kubectl(&["-n", "default", "exec", "probe", "--", "/probe", "get", "http://127.0.0.1:8080/"], "")
            .await
    })
    .await
    .map(drop)
}

/// For what must come by itself.
pub(super) async fn soon<T>(coming: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(LONG, coming).await.context("nothing came")
}

/// So many take three files and more of a mebibyte each.
const LOG_LINES: usize = 60_000;

const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: chatty}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: BUSYBOX
      command: [sh, -c, 'echo begin; until [ -e /tmp/go ]; do sleep 0.1; done; for n in $(seq 0 149); do seq $((n*400)) $((n*400+399)); sleep 0.1; done; sleep 3600']
---
apiVersion: v1
kind: Pod
metadata: {name: shell}
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
    - {name: setup, image: BUSYBOX, command: [sh, -c, echo set up]}
  containers:
    - {name: main, image: BUSYBOX, command: [sh, -c, 'echo first; i=0; while true; do echo tick $i; i=$((i+1)); sleep 1; done']}
    - {name: quiet, image: BUSYBOX, command: [sh, -c, echo only line; sleep 3600]}
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers:
    - {name: main, image: BUSYBOX, stdin: true, stdinOnce: true, command: [sh, -c, 'while read line; do echo read $line; done']}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: web, image: PROBE}]
";

const RESTARTED: &str = "
apiVersion: v1
kind: Pod
metadata: {name: again}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{name: kept, emptyDir: {}}]
  containers:
    - name: main
      image: BUSYBOX
      command: [sh, -c, 'if [ -e /kept/flag ]; then echo second life; sleep 3600; fi; touch /kept/flag; echo first life; exit 1']
      volumeMounts: [{name: kept, mountPath: /kept}]
";

//! What `kubectl exec` costs through a virtual API server, against the host's own, and what an open stream holds.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdout};
use weft_tests::binaries::modules::Program;
use weft_tests::eventually::eventually;
use weft_tests::installed::{Person, memory_of_syncer, node_options};
use weft_tests::node::Node;
use weft_tests::node::images::BUSYBOX;

use crate::report::{Limit, Report, Row, say};
use crate::statistics::median;

const NAME: &str = "my-vcluster";
const NAMESPACE: &str = "team-a";
/// Bytes of one transfer.
const TRANSFER: usize = 256 * 1024 * 1024;
/// How often each side is measured: host, virtual, virtual, host, so that a machine that gets slower slows both.
const ROUNDS: usize = 3;
/// Commands whose first byte is waited for, in each round.
const COMMANDS: usize = 10;
/// Streams that are open at once, and how many are opened at the same time.
const STREAMS: usize = 100;
const OPENERS: usize = 16;
/// How long a pod may take to be there.
const PATIENCE: Duration = Duration::from_mins(2);

/// One of the two clusters, as kubectl reaches it.
struct Side<'a> {
    person: &'a Person,
    kubeconfig: PathBuf,
    namespace: &'static str,
}

/// What was measured on one side.
#[derive(Default)]
struct Measured {
    /// Bytes a second out of the pod.
    down: Vec<f64>,
    /// Bytes a second into it.
    up: Vec<f64>,
    /// Milliseconds from the start of kubectl to the first byte.
    first: Vec<f64>,
}

/// Creates a virtual cluster on a real node, and compares.
pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    say("starting a real node with a virtual cluster");
    let node = Node::start(node_options().await?).await?;
    let person = Person::new(&node, "bench", Program::Helm4).await?;
    let kubeconfig = create(&node, &person).await?;
    let file = person.path().join("kubeconfig-of-the-virtual-cluster");
    std::fs::write(&file, &kubeconfig)?;
    let sides = [
        Side { person: &person, kubeconfig: person.kubeconfig(), namespace: NAMESPACE },
        Side { person: &person, kubeconfig: file, namespace: "default" },
    ];
    for side in &sides {
        side.run_pod().await?;
    }
    // First: memory that transfers have left behind would be used again.
    let kilobytes = memory_of_a_stream(&node, &kubeconfig).await?;
    say(&format!("an open stream takes {kilobytes:.0} KiB of the syncer's memory"));
    let mut measured = [Measured::default(), Measured::default()];
    for round in 1..=ROUNDS {
        say(&format!("round {round} of {ROUNDS}"));
        for index in [0, 1, 1, 0] {
            if let (Some(side), Some(measured)) = (sides.get(index), measured.get_mut(index)) {
                side.measure(measured).await?;
            }
        }
    }
    add(report, &measured);
    let limits = vec![Limit::AtMost { must: 256.0, aim: 64.0 }];
    let what = "memory of an open stream, KiB";
    report.add(Row { key: "stream_kib", what, values: vec![("value", kilobytes)], pods: 1, limits });
    node.stop().await
}

/// Creates a virtual cluster that is reached by an address of the node, and returns its kubeconfig: a forwarded port would be
/// one more way through the host's API server.
async fn create(node: &Node, person: &Person) -> Result<String> {
    let address = node.address();
    let names = format!("controlPlane.serverNames={{{address}}}");
    let create = ["create", NAME, "-n", NAMESPACE, "--set", "service.type=NodePort", "--set", &names];
    person.weft(&create).await?;
    let port = "jsonpath={.spec.ports[0].nodePort}";
    let port = person.run("kubectl", &["get", "service", NAME, "-n", NAMESPACE, "-o", port], "").await?;
    let server = format!("https://{address}:{port}");
    person.weft(&["connect", NAME, "-n", NAMESPACE, "--server", &server, "--print"]).await
}

fn add(report: &mut Report, [host, inside]: &[Measured; 2]) {
    let ratio = |of: fn(&Measured) -> &Vec<f64>| median(of(inside)) / median(of(host));
    let limit = || vec![Limit::AtLeast { must: 0.8, aim: 0.95 }];
    let added = median(&inside.first) - median(&host.first);
    for (key, what, value, limits) in [
        (
            "exec_down_ratio",
            "exec: throughput out of a pod against the host's",
            ratio(|it| &it.down),
            limit(),
        ),
        ("exec_up_ratio", "exec: throughput into a pod against the host's", ratio(|it| &it.up), limit()),
        ("exec_down_mb_s", "exec: out of a pod of the host, MB/s", median(&host.down) / 1e6, Vec::new()),
        ("exec_up_mb_s", "exec: into a pod of the host, MB/s", median(&host.up) / 1e6, Vec::new()),
        ("exec_first_byte_ms", "exec: first byte on the host, ms", median(&host.first), Vec::new()),
        ("exec_added_ms", "exec: first byte later in the virtual cluster, ms", added, Vec::new()),
    ] {
        report.add(Row { key, what, values: vec![("value", value)], pods: 1, limits });
    }
}

impl Side<'_> {
    async fn run_pod(&self) -> Result<()> {
        let run = ["run", "shell", "--image", BUSYBOX, "--command", "--", "sleep", "1000000"];
        eventually("the pod is created", PATIENCE, async || self.kubectl(&run).await).await?;
        self.kubectl(&["wait", "--for=condition=Ready", "pod/shell", "--timeout=120s"]).await.map(drop)
    }

    async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.person.run("kubectl", &self.arguments(arguments), "").await
    }

    fn arguments<'b>(&'b self, arguments: &[&'b str]) -> Vec<&'b str> {
        let kubeconfig = self.kubeconfig.to_str().unwrap_or_default();
        [&["--kubeconfig", kubeconfig, "-n", self.namespace][..], arguments].concat()
    }

    /// Starts a command in the pod.
    fn exec(&self, command: &[&str]) -> Result<(Child, ChildStdout)> {
        let arguments = [&["exec", "-i", "shell", "--"][..], command].concat();
        let mut kubectl = self.person.command("kubectl", &self.arguments(&arguments));
        kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = kubectl.spawn()?;
        let output = child.stdout.take().context("kubectl has no output")?;
        Ok((child, output))
    }

    async fn measure(&self, measured: &mut Measured) -> Result<()> {
        for _ in 0..COMMANDS {
            let started = Instant::now();
            let (mut child, mut output) = self.exec(&["echo", "first"])?;
            output.read_u8().await?;
            measured.first.push(started.elapsed().as_secs_f64() * 1e3);
            ensure!(child.wait().await?.success(), "echo failed");
        }
        measured.down.push(self.down().await?);
        measured.up.push(self.up().await?);
        Ok(())
    }

    /// Bytes a second from the first one to the last.
    async fn down(&self) -> Result<f64> {
        let (mut child, mut output) = self.exec(&["head", "-c", &TRANSFER.to_string(), "/dev/zero"])?;
        output.read_u8().await?;
        let started = Instant::now();
        let rest = tokio::io::copy(&mut output, &mut tokio::io::sink()).await?;
        let seconds = started.elapsed().as_secs_f64();
        ensure!(child.wait().await?.success() && rest == TRANSFER as u64 - 1, "{rest} bytes came");
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        Ok(rest as f64 / seconds)
    }

    /// Bytes a second from the moment that the command runs until it has counted all of them.
    async fn up(&self) -> Result<f64> {
        let (mut child, mut output) = self.exec(&["sh", "-c", "echo; wc -c"])?;
        output.read_u8().await?;
        let mut input = child.stdin.take().context("kubectl has no input")?;
        let started = Instant::now();
        let block = vec![0; 1024 * 1024];
        for _ in 0..TRANSFER / block.len() {
            input.write_all(&block).await?;
        }
        drop(input);
        let mut counted = String::new();
        output.read_to_string(&mut counted).await?;
        let seconds = started.elapsed().as_secs_f64();
        ensure!(counted.trim() == TRANSFER.to_string(), "{} bytes came", counted.trim());
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        Ok(TRANSFER as f64 / seconds)
    }
}

/// How much the syncer's memory grows by each open command, in KiB.
async fn memory_of_a_stream(node: &Node, kubeconfig: &str) -> Result<f64> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let pods: Api<Pod> = Api::namespaced(Client::try_from(config)?, "default");
    let parameters = AttachParams::default().stdin(true).stdout(true).stderr(false);
    let before = memory_of_syncer(node).await?;
    let open = stream::iter(0..STREAMS).map(|_| pods.exec("shell", ["cat"], &parameters));
    let open: Vec<_> = open.buffer_unordered(OPENERS).try_collect().await?;
    let after = memory_of_syncer(node).await?;
    drop(open);
    #[expect(clippy::cast_precision_loss, reason = "an average")]
    Ok(after.saturating_sub(before) as f64 / STREAMS as f64)
}

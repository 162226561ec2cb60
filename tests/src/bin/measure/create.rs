//! How long a virtual cluster takes to be there and to be gone on a real node, and what an idle one costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use weft_tests::binaries::modules::Program;
use weft_tests::eventually::eventually;
use weft_tests::installed::{Person, node_options};
use weft_tests::node::Node;
use weft_tests::node::images::PROBE;

use crate::report::{Limit, Report, Row, say};

const NAME: &str = "my-vcluster";
const NAMESPACE: &str = "team-a";
/// How long anything may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_mins(2);
/// What an idle cluster does is measured for so long, once what its start caused is over.
const SETTLE: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(30);
/// Between two looks at what is not there yet.
const PAUSE: Duration = Duration::from_millis(250);
/// Of a clock tick in `/proc/<pid>/stat`, in seconds: the kernel's interface has a hundred a second.
const TICK: f64 = 0.01;

/// Prints, for each process of the virtual cluster's containers, its share of memory in kB and its CPU ticks.
const USAGE: &str = r#"
    for process in /proc/[0-9]*; do
        case $(tr '\0' ' ' < $process/cmdline 2>/dev/null) in
            "/kubernetes "* | "/weft "*) ;;
            *) continue ;;
        esac
        awk -v pss=$(awk '/^Pss:/ { print $2 }' $process/smaps_rollup) '{ print pss, $14 + $15 }' $process/stat
    done
"#;

/// What the processes of the virtual cluster have used.
struct Usage {
    /// In megabytes; pages that several processes share count once.
    memory: f64,
    /// In seconds.
    cpu: f64,
}

/// Creates one with `weft create`, runs a pod, leaves it idle, and deletes it.
pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    say("starting a real node");
    let node = Node::start(node_options().await?).await?;
    let person = Person::new(&node, "bench", Program::Helm4).await?;
    say("creating a virtual cluster");
    let started = Instant::now();
    let create = ["create", NAME, "--namespace", NAMESPACE];
    let (created, times) = tokio::join!(person.attempt("weft", &create, ""), arrivals(&person, started));
    let created = created?;
    say(String::from_utf8_lossy(&created.stderr).trim_end());
    ensure!(created.status.success(), "weft create ended with {}", created.status);
    let (api, first_pod) = times?;
    say("leaving it idle");
    tokio::time::sleep(SETTLE).await;
    let before = usage(&node).await?;
    tokio::time::sleep(IDLE).await;
    let after = usage(&node).await?;
    say("deleting it");
    let started = Instant::now();
    person.weft(&["delete", NAME, "--namespace", NAMESPACE, "--yes"]).await?;
    let delete = started.elapsed();
    let limit = |must, aim| vec![Limit::AtMost { must, aim }];
    let share = (after.cpu - before.cpu) / IDLE.as_secs_f64() * 100.0;
    for (key, what, value, limits) in [
        ("create_api_s", "create → API server ready, s", api.as_secs_f64(), limit(12.0, 6.0)),
        ("create_first_pod_s", "create → first pod running, s", first_pod.as_secs_f64(), limit(20.0, 10.0)),
        ("delete_s", "delete → nothing left, s", delete.as_secs_f64(), limit(20.0, 10.0)),
        ("idle_rss_mb", "memory of an idle virtual cluster, MB", after.memory, Vec::new()),
        ("idle_cpu_percent", "CPU of an idle virtual cluster, % of one processor", share, Vec::new()),
    ] {
        report.add(Row { key, what, values: vec![("value", value)], pods: 1, limits });
    }
    node.stop().await
}

/// When the API server is ready, and when the first pod of the tenant runs, since `started`.
async fn arrivals(person: &Person, started: Instant) -> Result<(Duration, Duration)> {
    let inside = |arguments: &[&'static str]| {
        [&["connect", NAME, "--namespace", NAMESPACE, "--", "kubectl"][..], arguments].concat()
    };
    let attempt = async |arguments: &[&str]| {
        let done = person.weft(arguments).await;
        if done.is_err() {
            // Two programs a try: without a pause they would take the processors from what they wait for.
            tokio::time::sleep(PAUSE).await;
        }
        done
    };
    let ready = inside(&["get", "--raw=/readyz"]);
    eventually("the API server is ready", PATIENCE, async || attempt(&ready).await).await?;
    let api = started.elapsed();
    let run = inside(&["run", "first", "--image", PROBE]);
    eventually("the pod is created", PATIENCE, async || attempt(&run).await).await?;
    let phase = inside(&["get", "pod", "first", "-o", "jsonpath={.status.phase}"]);
    eventually("the pod runs", PATIENCE, async || {
        let phase = attempt(&phase).await?;
        ensure!(phase == "Running", "it is {phase}");
        Ok(())
    })
    .await?;
    Ok((api, started.elapsed()))
}

async fn usage(node: &Node) -> Result<Usage> {
    let printed = node.run(&["sh", "-c", USAGE]).await?;
    let mut usage = Usage { memory: 0.0, cpu: 0.0 };
    for line in printed.lines() {
        let (memory, ticks) = line.split_once(' ').with_context(|| format!("no two numbers: {line:?}"))?;
        usage.memory += memory.parse::<f64>()? * 1024.0 / 1e6;
        usage.cpu += ticks.parse::<f64>()? * TICK;
    }
    ensure!(usage.memory > 0.0, "no process of the virtual cluster was found");
    Ok(usage)
}

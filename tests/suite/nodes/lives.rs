//! What a kubelet does with pods shows in a virtual cluster as on its host: each pod is run on both, and what they show is
//! compared.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use weft_tests::binaries::modules::Program;
use weft_tests::eventually::eventually;
use weft_tests::installed::Person;
use weft_tests::node::images::{BUSYBOX, PROBE};
use weft_tests::shared::on_shared_node;

use super::cluster::{Cluster, LONG, PATIENCE};
use super::sides::{Side, sides};

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn what_a_kubelet_does_shows_in_a_virtual_cluster_as_on_its_host() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let person = Person::new(node, namespace, Program::Helm4).await?;
        let cluster = Cluster::create(node, &person, namespace, "vc", &[]).await?;
        let sides = sides(&person, &cluster);
        for side in &sides {
            side.live().await.with_context(|| format!("on the {} cluster", side.name))?;
        }
        let [host, inside] = &sides;
        for (pod, _) in STATES {
            eventually(&format!("{pod} shows what it shows on the host"), LONG, async || {
                let (expected, shown) = tokio::try_join!(host.shown(pod), inside.shown(pod))?;
                ensure!(shown == expected, "on the host: {expected:#}\nin the virtual cluster: {shown:#}");
                Ok(())
            })
            .await?;
        }
        inside.more_than_the_level_permits_is_refused().await.context("kubectl debug")?;
        cluster.delete().await
    })
}

impl Side<'_> {
    /// Runs each pod until it is in its state, and does to the pods what only people do.
    async fn live(&self) -> Result<()> {
        let pods = PODS.replace("BUSYBOX", BUSYBOX).replace("PROBE", PROBE);
        eventually("the pods are created", LONG, async || self.run(&["apply", "-f", "-"], &pods).await)
            .await?;
        self.run(&["wait", "--for=condition=Ready", "pod/resized", "pod/debugged", PATIENCE], "").await?;
        self.resize().await.context("resize")?;
        self.debug().await.context("kubectl debug")?;
        for (pod, state) in STATES {
            let wait = ["wait", &format!("pod/{pod}"), &format!("--for={state}"), PATIENCE];
            if let Err(error) = self.run(&wait, "").await {
                let described = self.run(&["describe", "pod", pod], "").await?;
                return Err(error.context(described));
            }
        }
        Ok(())
    }

    /// In place: of a container, whose process goes on.
    async fn resize(&self) -> Result<()> {
        let resources = json!({"requests": {"cpu": "20m"}, "limits": {"memory": "48Mi"}});
        let patch = json!({"spec": {"containers": [{"name": "main", "resources": resources}]}}).to_string();
        self.run(&["patch", "pod", "resized", "--subresource=resize", "--patch", &patch], "").await.map(drop)
    }

    /// A container more in the pod that sees the processes of another one, and a copy of the pod.
    async fn debug(&self) -> Result<()> {
        let image = format!("--image={BUSYBOX}");
        let add = ["debug", "debugged", "--target=main", "--container=eye", "--profile=baseline", &image];
        self.run(&[&add[..], &["--", "sh", "-c", "ps; echo seen"]].concat(), "").await?;
        eventually("the added container has ended", LONG, async || {
            let log = self.run(&["logs", "debugged", "-c", "eye"], "").await?;
            ensure!(log.contains("sleep 36000") && log.contains("seen"), "{log}");
            Ok(())
        })
        .await?;
        let copy = ["debug", "debugged", "--copy-to=copied", "--container=eye", "--profile=baseline", &image];
        self.run(&[&copy[..], &["--share-processes", "--", "sleep", "36001"]].concat(), "").await.map(drop)
    }

    /// With a reason, by an event: a capability that traces processes, and a pod that sees the node.
    async fn more_than_the_level_permits_is_refused(&self) -> Result<()> {
        let image = format!("--image={BUSYBOX}");
        let trace = ["debug", "debugged", "--container=tracer", "--profile=general", &image, "--", "true"];
        self.run(&trace, "").await?;
        self.is_refused("debugged", "spec.ephemeralContainers[1].securityContext.capabilities").await?;
        let node = self.run(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"], "").await?;
        self.run(&["debug", &format!("node/{node}"), &image, "--", "true"], "").await?;
        self.is_refused("node-debugger-", "spec.hostNetwork").await
    }

    async fn is_refused(&self, pod: &str, reason: &str) -> Result<()> {
        eventually(&format!("an event of {pod} names {reason}"), LONG, async || {
            let path = "jsonpath={range .items[*]}{.involvedObject.name}: {.message}{\"\\n\"}{end}";
            let events =
                self.run(&["get", "events", "--field-selector=type=Warning", "-o", path], "").await?;
            let mut of_pod = events.lines().filter(|event| event.starts_with(pod));
            ensure!(of_pod.any(|event| event.contains(reason)), "{events}");
            Ok(())
        })
        .await
    }

    /// What the status and the kubelet's events say, less what differs between two runs.
    async fn shown(&self, pod: &str) -> Result<Value> {
        let found: Value = serde_json::from_str(&self.run(&["get", "pod", pod, "-o", "json"], "").await?)?;
        let status = found.get("status").context("no status")?;
        let containers = |list: &str| -> Vec<Value> {
            status.get(list).and_then(Value::as_array).into_iter().flatten().map(container).collect()
        };
        let conditions = status.get("conditions").and_then(Value::as_array).into_iter().flatten();
        let mut conditions: Vec<Value> =
            conditions.map(|condition| kept(condition, &["type", "status", "reason", "message"])).collect();
        conditions.sort_by_key(Value::to_string);
        Ok(json!({
            "status": kept(status, &["phase", "reason", "message", "qosClass"]),
            "conditions": conditions,
            "initContainers": containers("initContainerStatuses"),
            "containers": containers("containerStatuses"),
            "ephemeralContainers": containers("ephemeralContainerStatuses"),
            "events": self.events(pod).await?,
        }))
    }

    /// The kubelet's, each once.
    async fn events(&self, pod: &str) -> Result<Vec<String>> {
        let selector = format!("--field-selector=involvedObject.name={pod}");
        let path = "jsonpath={range .items[?(@.source.component=='kubelet')]}{.type} {.reason} {.involvedObject.fieldPath}: {.message}{\"\\n\"}{end}";
        let events = self.run(&["get", "events", &selector, "-o", path], "").await?;
        // The others hold times, come once or twice, or come or not as the machine is slow.
        let same = ["Created", "Started", "Killing", "Evicted", "FailedPostStartHook", "Exceeded"];
        let mut events: Vec<String> = events
            .lines()
            .filter(|event| same.iter().any(|reason| event.contains(&format!(" {reason}"))))
            .map(str::to_owned)
            .collect();
        events.sort();
        events.dedup();
        Ok(events)
    }
}

/// A container's status without identities, times, and how often exactly it was restarted.
fn container(status: &Value) -> Value {
    let restarted = status.get("restartCount").and_then(Value::as_u64).is_some_and(|count| count > 0);
    let state = |key: &str| {
        let state = status.get(key).and_then(Value::as_object).into_iter().flatten();
        let fields = |state: &Value| match state.get("exitCode").and_then(Value::as_i64) {
            // Whether containerd hears of the lack of memory before it sees the end is a race of its own.
            Some(KILLED) => kept(state, &["exitCode", "signal"]),
            _ => kept(state, &["reason", "exitCode", "signal"]),
        };
        let state = state.map(|(name, state)| (name.clone(), fields(state)));
        Value::Object(state.collect())
    };
    let rest = kept(status, &["name", "image", "imageID", "allocatedResources", "resources", "user"]);
    // What is restarted again and again may be between two lives.
    if restarted {
        return json!({"rest": rest, "restarted": true});
    }
    let message = status.pointer("/state/terminated/message");
    json!({"rest": rest, "ready": status.get("ready"), "started": status.get("started"), "state": state("state"), "message": message})
}

fn kept(value: &Value, keys: &[&str]) -> Value {
    let fields = keys.iter().filter_map(|&key| Some((key.to_owned(), value.get(key)?.clone())));
    Value::Object(fields.collect())
}

/// The exit code of a process that was killed.
const KILLED: i64 = 137;

/// Each pod, and what kubectl waits for.
const STATES: &[(&str, &str)] = &[
    ("resized", "jsonpath={.status.containerStatuses[0].resources.requests.cpu}=20m"),
    ("debugged", "jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=0"),
    ("copied", "condition=Ready"),
    ("sidecar", "jsonpath={.status.phase}=Succeeded"),
    ("hooks", "condition=Ready"),
    ("unhooked", "jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}=137"),
    ("sick", "jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}=137"),
    ("message", "jsonpath={.status.phase}=Failed"),
    ("fallback", "jsonpath={.status.phase}=Failed"),
    ("oom", "jsonpath={.status.phase}=Failed"),
    ("evicted", "jsonpath={.status.phase}=Failed"),
    ("overdue", "jsonpath={.status.phase}=Failed"),
    ("unnamed", "jsonpath={.status.containerStatuses[0].state.waiting.reason}=InvalidImageName"),
];

const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: resized}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: BUSYBOX
      command: [sleep, '36000']
      resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {memory: 32Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: debugged}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: BUSYBOX, command: [sleep, '36000']}]
---
apiVersion: v1
kind: Pod
metadata: {name: sidecar}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 2
  initContainers:
    - name: side
      image: BUSYBOX
      restartPolicy: Always
      command: [sh, -c, 'trap \"exit 0\" TERM; touch /tmp/up; while true; do sleep 0.2; done']
      startupProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1}
    - {name: first, image: BUSYBOX, command: ['true']}
  containers: [{name: main, image: BUSYBOX, command: [sh, -c, 'sleep 1']}]
---
apiVersion: v1
kind: Pod
metadata: {name: hooks}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: PROBE
      startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
      livenessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
      readinessProbe: {httpGet: {path: /, port: 8080, scheme: HTTP}, periodSeconds: 1}
    - name: hooked
      image: BUSYBOX
      command: [sleep, '36000']
      readinessProbe: {exec: {command: [test, -e, /tmp/hooked]}, periodSeconds: 1}
      lifecycle:
        postStart: {exec: {command: [touch, /tmp/hooked]}}
        preStop: {sleep: {seconds: 1}}
---
apiVersion: v1
kind: Pod
metadata: {name: unhooked}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: BUSYBOX
      command: [sleep, '36000']
      lifecycle: {postStart: {exec: {command: [sh, -c, exit 4]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: sick}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: BUSYBOX
      command: [sleep, '36000']
      livenessProbe: {exec: {command: ['false']}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: message}
spec:
  restartPolicy: Never
  containers:
    - {name: main, image: BUSYBOX, command: [sh, -c, 'echo why it ended > /dev/termination-log; exit 3']}
---
apiVersion: v1
kind: Pod
metadata: {name: fallback}
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: BUSYBOX
      terminationMessagePolicy: FallbackToLogsOnError
      command: [sh, -c, 'echo the last words; exit 5']
---
apiVersion: v1
kind: Pod
metadata: {name: oom}
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: BUSYBOX
      command: [tail, /dev/zero]
      resources: {limits: {memory: 16Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: evicted}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  volumes: [{name: scratch, emptyDir: {sizeLimit: 1Mi}}]
  containers:
    - name: main
      image: BUSYBOX
      command: [sh, -c, 'head -c 8000000 /dev/zero > /scratch/large; sleep 36000']
      volumeMounts: [{name: scratch, mountPath: /scratch}]
---
apiVersion: v1
kind: Pod
metadata: {name: overdue}
spec:
  restartPolicy: Never
  activeDeadlineSeconds: 3
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: BUSYBOX, command: [sleep, '36000']}]
---
apiVersion: v1
kind: Pod
metadata: {name: unnamed}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: 'weft.test/None:1'}]
";

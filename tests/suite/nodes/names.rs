//! A pod of a virtual cluster has the names that it would have on a cluster of its own: each case is run on the host, too.

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use weft_tests::binaries::modules::Program;
use weft_tests::eventually::eventually;
use weft_tests::installed::Person;
use weft_tests::node::Node;
use weft_tests::node::images::BUSYBOX;
use weft_tests::shared::on_shared_node;

use super::cluster::{Cluster, LONG, PATIENCE};
use super::images::run_name_server;
use super::installed::upgrade;

/// Another one than the host's, in which the name server upstream has a name, too.
const DOMAIN: &str = "shop.test";
/// Cut by a kubelet, right behind a dot.
const LONG_NAME: &str = "a-name-of-a-pod-that-is-longer-than-the-name-of-a-host-can-be.x.and-is-cut";
/// Those in [`PODS`].
const NAMES: [&str; 10] =
    ["peers-0", "plain", "full", "dots.in.it", LONG_NAME, "cluster", "with-host-net", "node", "own", "more"];

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn a_pod_has_the_names_that_it_would_have_on_a_plain_cluster() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let person = Person::new(node, namespace, Program::Helm4).await?;
        let upstream = run_name_server(node, namespace).await?;
        let domain = format!("cluster.domain={DOMAIN}");
        let (forward, image) =
            (format!("dns.forward={{{upstream}}}"), format!("pods.hostsFile.image={UNPULLABLE}"));
        let settings = [domain.as_str(), &forward, &image, "dns.fallthrough=true"]
            .map(|value| ["--set", value])
            .concat();
        let cluster = Cluster::create(node, &person, namespace, "vc", &settings).await?;
        cluster.kubectl(&["create", "namespace", "shop"], "").await?;
        let connect = ["connect", "vc", "-n", namespace, "--", "kubectl", "-n", "shop"];
        let host =
            Side::new(&person, "kubectl", &["-n", namespace], format!("{namespace}.svc.cluster.local"));
        let inside = Side::new(&person, "weft", &connect, format!("shop.svc.{DOMAIN}"));

        a_pod_without_its_hosts_file_says_why(&inside).await.context("an image that cannot be pulled")?;
        upgrade(&person, namespace, "pods.hostsFile.image=").await?;
        inside.wait("early").await.context("the image was corrected")?;

        demand(node, namespace, "restricted").await?;
        are_alike(&host, &inside, PODS, RESTRICTED, &NAMES).await?;
        demand(node, namespace, "privileged").await?;
        are_alike(&host, &inside, ROOTED, "{runAsUser: 0}", &["rooted"]).await?;
        what_makes_the_file_is_hidden(&inside).await?;
        names_resolve(&cluster, &inside).await?;
        cluster.delete().await
    })
}

/// Nothing listens there.
const UNPULLABLE: &str = "127.0.0.1:1/weft:none";

/// Demands a Pod Security level of the pods that are created from now on.
async fn demand(node: &Node, namespace: &str, level: &str) -> Result<()> {
    let label = format!("pod-security.kubernetes.io/enforce={level}");
    node.kubectl(&["label", "--overwrite", "namespace", namespace, &label], "").await.map(drop)
}

/// One of the two clusters, as kubectl reaches it.
struct Side<'a> {
    person: &'a Person,
    program: &'static str,
    prefix: Vec<&'a str>,
    /// Domain of the Services of its namespace.
    services: String,
}

impl<'a> Side<'a> {
    fn new(person: &'a Person, program: &'static str, prefix: &[&'a str], services: String) -> Self {
        Self { person, program, prefix: prefix.to_vec(), services }
    }

    async fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        self.person.run(self.program, &[&self.prefix[..], arguments].concat(), input).await
    }

    async fn apply(&self, objects: &str, context: &str) -> Result<()> {
        let objects = objects.replace("CONTAINER", CONTAINER).replace("LONG_NAME", LONG_NAME);
        let objects = objects.replace("BUSYBOX", BUSYBOX).replace("CONTEXT", context);
        eventually("the objects are created", LONG, async || {
            self.kubectl(&["apply", "-f", "-"], &objects).await
        })
        .await
        .map(drop)
    }

    async fn wait(&self, pod: &str) -> Result<()> {
        let pod = format!("pod/{pod}");
        eventually("the pod is there", LONG, async || self.kubectl(&["get", &pod], "").await).await?;
        let ready = self.kubectl(&["wait", "--for=condition=Ready", &pod, PATIENCE], "").await;
        match ready {
            Ok(_) => Ok(()),
            Err(error) => Err(error.context(self.kubectl(&["describe", &pod], "").await?)),
        }
    }

    async fn get(&self, object: &str, path: &str) -> Result<String> {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={path}")], "").await
    }

    /// What a pod knows of its names, in words that are the same on both clusters.
    async fn names(&self, pod: &str, resolver: &str) -> Result<String> {
        let known = self.kubectl(&["exec", pod, "-c", "main", "--", "sh", "-c", KNOWN], "").await?;
        let address = self.get(&format!("pod/{pod}"), "{.status.podIP}").await?;
        let (_, domain) = self.services.split_once(".svc.").context("a domain of Services")?;
        let known = known.replace(&address, "ADDRESS").replace(&self.services, "SERVICES");
        Ok(known
            .replace(&format!("svc.{domain} {domain}"), "svc.DOMAIN DOMAIN")
            .replace(resolver, "RESOLVER"))
    }
}

/// Every way to ask for it, and the files behind them.
const KNOWN: &str = "hostname; hostname -f; hostname -d; echo $HOSTNAME; cat /etc/hosts; stat -c %a /etc/hosts; cat /etc/resolv.conf";

async fn a_pod_without_its_hosts_file_says_why(inside: &Side<'_>) -> Result<()> {
    inside.apply(EARLY, RESTRICTED).await?;
    let message = r#"{.status.conditions[?(@.type=="Initialized")].message}"#;
    eventually("its condition says why", LONG, async || {
        let message = inside.get("pod/early", message).await?;
        let says_why = message.contains("hosts file is not written yet") && message.contains(UNPULLABLE);
        ensure!(says_why, "{message:?}");
        Ok(())
    })
    .await?;
    eventually("an event says why", LONG, async || {
        let events = inside.kubectl(&["events", "--for=pod/early"], "").await?;
        ensure!(events.contains("Failed to pull image") && events.contains(UNPULLABLE), "{events}");
        Ok(())
    })
    .await
}

/// Runs the same pods on both, and compares.
async fn are_alike(
    host: &Side<'_>,
    inside: &Side<'_>,
    pods: &str,
    context: &str,
    names: &[&str],
) -> Result<()> {
    let resolver = inside.kubectl(
        &["get", "service", "kube-dns", "-n", "kube-system", "-o", "jsonpath={.spec.clusterIP}"],
        "",
    );
    let resolver = resolver.await?;
    for side in [host, inside] {
        side.apply(pods, context).await?;
    }
    try_join_all(names.iter().map(async |name| {
        for side in [host, inside] {
            side.wait(name).await?;
        }
        let (plain, virtual_one) = (host.names(name, RESOLVER).await?, inside.names(name, &resolver).await?);
        ensure!(
            plain == virtual_one,
            "{name} on a plain cluster:\n{plain}\nin the virtual one:\n{virtual_one}"
        );
        Ok(())
    }))
    .await
    .map(drop)
}

/// Its container, its volume and its events are none of the tenant's.
async fn what_makes_the_file_is_hidden(inside: &Side<'_>) -> Result<()> {
    for what in [&["get", "pods", "-o", "yaml"][..], &["get", "events", "-o", "yaml"]] {
        let shown = inside.kubectl(what, "").await?;
        let line = shown.lines().find(|line| line.contains("weft-hosts"));
        ensure!(line.is_none(), "kubectl {}: {line:?}", what.join(" "));
    }
    let logs = inside.kubectl(&["logs", "rooted", "--all-containers", "--prefix"], "").await?;
    ensure!(logs.contains(&format!("[pod/rooted/setup] rooted.peers.{}", inside.services)), "{logs}");
    let refused = inside.kubectl(&["logs", "rooted", "-c", "weft-hosts"], "").await;
    ensure!(refused.is_err(), "{refused:?}");
    Ok(())
}

/// Peers by their own names, ready or not where the Service says so; by the server upstream other names, those behind an
/// `ExternalName`, and what nobody has in the cluster's own domain.
async fn names_resolve(cluster: &Cluster<'_>, inside: &Side<'_>) -> Result<()> {
    inside.apply(SERVICES, RESTRICTED).await?;
    cluster.run_probe("shop").await?;
    let address = eventually("the pod that is never ready has an address", LONG, async || {
        let address = inside.get("pod/unready", "{.status.podIP}").await?;
        ensure!(!address.is_empty());
        Ok(address)
    })
    .await?;
    let peer = inside.get("pod/peers-0", "{.status.podIP}").await?;
    for (name, wanted) in [
        ("peers-0.peers", peer.as_str()),
        ("peers-0.peers.shop.svc.shop.test", &peer),
        ("whoever", &address),
        ("unready.whoever.shop", &address),
        ("upstream.example", "192.0.2.8"),
        ("outside", "192.0.2.8"),
        ("thing.shop.test", "192.0.2.7"),
    ] {
        eventually("it resolves", LONG, async || {
            let found = cluster.probe("shop", &["lookup", name]).await.with_context(|| name.to_owned())?;
            ensure!(found == format!("{wanted}\n"), "{name} is {found}, not {wanted}");
            Ok(())
        })
        .await?;
    }
    for name in [
        "ready-only",
        "unready.ready-only",
        "no-such",
        "peers-7.peers",
        "kubernetes.default.svc.cluster.local",
    ] {
        let found = cluster.probe("shop", &["lookup", name]).await;
        ensure!(found.is_err(), "{name} is {found:?}");
    }
    Ok(())
}

/// Of the pod on the host; nothing answers there.
const RESOLVER: &str = weft_tests::node::CLUSTER_DNS;

/// What the Pod Security Standard `restricted` demands of a pod; the image itself would run as root.
const RESTRICTED: &str = "{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}";

const EARLY: &str = "
apiVersion: v1
kind: Pod
metadata: {name: early}
spec:
  subdomain: peers
  terminationGracePeriodSeconds: 0
  securityContext: CONTEXT
  containers: [{name: main, image: BUSYBOX, command: [sleep, '3600']}]
";

const PODS: &str = "
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {clusterIP: None, selector: {app: peers}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: peers}
spec:
  serviceName: peers
  selector: {matchLabels: {app: peers}}
  template:
    metadata: {labels: {app: peers}}
    spec: {terminationGracePeriodSeconds: 0, securityContext: CONTEXT, containers: [CONTAINER]}
---
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec: {terminationGracePeriodSeconds: 0, securityContext: CONTEXT, containers: [CONTAINER]}
---
apiVersion: v1
kind: Pod
metadata: {name: full}
spec:
  hostname: first
  subdomain: peers
  setHostnameAsFQDN: true
  terminationGracePeriodSeconds: 0
  securityContext: CONTEXT
  containers: [CONTAINER]
---
apiVersion: v1
kind: Pod
metadata: {name: dots.in.it}
spec:
  subdomain: peers
  hostAliases: [{ip: 192.0.2.1, hostnames: [one.example, two.example]}, {ip: 192.0.2.2, hostnames: [dots.in.it]}]
  terminationGracePeriodSeconds: 0
  securityContext: CONTEXT
  containers: [CONTAINER]
---
apiVersion: v1
kind: Pod
metadata: {name: LONG_NAME}
spec: {subdomain: peers, terminationGracePeriodSeconds: 0, securityContext: CONTEXT, containers: [CONTAINER]}
---
apiVersion: v1
kind: Pod
metadata: {name: cluster}
spec: {dnsPolicy: ClusterFirst, terminationGracePeriodSeconds: 0, securityContext: CONTEXT, containers: [CONTAINER]}
---
apiVersion: v1
kind: Pod
metadata: {name: with-host-net}
spec: {dnsPolicy: ClusterFirstWithHostNet, terminationGracePeriodSeconds: 0, securityContext: CONTEXT, containers: [CONTAINER]}
---
apiVersion: v1
kind: Pod
metadata: {name: node}
spec: {dnsPolicy: Default, terminationGracePeriodSeconds: 0, securityContext: CONTEXT, containers: [CONTAINER]}
---
apiVersion: v1
kind: Pod
metadata: {name: own}
spec:
  dnsPolicy: None
  dnsConfig: {nameservers: [192.0.2.53], searches: [own.example], options: [{name: ndots, value: '2'}]}
  terminationGracePeriodSeconds: 0
  securityContext: CONTEXT
  containers: [CONTAINER]
---
apiVersion: v1
kind: Pod
metadata: {name: more}
spec:
  dnsConfig: {nameservers: [192.0.2.53], searches: [own.example], options: [{name: ndots, value: '2'}]}
  terminationGracePeriodSeconds: 0
  securityContext: CONTEXT
  containers: [CONTAINER]
";

/// A pod of root with containers of each kind.
const ROOTED: &str = "
apiVersion: v1
kind: Pod
metadata: {name: rooted}
spec:
  subdomain: peers
  terminationGracePeriodSeconds: 0
  securityContext: CONTEXT
  initContainers:
    - {name: setup, image: BUSYBOX, command: [hostname, -f]}
    - {name: beside, image: BUSYBOX, command: [sleep, '3600'], restartPolicy: Always}
  containers: [CONTAINER]
";

/// One Service shows the pod that is never ready, the other one does not.
const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: whoever}
spec: {clusterIP: None, publishNotReadyAddresses: true, selector: {app: unready}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: ready-only}
spec: {clusterIP: None, selector: {app: unready}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: upstream.example}
---
apiVersion: v1
kind: Pod
metadata: {name: unready, labels: {app: unready}}
spec:
  hostname: unready
  subdomain: whoever
  terminationGracePeriodSeconds: 0
  securityContext: CONTEXT
  containers: [{name: main, image: BUSYBOX, command: [sleep, '3600'], readinessProbe: {exec: {command: ['false']}}}]
";

/// As strict as the pod's context may be.
const CONTAINER: &str = "{name: main, image: BUSYBOX, command: [sleep, '3600'], \
                         securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}";

//! `kubectl top` and autoscaling work in a virtual cluster as they do on its host: each has a metrics-server, unmodified, and
//! both say the same.

use anyhow::{Context as _, Result, ensure};
use weft_tests::binaries::modules::Program;
use weft_tests::eventually::eventually;
use weft_tests::installed::Person;
use weft_tests::node::images::{BUSYBOX, METRICS_SERVER, metrics_server};
use weft_tests::shared::alone_on_shared_node;

use super::cluster::{Cluster, LONG, PATIENCE};

/// In the middle of what a pod may use that uses all it may, in thousandths of a core.
const LIMIT: u64 = 200;

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn metrics_of_a_virtual_cluster_are_those_of_its_host() -> Result<()> {
    alone_on_shared_node(async |node, namespace| {
        let person = Person::new(node, namespace, Program::Helm4).await?;
        node.import(&metrics_server().await?).await?;
        let server = SERVER.replace("IMAGE", METRICS_SERVER);
        person.run("kubectl", &["apply", "-f", "-"], &server).await?;
        let on = ["--set", "kubelet.metrics.enabled=true"];
        let cluster = Cluster::create(node, &person, namespace, "vc", &on).await?;
        cluster.kubectl(&["apply", "-f", "-"], &server).await?;
        cluster.run_probe("default").await?;
        cluster.kubectl(&["apply", "-f", "-"], &BUSY.replace("BUSYBOX", BUSYBOX)).await?;
        cluster.kubectl(&["rollout", "status", "deployment/busy", PATIENCE], "").await?;
        both_say_the_same(&person, &cluster).await?;
        nodes_are_used_by_the_tenant(&cluster).await?;
        a_deployment_is_scaled(&cluster).await?;
        others_are_refused(&cluster).await?;
        cluster.delete().await?;
        person.run("kubectl", &["delete", "-f", "-"], &server).await.map(drop)
    })
}

async fn both_say_the_same(person: &Person, cluster: &Cluster<'_>) -> Result<()> {
    let top = ["top", "pods", "--no-headers", "-l", "app=busy"];
    let inside = eventually("the virtual cluster shows a pod at its limit", LONG, async || {
        at_limit(&cluster.kubectl(&top, "").await?)
    })
    .await?;
    let namespaced = [&top[..], &["-n", cluster.namespace()]].concat();
    let outside = at_limit(&person.run("kubectl", &namespaced, "").await?).context("on the host")?;
    let names = |pods: &[(String, u64)]| pods.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let host_names = names(&inside).into_iter().map(|name| format!("{name}-x-default-x-{}", cluster.name()));
    ensure!(host_names.eq(names(&outside)), "{inside:?} inside, {outside:?} outside");
    Ok(())
}

/// Names and memory of pods, in MiB, of which the first is at its limit and all use some.
fn at_limit(top: &str) -> Result<Vec<(String, u64)>> {
    let mut pods = Vec::new();
    for line in top.lines() {
        let [name, cpu, memory] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            anyhow::bail!("{line}");
        };
        let number =
            |text: &str, unit: &str| text.strip_suffix(unit).and_then(|text| text.parse::<u64>().ok());
        let cpu = number(cpu, "m").with_context(|| line.to_owned())?;
        let is_busy = cpu > LIMIT / 2 && cpu < 2 * LIMIT;
        ensure!(is_busy || !pods.is_empty(), "{line}: it may use {LIMIT}m and wants more");
        pods.push((name.to_owned(), number(memory, "Mi").with_context(|| line.to_owned())?));
    }
    ensure!(!pods.is_empty(), "no pod has figures");
    Ok(pods)
}

async fn nodes_are_used_by_the_tenant(cluster: &Cluster<'_>) -> Result<()> {
    let top = cluster.kubectl(&["top", "nodes", "--no-headers"], "").await?;
    let words: Vec<&str> = top.split_whitespace().collect();
    let cpu = words.get(1).and_then(|cpu| cpu.strip_suffix('m')).and_then(|cpu| cpu.parse::<u64>().ok());
    ensure!(cpu.is_some_and(|cpu| cpu > LIMIT / 2) && !top.contains("unknown"), "{top}");
    Ok(())
}

async fn a_deployment_is_scaled(cluster: &Cluster<'_>) -> Result<()> {
    eventually("the deployment has more replicas", LONG, async || {
        let path = "jsonpath={.spec.replicas}";
        let replicas = cluster.kubectl(&["get", "deployment", "busy", "-o", path], "").await?;
        let events = cluster.kubectl(&["describe", "hpa", "busy"], "").await?;
        ensure!(replicas.parse::<u32>()? > 1, "{replicas}\n{events}");
        Ok(())
    })
    .await
}

/// What a pod gets that is no metrics-server: its certificate is verified all the same.
async fn others_are_refused(cluster: &Cluster<'_>) -> Result<()> {
    let of_node = async |path: &str| {
        let path = format!("jsonpath={{.items[0]{path}}}");
        cluster.kubectl(&["get", "nodes", "-o", &path], "").await
    };
    let address = of_node(".status.addresses[?(@.type=='InternalIP')].address").await?;
    let address = address.split_whitespace().next().context("a node has an address")?;
    let metrics = of_node(r".metadata.annotations.metrics\.k8s\.io/resource-metrics-path").await?;
    let (ca, token) = (format!("{ACCOUNT}/ca.crt"), format!("{ACCOUNT}/token"));
    let url = format!("https://{address}:10250{metrics}");
    for (arguments, said) in [
        (&["get", &url, &ca, &token][..], "\n403\n"),
        (&["get", &url, &ca, &token], "system:serviceaccount:default:default"),
        (&["get", &url, &ca], "\n401\n"),
    ] {
        let answer = cluster.probe("default", arguments).await.map_err(|error| format!("{error:#}"));
        ensure!(answer.as_ref().is_err_and(|error| error.contains(said)), "{answer:?}");
    }
    Ok(())
}

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A pod that uses what it may, with what makes two of it.
const BUSY: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: BUSYBOX
          command: [sh, -c, 'while :; do :; done']
          resources: {requests: {cpu: 100m}, limits: {cpu: 200m, memory: 64Mi}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: busy, namespace: default}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
  minReplicas: 1
  maxReplicas: 2
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
";

/// As its release has it, but for labels and the names of some roles.
const SERVER: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: metrics-server, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: metrics-server-auth-reader, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: extension-apiserver-authentication-reader}
subjects: [{kind: ServiceAccount, name: metrics-server, namespace: kube-system}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: 'metrics-server:system:auth-delegator'}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:auth-delegator'}
subjects: [{kind: ServiceAccount, name: metrics-server, namespace: kube-system}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: 'system:metrics-server'}
rules:
  - {apiGroups: [''], resources: [nodes/metrics], verbs: [get]}
  - {apiGroups: [''], resources: [pods, nodes], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: 'system:metrics-server'}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:metrics-server'}
subjects: [{kind: ServiceAccount, name: metrics-server, namespace: kube-system}]
---
apiVersion: v1
kind: Service
metadata: {name: metrics-server, namespace: kube-system}
spec:
  selector: {k8s-app: metrics-server}
  ports: [{name: https, port: 443, targetPort: https, appProtocol: https}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  service: {name: metrics-server, namespace: kube-system}
  group: metrics.k8s.io
  version: v1beta1
  insecureSkipTLSVerify: true
  groupPriorityMinimum: 100
  versionPriority: 100
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: metrics-server, namespace: kube-system, labels: {k8s-app: metrics-server}}
spec:
  selector: {matchLabels: {k8s-app: metrics-server}}
  strategy: {rollingUpdate: {maxUnavailable: 0}}
  template:
    metadata: {labels: {k8s-app: metrics-server}}
    spec:
      serviceAccountName: metrics-server
      priorityClassName: system-cluster-critical
      nodeSelector: {kubernetes.io/os: linux}
      volumes: [{name: tmp-dir, emptyDir: {}}]
      containers:
        - name: metrics-server
          image: IMAGE
          args:
            - --cert-dir=/tmp
            - --secure-port=10250
            - --kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname
            - --kubelet-use-node-status-port
            - --metric-resolution=15s
          resources: {requests: {cpu: 100m, memory: 200Mi}}
          ports: [{name: https, containerPort: 10250}]
          readinessProbe: {httpGet: {path: /readyz, port: https, scheme: HTTPS}, initialDelaySeconds: 20}
          livenessProbe: {httpGet: {path: /livez, port: https, scheme: HTTPS}}
          securityContext:
            readOnlyRootFilesystem: true
            runAsNonRoot: true
            runAsUser: 1000
            allowPrivilegeEscalation: false
            seccompProfile: {type: RuntimeDefault}
            capabilities: {drop: [ALL]}
          volumeMounts: [{name: tmp-dir, mountPath: /tmp}]
";

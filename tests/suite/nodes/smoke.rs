//! The node itself behaves: pods run as on any, and what they are given reaches them.

use std::time::Duration;

use anyhow::{Result, ensure};
use weft_tests::eventually::eventually;
use weft_tests::guests::rust::root;
use weft_tests::node::Node;
use weft_tests::node::images::{BUSYBOX, PROBE};
use weft_tests::shared::{alone_on_shared_node, on_shared_node};

use super::cluster::LONG;
use super::steps::{apply, exec, get, ready};

/// How long a pod may take whose volume has to be provisioned first: helper pods take seconds each.
const PROVISIONED: Duration = Duration::from_mins(1);

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn a_pod_gets_settings_secrets_and_a_token() -> Result<()> {
    on_shared_node(async |node, namespace| {
        apply(node, namespace, &WITH_SETTINGS.replace("IMAGE", PROBE)).await?;
        ready(node, namespace, "pod/web", LONG).await?;
        let page = async |path| exec(node, namespace, "web", &["/probe", "get", path]).await;
        assert_eq!(page("http://127.0.0.1:8080/env/GREETING").await?, "200\nhello\n");
        assert_eq!(page("http://127.0.0.1:8080/file/settings/file").await?, "200\nsetting\n");
        assert_eq!(page("http://127.0.0.1:8080/file/secrets/password").await?, "200\nhunter2\n");
        let version = format!("/probe get https://10.96.0.1/version {ACCOUNT}/ca.crt {ACCOUNT}/token");
        let answer = exec(node, namespace, "web", &version.split(' ').collect::<Vec<_>>()).await?;
        ensure!(answer.starts_with("200\n") && answer.contains("gitVersion"), "{answer}");
        Ok(())
    })
}

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn a_service_leads_to_its_pods_and_logs_say_who_called() -> Result<()> {
    on_shared_node(async |node, namespace| {
        apply(node, namespace, &WITH_SERVICE.replace("IMAGE", PROBE)).await?;
        ready(node, namespace, "pod/web", LONG).await?;
        ready(node, namespace, "pod/client", LONG).await?;
        let address = get(node, namespace, "service/web", "{.spec.clusterIP}").await?;
        let url = format!("http://{address}/");
        // kube-proxy hears of the endpoint after the pod is ready.
        eventually("the Service answers", LONG, async || {
            let answer = exec(node, namespace, "client", &["/probe", "get", &url]).await?;
            ensure!(answer == "200\nweb\n", "{answer}");
            Ok(())
        })
        .await?;
        let from_the_node = node.run(&["busybox", "wget", "-q", "-O", "-", &url]).await?;
        assert_eq!(from_the_node, "web");
        let logs = node.kubectl(&["logs", "web", "--namespace", namespace], "").await?;
        ensure!(logs.contains("GET / HTTP/1.1 200 OK"), "{logs}");
        Ok(())
    })
}

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn a_claim_of_the_default_class_is_provisioned_and_survives_its_pod() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let writer =
            WITH_CLAIM.replace("IMAGE", BUSYBOX).replace("COMMAND", "echo kept > /data/file; sleep 3600");
        apply(node, namespace, &writer).await?;
        ready(node, namespace, "pod/writer", PROVISIONED).await?;
        node.kubectl(&["delete", "pod", "writer", "--namespace", namespace, "--now"], "").await?;
        apply(node, namespace, &writer.replace("echo kept > /data/file; ", "").replace("writer", "reader"))
            .await?;
        ready(node, namespace, "pod/reader", LONG).await?;
        eventually("the file is there", LONG, async || {
            let file = exec(node, namespace, "reader", &["cat", "/data/file"]).await?;
            ensure!(file == "kept\n", "{file}");
            Ok(())
        })
        .await
    })
}

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn the_nginx_example_serves_pages() -> Result<()> {
    on_shared_node(async |node, _namespace| {
        let example = root().join("examples").join("nginx");
        node.kubectl(&["apply", "-f", &example.display().to_string()], "").await?;
        for workload in ["deployment/nginx", "statefulset/store"] {
            let timeout = format!("--timeout={}s", PROVISIONED.as_secs());
            node.kubectl(&["rollout", "status", workload, "--namespace", "nginx", &timeout], "").await?;
        }
        let address = get(node, "nginx", "service/nginx", "{.spec.clusterIP}").await?;
        let page = node.run(&["busybox", "wget", "-q", "-O", "-", &format!("http://{address}/")]).await?;
        ensure!(page.contains("Welcome to nginx!"), "{page}");
        node.kubectl(&["delete", "namespace", "nginx"], "").await?;
        Ok(())
    })
}

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn a_pod_comes_back_after_a_reboot_and_goes_on_while_the_kubelet_restarts() -> Result<()> {
    alone_on_shared_node(async |node, namespace| {
        apply(node, namespace, &WITH_SETTINGS.replace("IMAGE", PROBE)).await?;
        ready(node, namespace, "pod/web", LONG).await?;
        let before = get(node, namespace, "pod/web", STATE).await?;
        node.restart_daemons().await?;
        ready(node, namespace, "pod/web", LONG).await?;
        assert_eq!(get(node, namespace, "pod/web", STATE).await?, before);
        node.reboot().await?;
        eventually("the container was started again and is ready", PROVISIONED, async || {
            let after = get(node, namespace, "pod/web", STATE).await?;
            ensure!(after != before && after.starts_with("true"), "{after}");
            Ok(())
        })
        .await
    })
}

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn a_node_that_is_stopped_leaves_nothing() -> Result<()> {
    // The shared one runs beside it, and notices nothing.
    on_shared_node(async |shared, namespace| {
        apply(shared, namespace, &WITH_SETTINGS.replace("IMAGE", PROBE)).await?;
        ready(shared, namespace, "pod/web", LONG).await?;
        let node = Node::start(shared.options().clone()).await?;
        apply(&node, "default", &WITH_SETTINGS.replace("IMAGE", PROBE)).await?;
        ready(&node, "default", "pod/web", LONG).await?;
        let traces = node.traces()?;
        ensure!(traces.iter().any(|trace| trace.exists()), "a running node has {traces:?}");
        node.stop().await?;
        eventually("nothing is left", LONG, async || {
            let left: Vec<_> = traces.iter().filter(|trace| trace.exists()).collect();
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await?;
        let restarts =
            get(shared, namespace, "pod/web", "{.status.containerStatuses[0].restartCount}").await?;
        assert_eq!(restarts, "0");
        Ok(())
    })
}

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Ready or not, and which container it is.
const STATE: &str = "{.status.containerStatuses[0].ready} {.status.containerStatuses[0].containerID}";

const WITH_SETTINGS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: hello, file: setting}
---
apiVersion: v1
kind: Secret
metadata: {name: secrets}
stringData: {password: hunter2}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: web
      image: IMAGE
      env: [{name: GREETING, valueFrom: {configMapKeyRef: {name: settings, key: greeting}}}]
      readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
      volumeMounts:
        - {name: settings, mountPath: /settings}
        - {name: secrets, mountPath: /secrets}
  volumes:
    - {name: settings, configMap: {name: settings}}
    - {name: secrets, secret: {secretName: secrets}}
";

const WITH_SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: web, image: IMAGE}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: client, image: IMAGE}]
";

const WITH_CLAIM: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: IMAGE
      command: [sh, -c, 'COMMAND']
      volumeMounts: [{name: data, mountPath: /data}]
  volumes:
    - {name: data, persistentVolumeClaim: {claimName: data}}
";

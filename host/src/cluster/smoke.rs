//! Runs one pod in a virtual cluster and waits until it has ended: what `helm test` asks of a release.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

/// Between two looks at the pod.
const POLL: Duration = Duration::from_millis(300);
/// Where the pod runs: a namespace that every cluster has.
const NAMESPACE: &str = "default";

/// Runs a pod of `image` in the virtual cluster of a kubeconfig, and removes it.
///
/// # Errors
/// The pod failed, or had not ended in time; the message has its status.
pub async fn smoke(kubeconfig: &Path, address: Option<&str>, image: &str, patience: Duration) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client(kubeconfig, address).await?, NAMESPACE);
    let created = pods.create(&PostParams::default(), &pod(image)?).await;
    let name =
        created.context("failed to create a pod in the virtual cluster")?.metadata.name.unwrap_or_default();
    let ended = tokio::time::timeout(patience, until_ended(&pods, &name)).await;
    let last = pods.get_opt(&name).await;
    // Whatever became of it; the next test has a pod of its own.
    let _ = pods.delete(&name, &DeleteParams::default().grace_period(0)).await;
    if let Ok(result) = ended {
        return result;
    }
    let status = last.ok().flatten().and_then(|pod| serde_json::to_string(&pod.status).ok());
    bail!("the pod {NAMESPACE}/{name} has not ended; its status is {}", status.unwrap_or_default())
}

async fn client(kubeconfig: &Path, address: Option<&str>) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    if let Some(address) = address {
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let url = format!("https://{host}:443").parse();
        config.cluster_url = url.with_context(|| format!("{address:?} is not an address"))?;
    }
    Ok(Client::try_from(config)?)
}

fn pod(image: &str) -> Result<Pod> {
    let confined = json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true,
    });
    let pod = json!({
        "metadata": {"generateName": "weft-smoke-"},
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "smoke", "image": image, "args": ["--version"], "securityContext": confined,
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
            }],
        },
    });
    Ok(serde_json::from_value(pod)?)
}

async fn until_ended(pods: &Api<Pod>, name: &str) -> Result<()> {
    loop {
        let pod = pods.get(name).await.context("failed to read the pod")?;
        let status = pod.status.unwrap_or_default();
        match status.phase.as_deref() {
            Some("Succeeded") => return Ok(()),
            Some("Failed") => {
                bail!("the pod {NAMESPACE}/{name} failed: {}", status.message.unwrap_or_default())
            }
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_is_admitted_where_pod_security_is_restricted() {
        let pod = pod("weft:1").unwrap().spec.unwrap();
        let container = &pod.containers[0];
        assert_eq!(
            (container.image.as_deref(), pod.restart_policy.as_deref()),
            (Some("weft:1"), Some("Never"))
        );
        let confined = container.security_context.as_ref().unwrap();
        assert_eq!(confined.allow_privilege_escalation, Some(false));
        assert_eq!(pod.security_context.unwrap().run_as_non_root, Some(true));
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused_by_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let kubeconfig = json!({
            "current-context": "a", "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "a", "user": {}}], "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        });
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        let error = client(&path, Some("no address")).await.err().unwrap();
        assert!(error.to_string().contains("\"no address\" is not an address"), "{error:#}");
        client(&path, Some("fd00::1")).await.unwrap();
    }
}

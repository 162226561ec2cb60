//! Readers of the kubelet's metrics are known by the virtual cluster, and get what it allows them of its own pods.

use anyhow::{Context as _, Result, ensure};
use http::Request;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};

use super::super::both::{at, create, text};
use super::{Launched, NAMESPACE};

/// An address of this machine that nothing else listens on at the port of the kubelet.
pub(super) const ADDRESS: &str = "127.0.0.2";
/// Where metrics-server looks for the path.
const PATH: &str = "/metadata/annotations/metrics.k8s.io~1resource-metrics-path";

/// Checks what readers with tokens of each sort get of the node of a pod.
pub(super) async fn are_known(launched: &Launched) -> Result<()> {
    let tenant = launched.client("localhost").await?;
    let node = node_of_a_pod(launched, &tenant).await?;
    let metrics = text(&node, PATH).to_owned();
    let pods = metrics.replace("metrics/resource", "pods");
    let reader = account(&tenant, "reader", &["nodes/metrics", "nodes/pods"]).await?;
    let stranger = account(&tenant, "stranger", &["nodes/stats", "pods"]).await?;
    let gone = account(&tenant, "gone", &["nodes/metrics"]).await?;
    Api::<ServiceAccount>::namespaced(tenant.clone(), "default")
        .delete("gone", &DeleteParams::default())
        .await?;
    let elsewhere = token(&tenant, "default", "reader", &["elsewhere"]).await?;
    let of_host = token(&launched.host.client().await?, NAMESPACE, "weft-workload-vc", &[]).await?;

    let list: Value = serde_json::from_str(&read(launched, &node, &reader, &pods).await?.1)?;
    let names: Vec<&str> =
        at(&list, "/items").as_array().into_iter().flatten().map(|pod| text(pod, "/metadata/name")).collect();
    ensure!(names == ["measured"], "{list}");
    let (code, said) = read(launched, &node, &reader, &metrics).await?;
    ensure!(code == 503 && said.contains("the host has no metrics API"), "{code} {said}");
    let of_another = metrics.replace(text(&node, "/metadata/name"), "of-another-cluster");
    for (token, path, wanted) in [
        (&stranger, &metrics, 403),
        (&stranger, &pods, 403),
        (&gone, &metrics, 401),
        (&elsewhere, &metrics, 401),
        (&of_host, &metrics, 401),
        (&format!("{reader}x"), &metrics, 401),
        (&reader, &of_another, 404),
        (&reader, &"/metrics/resource".to_owned(), 404),
        (&reader, &"/containerLogs/default/measured/main".to_owned(), 403),
    ] {
        let (code, said) = read(launched, &node, token, path).await?;
        ensure!(code == wanted, "{path} is answered by {code}, and not by {wanted}: {said}");
        ensure!(!said.contains(token.as_str()), "a token is no part of an answer: {said}");
    }
    Ok(())
}

async fn node_of_a_pod(launched: &Launched, tenant: &Client) -> Result<Value> {
    let pods: Api<Pod> = Api::namespaced(tenant.clone(), "default");
    let nodes: Api<Node> = Api::all(tenant.clone());
    let pod = json!({"metadata": {"name": "measured"}, "spec": {"containers": [{"name": "main", "image": "nginx"}]}});
    create(&pods, pod).await?;
    eventually("the pod has a node, which says where its metrics are", SOON, async || {
        launched.are_running()?;
        let pod = serde_json::to_value(pods.get("measured").await?)?;
        let node = serde_json::to_value(nodes.get(text(&pod, "/spec/nodeName")).await?)?;
        let readers = at(&node, "/status/addresses").as_array().into_iter().flatten();
        let mut internal = readers.filter(|address| text(address, "/type") == "InternalIP");
        let first = internal.next().map(|address| text(address, "/address"));
        ensure!(first == Some(ADDRESS) && text(&node, PATH).starts_with("/nodes/"), "{node}");
        Ok(node)
    })
    .await
}

/// Makes an account that may get these resources, and returns a token of it.
async fn account(tenant: &Client, name: &str, resources: &[&str]) -> Result<String> {
    create(
        &Api::<ServiceAccount>::namespaced(tenant.clone(), "default"),
        json!({"metadata": {"name": name}}),
    )
    .await?;
    let rules = json!([{"apiGroups": [""], "resources": resources, "verbs": ["get"]}]);
    create(&Api::<ClusterRole>::all(tenant.clone()), json!({"metadata": {"name": name}, "rules": rules}))
        .await?;
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
    });
    create(&Api::<ClusterRoleBinding>::all(tenant.clone()), binding).await?;
    token(tenant, "default", name, &[]).await
}

/// A token for the API server of a cluster, or for these audiences.
async fn token(client: &Client, namespace: &str, account: &str, audiences: &[&str]) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": audiences}}))?;
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await?;
    answer.status.and_then(|status| status.token).context("a token was asked for")
}

/// Code and body of the answer to the bearer of a token, from a server whose certificate is verified.
async fn read(launched: &Launched, node: &Value, token: &str, path: &str) -> Result<(u16, String)> {
    let port = at(node, "/status/daemonEndpoints/kubeletEndpoint/Port");
    let mut config = Config::new(format!("https://{ADDRESS}:{port}").parse()?);
    let file = Kubeconfig::read_from(launched.path("syncer.kubeconfig"))?;
    let of_syncer = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.root_cert = of_syncer.root_cert;
    config.auth_info.token = Some(token.to_owned().into());
    config.default_retry = false;
    let answer = Client::try_from(config)?.request_text(Request::get(path).body(Vec::new())?).await;
    match answer {
        Ok(body) => Ok((200, body)),
        Err(kube::Error::Api(status)) => Ok((status.code, status.message)),
        Err(error) => Err(error.into()),
    }
}

//! Whether the host would admit what the chart creates: its own admission decides, in dry runs.
//!
//! A StatefulSet is admitted before its pod is refused, by Pod Security, a quota or a webhook; asked about the pod
//! itself, the host says so at once, and in its own words.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::Role;
use kube::api::{Api, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::time::Duration;

use crate::cluster::Place;
use crate::cluster::host::Host;

/// How long a new namespace may be without its service account, which pods need.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at it.
const RETRY: Duration = Duration::from_millis(100);

/// What the host refuses of the chart's `objects`, one sentence each.
pub async fn refused(host: &Host, place: &Place, objects: &[Value]) -> Result<Vec<String>> {
    let roles: Vec<Role> = objects
        .iter()
        .filter(|object| object.get("kind").is_some_and(|kind| kind == "Role"))
        .map(|role| serde_json::from_value(role.clone()))
        .collect::<Result<_, _>>()
        .context("the chart renders a Role that cannot be read")?;
    let pods = pods(objects).into_iter().map(serde_json::from_value).collect::<Result<Vec<Pod>, _>>();
    let pods = pods.context("the chart renders a pod that cannot be read")?;
    let mut refused = Vec::new();
    for role in &roles {
        // Nobody may give permissions that they do not have.
        let why = dry_run(&host.client, &place.namespace, role).await?;
        refused.extend(why.map(|why| format!("the host refuses the syncer's Role: {why}")));
    }
    if !has_service_account(host, &place.namespace).await {
        return Ok(refused);
    }
    for pod in &pods {
        let why = dry_run(&host.client, &place.namespace, pod).await?;
        refused.extend(why.map(|why| {
            format!("the host refuses the control plane's pod: {why}; choose another namespace with -n, or have its policy changed")
        }));
    }
    Ok(refused)
}

/// The pods that the chart's StatefulSets would have, each with a service account that is there.
fn pods(objects: &[Value]) -> Vec<Value> {
    let sets = objects.iter().filter(|object| object.get("kind").is_some_and(|kind| kind == "StatefulSet"));
    sets.filter_map(|set| {
        let mut pod = set.pointer("/spec/template")?.clone();
        let name = set.pointer("/metadata/name")?.as_str()?;
        let claims = set.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
        let volumes: Vec<Value> = claims
            .into_iter()
            .flatten()
            .filter_map(|claim| claim.pointer("/metadata/name")?.as_str())
            .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": format!("{claim}-{name}-0")}}))
            .collect();
        pod.get_mut("metadata")?.as_object_mut()?.insert("name".to_owned(), json!(format!("{name}-0")));
        let spec = pod.get_mut("spec")?.as_object_mut()?;
        spec.insert("serviceAccountName".to_owned(), json!("default"));
        if let Some(own) = spec.entry("volumes").or_insert_with(|| json!([])).as_array_mut() {
            own.extend(volumes);
        }
        Some(pod)
    })
    .collect()
}

/// Why the host would not create the object, if it would not. That there is one already is no refusal.
async fn dry_run<K>(client: &Client, namespace: &str, object: &K) -> Result<Option<String>>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&parameters, object).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(kube::Error::Api(status)) if status.code < 500 => Ok(Some(status.message)),
        Err(error) => {
            Err(error).with_context(|| format!("failed to try {}", K::kind(&K::DynamicType::default())))
        }
    }
}

/// A pod without its service account would be refused for that alone. Whoever may not read it gets no answer.
async fn has_service_account(host: &Host, namespace: &str) -> bool {
    let accounts: Api<ServiceAccount> = Api::namespaced(host.client.clone(), namespace);
    let started = std::time::Instant::now();
    loop {
        match accounts.get_opt("default").await {
            Ok(Some(_)) => return true,
            Ok(None) if started.elapsed() < PATIENCE => tokio::time::sleep(RETRY).await,
            Ok(None) | Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_tried_with_its_volumes_and_a_service_account_that_is_there() {
        let set = json!({"kind": "StatefulSet", "metadata": {"name": "one"}, "spec": {
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"serviceAccountName": "weft-syncer-one", "containers": []}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
        }});
        let wanted = json!({
            "metadata": {"name": "one-0", "labels": {"a": "b"}},
            "spec": {"serviceAccountName": "default", "containers": [],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-one-0"}}]},
        });
        assert_eq!(pods(&[set, json!({"kind": "Service"})]), [wanted]);
    }
}

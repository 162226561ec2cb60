//! Whether the host would admit what the chart creates: its own admission decides, in dry runs.
//!
//! A StatefulSet is admitted before its pod is refused, by Pod Security, a quota or a webhook; asked about the pod
//! itself, the host says so at once, and in its own words.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ServiceAccount};
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

/// What to do about a policy of the namespace.
const ADVICE: &str = "choose another namespace with -n, or have its policy changed";

/// What the host refuses of the chart's `objects`, one sentence each.
///
/// Of an upgrade only Roles are tried: the pod and the claim of before still count against the namespace's quota.
pub async fn refused(host: &Host, place: &Place, objects: &[Value], is_upgrade: bool) -> Result<Vec<String>> {
    let mut refused = Vec::new();
    for role in parsed::<Role>(of_kind(objects, "Role").cloned())? {
        // Nobody may give permissions that they do not have.
        let why = dry_run(&host.client, &place.namespace, &role).await?;
        refused.extend(why.map(|why| format!("the host refuses the syncer's Role: {why}")));
    }
    if is_upgrade {
        return Ok(refused);
    }
    for claim in parsed::<PersistentVolumeClaim>(of_kind(objects, "PersistentVolumeClaim").cloned())? {
        let why = dry_run(&host.client, &place.namespace, &claim).await?;
        refused.extend(why.map(|why| {
            format!("the host refuses the claim of the storage: {why}; {ADVICE}, or set `persistence`")
        }));
    }
    if !has_service_account(host, &place.namespace).await {
        return Ok(refused);
    }
    for pod in parsed::<Pod>(pods(objects))? {
        let why = dry_run(&host.client, &place.namespace, &pod).await?;
        refused.extend(why.map(|why| format!("the host refuses the control plane's pod: {why}; {ADVICE}")));
    }
    Ok(refused)
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object.get("kind").is_some_and(|own| own == kind))
}

fn parsed<K: Resource<DynamicType = ()> + DeserializeOwned>(
    objects: impl Iterator<Item = Value>,
) -> Result<Vec<K>> {
    let parsed: Result<_, _> = objects.map(serde_json::from_value).collect();
    parsed.with_context(|| format!("the chart renders a {} that cannot be read", K::kind(&())))
}

/// The pods that the chart's StatefulSets would have, each with a service account that is there.
fn pods(objects: &[Value]) -> impl Iterator<Item = Value> {
    of_kind(objects, "StatefulSet").filter_map(|set| {
        let mut pod = set.pointer("/spec/template")?.clone();
        let name = set.pointer("/metadata/name")?.as_str()?;
        pod.get_mut("metadata")?.as_object_mut()?.insert("name".to_owned(), json!(format!("{name}-0")));
        pod.get_mut("spec")?.as_object_mut()?.insert("serviceAccountName".to_owned(), json!("default"));
        Some(pod)
    })
}

/// Why the host would not create the object, if it would not. That there is one already is no refusal.
async fn dry_run<K>(client: &Client, namespace: &str, object: &K) -> Result<Option<String>>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&parameters, object).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(kube::Error::Api(status)) if status.code < 500 => Ok(Some(status.message)),
        Err(error) => Err(error).with_context(|| format!("failed to try {}", K::kind(&()))),
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
    fn a_pod_is_tried_with_a_service_account_that_is_there() {
        let set = json!({"kind": "StatefulSet", "metadata": {"name": "one"}, "spec": {
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"serviceAccountName": "weft-syncer-one", "containers": []}},
        }});
        let wanted = json!({
            "metadata": {"name": "one-0", "labels": {"a": "b"}},
            "spec": {"serviceAccountName": "default", "containers": []},
        });
        assert_eq!(pods(&[set, json!({"kind": "Service"})]).collect::<Vec<_>>(), [wanted]);
    }
}

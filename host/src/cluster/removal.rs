//! Removes everything of a virtual cluster from its host, and says what is still there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Preconditions, PropagationPolicy,
};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Client, ResourceExt as _};
use weft_core::keys::{CLUSTER_LABEL, CREATED_NAMESPACE};

use crate::cluster::helm::Helm;
use crate::cluster::host::Host;
use crate::cluster::{Place, claims};

/// Between two looks at what is left.
const INTERVAL: Duration = Duration::from_millis(300);
/// So many lists at a time: a host may know hundreds of kinds.
const CONCURRENCY: usize = 16;

/// What is to be removed, and how.
#[derive(Debug, Clone)]
pub struct Removal {
    /// The virtual cluster.
    pub place: Place,
    /// UIDs of the volume claims that stay. Those of tenants go, though nothing owns them.
    pub keep: BTreeSet<String>,
    /// How long to wait.
    pub timeout: Duration,
}

/// How many objects of each kind are left.
pub type Left = BTreeMap<String, usize>;

impl Removal {
    /// Removes the release and every object of the virtual cluster, and waits until none is left. `report` gets what
    /// is left whenever that changes.
    pub async fn run(&self, host: &Host, helm: &Helm, mut report: impl FnMut(&Left)) -> Result<()> {
        let started = Instant::now();
        let kinds = kinds(&host.client).await?;
        helm.uninstall(&self.place).await?;
        delete_cluster_wide(host, &self.place).await?;
        let mut before = Left::new();
        loop {
            let objects = self.objects(host, &kinds).await?;
            let left = count(&objects);
            if left.is_empty() {
                return Ok(());
            }
            if left != before {
                report(&left);
            }
            if started.elapsed() > self.timeout {
                bail!("not gone after {} s: {}", self.timeout.as_secs(), list(&left));
            }
            self.delete(host, &objects).await?;
            before = left;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// What there is of the virtual cluster, of every kind.
    async fn objects(&self, host: &Host, kinds: &[ApiResource]) -> Result<Vec<(ApiResource, DynamicObject)>> {
        let selectors = [self.place.selector(), format!("{CLUSTER_LABEL}={}", self.place.name)];
        let lists = kinds
            .iter()
            .flat_map(|kind| selectors.iter().map(move |selector| self.list(host, kind, selector)));
        let lists: Vec<Result<_>> = stream::iter(lists).buffer_unordered(CONCURRENCY).collect().await;
        let mut objects = Vec::new();
        for list in lists {
            objects.extend(list?);
        }
        // An object may have both labels.
        objects.sort_by_key(|(_, object)| object.uid());
        objects.dedup_by_key(|(_, object)| object.uid());
        objects.retain(|(_, object)| !object.uid().is_some_and(|uid| self.keep.contains(&uid)));
        Ok(objects)
    }

    async fn list(
        &self,
        host: &Host,
        kind: &ApiResource,
        selector: &str,
    ) -> Result<Vec<(ApiResource, DynamicObject)>> {
        let api: Api<DynamicObject> = Api::namespaced_with(host.client.clone(), &self.place.namespace, kind);
        match api.list_metadata(&ListParams::default().labels(selector)).await {
            Ok(list) => {
                let object = |object: kube::core::PartialObjectMeta<DynamicObject>| DynamicObject {
                    types: None,
                    metadata: object.metadata,
                    data: serde_json::Value::Null,
                };
                Ok(list.items.into_iter().map(|item| (kind.clone(), object(item))).collect())
            }
            // Whoever may not list a kind created nothing of it; a kind may go away between two looks.
            Err(kube::Error::Api(status)) if [403, 404, 405].contains(&status.code) => Ok(Vec::new()),
            Err(error) => Err(error)
                .with_context(|| format!("failed to list {} in {}", kind.plural, self.place.namespace)),
        }
    }

    /// Deletes what has no owner that will take it along, and nobody has deleted yet.
    async fn delete(&self, host: &Host, objects: &[(ApiResource, DynamicObject)]) -> Result<()> {
        let roots = objects.iter().filter(|(_, object)| {
            object.metadata.deletion_timestamp.is_none() && object.owner_references().is_empty()
        });
        for (kind, object) in roots {
            let api: Api<DynamicObject> =
                Api::namespaced_with(host.client.clone(), &self.place.namespace, kind);
            let parameters = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Background),
                preconditions: Some(Preconditions { uid: object.uid(), resource_version: None }),
                ..DeleteParams::default()
            };
            match api.delete(&object.name_any(), &parameters).await {
                Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
                deleted => {
                    deleted
                        .with_context(|| format!("failed to delete {} {}", kind.kind, object.name_any()))?;
                }
            }
        }
        Ok(())
    }
}

/// Deletes what the chart may have outside of the namespace, where Helm did not: manifests that kubectl applied.
async fn delete_cluster_wide(host: &Host, place: &Place) -> Result<()> {
    // As the chart names it: no other pair of names gives the same.
    let name = format!("weft-syncer:{}:{}", place.namespace, place.name);
    let roles: Api<ClusterRole> = Api::all(host.client.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(host.client.clone());
    let parameters = DeleteParams::default();
    let (role, binding) = tokio::join!(roles.delete(&name, &parameters), bindings.delete(&name, &parameters));
    for error in [role.err(), binding.err()].into_iter().flatten() {
        // Whoever may not delete these did not create them.
        if !matches!(&error, kube::Error::Api(status) if [403, 404].contains(&status.code)) {
            return Err(error)
                .with_context(|| format!("failed to delete ClusterRole {name} and its binding"));
        }
    }
    Ok(())
}

/// Whether anything of the virtual cluster is there, but for the claims that outlive it.
pub async fn is_there(host: &Host, place: &Place) -> Result<bool> {
    let keep = kept_claims(host, place).await?;
    let removal = Removal { place: place.clone(), keep, timeout: Duration::ZERO };
    Ok(!removal.objects(host, &kinds(&host.client).await?).await?.is_empty())
}

/// UIDs of the claims that outlive the virtual cluster.
pub async fn kept_claims(host: &Host, place: &Place) -> Result<BTreeSet<String>> {
    let mut claims = claims::of(host, place).await?;
    claims.retain(claims::is_kept);
    Ok(claims::uids(&claims))
}

/// Deletes the namespace if `weft create` made it for this virtual cluster and nothing else is in it, and waits until
/// it is gone.
pub async fn delete_namespace(host: &Host, place: &Place, timeout: Duration) -> Result<bool> {
    let namespaces: Api<Namespace> = Api::all(host.client.clone());
    let Ok(Some(namespace)) = namespaces.get_opt(&place.namespace).await else { return Ok(false) };
    let is_ours = namespace.annotations().get(CREATED_NAMESPACE) == Some(&place.name);
    if !is_ours || !is_empty(host, &place.namespace).await? {
        return Ok(false);
    }
    let deleted = namespaces.delete(&place.namespace, &DeleteParams::default()).await;
    deleted.with_context(|| format!("failed to delete namespace {}", place.namespace))?;
    let started = Instant::now();
    while namespaces.get_opt(&place.namespace).await.is_ok_and(|namespace| namespace.is_some()) {
        if started.elapsed() > timeout {
            bail!("namespace {} is not gone after {} s", place.namespace, timeout.as_secs());
        }
        tokio::time::sleep(INTERVAL).await;
    }
    Ok(true)
}

/// Whether a namespace holds only what every namespace holds.
async fn is_empty(host: &Host, namespace: &str) -> Result<bool> {
    for kind in kinds(&host.client).await? {
        let api: Api<DynamicObject> = Api::namespaced_with(host.client.clone(), namespace, &kind);
        let list = match api.list_metadata(&ListParams::default().limit(3)).await {
            Err(kube::Error::Api(status)) if [404, 405].contains(&status.code) => continue,
            // What may not be seen may be there.
            Err(kube::Error::Api(status)) if status.code == 403 => return Ok(false),
            list => list.with_context(|| format!("failed to list {} in {namespace}", kind.plural))?,
        };
        if list.items.iter().any(|object| !is_everywhere(&kind.kind, &object.name_any())) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the control plane puts into every namespace.
fn is_everywhere(kind: &str, name: &str) -> bool {
    matches!((kind, name), ("ServiceAccount", "default") | ("ConfigMap", "kube-root-ca.crt"))
}

/// The kinds that a namespace can hold and that can be deleted, except events, which nobody waits for.
async fn kinds(client: &Client) -> Result<Vec<ApiResource>> {
    let discovery = Discovery::new(client.clone()).run_aggregated().await;
    let discovery = discovery.context("failed to read which kinds the host cluster has")?;
    let mut kinds = Vec::new();
    for group in discovery.groups() {
        for (kind, capabilities) in group.recommended_resources() {
            let fits = capabilities.scope == Scope::Namespaced
                && capabilities.supports_operation(verbs::LIST)
                && capabilities.supports_operation(verbs::DELETE);
            if fits && kind.kind != "Event" {
                kinds.push(kind);
            }
        }
    }
    Ok(kinds)
}

fn count(objects: &[(ApiResource, DynamicObject)]) -> Left {
    let mut left = Left::new();
    for (kind, _) in objects {
        *left.entry(kind.kind.clone()).or_default() += 1;
    }
    left
}

/// As `2 Pod, 1 Secret`.
pub fn list(left: &Left) -> String {
    let parts: Vec<String> = left.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_counted_by_kind() {
        let kind = |kind: &str| ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("", "v1", kind));
        let object = || DynamicObject::new("a", &kind("Pod"));
        let objects = ["Pod", "Secret", "Pod"].map(|name| (kind(name), object()));
        assert_eq!(list(&count(&objects)), "2 Pod, 1 Secret");
    }

    #[test]
    fn a_namespace_with_more_than_every_namespace_has_is_not_empty() {
        assert!(is_everywhere("ConfigMap", "kube-root-ca.crt"));
        assert!(!is_everywhere("ConfigMap", "mine") && !is_everywhere("Secret", "default"));
    }
}

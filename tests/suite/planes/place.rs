//! What tests through two API servers have in common: one virtual namespace, seen from both sides.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::pairs::{self, Identity};
use weft_tests::tenant::Tenant;

/// A namespaced kind of the API.
pub(crate) trait Kind:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + std::fmt::Debug
    + Serialize
    + DeserializeOwned
{
}

impl<K> Kind for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned
{
}

/// A virtual namespace and its side of the host.
#[derive(Clone)]
pub(crate) struct Place {
    virtual_client: Client,
    host_client: Client,
    /// The virtual cluster.
    pub(crate) cluster: String,
    /// The virtual namespace.
    pub(crate) namespace: String,
    /// The host namespace, which other places share.
    pub(crate) host_namespace: String,
}

/// A virtual pod and its host pod, as they were seen together.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) virtual_pod: Pod,
    pub(crate) host_pod: Pod,
}

impl Place {
    /// The namespace `namespace` of a tenant, which exists.
    pub(crate) async fn of(tenant: &Tenant, namespace: &str) -> Result<Self> {
        Ok(Self {
            virtual_client: tenant.virtual_plane().client().await?,
            host_client: tenant.host_plane().client().await?,
            cluster: tenant.cluster().to_owned(),
            namespace: namespace.to_owned(),
            host_namespace: tenant.namespace().to_owned(),
        })
    }

    /// The same for a namespace that does not exist yet.
    pub(crate) async fn fresh(tenant: &Tenant, namespace: &str) -> Result<Self> {
        let place = Self::of(tenant, namespace).await?;
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        place.all_virtual::<Namespace>().create(&PostParams::default(), &object).await?;
        Ok(place)
    }

    /// Another namespace of the same virtual cluster.
    pub(crate) fn beside(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// Objects of the virtual namespace.
    pub(crate) fn on_virtual<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.virtual_client.clone(), &self.namespace)
    }

    /// Objects of the host namespace, those of other tenants and tests among them.
    pub(crate) fn on_host<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.host_client.clone(), &self.host_namespace)
    }

    /// Objects of the whole virtual cluster.
    pub(crate) fn all_virtual<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.virtual_client.clone())
    }

    /// Objects of the whole host.
    pub(crate) fn all_host<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.host_client.clone())
    }

    /// Creates a virtual object; pods are refused until their namespace has its service account.
    pub(crate) async fn create<K: Kind>(&self, object: Value) -> Result<K> {
        let object: K = serde_json::from_value(object)?;
        let sentence = format!("{} {} is accepted", K::kind(&()), object.name_any());
        let api = self.on_virtual::<K>();
        eventually(&sentence, SOON, async || Ok(api.create(&PostParams::default(), &object).await?)).await
    }

    /// Deletes a virtual object as kubectl does.
    pub(crate) async fn delete<K: Kind>(&self, name: &str) -> Result<()> {
        self.on_virtual::<K>().delete(name, &DeleteParams::background()).await?;
        Ok(())
    }

    /// The host name of a virtual object whose name is short.
    pub(crate) fn host_name(&self, name: &str) -> String {
        format!("{name}-x-{}-x-{}", self.namespace, self.cluster)
    }

    /// The host objects of this virtual namespace, by the syncer's labels.
    pub(crate) async fn host_objects<K: Kind>(&self) -> Result<Vec<K>> {
        let selector = format!("weft.dev/cluster={},weft.dev/namespace={}", self.cluster, self.namespace);
        Ok(self.on_host::<K>().list(&ListParams::default().labels(&selector)).await?.items)
    }

    /// Both pods as they are now.
    pub(crate) async fn pair(&self, name: &str) -> Result<Pair> {
        let virtual_pod = self.on_virtual::<Pod>().get(name).await?;
        let (_, host_pod) = pairs::host_pod_of(&self.on_host(), &virtual_pod).await?;
        Ok(Pair { virtual_pod, host_pod })
    }

    /// Both pods, once both say that they run.
    pub(crate) async fn running(&self, name: &str) -> Result<Pair> {
        eventually(&format!("{name} runs on both sides"), SOON, async || {
            let pair = self.pair(name).await?;
            ensure!(phase(&pair.virtual_pod) == "Running" && phase(&pair.host_pod) == "Running", "{pair:#?}");
            Ok(pair)
        })
        .await
    }

    /// Creates a pod and waits until it runs.
    pub(crate) async fn run(&self, pod: Value) -> Result<Pair> {
        let pod: Pod = self.create(pod).await?;
        self.running(&pod.name_any()).await
    }

    /// Waits until neither the virtual pod nor its host pod is there.
    pub(crate) async fn gone(&self, pair: &Pair) -> Result<()> {
        let (name, host_name) = (pair.virtual_pod.name_any(), pair.host_pod.name_any());
        eventually(&format!("{name} is gone from both sides"), SOON, async || {
            for (api, name, old) in [
                (self.on_virtual::<Pod>(), &name, &pair.virtual_pod),
                (self.on_host(), &host_name, &pair.host_pod),
            ] {
                // A new pod of the same name is another pod.
                let left = api.get_opt(name).await?.filter(|left| left.uid() == old.uid());
                ensure!(left.is_none(), "there is {left:#?}");
            }
            Ok(())
        })
        .await
    }

    /// Keeps a host pod after its end, with a finalizer, until [`Self::let_go`].
    pub(crate) async fn hold(&self, pair: &Pair) -> Result<()> {
        let hold = json!({"metadata": {"finalizers": ["example.com/host-ops"]}});
        patch(&self.on_host::<Pod>(), &pair.host_pod.name_any(), hold).await?;
        Ok(())
    }

    /// Waits until a held host pod has ended, and lets it go.
    pub(crate) async fn let_go(&self, pair: &Pair) -> Result<()> {
        let (api, name) = (self.on_host::<Pod>(), pair.host_pod.name_any());
        eventually("the held host pod ends", SOON, async || {
            let host = api.get(&name).await?;
            ensure!(host.uid() == pair.host_pod.uid(), "it is another host pod");
            ensure!(host.metadata.deletion_timestamp.is_some(), "it lives");
            Ok(())
        })
        .await?;
        patch(&api, &name, json!({"metadata": {"finalizers": null}})).await?;
        Ok(())
    }

    /// Waits for an event with this reason about the virtual object `name`.
    pub(crate) async fn event(&self, name: &str, reason: &str) -> Result<Event> {
        eventually(&format!("an event {reason} is about {name}"), SOON, async || {
            let about = format!("involvedObject.name={name}");
            let events = self.on_virtual::<Event>().list(&ListParams::default().fields(&about)).await?.items;
            let seen: Vec<_> = events.iter().map(|event| (&event.reason, &event.message)).collect();
            let seen = format!("{seen:?}");
            let found = events.into_iter().find(|event| event.reason.as_deref() == Some(reason));
            found.with_context(|| format!("the events are {seen}"))
        })
        .await
    }
}

/// A pod with one container and with what `more` adds to its spec.
pub(crate) fn pod(name: &str, more: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "main", "image": "nginx:1"}]});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

/// An object with one more field in its metadata.
pub(crate) fn with(mut object: Value, field: &str, value: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert(field.to_owned(), value);
    }
    object
}

/// Applies an RFC 7386 patch.
pub(crate) async fn patch<K: Kind>(api: &Api<K>, name: &str, patch: Value) -> Result<K> {
    Ok(api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
}

/// The value at a JSON pointer of an object; null if there is none.
pub(crate) fn at<K: Serialize>(object: &K, pointer: &str) -> Result<Value> {
    Ok(serde_json::to_value(object)?.pointer(pointer).cloned().unwrap_or_default())
}

/// Fails unless the object has this value at a JSON pointer.
pub(crate) fn ensure_at<K: Serialize>(object: &K, pointer: &str, expected: &Value) -> Result<()> {
    let found = at(object, pointer)?;
    ensure!(found == *expected, "{pointer} is {found}, expected {expected}");
    Ok(())
}

/// The phase of a pod.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// The status of a pod's condition.
pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> &'a str {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut found = conditions.filter(|condition| condition.type_ == kind);
    found.next().map_or("", |condition| condition.status.as_str())
}

/// The uid of the virtual object that a host object says it is of.
pub(crate) fn identity_uid<K: Resource>(object: &K) -> Option<String> {
    Identity::of(object)?.uid
}

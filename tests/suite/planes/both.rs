//! Both sides of one virtual namespace: objects are written and read as JSON, pairs are found by identity.

use std::fmt::Debug;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::pairs::Identity;
use weft_tests::tenant::Tenant;
use weft_tests::world::World;

/// A namespaced kind.
pub(crate) trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}

impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
{
}

/// A virtual namespace, and the host namespace of its cluster.
pub(crate) struct Both {
    virtual_client: Client,
    host_client: Client,
    namespace: String,
    host_namespace: String,
    cluster: String,
}

impl Both {
    /// Those of a namespace of the world's tenant.
    pub(crate) async fn of(world: &World, namespace: &str) -> Result<Self> {
        Self::of_tenant(world.tenant(), namespace).await
    }

    /// Those of a namespace of a tenant.
    pub(crate) async fn of_tenant(tenant: &Tenant, namespace: &str) -> Result<Self> {
        Ok(Self {
            virtual_client: tenant.virtual_plane().client().await?,
            host_client: tenant.host_plane().client().await?,
            namespace: namespace.to_owned(),
            host_namespace: tenant.namespace().to_owned(),
            cluster: tenant.cluster().to_owned(),
        })
    }

    /// The virtual namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The host namespace of the virtual cluster.
    pub(crate) fn host_namespace(&self) -> &str {
        &self.host_namespace
    }

    /// For what is in no namespace of the virtual cluster.
    pub(crate) fn virtual_client(&self) -> Client {
        self.virtual_client.clone()
    }

    /// For what others do on the host.
    pub(crate) fn host_client(&self) -> Client {
        self.host_client.clone()
    }

    /// The kind in the virtual namespace.
    pub(crate) fn virtual_api<K: Namespaced>(&self) -> Api<K> {
        Api::namespaced(self.virtual_client.clone(), &self.namespace)
    }

    /// The kind in the tenant's host namespace.
    pub(crate) fn host_api<K: Namespaced>(&self) -> Api<K> {
        Api::namespaced(self.host_client.clone(), &self.host_namespace)
    }

    /// Creates a virtual object.
    pub(crate) async fn create<K: Namespaced>(&self, object: Value) -> Result<Value> {
        create(&self.virtual_api::<K>(), object).await
    }

    /// Creates a virtual pod that runs, with more fields in its spec.
    pub(crate) async fn create_pod(&self, name: &str, spec: Value) -> Result<Value> {
        let mut all = json!({"containers": [{"name": "main", "image": "nginx"}]});
        if let (Value::Object(all), Value::Object(spec)) = (&mut all, spec) {
            all.extend(spec);
        }
        let pod = json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": all});
        // A new namespace gets its service account a little later.
        eventually(&format!("the pod {name} is accepted"), SOON, async || {
            self.create::<Pod>(pod.clone()).await
        })
        .await
    }

    /// Patches a virtual object (RFC 7386).
    pub(crate) async fn edit<K: Namespaced>(&self, name: &str, patch: Value) -> Result<Value> {
        edit(&self.virtual_api::<K>(), name, patch).await
    }

    /// Waits until a virtual object of this name has an event with this reason whose message has these words.
    pub(crate) async fn event(&self, name: &str, reason: &str, words: &str) -> Result<()> {
        eventually(&format!("an event {reason} on {name} says {words:?}"), SOON, async || {
            let events = self.virtual_api::<Event>().list(&ListParams::default()).await?.items;
            let about = events.iter().filter(|event| {
                event.involved_object.name.as_deref() == Some(name) && event.reason.as_deref() == Some(reason)
            });
            let messages: Vec<_> = about.filter_map(|event| event.message.clone()).collect();
            ensure!(messages.iter().any(|message| message.contains(words)), "{messages:?}");
            Ok(())
        })
        .await
    }

    /// Deletes a virtual object.
    pub(crate) async fn delete<K: Namespaced>(&self, name: &str) -> Result<()> {
        self.virtual_api::<K>().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// The virtual object.
    pub(crate) async fn get<K: Namespaced>(&self, name: &str) -> Result<Value> {
        Ok(serde_json::to_value(self.virtual_api::<K>().get(name).await?)?)
    }

    /// The host object of a virtual one, if there is one.
    pub(crate) async fn find_host<K: Namespaced>(&self, name: &str) -> Result<Option<Value>> {
        let kind = format!("{}/{}", K::api_version(&()), K::kind(&()));
        let params = ListParams::default().labels(&format!("weft.dev/cluster={}", self.cluster));
        let is_its = |object: &K| {
            Identity::of(object).is_some_and(|identity| {
                (identity.kind, identity.namespace, identity.name)
                    == (kind.clone(), self.namespace.clone(), name.to_owned())
            })
        };
        let found = self.host_api::<K>().list(&params).await?.items.into_iter().find(is_its);
        Ok(found.map(serde_json::to_value).transpose()?)
    }

    /// The host object of a virtual one.
    pub(crate) async fn host<K: Namespaced>(&self, name: &str) -> Result<Value> {
        let found = self.find_host::<K>(name).await?;
        found.with_context(|| format!("the {} {name} has no host object", K::kind(&())))
    }

    /// Both objects of a pair.
    pub(crate) async fn pair<K: Namespaced>(&self, name: &str) -> Result<(Value, Value)> {
        Ok((self.get::<K>(name).await?, self.host::<K>(name).await?))
    }

    /// Patches the host object of a virtual one, as the host's administrator might.
    pub(crate) async fn edit_host<K: Namespaced>(&self, name: &str, patch: Value) -> Result<Value> {
        edit(&self.host_api::<K>(), name_of(&self.host::<K>(name).await?), patch).await
    }

    /// Deletes the host object of a virtual one, as the host's administrator might.
    pub(crate) async fn delete_host<K: Namespaced>(&self, name: &str) -> Result<()> {
        let host = self.host::<K>(name).await?;
        self.host_api::<K>().delete(name_of(&host), &DeleteParams::default()).await?;
        Ok(())
    }

    /// Waits until the virtual object has a host object.
    pub(crate) async fn arrives<K: Namespaced>(&self, name: &str) -> Result<Value> {
        let sentence = format!("the {} {name} is on the host", K::kind(&()));
        eventually(&sentence, SOON, async || self.host::<K>(name).await).await
    }

    /// Waits until the virtual object has no host object.
    pub(crate) async fn leaves<K: Namespaced>(&self, name: &str) -> Result<()> {
        let sentence = format!("the {} {name} is not on the host", K::kind(&()));
        eventually(&sentence, SOON, async || {
            let found = self.find_host::<K>(name).await?;
            ensure!(found.is_none(), "{found:?}");
            Ok(())
        })
        .await
    }

    /// Waits until the virtual object is gone.
    pub(crate) async fn gone<K: Namespaced>(&self, name: &str) -> Result<()> {
        eventually(&format!("the virtual {} {name} is gone", K::kind(&())), SOON, async || {
            let found = self.virtual_api::<K>().get_opt(name).await?;
            ensure!(found.is_none(), "{found:?}");
            Ok(())
        })
        .await
    }

    /// Waits until the virtual pod runs.
    pub(crate) async fn runs(&self, pod: &str) -> Result<Value> {
        eventually(&format!("the virtual pod {pod} runs"), SOON, async || {
            let pod = self.get::<Pod>(pod).await?;
            ensure!(text(&pod, "/status/phase") == "Running", "{}", at(&pod, "/status"));
            Ok(pod)
        })
        .await
    }
}

/// Creates an object given as JSON.
pub(crate) async fn create<K>(api: &Api<K>, object: Value) -> Result<Value>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let created = api.create(&PostParams::default(), &serde_json::from_value(object)?).await;
    let created = created.with_context(|| format!("failed to create a {}", K::kind(&())))?;
    Ok(serde_json::to_value(created)?)
}

/// Patches an object (RFC 7386).
pub(crate) async fn edit<K>(api: &Api<K>, name: &str, patch: Value) -> Result<Value>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let edited = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
    let edited = edited.with_context(|| format!("failed to patch the {} {name}", K::kind(&())))?;
    Ok(serde_json::to_value(edited)?)
}

/// The value at a pointer, or null.
pub(crate) fn at<'a>(object: &'a Value, pointer: &str) -> &'a Value {
    object.pointer(pointer).unwrap_or(&Value::Null)
}

/// The text at a pointer, or an empty one.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `metadata.name`.
pub(crate) fn name_of(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// `metadata.uid`.
pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// Fails unless both objects have the same at each pointer.
pub(crate) fn ensure_same((ours, hosts): &(Value, Value), pointers: &[&str]) -> Result<()> {
    for pointer in pointers {
        let (ours, hosts) = (ours.pointer(pointer), hosts.pointer(pointer));
        ensure!(ours == hosts, "{pointer} is {ours:?}, but on the host {hosts:?}");
    }
    Ok(())
}

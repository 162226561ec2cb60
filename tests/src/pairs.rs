//! Finds the host object of a virtual one, by the identity the syncer leaves on it.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt as _};
use serde::Deserialize;

/// The annotation with the identity of a host object.
const IDENTITY: &str = "weft.dev/identity";

/// The virtual object of a host object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Identity {
    /// The virtual cluster.
    pub cluster: String,
    /// The kind there.
    pub kind: String,
    /// The namespace there.
    #[serde(default)]
    pub namespace: String,
    /// The name there.
    pub name: String,
    /// The uid there.
    #[serde(default)]
    pub uid: Option<String>,
}

impl Identity {
    /// The identity of a host object; none for an object that is not a syncer's.
    pub fn of<K: Resource>(object: &K) -> Option<Self> {
        serde_json::from_str(object.annotations().get(IDENTITY)?).ok()
    }

    /// Whether it is that of this virtual object, with its uid.
    pub fn is_of<K: Resource>(&self, object: &K) -> bool {
        object.namespace().unwrap_or_default() == self.namespace
            && object.name_any() == self.name
            && object.uid() == self.uid
    }
}

/// The host pod of a virtual pod, with its name.
pub async fn host_pod_of(host: &Api<Pod>, pod: &Pod) -> Result<(String, Pod)> {
    let pods = host.list(&ListParams::default()).await?;
    let is_of = |candidate: &Pod| Identity::of(candidate).is_some_and(|identity| identity.is_of(pod));
    let found = pods.items.into_iter().find(is_of);
    let found = found.with_context(|| format!("{} has no host pod", pod.name_any()))?;
    Ok((found.name_any(), found))
}

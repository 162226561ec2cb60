//! The pods that are measured with, and what a syncer would make of them on the host.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// Not the default of 30 s: a burst is deleted sooner on a slow machine.
const GRACE_SECONDS: u32 = 5;

/// A pod as its user writes it: one container, no volumes, no token; its image's tag says which it is.
pub(crate) fn plain(name: &str) -> Vec<u8> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "containers": [{"name": "main", "image": format!("bench.invalid/p:{name}")}],
        },
    });
    pod.to_string().into()
}

/// A node for bindings to name; the controllers delete pods bound to none.
pub(crate) fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
}

/// What the syncer made of one pod, to make the same of others by hand.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    text: String,
    name: String,
    uid: String,
}

impl Template {
    /// Takes a host pod and the name and UID of its virtual pod.
    pub(crate) fn of(mut host: Value, name: &str, uid: &str) -> Result<Self> {
        let pod = host.as_object_mut().context("the host pod is not an object")?;
        pod.remove("status");
        let metadata = pod.get_mut("metadata").and_then(Value::as_object_mut);
        let metadata = metadata.context("the host pod has no metadata")?;
        for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
            metadata.remove(field);
        }
        let spec = pod.get_mut("spec").and_then(Value::as_object_mut).context("the host pod has no spec")?;
        spec.remove("nodeName");
        Ok(Self { text: host.to_string(), name: name.to_owned(), uid: uid.to_owned() })
    }

    /// The host pod of another virtual pod.
    pub(crate) fn host_pod(&self, name: &str, uid: &str) -> Vec<u8> {
        self.text.replace(&self.name, name).replace(&self.uid, uid).into()
    }
}

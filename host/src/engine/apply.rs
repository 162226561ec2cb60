//! The only file that writes to a cluster.
//!
//! Objects are created by POST and changed by patches of the fields that we own; deletes and patches
//! carry the UID of the object that was decided about. What the server answers goes into the store, so
//! that the next decision sees it.
//! This file belongs to the trusted base: see ARCHITECTURE.md.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use weft_core::change::{Change, PatchFormat};
use weft_core::names::HostName;
use weft_core::object::{
    Fields, Host, HostObject, Object, ResourceType, Virtual, VirtualName, VirtualObject,
};

use crate::api::{self, Api, Error};
use crate::engine::resources::{events, service_accounts};

/// Our name in `managedFields`.
const FIELD_MANAGER: &str = "fieldManager=weft";
const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";

/// Writes to both clusters. On the host it knows one namespace.
pub(crate) struct Writer {
    host: Api<Host>,
    r#virtual: Api<Virtual>,
    host_namespace: String,
}

/// A token that the virtual API server has issued.
pub(crate) struct IssuedToken {
    pub(crate) token: String,
    /// RFC 3339.
    pub(crate) expires: String,
}

/// A request about one object that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} {name} {}", side.place())]
pub(crate) struct Failed {
    pub(crate) side: Side,
    /// A verb in its plain form: `create`.
    pub(crate) action: &'static str,
    /// Which object, for people.
    pub(crate) name: String,
    pub(crate) source: Error,
}

/// Which cluster a request went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Host,
    Virtual,
}

impl Side {
    /// Makes an error of this side out of what the server answered, for `map_err`.
    pub(crate) fn failed_to(
        self,
        action: &'static str,
        name: impl Into<String>,
    ) -> impl FnOnce(Error) -> Failed {
        let name = name.into();
        move |source| Failed { side: self, action, name, source }
    }

    fn place(self) -> &'static str {
        match self {
            Self::Host => "on the host",
            Self::Virtual => "in the virtual cluster",
        }
    }
}

impl Writer {
    pub(crate) fn new(host: Api<Host>, r#virtual: Api<Virtual>, host_namespace: &str) -> Self {
        Self { host, r#virtual, host_namespace: host_namespace.to_owned() }
    }

    /// Creates a host object in the tenant's namespace, whatever namespace it names.
    pub(crate) async fn create_host(
        &self,
        resource: &ResourceType,
        object: &HostObject,
    ) -> Result<Arc<HostObject>, Error> {
        create(&self.host, resource, &self.host_namespace, object.fields()).await
    }

    /// Patches a host object, if it still has this UID.
    pub(crate) async fn patch_host(
        &self,
        resource: &ResourceType,
        name: &HostName,
        uid: &str,
        change: &Change,
    ) -> Result<Arc<HostObject>, Error> {
        patch(&self.host, resource, &self.host_namespace, name.as_str(), uid, change).await
    }

    /// Deletes a host object, if it still has this UID. Returns the object while its deletion runs.
    pub(crate) async fn delete_host(
        &self,
        resource: &ResourceType,
        name: &HostName,
        uid: &str,
        grace: Option<i64>,
    ) -> Result<Option<Arc<HostObject>>, Error> {
        delete(&self.host, resource, &self.host_namespace, name.as_str(), uid, grace).await
    }

    /// Creates a virtual object in its namespace.
    pub(crate) async fn create_virtual(
        &self,
        resource: &ResourceType,
        object: &VirtualObject,
    ) -> Result<Arc<VirtualObject>, Error> {
        create(&self.r#virtual, resource, object.namespace(), object.fields()).await
    }

    /// Patches a virtual object, if it still has this UID.
    pub(crate) async fn patch_virtual(
        &self,
        resource: &ResourceType,
        name: &VirtualName,
        uid: &str,
        change: &Change,
    ) -> Result<Arc<VirtualObject>, Error> {
        patch(&self.r#virtual, resource, &name.namespace, &name.name, uid, change).await
    }

    /// Counts an event that was written before.
    pub(crate) async fn count_event(&self, name: &VirtualName, event: &VirtualObject) -> Result<(), Error> {
        let path = api::object_path(&events(), &name.namespace, &name.name, None);
        let counted =
            json!({"count": event.pointer("/count"), "lastTimestamp": event.pointer("/lastTimestamp")});
        self.r#virtual.send(write(Method::PATCH, &path, MERGE_PATCH, &counted)).await.map(drop)
    }

    /// Deletes a virtual object, if it still has this UID. Returns the object while its deletion runs.
    pub(crate) async fn delete_virtual(
        &self,
        resource: &ResourceType,
        name: &VirtualName,
        uid: &str,
        grace: i64,
    ) -> Result<Option<Arc<VirtualObject>>, Error> {
        delete(&self.r#virtual, resource, &name.namespace, &name.name, uid, Some(grace)).await
    }

    /// Binds a virtual pod to the node where it runs, if it still has this UID.
    pub(crate) async fn bind(
        &self,
        pods: &ResourceType,
        name: &VirtualName,
        uid: &str,
        node: &str,
    ) -> Result<(), Error> {
        let body = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": name.name, "namespace": name.namespace, "uid": uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let path = api::object_path(pods, &name.namespace, &name.name, Some("binding"));
        self.r#virtual.send(write(Method::POST, &path, JSON, &body)).await.map(drop)
    }

    /// Asks the virtual API server for a token of a service account, bound to a pod.
    pub(crate) async fn issue_token(
        &self,
        service_account: &VirtualName,
        pod: &str,
        pod_uid: &str,
        audiences: &[String],
        seconds: i64,
    ) -> Result<IssuedToken, Error> {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": pod_uid},
            },
        });
        let VirtualName { namespace, name } = service_account;
        let path = api::object_path(&service_accounts(), namespace, name, Some("token"));
        let reply = self.r#virtual.send(write(Method::POST, &path, JSON, &body)).await?;
        let reply: Value = serde_json::from_slice(&reply).map_err(Error::Decode)?;
        let text =
            |pointer: &str| reply.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(IssuedToken { token: text("/status/token"), expires: text("/status/expirationTimestamp") })
    }
}

async fn create<S>(
    api: &Api<S>,
    resource: &ResourceType,
    namespace: &str,
    fields: &Fields,
) -> Result<Arc<Object<S>>, Error> {
    let path = api::list_path(resource, namespace);
    let reply = api.send(write(Method::POST, &path, JSON, fields)).await?;
    api::decode(&reply).map(Arc::new)
}

async fn patch<S>(
    api: &Api<S>,
    resource: &ResourceType,
    namespace: &str,
    name: &str,
    uid: &str,
    change: &Change,
) -> Result<Arc<Object<S>>, Error> {
    let path = api::object_path(resource, namespace, name, change.subresource);
    let content_type = match change.format {
        PatchFormat::Merge => MERGE_PATCH,
        PatchFormat::Strategic => STRATEGIC_PATCH,
    };
    let mut body = change.body.clone();
    // A patch that names another UID than the object has is refused with a conflict.
    if let Some(fields) = body.as_object_mut() {
        weft_core::object::child_mut(fields, "metadata").insert("uid".into(), uid.into());
    }
    let reply = api.send(write(Method::PATCH, &path, content_type, &body)).await?;
    api::decode(&reply).map(Arc::new)
}

async fn delete<S>(
    api: &Api<S>,
    resource: &ResourceType,
    namespace: &str,
    name: &str,
    uid: &str,
    grace: Option<i64>,
) -> Result<Option<Arc<Object<S>>>, Error> {
    let path = api::object_path(resource, namespace, name, None);
    let mut options = json!({
        "apiVersion": "v1", "kind": "DeleteOptions",
        "preconditions": {"uid": uid}, "propagationPolicy": "Background",
    });
    if let (Some(grace), Some(options)) = (grace, options.as_object_mut()) {
        options.insert("gracePeriodSeconds".into(), grace.into());
    }
    let reply = api.send(api::request(Method::DELETE, &path, Some(JSON), body(&options))).await;
    match reply {
        // Somebody was faster; the watch will show it.
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
        // A finished deletion is answered with the object as it last was, or with a Status.
        Ok(reply) => Ok(api::decode(&reply).ok().filter(Object::is_terminating).map(Arc::new)),
    }
}

fn write(
    method: Method,
    path: &str,
    content_type: &'static str,
    value: &impl serde::Serialize,
) -> http::Request<Vec<u8>> {
    api::request(method, &format!("{path}?{FIELD_MANAGER}"), Some(content_type), body(value))
}

fn body(value: &impl serde::Serialize) -> Vec<u8> {
    // JSON values and maps with string keys cannot fail to serialise.
    serde_json::to_vec(value).unwrap_or_default()
}

//! The only file that writes a tenant's objects to a cluster.
//!
//! Objects are created by POST and changed by patches of the fields that we own; deletes and patches
//! carry the UID of the object that was decided about. What the server answers goes into the store, so
//! that the next decision sees it.
//! This file belongs to the trusted base: see ARCHITECTURE.md.

mod failed;
pub(crate) mod gate;
mod request;
mod trial;

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use weft_core::change::Change;
use weft_core::names::HostName;
use weft_core::object::{
    Fields, Host, HostObject, Object, ResourceType, Virtual, VirtualName, VirtualObject,
};

use crate::api::{self, Api, Error};
use crate::engine::resources::{events, service_accounts};
pub(crate) use failed::{Failed, Side};
use gate::Gate;
pub(crate) use request::FIELD_MANAGER;
use request::{APPLY_PATCH, JSON, MERGE_PATCH, binding, body, forced, patch_request, token_request, write};
pub(crate) use trial::Trial;

/// Writes to both clusters. On the host it knows one namespace.
pub(crate) struct Writer {
    host: Api<Host>,
    r#virtual: Api<Virtual>,
    host_namespace: String,
    gate: Gate,
}

impl Writer {
    /// `gate` is what every write passes first.
    pub(crate) fn new(host: Api<Host>, r#virtual: Api<Virtual>, host_namespace: &str, gate: Gate) -> Self {
        Self { host, r#virtual, host_namespace: host_namespace.to_owned(), gate }
    }

    /// Whether a write could pass now, as far as that is known without asking a server.
    pub(crate) fn is_open(&self) -> bool {
        self.gate.closed().is_none()
    }

    /// The host, for one write that passes the gate.
    async fn host(&self) -> Result<&Api<Host>, Error> {
        self.gate.pass().await?;
        Ok(&self.host)
    }

    /// The virtual cluster, for one write that passes the gate.
    async fn r#virtual(&self) -> Result<&Api<Virtual>, Error> {
        self.gate.pass().await?;
        Ok(&self.r#virtual)
    }

    /// Creates a host object in the tenant's namespace, whatever namespace it names.
    pub(crate) async fn create_host(
        &self,
        resource: &ResourceType,
        object: &HostObject,
    ) -> Result<Arc<HostObject>, Error> {
        create(self.host().await?, resource, &self.host_namespace, object.fields()).await
    }

    /// Patches a host object, if it still has this UID.
    pub(crate) async fn patch_host(
        &self,
        resource: &ResourceType,
        name: &HostName,
        uid: &str,
        change: &Change,
    ) -> Result<Arc<HostObject>, Error> {
        patch(self.host().await?, resource, &self.host_namespace, name.as_str(), uid, change).await
    }

    /// Deletes a host object, if it still has this UID. Returns the object while its deletion runs.
    pub(crate) async fn delete_host(
        &self,
        resource: &ResourceType,
        name: &HostName,
        uid: &str,
        grace: Option<i64>,
    ) -> Result<Option<Arc<HostObject>>, Error> {
        delete(self.host().await?, resource, &self.host_namespace, name.as_str(), uid, grace).await
    }

    /// Creates a virtual object in its namespace.
    pub(crate) async fn create_virtual(
        &self,
        resource: &ResourceType,
        object: &VirtualObject,
    ) -> Result<Arc<VirtualObject>, Error> {
        create(self.r#virtual().await?, resource, object.namespace(), object.fields()).await
    }

    /// Patches a virtual object, if it still has this UID.
    pub(crate) async fn patch_virtual(
        &self,
        resource: &ResourceType,
        name: &VirtualName,
        uid: &str,
        change: &Change,
    ) -> Result<Arc<VirtualObject>, Error> {
        patch(self.r#virtual().await?, resource, &name.namespace, &name.name, uid, change).await
    }

    /// Applies a virtual object by server-side apply: the fields that it has become ours, others stay as they are.
    pub(crate) async fn apply_virtual(
        &self,
        resource: &ResourceType,
        object: &VirtualObject,
    ) -> Result<Arc<VirtualObject>, Error> {
        let path = api::object_path(resource, object.namespace(), object.name(), None);
        let request = forced(Method::PATCH, &path, APPLY_PATCH, object.fields());
        api::decode(&self.r#virtual().await?.send(request).await?).map(Arc::new)
    }

    /// Counts an event that was written before.
    pub(crate) async fn count_event(&self, name: &VirtualName, event: &VirtualObject) -> Result<(), Error> {
        let path = api::object_path(&events(), &name.namespace, &name.name, None);
        let counted: Fields = ["count", "lastTimestamp", "message", "series"]
            .into_iter()
            .filter_map(|field| Some((field.to_owned(), event.fields().get(field)?.clone())))
            .collect();
        self.r#virtual().await?.send(write(Method::PATCH, &path, MERGE_PATCH, &counted)).await.map(drop)
    }

    /// Deletes a virtual object, if it still has this UID. Returns the object while its deletion runs.
    pub(crate) async fn delete_virtual(
        &self,
        resource: &ResourceType,
        name: &VirtualName,
        uid: &str,
        grace: i64,
    ) -> Result<Option<Arc<VirtualObject>>, Error> {
        delete(self.r#virtual().await?, resource, &name.namespace, &name.name, uid, Some(grace)).await
    }

    /// Binds a virtual pod to the node where it runs, if it still has this UID.
    pub(crate) async fn bind(
        &self,
        pods: &ResourceType,
        name: &VirtualName,
        uid: &str,
        node: &str,
    ) -> Result<(), Error> {
        let path = api::object_path(pods, &name.namespace, &name.name, Some("binding"));
        let request = write(Method::POST, &path, JSON, &binding(name, uid, node));
        self.r#virtual().await?.send(request).await.map(drop)
    }

    /// Requests a token of a service account from the virtual API server, bound to a pod.
    pub(crate) async fn issue_token(
        &self,
        service_account: &VirtualName,
        pod: &str,
        pod_uid: &str,
        audiences: &[String],
        seconds: i64,
    ) -> Result<String, Error> {
        let body = token_request(pod, pod_uid, audiences, seconds);
        let VirtualName { namespace, name } = service_account;
        let path = api::object_path(&service_accounts(), namespace, name, Some("token"));
        let reply = self.r#virtual().await?.send(write(Method::POST, &path, JSON, &body)).await?;
        let reply: Value = serde_json::from_slice(&reply).map_err(Error::Decode)?;
        let token = reply.pointer("/status/token").and_then(Value::as_str);
        Ok(token.unwrap_or_default().to_owned())
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
    let reply = api.send(patch_request(&path, uid, change)).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    use super::gate::Ready;
    use crate::api::scripted::{Answer, Asked, Requests};
    use crate::engine::resources::{nodes, secrets};
    use crate::engine::testing::{Bench, echo, host_name};

    fn pods() -> ResourceType {
        ResourceType::core("Pod", "pods")
    }

    fn last(requests: &Requests) -> Asked {
        requests.all().pop().expect("a request was sent")
    }

    #[tokio::test]
    async fn a_host_object_is_created_in_the_tenants_namespace_whatever_namespace_it_names() {
        let bench = Bench::echoing();
        let object = json!({"metadata": {"name": "db", "namespace": "kube-system"}, "data": {"a": "b"}});
        bench.writer.create_host(&secrets(), &HostObject::from_json(object.clone()).unwrap()).await.unwrap();
        let asked = last(&bench.host_requests);
        assert_eq!(asked.line(), "POST /api/v1/namespaces/team-a/secrets");
        assert!(asked.has("fieldManager=weft"), "{}", asked.query);
        assert_eq!(asked.body, object);
    }

    #[tokio::test]
    async fn every_patch_and_every_delete_names_the_uid() {
        let bench = Bench::echoing();
        let (host, name) = (host_name("shop", "db"), VirtualName::new("shop", "db"));
        let change = Change::merge(json!({"metadata": {"labels": {"a": "b"}}}));
        bench.writer.patch_host(&secrets(), &host, "uid-1", &change).await.unwrap();
        bench.writer.patch_virtual(&secrets(), &name, "uid-2", &change).await.unwrap();
        bench.writer.delete_host(&secrets(), &host, "uid-1", None).await.unwrap();
        bench.writer.delete_virtual(&secrets(), &name, "uid-2", 7).await.unwrap();
        for (requests, uid, place) in [
            (&bench.host_requests, "uid-1", "team-a/secrets/db-x-shop-x-vc"),
            (&bench.virtual_requests, "uid-2", "shop/secrets/db"),
        ] {
            let url = format!("/api/v1/namespaces/{place}");
            assert_eq!(requests.lines(), [format!("PATCH {url}"), format!("DELETE {url}")]);
            let [patch, delete] = &requests.all()[..] else { panic!("two requests a side") };
            assert_eq!(patch.body["metadata"], json!({"uid": uid, "labels": {"a": "b"}}), "{url}");
            assert_eq!(delete.body["preconditions"], json!({"uid": uid}), "{url}");
        }
        let grace = |requests: &Requests| last(requests).body.get("gracePeriodSeconds").cloned();
        assert_eq!(grace(&bench.host_requests), None, "the kind's default");
        assert_eq!(grace(&bench.virtual_requests), Some(7.into()));
    }

    #[tokio::test]
    async fn each_format_of_a_patch_has_its_content_type_and_each_subresource_its_path() {
        let body = json!({"status": {"phase": "Bound"}});
        let changes = [
            (Change::merge(body.clone()), "application/merge-patch+json"),
            (Change::strategic(None, body.clone()), "application/strategic-merge-patch+json"),
        ];
        for (change, expected) in changes {
            let request = patch_request("/api/v1/nodes/a", "uid", &change);
            assert_eq!(request.headers()[http::header::CONTENT_TYPE], expected);
        }
        let bench = Bench::echoing();
        let change = Change::merge_in("status", body);
        bench.writer.patch_virtual(&nodes(), &VirtualName::new("", "a"), "uid", &change).await.unwrap();
        assert_eq!(bench.virtual_requests.lines(), ["PATCH /api/v1/nodes/a/status"]);
    }

    #[tokio::test]
    async fn a_deletion_succeeds_where_there_is_nothing_and_returns_the_object_while_it_runs() {
        let bench = Bench::new(
            |asked| match asked.path.rsplit('/').next() {
                Some("gone-x-shop-x-vc") => Answer::failure(404, "NotFound"),
                Some("other-x-shop-x-vc") => Answer::failure(409, "Conflict"),
                Some("running-x-shop-x-vc") => Answer::ok(json!({"metadata": {
                    "name": "running-x-shop-x-vc", "deletionTimestamp": "2026-01-01T00:00:00Z",
                }})),
                Some("finished-x-shop-x-vc") => {
                    Answer::ok(json!({"metadata": {"name": "finished-x-shop-x-vc"}}))
                }
                _ => Answer::ok(json!({"kind": "Status", "status": "Success"})),
            },
            echo,
        );
        let delete = async |name: &str| {
            let deleted = bench.writer.delete_host(&pods(), &host_name("shop", name), "uid", Some(0)).await;
            deleted.map(|object| object.map(|object| object.name().to_owned()))
        };
        assert_eq!(delete("gone").await.unwrap(), None);
        assert_eq!(delete("running").await.unwrap().as_deref(), Some("running-x-shop-x-vc"));
        assert_eq!(delete("finished").await.unwrap(), None);
        assert_eq!(delete("status").await.unwrap(), None);
        assert!(delete("other").await.unwrap_err().is_conflict(), "another object of that name stays");
    }

    #[tokio::test]
    async fn a_binding_names_the_pod_its_uid_and_the_node() {
        let bench = Bench::echoing();
        bench.writer.bind(&pods(), &VirtualName::new("shop", "web"), "uid-1", "node-1").await.unwrap();
        let asked = last(&bench.virtual_requests);
        assert_eq!(asked.line(), "POST /api/v1/namespaces/shop/pods/web/binding");
        assert_eq!(asked.body["metadata"], json!({"name": "web", "namespace": "shop", "uid": "uid-1"}));
        assert_eq!(asked.body["target"], json!({"apiVersion": "v1", "kind": "Node", "name": "node-1"}));
    }

    #[tokio::test]
    async fn a_token_is_requested_for_one_pod_with_audiences_and_lifetime() {
        let bench = Bench::new(echo, |_| Answer::ok(json!({"status": {"token": "t"}})));
        let (account, audiences) = (VirtualName::new("shop", "builder"), ["vault".to_owned()]);
        let issued = bench.writer.issue_token(&account, "web", "uid-1", &audiences, 600).await.unwrap();
        assert_eq!(issued, "t");
        let asked = last(&bench.virtual_requests);
        assert_eq!(asked.line(), "POST /api/v1/namespaces/shop/serviceaccounts/builder/token");
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "uid-1"});
        let spec = json!({"audiences": ["vault"], "expirationSeconds": 600, "boundObjectRef": bound});
        assert_eq!(asked.body["spec"], spec);
    }

    #[tokio::test]
    async fn an_event_is_counted_by_a_patch_of_its_count_time_and_message_alone() {
        let bench = Bench::echoing();
        let event =
            json!({"metadata": {"name": "web.1"}, "count": 3, "lastTimestamp": "now", "message": "m"});
        let event = VirtualObject::from_json(event).unwrap();
        bench.writer.count_event(&VirtualName::new("shop", "web.1"), &event).await.unwrap();
        let asked = last(&bench.virtual_requests);
        assert_eq!(asked.line(), "PATCH /api/v1/namespaces/shop/events/web.1");
        assert_eq!(asked.body, json!({"count": 3, "lastTimestamp": "now", "message": "m"}));
    }

    #[tokio::test]
    async fn nothing_is_sent_while_the_gate_is_closed() {
        let bench = Bench::echoing();
        let (host, r#virtual) = (bench.host.clone(), bench.r#virtual.clone());
        let closed =
            Ready { guards: bench.guards(), ready: tokio::sync::watch::Sender::new(false).subscribe() };
        let writer = Writer::new(host, r#virtual, "team-a", Gate::Cached(closed, bench.state.clone()));
        let (name, host_name) = (VirtualName::new("shop", "web"), host_name("shop", "web"));
        let (object, host_object) = (VirtualObject::new(Fields::new()), HostObject::new(Fields::new()));
        let change = Change::merge(json!({}));
        let outcomes = [
            writer.create_host(&pods(), &host_object).await.err(),
            writer.patch_host(&pods(), &host_name, "uid", &change).await.err(),
            writer.delete_host(&pods(), &host_name, "uid", None).await.err(),
            writer.create_virtual(&pods(), &object).await.err(),
            writer.patch_virtual(&pods(), &name, "uid", &change).await.err(),
            writer.apply_virtual(&pods(), &object).await.err(),
            writer.delete_virtual(&pods(), &name, "uid", 0).await.err(),
            writer.count_event(&name, &object).await.err(),
            writer.bind(&pods(), &name, "uid", "node-1").await.err(),
            writer.issue_token(&name, "web", "uid", &[], 600).await.err(),
        ];
        assert!(outcomes.iter().all(|error| matches!(error, Some(Error::Withheld(_)))), "{outcomes:?}");
        assert!(bench.host_requests.all().is_empty() && bench.virtual_requests.all().is_empty());
        let code = include_str!("apply.rs").split("mod tests {").next().unwrap_or_default();
        assert_eq!(code.matches("pub(crate) async fn").count(), outcomes.len(), "every method is above");
    }
}

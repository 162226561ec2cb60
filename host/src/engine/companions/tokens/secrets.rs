//! Finds and writes the Secrets with tokens on the host.

use std::sync::Arc;

use serde_json::Value;
use weft_core::change::Change;
use weft_core::kinds::pod::tokens::secret_name;
use weft_core::names::HostName;
use weft_core::object::{Host, HostObject, ResourceType, VirtualName};

use crate::api::{self, Api};
use crate::engine::apply::{Failed, Side, Writer};
use crate::engine::cache::state::State;
use crate::engine::cache::state::tokens::goes_with_a_pod;
use crate::engine::companions::tokens::secret::{self, is_same, owner_uid};
use crate::engine::resources;

/// The Secrets with tokens of this virtual cluster's pods.
pub(super) struct Secrets {
    state: Arc<State>,
    writer: Arc<Writer>,
    host: Api<Host>,
    resource: ResourceType,
}

impl Secrets {
    pub(super) fn new(state: Arc<State>, writer: Arc<Writer>, host: Api<Host>) -> Self {
        Self { state, writer, host, resource: resources::secrets() }
    }

    /// That of a pod, as the cache shows it.
    pub(super) fn find(&self, pod: &VirtualName) -> Option<Arc<HostObject>> {
        let name = secret_name(&self.state.names, pod);
        self.state.synced(&self.resource.kind())?.host.get(self.state.names.namespace(), name.as_str())
    }

    /// Brings the Secret that was found to what is wanted, or creates it.
    pub(super) async fn store(
        &self,
        found: Option<Arc<HostObject>>,
        wanted: HostObject,
    ) -> Result<(), Failed> {
        let name = HostName::of(&wanted);
        let stored = match found {
            Some(found) => self.patch(&found, &wanted).await.map_err(failed_to("patch", &name))?,
            None => match self.writer.create_host(&self.resource, &wanted).await {
                Err(taken) if taken.is_already_exists() => self.adopt(&wanted, taken).await,
                created => created,
            }
            .map_err(failed_to("create", &name))?,
        };
        self.show(stored);
        Ok(())
    }

    /// Gives a Secret to this owner, if it has another one, and leaves its tokens.
    pub(super) async fn hand_over(&self, found: &HostObject, owner: &Value) -> Result<(), Failed> {
        if owner_uid(found) == owner.get("uid").and_then(Value::as_str) {
            return Ok(());
        }
        let (name, change) = (HostName::of(found), secret::hand_over(owner));
        let patched = self.writer.patch_host(&self.resource, &name, found.uid(), &change).await;
        self.show(patched.map_err(failed_to("patch", &name))?);
        Ok(())
    }

    /// Deletes the Secret of a pod that never came to the host; one that a host pod owns goes with it.
    pub(super) async fn remove(&self, pod: &VirtualName) -> Result<(), Failed> {
        let Some(found) = self.find(pod).filter(|found| !goes_with_a_pod(found)) else { return Ok(()) };
        let name = HostName::of(&found);
        let deleted = self.writer.delete_host(&self.resource, &name, found.uid(), None).await;
        deleted.map(drop).map_err(failed_to("delete", &name))
    }

    /// Puts what the host has now into the cache.
    fn show(&self, stored: Arc<HostObject>) {
        if let Some(synced) = self.state.synced(&self.resource.kind()) {
            synced.host.readmit(stored);
        }
    }

    async fn patch(&self, found: &HostObject, wanted: &HostObject) -> Result<Arc<HostObject>, api::Error> {
        let change = Change::merge(Value::Object(wanted.fields().clone()));
        self.writer.patch_host(&self.resource, &HostName::of(wanted), found.uid(), &change).await
    }

    /// What to do about a Secret of our name that the cache does not show: it has lost its labels, the watch is late, or the
    /// reply to its creation was lost.
    async fn adopt(&self, wanted: &HostObject, taken: api::Error) -> Result<Arc<HostObject>, api::Error> {
        let found = self.host.get(&self.resource, self.state.names.namespace(), wanted.name()).await?;
        if is_same(&found, wanted) { self.patch(&found, wanted).await } else { Err(taken) }
    }
}

fn failed_to(action: &'static str, name: &HostName) -> impl FnOnce(api::Error) -> Failed {
    Side::Host.failed_to(action, format!("token Secret {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::BTreeMap;

    use http::Method;
    use serde_json::json;
    use weft_core::keys::TOKEN_POD;

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::companions::tokens::secret::with_pod;
    use crate::engine::companions::tokens::testing::{asked, host_pod, of_pod, pod, stored};
    use crate::engine::testing::{Bench, echo};

    fn secrets(bench: &Bench) -> Secrets {
        Secrets::new(bench.state.clone(), bench.writer.clone(), bench.host.clone())
    }

    #[tokio::test]
    async fn one_that_a_host_pod_owns_is_left_to_the_hosts_garbage_collector() {
        for (owner, expected) in [("Pod", &[][..]), ("ConfigMap", &["DELETE secrets"])] {
            let bench = Bench::echoing();
            stored(&bench, |secret| secret["metadata"]["ownerReferences"][0]["kind"] = owner.into());
            secrets(&bench).remove(&VirtualName::new("shop", "web")).await.unwrap();
            assert_eq!(asked(&bench), expected);
        }
    }

    #[tokio::test]
    async fn another_owner_gets_the_tokens_as_they_are() {
        for (uid, expected) in [("uid-before", 1), ("uid-host", 0)] {
            let bench = Bench::echoing();
            stored(&bench, |secret| secret["metadata"]["ownerReferences"][0]["uid"] = uid.into());
            let secrets = secrets(&bench);
            let found = secrets.find(&VirtualName::new("shop", "web")).unwrap();
            secrets.hand_over(&found, &with_pod(&host_pod(false))).await.unwrap();
            let patches = bench.host_requests.bodies(&Method::PATCH);
            assert_eq!(patches.len(), expected);
            for patch in patches {
                assert_eq!(patch["metadata"]["ownerReferences"][0]["uid"], "uid-host");
                assert_eq!((&patch["metadata"]["uid"], patch.get("data")), (&json!("uid-secret"), None));
            }
        }
    }

    #[tokio::test]
    async fn a_secret_that_the_cache_does_not_show_is_adopted_if_it_is_of_this_pod() {
        let cases = [
            ("uid-host", "", &["POST", "GET", "PATCH"][..]),
            ("uid-other", "", &["POST", "GET"]),
            ("uid-other", "uid-before", &["POST", "GET", "PATCH"]),
        ];
        for (owner, pod_uid, expected) in cases {
            let on_host = move |asked: &Asked| match asked.method {
                Method::POST => Answer::failure(409, "AlreadyExists"),
                Method::GET => {
                    let mut metadata =
                        json!({"name": "s", "uid": "uid-secret", "ownerReferences": [{"uid": owner}]});
                    if !pod_uid.is_empty() {
                        metadata["annotations"] = json!({TOKEN_POD: of_pod(pod_uid)});
                    }
                    Answer::ok(json!({"metadata": metadata}))
                }
                _ => echo(asked),
            };
            let bench = Bench::new(on_host, echo);
            let wanted = secret::compose(
                &bench.state.names,
                &pod(false),
                &with_pod(&host_pod(false)),
                &BTreeMap::new(),
                0,
            );
            let result = secrets(&bench).store(None, wanted).await;
            assert_eq!(result.is_ok(), expected.len() == 3, "{result:?}");
            let methods: Vec<String> =
                bench.host_requests.all().iter().map(|asked| asked.method.to_string()).collect();
            assert_eq!(methods, expected, "{owner} {pod_uid}");
        }
    }
}

//! Applies what the syncer brings into the virtual cluster by itself, restores what is to stay, and removes what is to go.

mod compare;
mod remove;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch as signal;
use tracing::{debug, info, warn};
use weft_core::object::{ResourceType, Virtual, VirtualObject};

use crate::addons::{Addon, Upkeep};
use crate::api::{self, Api};
use crate::engine::apply::Writer;
use compare::is_in_place;

/// How often it is checked that all is as it was applied.
const PERIOD: Duration = Duration::from_secs(30);
/// The first pause after a failure; each further one is twice as long, up to [`PERIOD`].
const RETRY: Duration = Duration::from_secs(1);

/// Applies add-ons and keeps them.
pub(crate) struct AddonApplier {
    r#virtual: Api<Virtual>,
    writer: Arc<Writer>,
    /// Resource types that the API server has named, by apiVersion and kind.
    types: HashMap<(String, String), ResourceType>,
    /// Digests of what was applied or removed and needs no further look.
    done: HashSet<(String, Upkeep)>,
    /// The version that each of these digests was applied as. Some values, such as quantities, the server writes in its
    /// own way: only another version needs a further look.
    settled: HashMap<String, String>,
    /// What was last logged of each object, so that it is logged once.
    logged: HashMap<String, String>,
}

/// Why an object could not be applied.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the virtual API server does not serve {0}; install its CustomResourceDefinition")]
    NotServed(String),
    #[error("the object of that name is being deleted")]
    Terminating,
    #[error("failed to {action}")]
    Api { action: &'static str, source: api::Error },
}

impl AddonApplier {
    pub(crate) fn new(r#virtual: Api<Virtual>, writer: Arc<Writer>) -> Self {
        Self {
            r#virtual,
            writer,
            types: HashMap::new(),
            done: HashSet::new(),
            settled: HashMap::new(),
            logged: HashMap::new(),
        }
    }

    /// Runs for ever; writes only while `ready`.
    pub(crate) async fn keep(
        mut self,
        mut addons: signal::Receiver<Arc<Vec<Addon>>>,
        mut ready: signal::Receiver<bool>,
    ) {
        let mut pause = RETRY;
        while ready.wait_for(|ready| *ready).await.is_ok() {
            let current = addons.borrow_and_update().clone();
            let is_complete = self.reconcile_all(&current).await;
            tokio::select! {
                biased;
                () = tokio::time::sleep(if is_complete { PERIOD } else { pause }) => {}
                Ok(()) = addons.changed() => {}
            }
            pause = if is_complete { RETRY } else { PERIOD.min(pause * 2) };
        }
    }

    /// Looks after each object; one that fails stops no other. Returns whether none has failed.
    async fn reconcile_all(&mut self, addons: &[Addon]) -> bool {
        // What was replaced and comes back later is applied again.
        let wanted: HashSet<_> =
            addons.iter().map(|addon| (addon.digest().to_owned(), addon.upkeep)).collect();
        self.done.retain(|known| wanted.contains(known));
        self.settled.retain(|digest, _| wanted.contains(&(digest.clone(), Upkeep::Restored)));
        let mut is_complete = true;
        for addon in addons {
            let key = (addon.digest().to_owned(), addon.upkeep);
            if self.done.contains(&key) {
                continue;
            }
            let result = match addon.upkeep {
                Upkeep::Removed => self.remove(addon).await,
                Upkeep::Restored | Upkeep::AppliedOnce => self.reconcile(addon).await,
            };
            match result {
                Ok(()) => {
                    self.logged.remove(&describe(&addon.object));
                    if addon.upkeep != Upkeep::Restored {
                        self.done.insert(key);
                    }
                }
                Err(error) => {
                    is_complete = false;
                    self.log_once(addon, &error);
                }
            }
        }
        is_complete
    }

    /// Applies one object unless it is as it should be.
    async fn reconcile(&mut self, addon: &Addon) -> Result<(), Error> {
        let resource = self.resource_type(&addon.object).await?;
        let object = placed(&addon.object, &resource);
        let current = match self.r#virtual.get(&resource, object.namespace(), object.name()).await {
            Ok(current) if current.is_terminating() => return Err(Error::Terminating),
            Ok(current) if is_in_place(&current, &object, addon.upkeep) => return Ok(()),
            Ok(current) => Some(version(&current)),
            Err(error) if error.is_not_found() => None,
            Err(source) => return Err(Error::Api { action: "read what is there", source }),
        };
        if current.is_some() && self.settled.get(addon.digest()) == current.as_ref() {
            return Ok(());
        }
        let applied = self.writer.apply_virtual(&resource, &object).await.map_err(|source| {
            // The definition may have been replaced by one with another plural.
            self.types.clear();
            Error::Api { action: "apply it", source }
        })?;
        if current.as_ref() != Some(&version(&applied)) {
            info!(object = describe(&object), origin = addon.origin, "applied in the virtual cluster");
        }
        self.settled.insert(addon.digest().to_owned(), version(&applied));
        Ok(())
    }

    /// The resource type of an object, by the discovery of the virtual API server.
    async fn resource_type(&mut self, object: &VirtualObject) -> Result<ResourceType, Error> {
        let text = |pointer: &str| object.text(pointer).unwrap_or_default().to_owned();
        let (api_version, kind) = (text("/apiVersion"), text("/kind"));
        if let Some(known) = self.types.get(&(api_version.clone(), kind.clone())) {
            return Ok(known.clone());
        }
        let root = if api_version.contains('/') { "/apis" } else { "/api" };
        let reply = self.r#virtual.send(api::get(&format!("{root}/{api_version}"))).await;
        let reply = match reply {
            Err(error) if error.is_not_found() => None,
            reply => Some(reply.map_err(|source| Error::Api { action: "discover its kind", source })?),
        };
        let list: Value = reply.and_then(|reply| serde_json::from_slice(&reply).ok()).unwrap_or_default();
        let found = resource_type(&list, &api_version, &kind);
        let found = found.ok_or_else(|| Error::NotServed(format!("{api_version}/{kind}")))?;
        self.types.insert((api_version, kind), found.clone());
        Ok(found)
    }

    fn log_once(&mut self, addon: &Addon, error: &Error) {
        let object = describe(&addon.object);
        let cause = weft_core::causes::causes(error);
        if self.logged.get(&object) == Some(&cause) {
            debug!(object, error = error as &dyn std::error::Error, "still not done");
            return;
        }
        let error = error as &dyn std::error::Error;
        let action = if addon.upkeep == Upkeep::Removed { "removed from" } else { "applied in" };
        warn!(object, origin = addon.origin, error, "not {action} the virtual cluster; trying again");
        self.logged.insert(object, cause);
    }
}

/// The entry of a kind in an `APIResourceList`; those of subresources have a slash in their name.
fn resource_type(list: &Value, api_version: &str, kind: &str) -> Option<ResourceType> {
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let entries = list.get("resources").and_then(Value::as_array)?;
    let is_it = |entry: &&Value| {
        text(entry, "kind").as_deref() == Some(kind)
            && text(entry, "name").is_some_and(|name| !name.contains('/'))
    };
    let entry = entries.iter().find(is_it)?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Some(ResourceType {
        group: group.to_owned().into(),
        version: version.to_owned().into(),
        kind: kind.to_owned().into(),
        plural: text(entry, "name")?.into(),
        namespaced: entry.get("namespaced").and_then(Value::as_bool)?,
    })
}

/// The object in its namespace: `default` where it names none, none where its kind has none.
fn placed(object: &VirtualObject, resource: &ResourceType) -> VirtualObject {
    let mut object = object.clone();
    if !resource.namespaced {
        object.metadata_mut().remove("namespace");
    } else if object.namespace().is_empty() {
        object.metadata_mut().insert("namespace".to_owned(), "default".into());
    }
    object
}

fn version(object: &VirtualObject) -> String {
    object.text("/metadata/resourceVersion").unwrap_or_default().to_owned()
}

/// Which object, for people.
fn describe(object: &VirtualObject) -> String {
    let text = |pointer: &str| object.text(pointer).unwrap_or_default();
    let slash = if object.namespace().is_empty() { "" } else { "/" };
    let (api_version, kind) = (text("/apiVersion"), text("/kind"));
    format!("{api_version}/{kind} {}{slash}{}", object.namespace(), object.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    use http::Method;
    use serde_json::json;
    use weft_core::keys::ADDON;

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::testing::{Bench, settle};

    const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

    /// A ConfigMap of this value in a configuration that applies nothing else.
    fn config_map(value: &str, upkeep: Upkeep) -> Addon {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "annotations": {ADDON: format!("digest-{value}")}},
            "data": {"key": value},
        });
        let object = VirtualObject::from_json(object).unwrap();
        Addon { origin: "a test".to_owned(), object, upkeep }
    }

    fn discovery() -> Value {
        json!({"resources": [
            {"name": "pods/status", "kind": "ConfigMap", "namespaced": true},
            {"name": "configmaps", "kind": "ConfigMap", "namespaced": true},
            {"name": "namespaces", "kind": "Namespace", "namespaced": false},
        ]})
    }

    /// A virtual cluster that keeps the one object that is applied to it.
    fn cluster() -> (Bench, Arc<Mutex<Option<Value>>>) {
        let kept: Arc<Mutex<Option<Value>>> = Arc::default();
        let store = kept.clone();
        let bench = Bench::new(
            |_| Answer::failure(500, "Unused"),
            move |asked: &Asked| match (&asked.method, asked.path.as_str()) {
                (&Method::GET, "/api/v1") => Answer::ok(discovery()),
                (&Method::GET, _) => {
                    store.lock().unwrap().clone().map_or_else(|| Answer::failure(404, "NotFound"), Answer::ok)
                }
                (&Method::PATCH, _) => {
                    let mut object = asked.body.clone();
                    object["metadata"]["resourceVersion"] = "1".into();
                    if object["data"]["key"] == "1000m" {
                        object["data"]["key"] = "1".into();
                    }
                    *store.lock().unwrap() = Some(object.clone());
                    Answer::ok(object)
                }
                _ => Answer::failure(405, "MethodNotAllowed"),
            },
        );
        (bench, kept)
    }

    /// A tenant writes this key.
    fn edit(kept: &Mutex<Option<Value>>, key: &str) {
        let mut kept = kept.lock().unwrap();
        let object = kept.as_mut().unwrap();
        object["data"][key] = "theirs".into();
        object["metadata"]["resourceVersion"] = "2".into();
    }

    fn applier(bench: &Bench) -> AddonApplier {
        AddonApplier::new(bench.r#virtual.clone(), bench.writer.clone())
    }

    fn writes(bench: &Bench) -> Vec<String> {
        bench.virtual_requests.lines().into_iter().filter(|line| !line.starts_with("GET ")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_is_applied_by_server_side_apply_in_its_namespace_and_once_is_enough() {
        for upkeep in [Upkeep::Restored, Upkeep::AppliedOnce] {
            let (bench, _kept) = cluster();
            let mut applier = applier(&bench);
            let addons = [config_map("1", upkeep)];
            assert!(applier.reconcile_all(&addons).await && applier.reconcile_all(&addons).await);
            assert_eq!(writes(&bench), [format!("PATCH {CONFIG_MAPS}/a")]);
            let patch = bench.virtual_requests.all().into_iter().find(|asked| asked.method == Method::PATCH);
            let patch = patch.unwrap();
            assert!(patch.has("fieldManager=weft") && patch.has("force=true"), "{}", patch.query);
            assert_eq!(patch.body["metadata"]["namespace"], "default");
            // Another start of the syncer finds it in place.
            assert!(super::tests::applier(&bench).reconcile_all(&addons).await);
            assert_eq!(writes(&bench).len(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_tenant_changes_or_deletes_is_restored_only_where_it_is_to_be() {
        for (upkeep, restored) in [(Upkeep::Restored, 3), (Upkeep::AppliedOnce, 1)] {
            let (bench, kept) = cluster();
            let mut applier = applier(&bench);
            let addons = [config_map("1", upkeep)];
            applier.reconcile_all(&addons).await;
            edit(&kept, "key");
            applier.reconcile_all(&addons).await;
            *kept.lock().unwrap() = None;
            applier.reconcile_all(&addons).await;
            assert_eq!(writes(&bench).len(), restored, "{upkeep:?}: {:?}", writes(&bench));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_tenant_adds_stays() {
        let (bench, kept) = cluster();
        let mut applier = applier(&bench);
        let addons = [config_map("1", Upkeep::Restored)];
        applier.reconcile_all(&addons).await;
        edit(&kept, "more");
        applier.reconcile_all(&addons).await;
        assert_eq!(writes(&bench).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_writes_in_its_own_way_is_not_applied_again() {
        let (bench, kept) = cluster();
        let mut applier = applier(&bench);
        let addons = [config_map("1000m", Upkeep::Restored)];
        applier.reconcile_all(&addons).await;
        applier.reconcile_all(&addons).await;
        assert_eq!(
            (writes(&bench).len(), &kept.lock().unwrap().as_ref().unwrap()["data"]["key"]),
            (1, &json!("1"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_applied_at_once_and_what_is_changed_back_as_well() {
        let (bench, kept) = cluster();
        let (sender, receiver) = signal::channel(Arc::new(vec![config_map("1", Upkeep::AppliedOnce)]));
        let (ready, is_ready) = signal::channel(false);
        tokio::spawn(applier(&bench).keep(receiver, is_ready));
        tokio::time::sleep(PERIOD).await;
        assert!(bench.virtual_requests.all().is_empty(), "not ready: {:?}", bench.virtual_requests.lines());
        ready.send_replace(true);
        for value in ["1", "2", "1"] {
            sender.send_replace(Arc::new(vec![config_map(value, Upkeep::AppliedOnce)]));
            settle().await;
            assert_eq!(kept.lock().unwrap().as_ref().unwrap()["data"]["key"], value);
        }
        assert_eq!(writes(&bench).len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_is_not_served_is_named_stops_no_other_and_is_tried_again() {
        let (bench, _kept) = cluster();
        let mut applier = applier(&bench);
        let mut cat = config_map("1", Upkeep::AppliedOnce);
        cat.object.fields_mut().insert("kind".into(), "Cat".into());
        let error = applier.reconcile(&cat).await.unwrap_err().to_string();
        assert!(error.contains("does not serve v1/Cat; install its CustomResourceDefinition"), "{error}");
        assert!(!applier.reconcile_all(&[cat, config_map("1", Upkeep::AppliedOnce)]).await);
        assert_eq!(writes(&bench), [format!("PATCH {CONFIG_MAPS}/a")]);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_after_failures_grow_to_the_period() {
        let bench = Bench::new(|_| Answer::failure(500, "Unused"), |_| Answer::failure(403, "Forbidden"));
        let (_sender, receiver) = signal::channel(Arc::new(vec![config_map("1", Upkeep::Restored)]));
        let (_ready, is_ready) = signal::channel(true);
        tokio::spawn(applier(&bench).keep(receiver, is_ready));
        tokio::time::sleep(Duration::from_mins(1)).await;
        // At 0, 1, 3, 7, 15 and 31 seconds.
        assert_eq!(bench.virtual_requests.all().len(), 6, "{:?}", bench.virtual_requests.lines());
    }

    #[test]
    fn an_object_lies_where_its_kind_does() {
        let of = |kind: &str| resource_type(&discovery(), "v1", kind).unwrap();
        let object = json!({"metadata": {"name": "a", "namespace": "b"}});
        let object = VirtualObject::from_json(object).unwrap();
        assert_eq!(placed(&object, &of("Namespace")).namespace(), "");
        assert_eq!(placed(&object, &of("ConfigMap")).namespace(), "b");
        assert_eq!(&*of("ConfigMap").plural, "configmaps", "not that of a subresource");
        assert_eq!(resource_type(&discovery(), "v1", "Cat"), None);
    }
}

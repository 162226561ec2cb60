//! Removes what an earlier configuration has applied, and nothing that a tenant has put in its place.

use serde_json::Value;
use tracing::info;
use weft_core::keys::ADDON;
use weft_core::object::VirtualObject;

use super::{AddonApplier, Error, describe, placed};
use crate::addons::Addon;
use crate::api;
use crate::engine::apply::FIELD_MANAGER;

const READ: &str = "read what is there";

impl AddonApplier {
    /// Deletes the object if the syncer has applied it.
    pub(super) async fn remove(&mut self, addon: &Addon) -> Result<(), Error> {
        let resource = self.resource_type(&addon.object).await?;
        let object = placed(&addon.object, &resource);
        let (name, path) =
            (object.virtual_name(), api::object_path(&resource, object.namespace(), object.name(), None));
        let current = match self.r#virtual.send(api::get(&path)).await {
            Ok(reply) => whole(&reply)?,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(source) => return Err(Error::Api { action: READ, source }),
        };
        if current.is_terminating() || !was_applied(&current) {
            return Ok(());
        }
        let deleted = self.writer.delete_virtual(&resource, &name, current.uid(), 0).await;
        deleted.map_err(|source| Error::Api { action: "delete it", source })?;
        info!(object = describe(&object), origin = addon.origin, "removed from the virtual cluster");
        Ok(())
    }
}

/// With `managedFields`, which are passed over where objects are read otherwise.
fn whole(reply: &[u8]) -> Result<VirtualObject, Error> {
    let fields = serde_json::from_slice(reply).map_err(api::Error::Decode);
    fields.map(VirtualObject::new).map_err(|source| Error::Api { action: READ, source })
}

/// Whether it has the mark, and the syncer wrote it: a tenant's copy of an object has the mark as well.
fn was_applied(object: &VirtualObject) -> bool {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let is_ours = |entry: &Value| {
        let has = |key: &str, value: &str| entry.get(key).is_some_and(|found| found == value);
        has("manager", FIELD_MANAGER) && has("operation", "Apply")
    };
    object.annotation(ADDON).is_some() && entries.is_some_and(|entries| entries.iter().any(is_ours))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use serde_json::json;

    use crate::addons::Upkeep;
    use crate::api::scripted::{Answer, Asked};
    use crate::engine::testing::Bench;

    fn config_map() -> Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "b", "uid": "uid-1", "annotations": {ADDON: "digest"}},
        })
    }

    /// What is sent, but for reads, when a ConfigMap is to go of which the cluster has this one.
    async fn sent(found: Option<Value>) -> Vec<Asked> {
        let bench = Bench::new(
            |_| Answer::failure(500, "Unused"),
            move |asked: &Asked| match (&asked.method, asked.path.as_str(), &found) {
                (&Method::GET, "/api/v1", _) => Answer::ok(
                    json!({"resources": [{"name": "configmaps", "kind": "ConfigMap", "namespaced": true}]}),
                ),
                (&Method::GET, _, Some(found)) => Answer::ok(found.clone()),
                (&Method::DELETE, _, Some(_)) => Answer::ok(json!({"kind": "Status", "status": "Success"})),
                _ => Answer::failure(404, "NotFound"),
            },
        );
        let object = VirtualObject::from_json(config_map()).unwrap();
        let addon = Addon { origin: "a test".to_owned(), object, upkeep: Upkeep::Removed };
        let mut applier = AddonApplier::new(bench.r#virtual.clone(), bench.writer.clone());
        assert!(applier.reconcile_all(std::slice::from_ref(&addon)).await);
        let looked = bench.virtual_requests.all().len();
        assert!(applier.reconcile_all(&[addon]).await);
        assert_eq!(bench.virtual_requests.all().len(), looked, "once is enough");
        bench.virtual_requests.all().into_iter().filter(|asked| asked.method != Method::GET).collect()
    }

    /// As it is when `manager` has written it.
    fn written_by(manager: &str, operation: &str) -> Value {
        let mut object = config_map();
        object["metadata"]["managedFields"] = json!([{"manager": manager, "operation": operation}]);
        object
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_syncer_has_applied_is_deleted_by_its_uid() {
        let sent = sent(Some(written_by("weft", "Apply"))).await;
        let [delete] = &sent[..] else { panic!("one request: {sent:?}") };
        assert_eq!(delete.line(), "DELETE /api/v1/namespaces/b/configmaps/a");
        assert_eq!(delete.body["preconditions"]["uid"], "uid-1");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_tenant_has_put_in_its_place_stays() {
        let mut unmarked = written_by("weft", "Apply");
        unmarked["metadata"]["annotations"] = json!({});
        for found in
            [None, Some(written_by("kubectl", "Apply")), Some(written_by("weft", "Update")), Some(unmarked)]
        {
            assert_eq!(sent(found.clone()).await.len(), 0, "{found:?}");
        }
    }
}

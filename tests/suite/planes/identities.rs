//! Host objects that lose the annotation which says whose they are: all kinds get it back, and none is left behind.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::shared::in_shared_world;

use super::place::{Kind, Place, at, patch, pod};

const IDENTITY: &str = "weft.dev/identity";

/// Takes the identity away from the host object of `name`, waits until it is there again, and deletes the virtual object:
/// the host object must go with it.
async fn is_repaired<K: Kind>(place: &Place, name: &str) -> Result<()> {
    let (api, host_name, kind) = (place.on_host::<K>(), place.host_name(name), K::kind(&()));
    let before =
        eventually(&format!("the {kind} is on the host"), SOON, async || Ok(api.get(&host_name).await?))
            .await?;
    let uid = |object: &K| at(object, "/metadata/uid");
    patch(&api, &host_name, json!({"metadata": {"annotations": {IDENTITY: null}}})).await?;
    eventually(&format!("the {kind} has its identity again"), SOON, async || {
        let now = api.get(&host_name).await?;
        ensure!(uid(&now)? == uid(&before)?, "it is another object");
        ensure!(now.annotations().contains_key(IDENTITY), "there are {:?}", now.annotations());
        Ok(())
    })
    .await?;
    place.delete::<K>(name).await?;
    eventually(&format!("the {kind} is gone from the host"), SOON, async || {
        let left = api.get_opt(&host_name).await?;
        ensure!(left.is_none(), "there is {left:#?}");
        Ok(())
    })
    .await
}

#[test]
fn every_kind_gets_its_identity_back_and_goes_with_its_virtual_object() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let named = |rest: Value| {
            let mut object = json!({"metadata": {"name": "one"}});
            object
                .as_object_mut()
                .into_iter()
                .for_each(|object| object.extend(rest.as_object().cloned().unwrap_or_default()));
            object
        };
        place.create::<ConfigMap>(named(json!({"data": {"a": "1"}}))).await?;
        place.create::<Secret>(named(json!({"stringData": {"a": "1"}}))).await?;
        let claim = json!({"spec": {"storageClassName": "standard", "accessModes": ["ReadWriteOnce"],
                                    "resources": {"requests": {"storage": "1Gi"}}}});
        place.create::<PersistentVolumeClaim>(named(claim)).await?;
        place.create::<Service>(named(json!({"spec": {"ports": [{"port": 80}]}}))).await?;
        let ports = json!([{"name": "", "port": 80, "protocol": "TCP"}]);
        let subsets = json!([{"addresses": [{"ip": "192.0.2.1"}], "ports": ports}]);
        place.create::<Endpoints>(named(json!({"subsets": subsets}))).await?;
        let slice =
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}], "ports": ports});
        place.create::<EndpointSlice>(named(slice)).await?;
        let sources = json!([{"configMapRef": {"name": "one"}}, {"secretRef": {"name": "one"}}]);
        let containers = json!([{"name": "main", "image": "nginx:1", "envFrom": sources}]);
        place.run(pod("one", json!({"containers": containers}))).await?;

        is_repaired::<ConfigMap>(&place, "one").await?;
        is_repaired::<Secret>(&place, "one").await?;
        is_repaired::<EndpointSlice>(&place, "one").await?;
        is_repaired::<Endpoints>(&place, "one").await?;
        is_repaired::<Service>(&place, "one").await?;
        is_repaired::<Pod>(&place, "one").await?;
        is_repaired::<PersistentVolumeClaim>(&place, "one").await
    })
}

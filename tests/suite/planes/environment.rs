//! What containers learn of Services: a ConfigMap on the host that follows the Services of the virtual namespace.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::shared::in_shared_world;

use super::place::{Place, at, ensure_at, pod};

/// The host ConfigMap that a host pod names in front of whatever else its first container gets.
async fn variables_of(place: &Place, host_pod: &Pod) -> Result<ConfigMap> {
    let name = at(host_pod, "/spec/containers/0/envFrom/0/configMapRef/name")?;
    Ok(place.on_host::<ConfigMap>().get(name.as_str().context("the host pod names no ConfigMap")?).await?)
}

fn service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"ports": [{"name": "http", "port": 80}]}})
}

#[test]
fn containers_learn_of_their_namespaces_services_from_a_config_map_that_follows_them() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let web: Service = place.create(service("web")).await?;
        let address = at(&web, "/spec/clusterIP")?;
        place
            .create::<ConfigMap>(json!({"metadata": {"name": "own"}, "data": {"WEB_SERVICE_HOST": "mine"}}))
            .await?;
        let own = json!([{"configMapRef": {"name": "own"}}]);
        let containers = json!([{"name": "main", "image": "busybox", "envFrom": own, "env": [{"name": "A", "value": "b"}]}]);
        let host = place.run(pod("first", json!({"containers": containers}))).await?.host_pod;
        ensure_at(&host, "/spec/containers/0/envFrom/1/configMapRef/name", &json!(place.host_name("own")))?;
        ensure_at(&host, "/spec/containers/0/env", &json!([{"name": "A", "value": "b"}]))?;
        let variables = variables_of(&place, &host).await?;
        let name = variables.name_any();
        ensure_at(&variables, "/data/WEB_SERVICE_HOST", &address)?;
        ensure_at(&variables, "/data/WEB_SERVICE_PORT_HTTP", &json!("80"))?;
        ensure_at(&variables, "/data/DB_SERVICE_HOST", &Value::Null)?;
        let owner = place.on_host::<ConfigMap>().get(&place.cluster).await?;
        ensure_at(&variables, "/metadata/ownerReferences/0/uid", &json!(owner.uid()))?;

        // Containers that start later learn of the Services of then.
        place.create::<Service>(service("db")).await?;
        place.delete::<Service>("web").await?;
        follows(&place, &name, &["DB_SERVICE_HOST"], &["WEB_SERVICE_HOST"]).await?;
        // The host's side is kept as it should be.
        let edit = json!({"data": {"DB_SERVICE_HOST": "10.9.9.9", "OTHER": "x"}});
        let config_maps = place.on_host::<ConfigMap>();
        config_maps.patch(&name, &PatchParams::default(), &Patch::Merge(edit)).await?;
        follows(&place, &name, &["DB_SERVICE_HOST"], &["OTHER"]).await?;
        config_maps.delete(&name, &DeleteParams::default()).await?;
        follows(&place, &name, &["DB_SERVICE_HOST", "KUBERNETES_SERVICE_HOST"], &[]).await
    })
}

/// Waits until the ConfigMap has these variables, with the address of the Service where it is known, and not those.
async fn follows(place: &Place, name: &str, present: &[&str], absent: &[&str]) -> Result<()> {
    let db = place.on_virtual::<Service>().get("db").await?;
    let sentence = format!("the ConfigMap {name} has {present:?} and not {absent:?}");
    eventually(&sentence, SOON, async || {
        let variables = place.on_host::<ConfigMap>().get(name).await?;
        let data = variables.data.clone().unwrap_or_default();
        let has = |variable: &&str| data.contains_key(*variable);
        ensure!(present.iter().all(has) && !absent.iter().any(has), "{data:?}");
        ensure_at(&variables, "/data/DB_SERVICE_HOST", &at(&db, "/spec/clusterIP")?)
    })
    .await
}

#[test]
fn a_pod_without_service_links_learns_of_the_api_server_alone() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        place.create::<Service>(service("web")).await?;
        let host = place.run(pod("quiet", json!({"enableServiceLinks": false}))).await?.host_pod;
        let data = variables_of(&place, &host).await?.data.context("no data")?;
        ensure!(data.keys().all(|name| name.starts_with("KUBERNETES_")), "{data:?}");
        ensure!(data.contains_key("KUBERNETES_SERVICE_HOST"), "{data:?}");
        Ok(())
    })
}

#[test]
fn the_variables_of_a_namespace_go_with_it() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::fresh(world.tenant(), &format!("{namespace}-gone")).await?;
        let host = place.run(pod("web", json!({}))).await?.host_pod;
        let name = variables_of(&place, &host).await?.name_any();
        place.all_virtual::<Namespace>().delete(&place.namespace, &DeleteParams::default()).await?;
        eventually("nothing of the namespace is left on the host", SOON, async || {
            let left = place.host_objects::<ConfigMap>().await?;
            ensure!(place.on_host::<ConfigMap>().get_opt(&name).await?.is_none(), "{name} is there");
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await
    })
}

//! A host that is not prepared, and a virtual cluster that is not the expected one: nothing is written, and
//! the log says what to do.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, Role, RoleBinding};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::planes::{self, Component, Plane};
use weft_tests::shared::in_own_world;
use weft_tests::tenant::Tenant;
use weft_tests::world::{Options, World};

use super::both::{Both, Namespaced, create};

/// Names the identity of the virtual cluster on the host's Service.
const IDENTITY: &str = "weft.dev/virtual-cluster-uid";
/// How long it may take until another virtual cluster behind the same address is noticed: twice the time
/// after which the syncer looks again.
const NOTICED: Duration = Duration::from_mins(1);

async fn logs(tenant: &Tenant, words: &str) -> Result<()> {
    eventually(&format!("the log says {words:?}"), SOON, async || {
        let log = fs::read_to_string(tenant.syncer_log())?;
        ensure!(log.contains(words), "it ends with {:?}", log.lines().last());
        Ok(())
    })
    .await
}

/// What there is of this kind on the host, by name, with its uid.
async fn on_host<K: Namespaced>(both: &Both) -> Result<BTreeMap<String, Option<String>>> {
    let all = both.host_api::<K>().list(&ListParams::default()).await?;
    Ok(all.items.iter().map(|object| (object.name_any(), object.uid())).collect())
}

/// A cluster with a pod and a Service that are in step.
async fn with_objects(world: &World) -> Result<Both> {
    let both = Both::of(world, "default").await?;
    both.create_pod("web", json!({})).await?;
    both.create::<Service>(json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})).await?;
    both.runs("web").await?;
    both.arrives::<Service>("web").await?;
    Ok(both)
}

#[test]
fn another_virtual_cluster_than_the_hosts_is_not_trusted() -> Result<()> {
    in_own_world(async {
        let options = Options::build().await?;
        let world = World::without_syncer(options.clone()).await?;
        let tenant = world.tenant();
        tenant.start_syncer().await?;
        let both = with_objects(&world).await?;
        tenant.stop_syncer().await?;
        let before = (on_host::<Pod>(&both).await?, on_host::<Service>(&both).await?);

        let other = Plane::start(planes::Options {
            role: planes::Role::Virtual,
            programs: options.programs,
            store: planes::Store::default(),
            dir: world.dir().join("other"),
            extra: Vec::new(),
        })
        .await?;
        tenant.configure(&json!({"virtual": {"kubeconfig": other.kubeconfig("admin")}}))?;
        tenant.launch_syncer()?;
        logs(tenant, IDENTITY).await?;
        ensure!(tenant.probe("/readyz").await.is_err(), "a syncer of another cluster says it is ready");
        tenant.probe("/livez").await?;
        let after = (on_host::<Pod>(&both).await?, on_host::<Service>(&both).await?);
        ensure!(after == before, "the host had {before:?} and has {after:?}");
        let services: Api<Service> = Api::namespaced(other.client().await?, "kube-system");
        ensure!(services.get_opt("kube-dns").await?.is_none(), "it was written to");

        tenant.kill_syncer()?;
        tenant.configure(&json!({}))?;
        tenant.start_syncer().await?;
        both.runs("web").await?;
        ensure!(on_host::<Pod>(&both).await? == before.0, "the pods are not those from before");
        Ok(())
    })
}

#[test]
fn a_virtual_cluster_that_comes_back_empty_loses_nothing_on_the_host() -> Result<()> {
    in_own_world(async {
        let world = World::start().await?;
        let (tenant, both) = (world.tenant(), with_objects(&world).await?);
        let before = (on_host::<Pod>(&both).await?, on_host::<Service>(&both).await?);

        let plane = tenant.virtual_plane();
        plane.kill_component(Component::ControllerManager)?;
        plane.kill_component(Component::ApiServer)?;
        plane.kill_component(Component::Store)?;
        fs::remove_dir_all(plane.data())?;
        plane.start_component(Component::Store).await?;
        plane.start_component(Component::ApiServer).await?;
        // Without its permissions the syncer would see an error in place of an empty cluster.
        let bindings: Api<ClusterRoleBinding> = Api::all(plane.client().await?);
        eventually("the syncer may read the empty cluster", SOON, async || {
            create(&bindings, json!({
                "metadata": {"name": "weft-syncer"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "weft-syncer"}],
            }))
            .await
        })
        .await?;
        eventually("the syncer says that it is not ready", NOTICED, async || {
            ensure!(tenant.probe("/readyz").await.is_err(), "it says it is");
            Ok(())
        })
        .await?;
        logs(tenant, IDENTITY).await?;
        let after = (on_host::<Pod>(&both).await?, on_host::<Service>(&both).await?);
        ensure!(after == before, "the host had {before:?} and has {after:?}");
        Ok(())
    })
}

/// The object as it can be made again.
async fn remembered<K: Namespaced>(both: &Both, name: &str) -> Result<Value> {
    let mut object = serde_json::to_value(both.host_api::<K>().get(name).await?)?;
    if let Some(fields) = object.as_object_mut() {
        fields.insert("metadata".to_owned(), json!({"name": name}));
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|field, _| field == "ports");
    }
    Ok(object)
}

#[test]
fn a_missing_host_namespace_is_reported_and_waited_for() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?).await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        let (user, account) = (tenant.host_user(), format!("weft-workload-{}", tenant.cluster()));
        let role = remembered::<Role>(&both, &user).await?;
        let binding = remembered::<RoleBinding>(&both, &user).await?;
        let account = remembered::<ServiceAccount>(&both, &account).await?;
        let way_in = remembered::<Service>(&both, tenant.cluster()).await?;
        let namespaces: Api<Namespace> = Api::all(both.host_client());
        namespaces.delete(tenant.namespace(), &DeleteParams::default()).await?;
        eventually("the host namespace is gone", SOON, async || {
            ensure!(namespaces.get_opt(tenant.namespace()).await?.is_none());
            Ok(())
        })
        .await?;

        tenant.launch_syncer()?;
        logs(tenant, &format!("in the namespace \"{}\"", tenant.namespace())).await?;
        ensure!(tenant.probe("/readyz").await.is_err(), "a syncer without a namespace says it is ready");
        tenant.probe("/livez").await?;

        create(&namespaces, json!({"metadata": {"name": tenant.namespace()}})).await?;
        create(&both.host_api::<Role>(), role).await?;
        create(&both.host_api::<RoleBinding>(), binding).await?;
        create(&both.host_api::<ServiceAccount>(), account).await?;
        logs(tenant, &format!("the host has no Service {}/{}", tenant.namespace(), tenant.cluster())).await?;
        create(&both.host_api::<Service>(), way_in).await?;
        tenant.syncer_ready().await?;
        both.create_pod("web", json!({})).await?;
        both.runs("web").await?;
        Ok(())
    })
}

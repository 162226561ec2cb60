//! An object that cannot be synced has an event, and is synced when the cause is gone.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, PersistentVolumeClaim, Pod, ResourceQuota, Service,
};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::shared::in_shared_world;

use super::place::{Kind, Place, patch, pod};

/// The syncer looks again at what failed within its longest pause.
const HEALED: Duration = Duration::from_secs(45);

/// Creates an object on the host that is not the syncer's.
async fn foreign<K: Kind>(place: &Place, object: Value) -> Result<K> {
    let api: Api<K> = place.on_host();
    Ok(api.create(&PostParams::default(), &serde_json::from_value(object)?).await?)
}

/// Fails if an event has names of the host.
fn ensure_tells_nothing_of_the_host(place: &Place, event: &Event) -> Result<()> {
    let text = serde_json::to_string(event)?;
    for word in [place.host_namespace.as_str(), "-x-"] {
        ensure!(!text.contains(word), "the event has the host's name {word:?}: {text}");
    }
    Ok(())
}

#[test]
fn a_pod_that_requests_what_tenants_cannot_have_is_refused_by_an_event() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let (required, somewhere) =
            ("requiredDuringSchedulingIgnoredDuringExecution", json!({"matchLabels": {"a": "b"}}));
        let term = json!({
            "topologyKey": "kubernetes.io/hostname", "labelSelector": somewhere,
            "namespaces": ["shop"], "namespaceSelector": somewhere,
        });
        let claims = json!([{"name": "gpu", "resourceClaimName": "gpu"}]);
        for (name, spec, field) in [
            ("claims", json!({"resourceClaims": claims}), "spec.resourceClaims"),
            (
                "neighbours",
                json!({"affinity": {"podAffinity": {required: [term]}}}),
                &format!("spec.affinity.podAffinity.{required}[0]"),
            ),
        ] {
            place.create::<Pod>(pod(name, spec)).await?;
            let event = place.event(name, "SyncRefused").await?;
            let message = event.message.clone().unwrap_or_default();
            ensure!(message.contains(field), "the message must name {field}: {message}");
            ensure!(event.type_.as_deref() == Some("Warning"), "{event:?}");
            ensure_tells_nothing_of_the_host(&place, &event)?;
            let there = place.on_host::<Pod>().get_opt(&place.host_name(name)).await?;
            ensure!(there.is_none(), "the refused pod {name} is on the host");
        }
        Ok(())
    })
}

#[test]
fn a_pod_that_reaches_for_the_host_is_refused_by_its_field_unless_the_operator_allows_it() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let container = |fields: Value| {
            let mut container = json!({"name": "main", "image": "nginx:1"});
            if let (Some(container), Value::Object(fields)) = (container.as_object_mut(), fields) {
                container.extend(fields);
            }
            json!({"containers": [container]})
        };
        for (name, spec, field) in [
            (
                "privileged",
                container(json!({"securityContext": {"privileged": true}})),
                "spec.containers[0].securityContext.privileged",
            ),
            (
                "host-path",
                json!({"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}),
                "spec.volumes[0].hostPath",
            ),
            ("host-pid", json!({"hostPID": true}), "spec.hostPID"),
            (
                "host-port",
                container(json!({"ports": [{"containerPort": 22, "hostPort": 22}]})),
                "spec.containers[0].ports[0].hostPort",
            ),
            (
                "pulled-for-others",
                container(json!({"imagePullPolicy": "Never"})),
                "spec.containers[0].imagePullPolicy",
            ),
            ("dedicated", json!({"nodeSelector": {"dedicated": "team-b"}}), "spec.nodeSelector.dedicated"),
            (
                "driver",
                json!({"volumes": [{"name": "v", "csi": {"driver": "example.com"}}]}),
                "spec.volumes[0].csi",
            ),
        ] {
            place.create::<Pod>(pod(name, spec)).await?;
            let event = place.event(name, "SyncRefused").await?;
            let message = event.message.clone().unwrap_or_default();
            ensure!(
                message.contains(field) && message.contains("`pods."),
                "{field} and its setting: {message}"
            );
            ensure_tells_nothing_of_the_host(&place, &event)?;
            let there = place.on_host::<Pod>().get_opt(&place.host_name(name)).await?;
            ensure!(there.is_none(), "the refused pod {name} is on the host");
        }
        Ok(())
    })
}

#[test]
fn a_pod_that_names_its_node_and_tolerates_everything_passes_the_hosts_scheduler() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        place.create::<Pod>(pod("first", json!({}))).await?;
        let first = place.running("first").await?;
        let node = first.host_pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
        let spec = json!({"nodeName": node, "tolerations": [{"operator": "Exists"}], "terminationGracePeriodSeconds": 1_000_000});
        place.create::<Pod>(pod("second", spec)).await?;
        let host = place.running("second").await?.host_pod.spec.unwrap_or_default();
        ensure!(host.node_name.as_deref() == Some(&*node), "it runs on {:?}", host.node_name);
        let of_node = host.affinity.and_then(|affinity| affinity.node_affinity);
        ensure!(of_node.is_some(), "the scheduler was not asked for the node");
        let tolerations = host.tolerations.unwrap_or_default();
        ensure!(
            tolerations.iter().all(|toleration| toleration.key.is_some()),
            "there is one for everything: {tolerations:?}"
        );
        ensure!(
            host.termination_grace_period_seconds == Some(86_400),
            "{:?}",
            host.termination_grace_period_seconds
        );
        Ok(())
    })
}

#[test]
fn a_pod_whose_host_name_is_taken_waits_until_it_is_free() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let host_name = place.host_name("web");
        let theirs: Pod =
            foreign(&place, pod(&host_name, json!({"schedulingGates": [{"name": "theirs/gate"}]}))).await?;
        place.create::<Pod>(pod("web", json!({}))).await?;
        let event = place.event("web", "HostNameTaken").await?;
        ensure_tells_nothing_of_the_host(&place, &event)?;
        let untouched = place.on_host::<Pod>().get(&host_name).await?;
        ensure!(untouched.resource_version() == theirs.resource_version(), "it was changed: {untouched:#?}");

        place.on_host::<Pod>().delete(&host_name, &DeleteParams::default().grace_period(0)).await?;
        eventually("the pod has the name and runs", HEALED, async || place.pair("web").await).await?;
        place.running("web").await?;
        Ok(())
    })
}

#[test]
fn a_config_map_whose_host_name_is_taken_waits_until_it_is_free() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let host_name = place.host_name("settings");
        let theirs: ConfigMap =
            foreign(&place, json!({"metadata": {"name": host_name}, "data": {"whose": "theirs"}})).await?;
        place
            .create::<ConfigMap>(json!({"metadata": {"name": "settings"}, "data": {"whose": "ours"}}))
            .await?;
        let sources = json!([{"configMapRef": {"name": "settings"}}]);
        let containers = json!([{"name": "main", "image": "nginx:1", "envFrom": sources}]);
        place.create::<Pod>(pod("web", json!({"containers": containers}))).await?;
        let event = place.event("settings", "HostNameTaken").await?;
        ensure_tells_nothing_of_the_host(&place, &event)?;
        let untouched = place.on_host::<ConfigMap>().get(&host_name).await?;
        ensure!(untouched.resource_version() == theirs.resource_version(), "it was changed: {untouched:#?}");

        place.on_host::<ConfigMap>().delete(&host_name, &DeleteParams::default()).await?;
        eventually("the host has the tenant's ConfigMap", HEALED, async || {
            let copy = place.on_host::<ConfigMap>().get(&host_name).await?;
            ensure!(copy.data.iter().flatten().any(|(_, value)| value == "ours"), "{copy:?}");
            Ok(())
        })
        .await
    })
}

#[test]
fn a_pod_over_the_hosts_quota_waits_until_there_is_room() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        // Only pods with a deadline count, so that other tests have no part in it.
        let spec = json!({"hard": {"pods": "0"}, "scopes": ["Terminating"]});
        foreign::<ResourceQuota>(&place, json!({"metadata": {"name": "none"}, "spec": spec})).await?;
        let quotas = place.on_host::<ResourceQuota>();
        eventually("the quota is counted", SOON, async || {
            let quota = quotas.get("none").await?;
            ensure!(quota.status.is_some_and(|status| status.hard.is_some()), "it is not");
            Ok(())
        })
        .await?;
        place.create::<Pod>(pod("web", json!({"activeDeadlineSeconds": 3600}))).await?;
        let event = place.event("web", "HostRefused").await?;
        let message = event.message.clone().unwrap_or_default();
        ensure!(message.contains("exceeded quota"), "the message must say why: {message}");
        ensure_tells_nothing_of_the_host(&place, &event)?;

        patch(&quotas, "none", json!({"spec": {"hard": {"pods": "10"}}})).await?;
        eventually("the pod is on the host", HEALED, async || place.pair("web").await).await?;
        place.running("web").await?;
        quotas.delete("none", &DeleteParams::default()).await?;
        Ok(())
    })
}

#[test]
fn a_syncer_without_permissions_reports_it_and_continues_when_it_has_them() -> Result<()> {
    in_shared_world(async |world, namespace| {
        // A tenant of its own: the shared one without its permissions would fail every other test.
        let name = format!("{namespace}-permissions");
        let tenant = world.another_tenant("powerless", &name, &json!({})).await?;
        let place = Place::fresh(&tenant, "shop").await?;
        place.run(pod("before", json!({}))).await?;
        let bindings: Api<RoleBinding> = place.on_host();
        let binding = bindings.get(&tenant.host_user()).await?;
        leave_the_service(&place, &binding).await?;
        bindings.delete(&binding.name_any(), &DeleteParams::default()).await?;
        place.create::<Pod>(pod("web", json!({}))).await?;
        let event = place.event("web", "HostRefused").await?;
        ensure_tells_nothing_of_the_host(&place, &event)?;

        let again =
            RoleBinding { metadata: serde_json::from_value(json!({"name": binding.name_any()}))?, ..binding };
        bindings.create(&PostParams::default(), &again).await?;
        eventually("the pod is on the host", HEALED, async || place.pair("web").await).await?;
        place.running("web").await?;
        place.running("before").await?;
        Ok(())
    })
}

/// Lets the subjects of `binding` go on reading Services: without that, a syncer does not know whether this is its host, and
/// writes nothing to either server.
async fn leave_the_service(place: &Place, binding: &RoleBinding) -> Result<()> {
    let rules = json!([{"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "watch"]}]);
    let role = serde_json::from_value(json!({"metadata": {"name": "reads-services"}, "rules": rules}))?;
    place.on_host::<Role>().create(&PostParams::default(), &role).await?;
    let mut other = binding.clone();
    other.metadata = serde_json::from_value(json!({"name": "reads-services"}))?;
    "reads-services".clone_into(&mut other.role_ref.name);
    place.on_host::<RoleBinding>().create(&PostParams::default(), &other).await?;
    Ok(())
}

#[test]
fn what_the_operator_does_not_allow_is_refused_by_an_event_that_names_the_setting() -> Result<()> {
    in_shared_world(async |world, _| {
        let tenant = world.another_tenant("closed", "closed", &json!({})).await?;
        let place = Place::fresh(&tenant, "shop").await?;
        let service = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
        let (ports, addresses) = (json!([{"port": 80}]), json!([{"ip": "192.0.2.1"}]));
        let aliased = json!({"type": "ExternalName", "externalName": "web.team-b.svc.cluster.local"});
        let claim = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}});
        place.create::<Service>(service("door", json!({"type": "NodePort", "ports": ports}))).await?;
        place.create::<Service>(service("gate", json!({"type": "LoadBalancer", "ports": ports}))).await?;
        place
            .create::<Service>(service("outer", json!({"externalIPs": ["192.0.2.1"], "ports": ports})))
            .await?;
        place.create::<Service>(service("alias", aliased)).await?;
        place.create::<Service>(service("plain", json!({"ports": ports}))).await?;
        let subsets = json!([{"addresses": addresses, "ports": ports}]);
        place.create::<Endpoints>(json!({"metadata": {"name": "plain"}, "subsets": subsets})).await?;
        place.create::<PersistentVolumeClaim>(json!({"metadata": {"name": "static"}, "spec": claim})).await?;
        for (name, field, setting) in [
            ("door", "spec.type", "services.nodePorts"),
            ("gate", "spec.type", "services.loadBalancers"),
            ("outer", "spec.externalIPs[0]", "services.externalIPs"),
            ("alias", "spec.externalName", "services.externalNames"),
            ("plain", "subsets[0].addresses[0].ip", "services.endpoints"),
            ("static", "spec.storageClassName", "claims.existingVolumes"),
        ] {
            let event = place.event(name, "SyncRefused").await?;
            let message = event.message.clone().unwrap_or_default();
            ensure!(message.contains(field) && message.contains(setting), "{name}: {message}");
            ensure_tells_nothing_of_the_host(&place, &event)?;
        }
        let services: Vec<String> =
            place.host_objects::<Service>().await?.iter().map(kube::ResourceExt::name_any).collect();
        ensure!(services == [place.host_name("plain")], "on the host are {services:?}");
        ensure!(place.host_objects::<PersistentVolumeClaim>().await?.is_empty(), "the claim is on the host");
        ensure!(
            place.on_host::<Endpoints>().get_opt(&place.host_name("plain")).await?.is_none(),
            "the endpoints are"
        );
        Ok(())
    })
}

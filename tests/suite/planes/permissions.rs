//! `weft rbac` prints what a syncer needs on the host: no less, and nothing that is not used.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authorization::v1::SelfSubjectRulesReview;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::process::Command;
use weft_tests::audit;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::scratch::Scratch;
use weft_tests::shared::in_own_world;
use weft_tests::tenant::Tenant;
use weft_tests::world::{Options, World};

use super::both::{Both, Namespaced, at, create, text};
use super::place::{Place, with};

/// A name that is taken is tried again after a pause that grows.
const RELEASED: Duration = Duration::from_mins(1);

/// One verb on one resource: `pods/resize patch`, `discovery.k8s.io/endpointslices list`.
type Permission = String;

fn permission(group: &str, resource: &str, verb: &str) -> Permission {
    let slash = if group.is_empty() { "" } else { "/" };
    format!("{group}{slash}{resource} {verb}")
}

/// What rules of the API say, taken apart.
fn permissions(rules: &Value) -> Result<BTreeSet<Permission>> {
    let mut all = BTreeSet::new();
    for rule in rules.as_array().context("a list of rules")? {
        ensure!(rule.get("resourceNames").is_none(), "a rule about objects by name: {rule}");
        let list = |key: &str| -> Result<Vec<&str>> {
            let list = rule.get(key).and_then(Value::as_array).with_context(|| format!("{key} of {rule}"))?;
            Ok(list.iter().filter_map(Value::as_str).collect())
        };
        for group in list("apiGroups")? {
            for resource in list("resources")? {
                all.extend(list("verbs")?.into_iter().map(|verb| permission(group, resource, verb)));
            }
        }
    }
    Ok(all)
}

/// The rules of the Role that `weft rbac` prints.
async fn printed(tenant: &Tenant) -> Result<BTreeSet<Permission>> {
    let config = tenant.config();
    let mut command = Command::new(tenant.weft());
    command.args(["rbac", "--output", "json", "--config"]).arg(config).kill_on_drop(true);
    let output = command.output().await?;
    ensure!(output.status.success(), "weft rbac failed: {output:?}");
    let list: Value = serde_json::from_slice(&output.stdout)?;
    let items = list.get("items").and_then(Value::as_array).context("a List")?;
    let kinds: Vec<&str> = items.iter().map(|item| text(item, "/kind")).collect();
    ensure!(kinds == ["ServiceAccount", "ServiceAccount", "Role", "RoleBinding"], "it prints {kinds:?}");
    let role = items.iter().find(|item| text(item, "/kind") == "Role").context("a Role")?;
    permissions(role.get("rules").context("a Role has rules")?)
}

/// What the host's authorizer says that a user may do in the tenant's namespace.
async fn allowed(tenant: &Tenant, user: &str) -> Result<BTreeSet<Permission>> {
    let reviews: Api<SelfSubjectRulesReview> = Api::all(tenant.host_plane().client_as(user).await?);
    let review = serde_json::from_value(json!({"spec": {"namespace": tenant.namespace()}}))?;
    let status = reviews.create(&PostParams::default(), &review).await?.status.context("a status")?;
    ensure!(!status.incomplete, "{:?}", status.evaluation_error);
    permissions(&serde_json::to_value(status.resource_rules)?)
}

/// What the syncer has done on the host so far.
fn used(log: &Path, user: &str) -> Result<BTreeSet<Permission>> {
    let mut done = BTreeSet::new();
    for request in audit::read(log)?.into_iter().filter(|request| request.user() == user) {
        ensure!(request.code() != 403, "the syncer may not {} {}", request.verb, request.uri);
        let audit::Object { api_group, resource, subresource, .. } = request.object;
        let slash = if subresource.is_empty() { "" } else { "/" };
        if !resource.is_empty() {
            done.insert(permission(&api_group, &format!("{resource}{slash}{subresource}"), &request.verb));
        }
    }
    Ok(done)
}

#[test]
fn the_printed_role_is_what_the_syncer_may_do_and_all_of_it_is_used() -> Result<()> {
    in_own_world(async {
        let scratch = Scratch::new()?;
        let log = scratch.path().join("audit.log");
        let options = Options { host_flags: audit::flags(&log)?, ..Options::build().await? };
        let world = World::without_syncer(options).await?;
        let tenant = world.tenant();
        tenant.start_syncer().await?;

        let user = tenant.host_user();
        tenant.host_plane().identity("nobody", &[])?;
        let (allowed, of_everybody) = (allowed(tenant, &user).await?, allowed(tenant, "nobody").await?);
        let granted: BTreeSet<Permission> = allowed.difference(&of_everybody).cloned().collect();
        let printed = printed(tenant).await?;
        ensure!(granted == printed, "the Role gives {granted:?}, and `weft rbac` prints {printed:?}");

        live(tenant).await?;
        eventually("every permission was used, and no other", SOON, async || {
            let done = used(&log, &user)?;
            let unused: Vec<_> = granted.difference(&done).collect();
            let more: Vec<_> = done.difference(&allowed).collect();
            ensure!(unused.is_empty() && more.is_empty(), "unused: {unused:?}, not granted: {more:?}");
            Ok(())
        })
        .await
    })
}

/// The life of one object of every kind: its name is taken at first, then it is created, edited on the host by others,
/// corrected, and deleted.
async fn live(tenant: &Tenant) -> Result<()> {
    Place::fresh(tenant, "shop").await?;
    let both = Both::of_tenant(tenant, "shop").await?;
    // ConfigMaps and Secrets are synced for whom they are used by, and slices with their Service.
    let sources = json!([
        {"configMapRef": {"name": "used", "optional": true}}, {"secretRef": {"name": "used", "optional": true}},
    ]);
    let container = json!({"name": "main", "image": "nginx", "envFrom": sources});
    both.create_pod("user", json!({"containers": [container]})).await?;
    both.create::<Service>(service("target")).await?;
    both.arrives::<Service>("target").await?;
    both.runs("user").await?;

    life_of::<ConfigMap>(&both, "used", json!({"metadata": {}, "data": {"a": "b"}})).await?;
    life_of::<Secret>(&both, "used", json!({"metadata": {}, "stringData": {"a": "b"}})).await?;
    life_of::<Service>(&both, "web", service("web")).await?;
    let addresses = json!([{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]);
    life_of::<Endpoints>(&both, "target", json!({"metadata": {}, "subsets": addresses})).await?;
    let slice = json!({
        "metadata": {"labels": {"kubernetes.io/service-name": "target"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}], "ports": [{"port": 80}],
    });
    life_of::<EndpointSlice>(&both, "slice", slice).await?;
    let storage = json!({"requests": {"storage": "1Gi"}});
    let claim = json!({"metadata": {}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "standard", "resources": storage}});
    life_of::<PersistentVolumeClaim>(&both, "data", claim).await?;
    let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "main", "image": "nginx"}]}});
    life_of::<Pod>(&both, "web", pod).await?;
    subresources(&both).await?;
    // Its loss is an event for the operator.
    both.host_api::<ConfigMap>().delete(tenant.cluster(), &DeleteParams::default()).await?;
    Ok(())
}

fn service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
}

async fn life_of<K: Namespaced>(both: &Both, name: &str, object: Value) -> Result<()> {
    let host_name = format!("{name}-x-shop-x-my-vcluster");
    let foreign = both.host_api::<K>();
    create(&foreign, with(object.clone(), "name", json!(host_name))).await?;
    both.create::<K>(with(object, "name", json!(name))).await?;
    name_is_taken(both, &K::kind(&()), name).await?;
    foreign.delete(&host_name, &DeleteParams::default().grace_period(0)).await?;
    eventually(&format!("the {} {name} is on the host", K::kind(&())), RELEASED, async || {
        both.host::<K>(name).await
    })
    .await?;

    both.edit_host::<K>(name, json!({"metadata": {"labels": {"weft.dev/namespace": "theirs"}}})).await?;
    eventually(&format!("the label of the {} {name} is ours again", K::kind(&())), SOON, async || {
        let host = both.host::<K>(name).await?;
        ensure!(text(&host, "/metadata/labels/weft.dev~1namespace") == "shop", "{host}");
        Ok(())
    })
    .await?;
    both.delete::<K>(name).await?;
    both.leaves::<K>(name).await
}

async fn name_is_taken(both: &Both, kind: &str, name: &str) -> Result<()> {
    eventually(&format!("an event says that the name of the {kind} {name} is taken"), SOON, async || {
        let events = both.virtual_api::<Event>().list(&ListParams::default()).await?.items;
        let is_it = |event: &Event| {
            event.reason.as_deref() == Some("HostNameTaken")
                && event.involved_object.kind.as_deref() == Some(kind)
                && event.involved_object.name.as_deref() == Some(name)
        };
        ensure!(events.iter().any(is_it), "the events are {events:?}");
        Ok(())
    })
    .await
}

/// What can only be changed through a subresource.
async fn subresources(both: &Both) -> Result<()> {
    let of = |cpu: &str| json!({"containers": [{"name": "main", "image": "nginx", "resources": {"requests": {"cpu": cpu}}}]});
    let mut gated = of("100m");
    if let Some(spec) = gated.as_object_mut() {
        spec.insert("readinessGates".to_owned(), json!([{"conditionType": "example.com/gate"}]));
    }
    both.create_pod("grows", gated).await?;
    both.runs("grows").await?;
    let pods = both.virtual_api::<Pod>();
    let params = PatchParams::default();
    pods.patch_resize("grows", &params, &Patch::Strategic(json!({"spec": of("200m")}))).await?;
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}});
    pods.patch_ephemeral_containers("grows", &params, &Patch::Strategic(debug)).await?;
    let open = json!({"status": {"conditions": [{"type": "example.com/gate", "status": "True"}]}});
    pods.patch_status("grows", &params, &Patch::Strategic(open)).await?;
    eventually("all changes are on the host", SOON, async || {
        let host = both.host::<Pod>("grows").await?;
        let seen = (
            text(&host, "/spec/containers/0/resources/requests/cpu"),
            text(&host, "/spec/ephemeralContainers/0/name"),
        );
        ensure!(seen == ("200m", "debug"), "{seen:?}");
        let conditions = at(&host, "/status/conditions").to_string();
        ensure!(conditions.contains("example.com/gate"), "{conditions}");
        Ok(())
    })
    .await
}

//! A plugin for a kind that nobody has thought of: which permissions it lacks, and how it gets them while the syncer runs.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::json;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::guests::rust;
use weft_tests::plugin_folder;
use weft_tests::shared::in_shared_world;
use weft_tests::tenant::Tenant;
use weft_tests::world::World;

use super::both::{Both, text};
use super::place::Place;

const GROUP: &str = "granted.example.com";

#[test]
fn a_plugin_for_a_new_kind_names_the_rules_it_lacks_and_has_them_once_its_folder_is_followed() -> Result<()> {
    in_shared_world(async |world, _| {
        let folder = world.dir().join("granted.plugins");
        fs::create_dir_all(&folder)?;
        let config = json!({"plugins": {"folder": folder, "grants": "requested"}});
        let tenant = world.another_tenant("granted", "granted", &config).await?;
        let place = Place::fresh(&tenant, "shop").await?;
        let definition = serde_json::from_value(definition())?;
        place.all_host::<CustomResourceDefinition>().create(&PostParams::default(), &definition).await?;
        ensure_least(&tenant, &place, &[]).await?;

        put(&folder, "team-label", &gizmo_plugin(world).await?)?;
        let lacking = [rule(&tenant, "Role").await?, rule(&tenant, "ClusterRole").await?];
        let granted = Mutex::new(Vec::new());
        let report = |outcome: Result<Vec<PolicyRule>>| {
            granted.lock().unwrap_or_else(PoisonError::into_inner).extend(outcome.into_iter().flatten());
        };
        tokio::select! {
            () = plugin_folder::grant(&tenant, &folder, report) => bail!("the folder is no longer followed"),
            outcome = arrive(&tenant, &folder) => outcome?,
        }
        let granted = granted.into_inner().unwrap_or_else(PoisonError::into_inner);
        ensure!(lacking.iter().all(|rule| granted.contains(rule)), "of {lacking:?} were granted {granted:?}");
        ensure_least(&tenant, &place, &[GROUP, "policy"]).await
    })
}

/// Objects of the new kind, and of one whose plugin comes later, reach the host.
async fn arrive(tenant: &Tenant, folder: &Path) -> Result<()> {
    let both = Both::of_tenant(tenant, "shop").await?;
    let gizmos = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, "v1", "Gizmo"));
    let on_virtual: Api<DynamicObject> = Api::namespaced_with(both.virtual_client(), "shop", &gizmos);
    let on_host: Api<DynamicObject> = Api::namespaced_with(both.host_client(), tenant.namespace(), &gizmos);
    let gizmo = json!({"apiVersion": gizmos.api_version, "kind": gizmos.kind, "metadata": {"name": "one"}});
    let gizmo: DynamicObject = serde_json::from_value(gizmo)?;
    eventually("the definition is installed in the virtual cluster", SOON, async || {
        Ok(on_virtual.create(&PostParams::default(), &gizmo).await?)
    })
    .await?;
    eventually("the gizmo is on the host with what the plugin adds", SOON, async || {
        let host = serde_json::to_value(on_host.get("one-x-shop-x-granted").await?)?;
        ensure!(text(&host, "/metadata/labels/team") == "none", "{host}");
        Ok(())
    })
    .await?;

    put(folder, "pod-disruption-budget", &rust::plugin("pod-disruption-budget").await?)?;
    let selector = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    both.create::<PodDisruptionBudget>(json!({"metadata": {"name": "web"}, "spec": selector})).await?;
    both.arrives::<PodDisruptionBudget>("web").await?;
    Ok(())
}

/// The syncer may do nothing to kinds of other API groups than the built-in kinds have and `more`, and nothing to all.
async fn ensure_least(tenant: &Tenant, place: &Place, more: &[&str]) -> Result<()> {
    let role = place.on_host::<Role>().get(&tenant.host_user()).await?.rules.unwrap_or_default();
    let whole = place.all_host::<ClusterRole>().get_opt(&tenant.cluster_role()).await?;
    let whole = whole.and_then(|role| role.rules).unwrap_or_default();
    ensure!(whole.iter().all(|rule| rule.verbs == ["get"] && rule.resource_names.is_some()), "{whole:?}");
    for PolicyRule { api_groups, resources, verbs, .. } in &role {
        let is_known = |group: &String| {
            ["", "discovery.k8s.io"].contains(&group.as_str()) || more.contains(&group.as_str())
        };
        ensure!(api_groups.iter().flatten().all(is_known), "{role:?}");
        ensure!(!resources.iter().flatten().chain(verbs).any(|word| word.contains('*')), "{role:?}");
    }
    let groups: Vec<_> = role.iter().flat_map(|rule| rule.api_groups.iter().flatten()).collect();
    ensure!(more.iter().all(|group| groups.iter().any(|found| found == group)), "{role:?}");
    Ok(())
}

/// The rule that the syncer's log says a role lacks, as somebody would paste it.
async fn rule(tenant: &Tenant, role: &str) -> Result<PolicyRule> {
    eventually(&format!("the log has the rule that the {role} lacks"), SOON, async || {
        let log = fs::read_to_string(tenant.syncer_log())?;
        let (_, rest) = log.split_once(&format!("its {role} needs the rule `")).context("no such line")?;
        let (text, _) = rest.split_once('`').context("the rule has an end")?;
        Ok(serde_saphyr::from_str(text)?)
    })
    .await
}

/// The example in Rust, for a kind of its own.
async fn gizmo_plugin(world: &World) -> Result<Vec<u8>> {
    let edited = world.dir().join("gizmo-label");
    let of_gizmos = format!(r#"Mapping::add("{GROUP}/v1", "Gizmo", "gizmos").install_definition()"#);
    rust::edited("rust-team-label", &edited, r#"Mapping::mutate("v1", "Pod", "pods", 200)"#, &of_gizmos)?;
    rust::component(&edited).await
}

/// Replaces a file, as compilers do.
fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let part = folder.join(format!(".{name}.part"));
    fs::write(&part, bytes)?;
    Ok(fs::rename(part, folder.join(format!("{name}.wasm")))?)
}

fn definition() -> serde_json::Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "metadata": {"name": format!("gizmos.{GROUP}")},
        "spec": {
            "group": GROUP, "scope": "Namespaced", "names": {"kind": "Gizmo", "plural": "gizmos"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    })
}

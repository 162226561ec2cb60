//! Gives a syncer on the host what `weft rbac` prints for it, as an operator does.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::process::Command;

/// Owns the fields of what is applied here.
const MANAGER: &str = "operator";
const GROUP: &str = "rbac.authorization.k8s.io";

/// What a syncer may do on the host.
#[derive(Debug, Default)]
pub(crate) struct Permissions {
    /// In its namespace.
    pub(crate) namespaced: Vec<PolicyRule>,
    /// On the whole host.
    pub(crate) cluster: Vec<PolicyRule>,
}

impl Permissions {
    /// What `weft rbac` prints for the configuration in `config`, and for the plugins that lie in its folder now.
    pub(crate) async fn printed(weft: &Path, config: &Path) -> Result<Self> {
        let mut command = Command::new(weft);
        command.args(["rbac", "--output", "json", "--config"]).arg(config).kill_on_drop(true);
        let output = command.output().await.context("failed to run weft rbac")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "weft rbac ended with {}: {errors}", output.status);
        let list: Value = serde_json::from_slice(&output.stdout).context("weft rbac prints no JSON")?;
        let items = list.get("items").and_then(Value::as_array).context("weft rbac prints no List")?;
        let rules = |kind: &str| {
            let role = items.iter().find(|item| item.get("kind").is_some_and(|found| found == kind));
            role.and_then(|role| role.get("rules")).cloned().map_or(Ok(Vec::new()), serde_json::from_value)
        };
        Ok(Self { namespaced: rules("Role")?, cluster: rules("ClusterRole")? })
    }
}

/// Adds the wanted rules to the role `name`, which need not be there yet, and gives it to `user`; returns those that it lacked.
///
/// What it has stays: the syncer may still run the version of a plugin that was there before.
pub(crate) async fn grant<R, B>(
    (roles, bindings): (&Api<R>, &Api<B>),
    name: &str,
    user: &str,
    wanted: Vec<PolicyRule>,
) -> Result<Vec<PolicyRule>>
where
    R: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    B: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let mut all = rules_of(roles.get_opt(name).await?)?;
    let added: Vec<PolicyRule> = wanted.into_iter().filter(|rule| !all.contains(rule)).collect();
    all.extend(added.clone());
    apply(roles, json!({"metadata": {"name": name}, "rules": all})).await?;
    let to = json!({"apiGroup": GROUP, "kind": R::kind(&()), "name": name});
    let subjects = json!([{"apiGroup": GROUP, "kind": "User", "name": user}]);
    apply(bindings, json!({"metadata": {"name": name}, "roleRef": to, "subjects": subjects})).await?;
    Ok(added)
}

fn rules_of<R: Serialize>(role: Option<R>) -> Result<Vec<PolicyRule>> {
    let role = role.map(serde_json::to_value).transpose()?;
    let rules = role.as_ref().and_then(|role| role.get("rules"));
    Ok(rules.cloned().map_or(Ok(Vec::new()), serde_json::from_value)?)
}

async fn apply<K>(api: &Api<K>, mut object: Value) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    if let Some(object) = object.as_object_mut() {
        object.insert("apiVersion".to_owned(), K::api_version(&()).into());
        object.insert("kind".to_owned(), K::kind(&()).into());
    }
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let applied = api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&object)).await;
    applied.with_context(|| format!("failed to apply {} {name}", K::kind(&())))?;
    Ok(())
}

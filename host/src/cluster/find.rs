//! Finds virtual clusters on a host, by the labels of their StatefulSets.

use anyhow::{Result, bail};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Api, ListParams};
use kube::{Error, ResourceExt};

use crate::cluster::host::Host;
use crate::cluster::{CHART, INSTANCE_LABEL, NAME_LABEL, Place};

/// What was looked through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every namespace.
    All,
    /// One namespace; the person may not list all of them, or asked for this one.
    Namespace(String),
}

/// All virtual clusters in `namespace`, or, without one, everywhere, or else in the context's namespace.
pub async fn all(host: &Host, namespace: Option<&str>) -> Result<(Vec<StatefulSet>, Scope)> {
    let selector = format!("{NAME_LABEL}={CHART},{INSTANCE_LABEL}");
    if namespace.is_none() {
        match list(&Api::all(host.client.clone()), &selector).await {
            Err(Error::Api(status)) if status.code == 403 => {}
            sets => {
                let action = format!("list the virtual clusters (StatefulSets) of {}", host.describe());
                return Ok((sets.map_err(|error| host.failed_to(&action, error))?, Scope::All));
            }
        }
    }
    let namespace = namespace.unwrap_or(&host.namespace);
    let sets = list(&Api::namespaced(host.client.clone(), namespace), &selector).await;
    let action = format!("list the virtual clusters (StatefulSets) in namespace {namespace}");
    let sets = sets.map_err(|error| host.failed_to(&action, error))?;
    Ok((sets, Scope::Namespace(namespace.to_owned())))
}

/// The virtual cluster `name`; without a namespace it must be the only one of that name.
pub async fn one(host: &Host, name: &str, namespace: Option<&str>) -> Result<StatefulSet> {
    match optional(host, name, namespace).await? {
        Some(set) => Ok(set),
        None => bail!(not_found(host, name, namespace)),
    }
}

/// The virtual cluster `name`, if there is one.
pub async fn optional(host: &Host, name: &str, namespace: Option<&str>) -> Result<Option<StatefulSet>> {
    let (mut sets, scope) = all(host, namespace).await?;
    if sets.iter().all(|set| set.name_any() != name) && namespace.is_none() && scope != Scope::All {
        // Where `weft create` puts it by default.
        let default = Place::default_namespace(name);
        sets = all(host, Some(&default)).await.map(|(sets, _)| sets).unwrap_or_default();
    }
    sets.retain(|set| set.name_any() == name);
    if sets.len() > 1 {
        let namespaces: Vec<String> = sets.iter().filter_map(ResourceExt::namespace).collect();
        bail!(
            "there is a virtual cluster {name:?} in each of the namespaces {}; choose with -n",
            namespaces.join(", ")
        );
    }
    Ok(sets.pop())
}

/// Where a found virtual cluster is.
pub fn place(set: &StatefulSet) -> Place {
    Place { namespace: set.namespace().unwrap_or_default(), name: set.name_any() }
}

async fn list(api: &Api<StatefulSet>, selector: &str) -> kube::Result<Vec<StatefulSet>> {
    Ok(api.list(&ListParams::default().labels(selector)).await?.items)
}

/// Says that there is none of this name, there or in any namespace.
pub fn not_found(host: &Host, name: &str, namespace: Option<&str>) -> String {
    let place = namespace.map_or(String::new(), |namespace| format!(" in namespace {namespace}"));
    format!("there is no virtual cluster {name:?}{place} in {}; `weft list -A` lists them", host.describe())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_virtual_cluster_is_where_its_set_is() {
        let set = json!({"metadata": {"name": "vc", "namespace": "team-a"}});
        assert_eq!(place(&serde_json::from_value(set).unwrap()).to_string(), "vc in namespace team-a");
    }
}

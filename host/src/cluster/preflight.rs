//! What would make an installation fail, found before Helm writes anything: all of it at once, each with what to do.

pub mod admission;
pub mod permissions;

use anyhow::{Context as _, Result, bail};
use futures::future::join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, Secret, Service};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};
use weft_core::keys::CREATED_NAMESPACE;
use weft_core::names::Names;
use weft_core::names::is_dns_label;

use crate::cluster::helm::Release;
use crate::cluster::host::Host;
use crate::cluster::{CHART, INSTANCE_LABEL, NAME_LABEL, Place, claims};

/// Marks the StorageClass that claims without a class get.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// Refuses a name that no virtual cluster can have.
pub fn check_name(place: &Place) -> Result<()> {
    let names = Names::new(&place.name, &place.namespace);
    names.with_context(|| format!("{:?} cannot be the name of a virtual cluster", place.name))?;
    if !is_dns_label(&place.namespace) {
        bail!(
            "{:?} cannot be the name of a namespace: it must have 1 to 63 lower-case letters, digits and '-', and begin and end with a letter or digit",
            place.namespace
        );
    }
    Ok(())
}

/// What the host says about an installation that is to be.
#[derive(Debug)]
pub struct Findings {
    /// The host's version.
    pub version: String,
    /// Whether the namespace has to be created.
    pub namespace_is_missing: bool,
    /// The release that is there already.
    pub release: Option<Release>,
}

/// Checks the host in parallel. `objects` is what the chart renders; `release` asks Helm for one that is there.
pub async fn check(
    host: &Host,
    place: &Place,
    objects: &[Value],
    release: impl Future<Output = Result<Option<Release>>>,
) -> Result<Findings> {
    let version = host.client.apiserver_version().await;
    let version = version.map_err(|error| host.failed_to("read the host's version", error))?.git_version;
    let (namespace, permissions, taken, secrets, class, release) = tokio::join!(
        standing(host, &place.namespace),
        permissions::missing(host, &place.namespace, permissions::INSTALLATION),
        taken(host, place),
        taken_secrets(host, place),
        storage_class(host, place, objects),
        release,
    );
    let (namespace, mut problems) = (namespace?, permissions?);
    let release = match release {
        // For want of the same permissions, of which Helm names one.
        Err(_) if !problems.is_empty() => None,
        release => release?,
    };
    if release.is_none() {
        problems.extend(taken.into_iter().chain(secrets));
    }
    problems.extend(class);
    match &namespace {
        Standing::Missing { may_create: false } => problems.push(format!(
            "namespace {0} does not exist, and you may not create it; ask for it, or choose another one with -n",
            place.namespace
        )),
        Standing::Terminating => problems.push(format!(
            "namespace {} is being deleted; wait until it is gone, or choose another one with -n",
            place.namespace
        )),
        Standing::Missing { .. } | Standing::There => {}
    }
    refuse(place, &problems)?;
    Ok(Findings { version, namespace_is_missing: matches!(namespace, Standing::Missing { .. }), release })
}

/// One error for all problems.
pub fn refuse(place: &Place, problems: &[String]) -> Result<()> {
    match problems {
        [] => Ok(()),
        [problem] => bail!("cannot create {place}: {problem}"),
        problems => bail!("cannot create {place}:\n  - {}", problems.join("\n  - ")),
    }
}

/// The namespace of a virtual cluster, with a note that it is ours to delete.
pub fn namespace(place: &Place) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": place.namespace, "annotations": {CREATED_NAMESPACE: place.name}},
    })
}

/// Creates the namespace.
pub async fn create_namespace(host: &Host, place: &Place) -> Result<()> {
    let namespace = serde_json::from_value(namespace(place))?;
    let namespaces: Api<Namespace> = Api::all(host.client.clone());
    let created = namespaces.create(&PostParams::default(), &namespace).await;
    created.with_context(|| format!("failed to create namespace {}", place.namespace))?;
    Ok(())
}

/// How it stands with a namespace.
enum Standing {
    /// Or nobody may say: who works in one namespace often may not read it.
    There,
    Missing {
        may_create: bool,
    },
    Terminating,
}

async fn standing(host: &Host, name: &str) -> Result<Standing> {
    let namespaces: Api<Namespace> = Api::all(host.client.clone());
    match namespaces.get_opt(name).await {
        Ok(Some(namespace)) if namespace.metadata.deletion_timestamp.is_some() => Ok(Standing::Terminating),
        Ok(Some(_)) => Ok(Standing::There),
        Ok(None) => Ok(Standing::Missing { may_create: permissions::may_create_namespaces(host).await? }),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Standing::There),
        Err(error) => Err(error).with_context(|| format!("failed to read namespace {name}")),
    }
}

/// What has the name already, though there is no release of it.
async fn taken(host: &Host, place: &Place) -> Option<String> {
    let sets: Api<StatefulSet> = Api::namespaced(host.client.clone(), &place.namespace);
    let services: Api<Service> = Api::namespaced(host.client.clone(), &place.namespace);
    let (set, service) = tokio::join!(sets.get_opt(&place.name), services.get_opt(&place.name));
    let is_ours = |labels: &std::collections::BTreeMap<String, String>| {
        labels.get(NAME_LABEL).is_some_and(|chart| chart == CHART)
    };
    let set = set.ok().flatten();
    if set.as_ref().is_some_and(|set| is_ours(set.labels())) {
        let name = &place.name;
        return Some(format!(
            "there is such a virtual cluster, which Helm did not install; connect to it with `weft connect {name}`, or remove it with `weft delete {name}`"
        ));
    }
    let kind = match (set, service.ok().flatten()) {
        (Some(_), _) => "StatefulSet",
        (None, Some(service)) if !is_ours(service.labels()) => "Service",
        _ => return None,
    };
    Some(format!("there is a {kind} of that name already; choose another name"))
}

/// The Secrets that `weft init` would write, where they are somebody else's: it would refuse to.
async fn taken_secrets(host: &Host, place: &Place) -> Vec<String> {
    let secrets: Api<Secret> = Api::namespaced(host.client.clone(), &place.namespace);
    let names = [format!("{}-pki", place.name), format!("vc-{}", place.name)];
    let found = join_all(names.iter().map(|name| secrets.get_metadata_opt(name))).await;
    let others = found.into_iter().filter_map(|secret| {
        let secret = secret.ok().flatten()?;
        let is_ours = secret.labels().get(INSTANCE_LABEL) == Some(&place.name);
        (!is_ours).then(|| {
            format!("there is a Secret {} already, of something else; choose another name", secret.name_any())
        })
    });
    others.collect()
}

/// A new claim waits for ever where its class is not there, or where it names none and none is the default.
async fn storage_class(host: &Host, place: &Place, objects: &[Value]) -> Option<String> {
    let claim = objects.iter().find(|object| claims::is_claim(object))?;
    // One that is there has its volume, or says itself why not.
    if !claims::of(host, place).await.ok()?.is_empty() {
        return None;
    }
    let classes: Api<StorageClass> = Api::all(host.client.clone());
    // Who may not list the classes finds out from the claim's events.
    let classes = classes.list(&ListParams::default()).await.ok()?.items;
    let lacking = lacking_class(claim, &classes)?;
    let Some(name) = class_name(claim) else { return Some(lacking) };
    // A class may be no more than a name that volumes made by hand have in common.
    let volumes: Api<PersistentVolume> = Api::all(host.client.clone());
    let volumes = volumes.list(&ListParams::default()).await.ok()?.items;
    let is_of_class = |volume: &PersistentVolume| {
        volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()) == Some(name)
    };
    (!volumes.iter().any(is_of_class)).then_some(lacking)
}

fn class_name(claim: &Value) -> Option<&str> {
    claim.pointer("/spec/storageClassName").and_then(Value::as_str)
}

/// What is wrong with the class of a claim where there are these classes.
fn lacking_class(claim: &Value, classes: &[StorageClass]) -> Option<String> {
    let is_default =
        |class: &StorageClass| class.annotations().get(DEFAULT_CLASS).is_some_and(|value| value == "true");
    let names: Vec<String> = classes.iter().map(ResourceExt::name_any).collect();
    let choice =
        if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
    match class_name(claim) {
        // The empty name is for volumes that an administrator has made.
        Some(name) if name.is_empty() || names.iter().any(|known| known == name) => None,
        None if classes.iter().any(is_default) => None,
        Some(name) => Some(format!(
            "the host cluster has no StorageClass {name} ({choice}); name one of these with `--set persistence.storageClass=NAME`"
        )),
        None => Some(format!(
            "the host cluster has no default StorageClass ({choice}); name one with `--set persistence.storageClass=NAME`, or do without a volume, and lose the virtual cluster's state with its pod, with `--set persistence.enabled=false`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> Place {
        Place { namespace: "team-a".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn names_that_host_names_cannot_hold_are_refused_with_the_rule() {
        check_name(&place("my-vcluster")).unwrap();
        for (name, why) in
            [("a-name-of-twenty-five-chars", "1 to 24"), ("a-x-b", "-x-"), ("Big", "lower-case")]
        {
            let error = format!("{:#}", check_name(&place(name)).unwrap_err());
            assert!(error.contains(name) && error.contains(why), "{error}");
        }
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        refuse(&place("one"), &[]).unwrap();
        let error =
            refuse(&place("one"), &["first".to_owned(), "second".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "cannot create one in namespace team-a:\n  - first\n  - second");
    }

    #[test]
    fn a_class_has_to_be_there_and_without_one_a_default() {
        let lacking = |spec: Value, is_default: &str| {
            let metadata = json!({"name": "fast", "annotations": {DEFAULT_CLASS: is_default}});
            let class = serde_json::from_value(json!({"metadata": metadata, "provisioner": "p"})).unwrap();
            lacking_class(&json!({"kind": "PersistentVolumeClaim", "spec": spec}), &[class])
        };
        for (class, is_default) in [(json!({}), "true"), (json!({"storageClassName": "fast"}), "false")] {
            assert_eq!(lacking(class, is_default), None);
        }
        assert_eq!(lacking(json!({"storageClassName": ""}), "false"), None, "volumes made by hand");
        assert!(lacking(json!({}), "false").unwrap().contains("no default StorageClass (there are fast)"));
        let error = lacking(json!({"storageClassName": "slow"}), "true").unwrap();
        assert!(error.contains("no StorageClass slow (there are fast)"), "{error}");
    }
}

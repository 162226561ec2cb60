//! Whether the person may do what an installation does: asked of the host's own authorizer.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};

use crate::cluster::host::Host;

/// What Helm does with each object of the chart.
const MANAGE: &[&str] = &["get", "create", "patch", "delete"];

/// Group, resource or `resource/subresource`, and verbs.
pub type Permission = (&'static str, &'static str, &'static [&'static str]);

/// What an installation needs.
pub const INSTALLATION: &[Permission] = &[
    ("", "services", MANAGE),
    ("", "serviceaccounts", MANAGE),
    ("", "configmaps", MANAGE),
    // Helm keeps its releases in Secrets; the kubeconfig is in one.
    ("", "secrets", &["get", "list", "create", "update", "delete"]),
    ("", "pods", &["get", "list"]),
    // Those that an earlier virtual cluster of the name has left must not be overlooked.
    ("", "persistentvolumeclaims", &["get", "list", "create", "patch", "delete"]),
    ("apps", "statefulsets", &["get", "list", "create", "patch", "delete"]),
    ("rbac.authorization.k8s.io", "roles", MANAGE),
    ("rbac.authorization.k8s.io", "rolebindings", MANAGE),
];

/// So many reviews at a time.
const CONCURRENCY: usize = 16;

/// The `needed` permissions that the person lacks in `namespace`, one sentence a resource.
pub async fn missing(host: &Host, namespace: &str, needed: &[Permission]) -> Result<Vec<String>> {
    let questions = needed.iter().flat_map(|(group, resource, verbs)| {
        verbs.iter().map(|verb| (attributes(group, resource, verb, Some(namespace)), *resource, *verb))
    });
    let reviews = questions.map(|(attributes, resource, verb)| async move {
        Ok::<_, anyhow::Error>((resource, verb, may(&host.client, attributes).await?))
    });
    let reviews = stream::iter(reviews).buffered(CONCURRENCY);
    let answers: Vec<(&str, &str, bool)> = reviews.try_collect().await?;
    Ok(sentences(namespace, &answers))
}

/// Whether the person may create namespaces.
pub(super) async fn may_create_namespaces(host: &Host) -> Result<bool> {
    may(&host.client, attributes("", "namespaces", "create", None)).await
}

async fn may(client: &Client, attributes: ResourceAttributes) -> Result<bool> {
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(attributes),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    let answer = answer.context("failed to read your permissions in the host cluster")?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

fn attributes(group: &str, resource: &str, verb: &str, namespace: Option<&str>) -> ResourceAttributes {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: Some(subresource.to_owned()).filter(|subresource| !subresource.is_empty()),
        verb: Some(verb.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    }
}

fn sentences(namespace: &str, answers: &[(&str, &str, bool)]) -> Vec<String> {
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (resource, verb, _) in answers.iter().filter(|(_, _, allowed)| !allowed) {
        missing.entry(resource).or_default().push(verb);
    }
    let sentence = |(resource, verbs): (&str, Vec<&str>)| {
        format!("you may not {} {resource} in namespace {namespace}", verbs.join(", "))
    };
    missing.into_iter().map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_verb_is_named_once_a_resource() {
        let answers = [("pods", "get", true), ("roles", "create", false), ("roles", "patch", false)];
        assert_eq!(sentences("team-a", &answers), ["you may not create, patch roles in namespace team-a"]);
    }
}

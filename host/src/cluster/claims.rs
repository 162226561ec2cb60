//! The volume claims of a virtual cluster's own storage: which there are, and which outlive it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::Value;

use crate::cluster::Place;
use crate::cluster::host::Host;

/// Makes Helm leave an object where it is; the chart sets it for `persistence.keep`
/// (<https://helm.sh/docs/howto/charts_tips_and_tricks/>).
const RESOURCE_POLICY: &str = "helm.sh/resource-policy";

/// The claims that are there. Not to be allowed to look is an error: nobody must take them for absent.
pub async fn of(host: &Host, place: &Place) -> Result<Vec<PersistentVolumeClaim>> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(host.client.clone(), &place.namespace);
    let list = claims.list(&ListParams::default().labels(&place.selector())).await;
    let list = list.with_context(|| format!("failed to list the volume claims of {place}"))?;
    Ok(list.items)
}

/// Whether a claim outlives its virtual cluster.
pub fn is_kept(claim: &PersistentVolumeClaim) -> bool {
    claim.annotations().get(RESOURCE_POLICY).is_some_and(|policy| policy == "keep")
}

/// Whether a release with these manifests leaves its claim behind.
pub fn are_kept_by(manifests: &[Value]) -> bool {
    let claims = manifests.iter().filter(|object| is_claim(object));
    let policy = |claim: &Value| {
        claim.pointer("/metadata/annotations")?.get(RESOURCE_POLICY)?.as_str().map(str::to_owned)
    };
    claims.filter_map(policy).any(|policy| policy == "keep")
}

/// Whether a manifest is a claim.
pub fn is_claim(object: &Value) -> bool {
    object.get("kind").is_some_and(|kind| kind == "PersistentVolumeClaim")
}

/// Their UIDs.
pub fn uids(claims: &[PersistentVolumeClaim]) -> BTreeSet<String> {
    claims.iter().filter_map(ResourceExt::uid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_is_kept_where_helm_would_keep_it() {
        let claim = |policy: &str| {
            let claim = json!({"metadata": {"uid": policy, "annotations": {RESOURCE_POLICY: policy}}});
            serde_json::from_value::<PersistentVolumeClaim>(claim).unwrap()
        };
        assert!(is_kept(&claim("keep")) && !is_kept(&claim("delete")));
        assert!(!is_kept(&PersistentVolumeClaim::default()));
        let manifest = |kind: &str, policy: &str| json!({"kind": kind, "metadata": {"annotations": {RESOURCE_POLICY: policy}}});
        assert!(are_kept_by(&[json!({"kind": "Service"}), manifest("PersistentVolumeClaim", "keep")]));
        assert!(!are_kept_by(&[manifest("ConfigMap", "keep"), manifest("PersistentVolumeClaim", "")]));
        assert_eq!(uids(&[claim("keep"), PersistentVolumeClaim::default()]), ["keep".to_owned()].into());
    }
}

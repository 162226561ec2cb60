//! What controllers of the host act on: types of Secrets, annotations, and labels that name other objects.
//!
//! What the built-in rules let through and what the guard refuses follows from the same lists, so that the two cannot drift
//! apart.

pub mod keys;

/// The type of a Secret that no controller acts on.
pub const OPAQUE: &str = "Opaque";

/// Types of Secrets that only say what their data is: "Types of Secret" in the documentation of Kubernetes, without
/// those that a controller fills or obeys. Others may be signs for one: Helm reads its releases by their type.
const PASSIVE_TYPES: &[&str] = &[
    OPAQUE,
    "kubernetes.io/basic-auth",
    "kubernetes.io/dockercfg",
    "kubernetes.io/dockerconfigjson",
    "kubernetes.io/ssh-auth",
    "kubernetes.io/tls",
];
/// Begins the annotations that tie a Secret to a `ServiceAccount`: the token controller fills or deletes it by them.
const SERVICE_ACCOUNT: &str = "kubernetes.io/service-account.";
/// Begin the annotations by which scheduler, provisioners and volume controllers agree about a claim.
const VOLUMES: &[&str] = &["pv.kubernetes.io/", "volume.beta.kubernetes.io/", "volume.kubernetes.io/"];
/// Annotation of such a domain that is the tenant's to set: the class of a claim, before there was a field for it.
pub const STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Label: the Service that an `EndpointSlice` belongs to. kube-proxy sends the Service's traffic to what such slices hold.
pub const SERVICE_LABEL: (&str, &str) = ("kubernetes.io/service-name", "v1/Service");
/// Label: the `ServiceImport` that an `EndpointSlice` belongs to (KEP-1645). On a Service or Endpoints as well, because
/// the controllers that make slices of these copy their labels.
pub const SERVICE_IMPORT_LABEL: (&str, &str) =
    ("multicluster.kubernetes.io/service-name", "multicluster.x-k8s.io/v1alpha1/ServiceImport");

/// Whether no controller of the host acts on Secrets of this type.
pub fn is_passive_type(secret_type: &str) -> bool {
    PASSIVE_TYPES.contains(&secret_type)
}

/// Whether the annotation of this key ties a Secret to a `ServiceAccount` of the host.
pub fn ties_to_service_account(key: &str) -> bool {
    key.starts_with(SERVICE_ACCOUNT)
}

/// Whether volume controllers of the host act on the annotation of this key.
pub fn is_of_volume_controllers(key: &str) -> bool {
    key != STORAGE_CLASS && VOLUMES.iter().any(|domain| key.starts_with(domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_types_that_say_what_the_data_is_are_passive() {
        assert!(is_passive_type("Opaque") && is_passive_type("kubernetes.io/tls"));
        let active =
            ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token", "helm.sh/release.v1"];
        for kind in active.into_iter().chain(["", "opaque", "example.com/mine"]) {
            assert!(!is_passive_type(kind), "{kind}");
        }
    }

    #[test]
    fn of_the_keys_of_volume_controllers_the_class_is_the_tenants() {
        assert!(is_of_volume_controllers("volume.kubernetes.io/selected-node"));
        assert!(is_of_volume_controllers("pv.kubernetes.io/bind-completed"));
        assert!(is_of_volume_controllers("volume.beta.kubernetes.io/storage-provisioner"));
        assert!(!is_of_volume_controllers("volume.beta.kubernetes.io/storage-class"));
        assert!(!is_of_volume_controllers("example.com/volume.kubernetes.io"));
    }
}

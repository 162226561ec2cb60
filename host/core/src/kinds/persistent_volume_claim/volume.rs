//! The virtual `PersistentVolume` of a bound claim: a mirror of what the host claim says about its volume.
//!
//! Volumes of the host are cluster-wide and so not ours to read. The mirror holds what the claim
//! knows, and a source that no kubelet or controller could act on.

use serde_json::{Value, json};

use crate::keys::{MIRRORED_DRIVER, MIRRORED_LABEL};
use crate::object::{HostObject, VirtualObject};

/// The virtual volume of `claim`, once `host_claim` is bound and `claim` shows that or can.
pub fn mirror(claim: &VirtualObject, host_claim: &HostObject) -> Option<VirtualObject> {
    let name = host_claim.text("/spec/volumeName").filter(|name| !name.is_empty())?;
    let shown = claim.text("/spec/volumeName").unwrap_or_default();
    if host_claim.text("/status/phase") != Some("Bound") || (!shown.is_empty() && shown != name) {
        return None;
    }
    VirtualObject::from_json(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": {MIRRORED_LABEL: "true"}},
        "spec": spec(claim, host_claim, name),
    }))
}

fn spec(claim: &VirtualObject, host_claim: &HostObject, name: &str) -> Value {
    let of_host = |pointer: &str| host_claim.pointer(pointer).filter(|value| !value.is_null());
    let mut spec = json!({
        "capacity": of_host("/status/capacity").or(of_host("/spec/resources/requests")),
        "accessModes": of_host("/status/accessModes").or(of_host("/spec/accessModes")),
        "persistentVolumeReclaimPolicy": "Delete",
        "csi": {"driver": MIRRORED_DRIVER, "volumeHandle": name},
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": claim.namespace(),
            "name": claim.name(),
            "uid": claim.uid(),
        },
    });
    for field in ["volumeMode", "storageClassName", "volumeAttributesClassName"] {
        if let (Some(value), Some(spec)) = (of_host(&format!("/spec/{field}")), spec.as_object_mut()) {
            spec.insert(field.to_owned(), value.clone());
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> VirtualObject {
        VirtualObject::from_json(
            json!({"metadata": {"name": "data", "namespace": "shop", "uid": "u-1"}, "spec": {}}),
        )
        .unwrap()
    }

    fn host_claim(phase: &str) -> HostObject {
        HostObject::from_json(json!({
            "spec": {"volumeName": "pvc-1", "storageClassName": "fast", "volumeMode": "Filesystem", "resources": {"requests": {"storage": "1Gi"}}},
            "status": {"phase": phase, "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"]},
        }))
        .unwrap()
    }

    #[test]
    fn a_bound_claim_has_a_mirror_that_names_it() {
        let volume = mirror(&claim(), &host_claim("Bound")).unwrap();
        assert_eq!(volume.name(), "pvc-1");
        assert_eq!(volume.label(MIRRORED_LABEL), Some("true"));
        assert_eq!(volume.text("/spec/capacity/storage"), Some("2Gi"));
        assert_eq!(volume.text("/spec/storageClassName"), Some("fast"));
        assert_eq!(volume.text("/spec/claimRef/uid"), Some("u-1"));
    }

    #[test]
    fn an_unbound_claim_and_one_that_shows_another_volume_have_none() {
        assert_eq!(mirror(&claim(), &host_claim("Pending")), None);
        let mut other = claim();
        other.spec_mut().insert("volumeName".into(), "pv-2".into());
        assert_eq!(mirror(&other, &host_claim("Bound")), None);
    }
}

//! Says where a pod names other objects of its namespace, and where it selects other pods.

use super::affinity::{PREFERRED, REQUIRED};
use super::parts::CONTAINER_LISTS;
use crate::references::Reference;
use crate::selectors::Selector;

const CONFIG_MAP: &str = "v1/ConfigMap";
const SECRET: &str = "v1/Secret";

/// Places in each container, behind `/spec/<list>/*`.
const IN_CONTAINERS: &[(&str, &str)] = &[
    ("env/*/valueFrom/configMapKeyRef/name", CONFIG_MAP),
    ("env/*/valueFrom/secretKeyRef/name", SECRET),
    ("envFrom/*/configMapRef/name", CONFIG_MAP),
    ("envFrom/*/secretRef/name", SECRET),
];

/// Places in each volume, behind `/spec/volumes/*`.
const IN_VOLUMES: &[(&str, &str)] = &[
    ("configMap/name", CONFIG_MAP),
    ("secret/secretName", SECRET),
    ("projected/sources/*/configMap/name", CONFIG_MAP),
    ("projected/sources/*/secret/name", SECRET),
    ("persistentVolumeClaim/claimName", "v1/PersistentVolumeClaim"),
    ("glusterfs/endpoints", "v1/Endpoints"),
    ("azureFile/secretName", SECRET),
    ("cephfs/secretRef/name", SECRET),
    ("cinder/secretRef/name", SECRET),
    ("csi/nodePublishSecretRef/name", SECRET),
    ("flexVolume/secretRef/name", SECRET),
    ("iscsi/secretRef/name", SECRET),
    ("rbd/secretRef/name", SECRET),
    ("scaleIO/secretRef/name", SECRET),
    ("storageos/secretRef/name", SECRET),
];

/// Every place that names an object. A claim made for an ephemeral volume is not among them: its name stands nowhere.
pub(super) fn references() -> Vec<Reference> {
    let containers = CONTAINER_LISTS.iter().flat_map(|list| below(format!("/spec/{list}/*"), IN_CONTAINERS));
    let volumes = below("/spec/volumes/*".to_owned(), IN_VOLUMES);
    let pull_secrets = Reference::new("/spec/imagePullSecrets/*/name", SECRET);
    containers.chain(volumes).chain([pull_secrets]).collect()
}

/// Every place that selects pods.
pub(super) fn selectors() -> Vec<Selector> {
    let terms = ["podAffinity", "podAntiAffinity"].into_iter().flat_map(|kind| {
        [
            format!("/spec/affinity/{kind}/{REQUIRED}/*"),
            format!("/spec/affinity/{kind}/{PREFERRED}/*/podAffinityTerm"),
        ]
    });
    let spread = Selector::label_selector("/spec/topologySpreadConstraints/*/labelSelector");
    terms.map(|path| Selector::affinity_term(&path)).chain([spread]).collect()
}

fn below(prefix: String, places: &'static [(&str, &str)]) -> impl Iterator<Item = Reference> {
    places.iter().map(move |(path, kind)| Reference::new(&format!("{prefix}/{path}"), kind))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::VirtualObject;
    use crate::references::targets;

    fn found(spec: &serde_json::Value) -> Vec<String> {
        let pod =
            VirtualObject::from_json(json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec}))
                .unwrap();
        targets(&references(), &pod).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn containers_of_every_list_name_config_maps_and_secrets() {
        let container = |name: &str| {
            json!([{
                "env": [{"valueFrom": {"configMapKeyRef": {"name": format!("{name}-key")}}}],
                "envFrom": [{"secretRef": {"name": name}}],
            }])
        };
        let spec = json!({"containers": container("a"), "initContainers": container("b"), "ephemeralContainers": container("c")});
        let expected = [
            "ConfigMap shop/a-key",
            "ConfigMap shop/b-key",
            "ConfigMap shop/c-key",
            "Secret shop/a",
            "Secret shop/b",
            "Secret shop/c",
        ];
        assert_eq!(found(&spec), expected);
    }

    #[test]
    fn the_secrets_of_every_volume_type_are_found() {
        let types = ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"];
        let mut volumes: Vec<_> = types
            .iter()
            .map(|kind| json!({"name": kind, *kind: {"secretRef": {"name": kind.to_lowercase()}}}))
            .collect();
        volumes.push(json!({"name": "c", "csi": {"nodePublishSecretRef": {"name": "csi"}}}));
        volumes.push(json!({"name": "a", "azureFile": {"secretName": "azure"}}));
        assert_eq!(found(&json!({"volumes": volumes})).len(), types.len() + 2);
    }

    #[test]
    fn claims_endpoints_and_pull_secrets_are_found() {
        let spec = json!({
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [{"persistentVolumeClaim": {"claimName": "data"}}, {"glusterfs": {"endpoints": "gluster"}}],
        });
        assert_eq!(
            found(&spec),
            ["Endpoints shop/gluster", "PersistentVolumeClaim shop/data", "Secret shop/pull"]
        );
    }
}

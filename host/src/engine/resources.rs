//! The resource types that the engine itself reads and writes, beside those of the kinds that are synced.

use weft_core::object::ResourceType;

/// `v1/Namespace`.
pub(crate) fn namespaces() -> ResourceType {
    ResourceType::core_cluster("Namespace", "namespaces")
}

/// `v1/Node`.
pub(crate) fn nodes() -> ResourceType {
    ResourceType::core_cluster("Node", "nodes")
}

/// `v1/Pod`.
pub(crate) fn pods() -> ResourceType {
    ResourceType::core("Pod", "pods")
}

/// `v1/PersistentVolume`.
pub(crate) fn persistent_volumes() -> ResourceType {
    ResourceType::core_cluster("PersistentVolume", "persistentvolumes")
}

/// `v1/Event`.
pub(crate) fn events() -> ResourceType {
    ResourceType::core("Event", "events")
}

/// `v1/Secret`.
pub(crate) fn secrets() -> ResourceType {
    ResourceType::core("Secret", "secrets")
}

/// `v1/ConfigMap`.
pub(crate) fn config_maps() -> ResourceType {
    ResourceType::core("ConfigMap", "configmaps")
}

/// `v1/Service`.
pub(crate) fn services() -> ResourceType {
    ResourceType::core("Service", "services")
}

/// `v1/ServiceAccount`.
pub(crate) fn service_accounts() -> ResourceType {
    ResourceType::core("ServiceAccount", "serviceaccounts")
}

/// `apiextensions.k8s.io/v1/CustomResourceDefinition`.
pub(crate) fn custom_resource_definitions() -> ResourceType {
    ResourceType {
        group: "apiextensions.k8s.io".into(),
        version: "v1".into(),
        kind: "CustomResourceDefinition".into(),
        plural: "customresourcedefinitions".into(),
        namespaced: false,
    }
}

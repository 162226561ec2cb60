//! The values of the Helm chart: the settings of the configuration file, and those of the pod around it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::deploy::Deploy;
use crate::config::dns::Dns;
use crate::config::{
    Claims, ControlPlane, DeclaredMapping, Engine, Kubelet, Log, Metadata, Metrics, Nodes, Plugins, Pods,
    Services, schema,
};

/// Values of the chart. Every key has a default; one that does not exist is refused.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Values {
    /// Where images come from.
    pub image: Images,
    /// The virtual cluster. Its name is the release's, and its place the release's namespace.
    pub cluster: ClusterValues,
    /// The virtual cluster's own API server, controllers and storage. A change restarts the pod.
    pub control_plane: ControlPlane,
    /// The volume of the storage.
    pub persistence: Persistence,
    /// How clients reach the API server.
    pub service: Service,
    /// What each container requests, and is limited to.
    pub resources: Resources,
    /// The pod of the control plane.
    pub pod: Pod,
    /// What the syncer may do on the host.
    pub rbac: Rbac,
    /// DNS of the virtual cluster. A change is applied without a restart.
    pub dns: Dns,
    /// Objects that are applied in the virtual cluster. A change is applied without a restart.
    pub deploy: Deploy,
    /// What the syncer logs, and how. A change of the level is applied without a restart.
    pub log: Log,
    /// Rules that are WebAssembly components. A change is applied without a restart.
    pub plugins: Plugins,
    /// Kinds that need no code. A change is applied without a restart.
    pub mappings: Vec<DeclaredMapping>,
    /// How pods run on the host, and what of it they may use. A change restarts the pod of the control plane.
    pub pods: Pods,
    /// What Services of the tenant and their endpoints may open on the host and lead to. A change restarts the pod.
    pub services: Services,
    /// Which storage of the host claims of the tenant may ask for. A change restarts the pod.
    pub claims: Claims,
    /// Which nodes of the host pods run on, and what the virtual cluster sees of them. A change restarts the pod.
    pub nodes: Nodes,
    /// Limits of the sync engine. A change restarts the pod.
    pub engine: Engine,
    /// What answers `kubectl logs`, `exec`, `attach`, `cp` and `port-forward`. A change restarts the pod.
    pub kubelet: Kubelet,
    /// Which labels and annotations of tenants the host sees. A change restarts the pod.
    pub metadata: Metadata,
    /// Who may read the syncer's metrics and list of plugins. A change restarts the pod.
    pub metrics: Metrics,
    /// What Helm hands to a chart that is part of another one; nothing is read here.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub global: Map<String, Value>,
}

/// Where images come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Images {
    /// Registry of every image; none where the repositories name theirs.
    pub registry: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: PullPolicy,
    /// Secrets with the registry's credentials, as `name: <secret>`, for the control plane.
    pub pull_secrets: Vec<BTreeMap<String, String>>,
    /// The same for pods of the tenant that name none, CoreDNS's among them. Nobody inside can read them, but every image
    /// that they open can be run inside. With `pods.serviceAccount`, that account has its own.
    pub pod_pull_secrets: Vec<BTreeMap<String, String>>,
    /// The syncer, and the program that starts the others. Its tag is the chart's version by default.
    pub weft: Image,
    /// The control plane. Its tag is `controlPlane.version` by default.
    pub kubernetes: Image,
}

/// When the kubelet pulls an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// At each start.
    Always,
    /// Where the node does not have it.
    #[default]
    IfNotPresent,
    /// Not at all.
    Never,
}

/// One image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Image {
    /// Its repository in the registry.
    pub repository: String,
    /// Its tag.
    pub tag: String,
}

/// The virtual cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterValues {
    /// DNS domain inside the virtual cluster.
    pub domain: String,
}

/// The volume of the storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Persistence {
    /// Whether there is one. Without, the virtual cluster is lost when its pod is. Do not turn it off later: Helm would
    /// delete the claim, and `weft create --upgrade` refuses to.
    pub enabled: bool,
    /// Its size, as a quantity such as `5Gi`.
    #[schemars(regex(pattern = r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[kMGTPE]|[eE]\+?[0-9]+)?$"))]
    pub size: String,
    /// Storage class of the host; its default class where there is none.
    pub storage_class: Option<String>,
    /// Whether the claim stays when the release is uninstalled.
    pub keep: bool,
}

/// How clients reach the API server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// Type of the host Service.
    pub r#type: ServiceType,
    /// Annotations of the host Service.
    pub annotations: BTreeMap<String, String>,
}

/// Type of a Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Reached from inside of the host.
    #[default]
    ClusterIP,
    /// Reached at a port of every node as well.
    NodePort,
    /// Reached at an address of the host's load balancer as well.
    LoadBalancer,
}

/// What each container requests, and is limited to: `requests` and `limits` as in a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Prepares keys and launch files at each start.
    pub init: Requirements,
    /// kine or etcd.
    pub store: Requirements,
    /// kube-apiserver.
    pub api: Requirements,
    /// kube-controller-manager.
    pub controllers: Requirements,
    /// The syncer.
    pub syncer: Requirements,
}

/// Resources of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Requirements {
    /// What is set aside for it, as quantities.
    pub requests: BTreeMap<String, Value>,
    /// What it may not exceed, as quantities.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Value>,
}

/// The pod of the control plane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    /// More labels.
    pub labels: BTreeMap<String, String>,
    /// More annotations.
    pub annotations: BTreeMap<String, String>,
    /// User and group of every container; none where the host chooses, as `OpenShift` does.
    pub user: Option<u32>,
    /// Its priority class.
    pub priority_class_name: Option<String>,
    /// Labels of the nodes that it may run on.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that it tolerates, as in a pod.
    pub tolerations: Vec<Map<String, Value>>,
    /// Affinity, as in a pod.
    pub affinity: Map<String, Value>,
    /// More volumes, as in a pod.
    pub volumes: Vec<Map<String, Value>>,
    /// Where the syncer mounts them, as in a container.
    pub volume_mounts: Vec<Map<String, Value>>,
}

/// What the syncer may do on the host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rbac {
    /// Rules beside those that the configuration needs, as in a Role.
    pub extra_rules: Vec<Map<String, Value>>,
}

impl Default for Images {
    fn default() -> Self {
        let image = |repository: &str| Image { repository: repository.to_owned(), tag: String::new() };
        Self {
            registry: "ghcr.io".to_owned(),
            pull_policy: PullPolicy::default(),
            pull_secrets: Vec::new(),
            pod_pull_secrets: Vec::new(),
            weft: image("weft/weft"),
            kubernetes: image("weft/kubernetes"),
        }
    }
}

impl Default for ClusterValues {
    fn default() -> Self {
        Self { domain: super::cluster_domain() }
    }
}

impl Default for Persistence {
    fn default() -> Self {
        Self { enabled: true, size: "5Gi".to_owned(), storage_class: None, keep: false }
    }
}

impl Default for Resources {
    fn default() -> Self {
        // What an idle cluster of each was measured to use, and some more.
        let requests = |cpu: &str, memory: &str| Requirements {
            requests: [("cpu", cpu), ("memory", memory)]
                .map(|(name, amount)| (name.to_owned(), Value::from(amount)))
                .into(),
            limits: BTreeMap::new(),
        };
        Self {
            init: requests("10m", "32Mi"),
            store: requests("20m", "96Mi"),
            api: requests("100m", "320Mi"),
            controllers: requests("20m", "96Mi"),
            syncer: requests("20m", "32Mi"),
        }
    }
}

impl Default for Pod {
    fn default() -> Self {
        Self {
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            // Of nobody: the user of the images.
            user: Some(65_532),
            priority_class_name: None,
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            affinity: Map::new(),
            volumes: Vec::new(),
            volume_mounts: Vec::new(),
        }
    }
}

impl Values {
    /// The JSON Schema by which Helm refuses values.
    pub fn schema() -> Value {
        schema::of::<Self>()
    }

    /// One line for each key of `values` that does not exist, with the nearest that does; empty where all do.
    pub fn unknown_keys(values: &Value) -> String {
        schema::unknown_keys(&Self::schema(), values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_unknown_value_is_answered_with_the_nearest_one_and_free_maps_take_any() {
        let unknown = Values::unknown_keys(&json!({"persistance": {}, "pod": {"tolerance": []}}));
        assert!(unknown.contains("persistance: did you mean `persistence`?"), "{unknown}");
        assert!(unknown.contains("pod.tolerance: did you mean `tolerations`?"), "{unknown}");
        let free =
            json!({"pod": {"affinity": {"nodeAffinity": {}}}, "resources": {"api": {"limits": {"cpu": 1}}}});
        assert_eq!(Values::unknown_keys(&free), "");
    }
}

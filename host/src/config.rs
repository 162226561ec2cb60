//! The configuration file: YAML to [`Config`], every value parsed into its type here.
//!
//! Unknown keys are refused with the nearest known one; every default can be printed. The same types
//! make the JSON Schema.

mod claims;
mod connection;
pub mod control_plane;
pub mod deploy;
pub mod dns;
pub mod docs;
pub mod grants;
mod kubelet;
mod log;
mod mappings;
mod metadata;
mod metrics;
mod nodes;
mod patterns;
mod plugins;
mod pods;
mod schema;
mod services;
#[cfg(test)]
pub(crate) mod testing;
pub mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_core::names::{ClusterNameError, Names};
use weft_core::policy::Policy;
use weft_core::policy::pods::PodPolicy;

use crate::yaml;
use deploy::Deploy;
use dns::Dns;

pub use claims::Claims;
pub use connection::Connection;
pub use control_plane::{ControlPlane, Folders};
pub use kubelet::{Kubelet, KubeletMetrics, KubeletTls};
pub use log::{Log, LogFormat};
pub use mappings::{DeclaredMapping, DeclaredReference, DeclaredSelection};
pub use metadata::{Keys, Metadata};
pub use metrics::{Metrics, Readers};
pub use nodes::{NodeMode, Nodes};
pub use plugins::{Grants, Plugins};
pub use pods::{AllowedToPods, HostsFile, PodSecurity, Pods};
pub(crate) use schema::nearest;
pub use services::{Range, Services};
pub use values::Values;

/// All settings of the syncer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The virtual cluster and its place on the host.
    pub cluster: Cluster,
    /// How the host's API server is reached.
    #[serde(default)]
    pub host: Connection,
    /// How the virtual API server is reached. Without `controlPlane`, `kubeconfig` must be set.
    #[serde(default)]
    pub r#virtual: Connection,
    /// Where `/livez` and `/readyz` are served.
    #[serde(default)]
    pub health: Health,
    /// Who may read `/metrics` and `/plugins`, which are served there as well.
    #[serde(default)]
    pub metrics: Metrics,
    /// What is logged, and how.
    #[serde(default)]
    pub log: Log,
    /// How pods run on the host, and what of it they may use.
    #[serde(default)]
    pub pods: Pods,
    /// What Services and their endpoints may open on the host and lead to.
    #[serde(default)]
    pub services: Services,
    /// Which storage of the host claims may ask for.
    #[serde(default)]
    pub claims: Claims,
    /// Which nodes of the host pods run on, and what the virtual cluster sees of them.
    #[serde(default)]
    pub nodes: Nodes,
    /// Which labels and annotations of tenants the host sees.
    #[serde(default)]
    pub metadata: Metadata,
    /// Rules that are WebAssembly components. Changes are applied without a restart.
    #[serde(default)]
    pub plugins: Plugins,
    /// Kinds that need no code. Changes are applied without a restart.
    #[serde(default)]
    pub mappings: Vec<DeclaredMapping>,
    /// The DNS server of the virtual cluster. Changes are applied without a restart.
    #[serde(default)]
    pub dns: Dns,
    /// What is applied inside the virtual cluster. Changes are applied without a restart.
    #[serde(default)]
    pub deploy: Deploy,
    /// Limits of the sync engine.
    #[serde(default)]
    pub engine: Engine,
    /// What answers `kubectl logs`, `exec`, `attach`, `cp` and `port-forward`.
    #[serde(default)]
    pub kubelet: Kubelet,
    /// The virtual cluster's own API server, controllers and storage, where weft runs them.
    #[serde(default)]
    pub control_plane: Option<ControlPlane>,
    /// Folders in the pod of the control plane.
    #[serde(default)]
    pub folders: Folders,
}

/// The virtual cluster and its place on the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Name of the virtual cluster; part of every host object's name.
    pub name: String,
    /// Host namespace that holds the virtual cluster's objects.
    pub namespace: String,
    /// Host Service of the virtual API server, which owns all host objects; the cluster's name by default.
    #[serde(default)]
    pub service: Option<String>,
    /// DNS domain inside the virtual cluster.
    #[serde(default = "cluster_domain")]
    pub domain: String,
}

/// Where health is served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Health {
    /// Address of the HTTP server for `/livez` and `/readyz`.
    pub listen: SocketAddr,
}

/// Limits of the sync engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Engine {
    /// How many pairs are worked on at once, 1 to 1000; a third of them in one virtual namespace, two thirds of one kind.
    pub workers: usize,
}

impl Default for Health {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([0, 0, 0, 0], 8080)) }
    }
}

impl Default for Engine {
    fn default() -> Self {
        // A third is enough to keep two API servers busy for one namespace; each keeps a connection or two, with their buffers.
        Self { workers: 36 }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("failed to read the configuration {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not YAML, or a value of the wrong type.
    #[error("failed to parse the configuration {path}: {why}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What and where.
        why: String,
    },
    /// Keys that do not exist.
    #[error("the configuration {path} has unknown keys:{list}", path = path.display())]
    UnknownKeys {
        /// The file.
        path: PathBuf,
        /// One line a key, with the nearest known one.
        list: String,
    },
    /// A value that cannot be used.
    #[error("the configuration's `{key}` cannot be used: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong and what to do.
        why: String,
    },
    /// A cluster name that cannot be part of host names.
    #[error("the configuration's `cluster.name` {name:?} cannot be used")]
    ClusterName {
        /// The name.
        name: String,
        /// What is wrong.
        source: ClusterNameError,
    },
}

impl Config {
    /// Reads and checks the file at `path`.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
        Self::parse(path, &text)
    }

    /// The same for `text`, which is or would be in the file at `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let parse_error = |why| Error::Parse { path: path.into(), why };
        let value: Value = yaml::read(text).map_err(parse_error)?;
        let list = schema::unknown_keys(&Self::schema(), &value);
        if !list.is_empty() {
            return Err(Error::UnknownKeys { path: path.into(), list });
        }
        // Read again from the file's content, so that a wrong type is shown with its line.
        let config: Self = yaml::read(text).map_err(parse_error)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Error> {
        self.names()?;
        if self.cluster.namespace.is_empty() {
            return Err(Error::Value { key: "cluster.namespace", why: "name the host namespace".to_owned() });
        }
        if !(1..=1000).contains(&self.engine.workers) {
            return Err(Error::Value {
                key: "engine.workers",
                why: "give a number from 1 to 1000".to_owned(),
            });
        }
        self.control_plane.as_ref().map_or(Ok(()), ControlPlane::check)?;
        self.metadata.check()?;
        self.plugins.check()?;
        self.pods.check()?;
        self.services.check()?;
        self.claims.check()?;
        self.nodes.check()?;
        self.dns.check()?;
        self.kubelet.check(self.control_plane.is_some())?;
        self.deploy.check()?;
        self.mappings.iter().try_for_each(DeclaredMapping::check)
    }

    /// How this cluster's host names are made.
    pub fn names(&self) -> Result<Names, Error> {
        let name = &self.cluster.name;
        Names::new(name, &self.cluster.namespace)
            .map_err(|source| Error::ClusterName { name: name.clone(), source })
    }

    /// The host Service of the virtual API server.
    pub fn service(&self) -> &str {
        self.cluster.service.as_deref().unwrap_or(&self.cluster.name)
    }

    /// The host ServiceAccount that pods run as.
    pub fn workload_service_account(&self) -> String {
        let default = || format!("weft-workload-{}", self.cluster.name);
        self.pods.service_account.clone().unwrap_or_else(default)
    }

    /// What tenants are allowed beyond what every tenant may.
    pub fn policy(&self) -> Policy {
        let node_selector = self.nodes.selector.clone();
        Policy {
            pods: PodPolicy { node_selector, ..self.pods.policy() },
            services: self.services.policy(),
            claims: self.claims.policy(),
            metadata: self.metadata.policy(),
            nodes: self.nodes.policy(),
        }
    }

    /// The keys of the kubelet's endpoint; none where it is not served.
    pub fn kubelet_tls(&self) -> Option<KubeletTls> {
        if !self.kubelet.enabled {
            return None;
        }
        let own = || self.control_plane.as_ref().map(|_| KubeletTls::of_control_plane(&self.folders.shared));
        self.kubelet.tls.clone().or_else(own)
    }

    /// The configuration with every default visible, as YAML.
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).unwrap_or_default()
    }

    /// JSON Schema of the file.
    pub fn schema() -> Value {
        schema::of::<Self>()
    }
}

fn cluster_domain() -> String {
    "cluster.local".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, Error> {
        Config::parse(Path::new("weft.yaml"), text)
    }

    #[test]
    fn the_least_configuration_has_every_default() {
        let config = parse("cluster: {name: my-vcluster, namespace: team-a}").unwrap();
        assert_eq!(config.service(), "my-vcluster");
        assert_eq!(config.workload_service_account(), "weft-workload-my-vcluster");
        assert!(config.to_yaml().contains("domain: cluster.local"), "{}", config.to_yaml());
    }

    #[test]
    fn a_declared_mapping_that_makes_no_sense_is_refused_with_its_place() {
        let refused = |mapping: &str| {
            let text = format!(
                "cluster: {{name: a, namespace: b}}\nmappings: [{{apiVersion: a/v1, plural: as, {mapping}}}]"
            );
            parse(&text).unwrap_err().to_string()
        };
        let text = refused("kind: A, references: [{path: /spec/a, kind: Secret}]");
        assert!(text.contains("A: the reference's kind \"Secret\" must be apiVersion/Kind"), "{text}");
        let text = refused("kind: A, references: [{path: /metadata/name, kind: v1/Secret}]");
        assert!(text.contains("A: references \"/metadata/name\" must be a path"), "{text}");
        let text = refused("kind: A, managed: [/metadata]");
        assert!(text.contains("A: managed "), "{text}");
    }

    #[test]
    fn a_place_to_write_begins_with_a_slash() {
        let error = parse(
            "cluster: {name: a, namespace: b}\nplugins: {folder: p, load: {x: {writes: {v1/Pod: [spec/volumes]}}}}",
        );
        let text = error.unwrap_err().to_string();
        assert!(text.contains("x: \"spec/volumes\" in `writes` must begin with '/'"), "{text}");
    }

    #[test]
    fn what_cannot_be_read_is_reported_once_in_one_line() {
        let error = parse("cluster: {name: a, namespace: b}\nmappings: [{kind: X}]").unwrap_err();
        let line = weft_core::causes::causes(&error);
        assert_eq!((line.matches("missing field").count(), line.contains(" at line 2")), (1, true), "{line}");
        assert!(!line.contains(" | "), "{line}");
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_one() {
        let error = parse("cluster: {name: a, namepsace: b}\nhealht: {}").unwrap_err().to_string();
        assert!(error.contains("cluster.namepsace: did you mean `namespace`?"), "{error}");
        assert!(error.contains("healht: did you mean `health`?"), "{error}");
    }

    #[test]
    fn unknown_keys_are_found_in_lists_and_maps_too() {
        let text = "cluster: {name: a, namespace: b}\nplugins: {folder: /p, load: {x: {kind: [v1/Pod], settings: {any: 1}}}}\nmappings: [{apiVersion: a/v1, kind: A, plural: as, select: all}]";
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains("plugins.load.x.kind: did you mean `kinds`?"), "{error}");
        assert!(error.contains("mappings[0].select: did you mean `select"), "{error}");
        assert!(!error.contains("settings.any"), "{error}");
    }

    #[test]
    fn a_printed_configuration_can_be_read_again() {
        let config = parse("cluster: {name: my-vcluster, namespace: team-a}").unwrap();
        assert_eq!(parse(&config.to_yaml()).unwrap(), config);
    }

    #[test]
    fn a_cluster_name_that_cannot_be_part_of_host_names_is_refused() {
        let error = parse("cluster: {name: a-x-b, namespace: team-a}").unwrap_err();
        assert!(error.to_string().contains("cluster.name"), "{error}");
    }
}

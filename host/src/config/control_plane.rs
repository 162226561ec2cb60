//! The virtual cluster's own API server, controllers and storage: `controlPlane`.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Error;

/// The virtual cluster's own API server, controllers and storage. A change needs a restart of the pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlane {
    /// What the components are made of.
    pub distribution: Distribution,
    /// Version of Kubernetes, such as `v1.36.3`: the tag of the image where none is set.
    pub version: String,
    /// Where the virtual cluster keeps its objects.
    pub storage: Storage,
    /// Address ranges of Services, at most one of IPv4 and one of IPv6. They must be the host's, and are discovered unless
    /// they are set.
    pub service_cidrs: Vec<String>,
    /// More host names and addresses at which clients reach the API server, for its certificate.
    pub server_names: Vec<String>,
    /// Where clients outside of the host reach the API server, as `host:port`: for the kubeconfig that is handed out.
    pub external_address: Option<String>,
    /// The API server.
    pub api: Component,
    /// The controller manager.
    pub controllers: Component,
    /// The store.
    pub store: Component,
}

/// Folders in the pod of the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Folders {
    /// What all containers share: keys and launch files.
    pub shared: PathBuf,
    /// The socket at which the API server reaches the store.
    pub store: PathBuf,
    /// The storage's files.
    pub data: PathBuf,
}

/// What the components are made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Upstream Kubernetes.
    #[default]
    K8s,
}

/// Where the virtual cluster keeps its objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Storage {
    /// The store.
    pub r#type: StorageType,
}

/// The store of a virtual cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StorageType {
    /// One file, written by kine: least to run, for up to about ten busy clients.
    #[default]
    Sqlite,
    /// One etcd beside the API server: shorter tails with many writers.
    Etcd,
}

impl StorageType {
    /// As the configuration names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Etcd => "etcd",
        }
    }
}

/// One component of the control plane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Component {
    /// More flags for it, as `--flag=value`; they replace weft's own of the same name.
    pub extra_args: Vec<String>,
}

impl Default for ControlPlane {
    fn default() -> Self {
        Self {
            distribution: Distribution::default(),
            version: "v1.36.3".to_owned(),
            storage: Storage::default(),
            service_cidrs: Vec::new(),
            server_names: Vec::new(),
            external_address: None,
            api: Component::default(),
            controllers: Component::default(),
            store: Component::default(),
        }
    }
}

impl Default for Folders {
    fn default() -> Self {
        Self {
            shared: PathBuf::from("/run/weft"),
            store: PathBuf::from("/run/weft-store"),
            data: PathBuf::from("/data"),
        }
    }
}

impl ControlPlane {
    /// The address ranges that are set.
    pub fn ranges(&self) -> Result<Vec<IpNet>, Error> {
        let refuse = |why: String| Error::Value { key: "controlPlane.serviceCidrs", why };
        let range = |text: &String| {
            text.parse::<IpNet>()
                .map(|range| range.trunc())
                .map_err(|_| refuse(format!("{text:?} is not an address range such as 10.96.0.0/16")))
        };
        let ranges: Vec<IpNet> = self.service_cidrs.iter().map(range).collect::<Result<_, _>>()?;
        let of_family = |v6: bool| ranges.iter().filter(|range| range.addr().is_ipv6() == v6).count();
        if of_family(false) > 1 || of_family(true) > 1 {
            return Err(refuse("name at most one range of IPv4 and one of IPv6".to_owned()));
        }
        Ok(ranges)
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        self.ranges()?;
        let refuse = |key, why: String| Err(Error::Value { key, why });
        if minor(&self.version).is_none() {
            let why = format!("{:?} is not a version such as v1.36.3", self.version);
            return refuse("controlPlane.version", why);
        }
        if let Some(name) = self.server_names.iter().find(|name| !is_server_name(name)) {
            let why = format!("{name:?} is neither a host name nor an address");
            return refuse("controlPlane.serverNames", why);
        }
        if let Some(address) = self.external_address.as_deref().filter(|address| host_of(address).is_none()) {
            let why = format!("{address:?} is not host:port, such as vc.example.com:443");
            return refuse("controlPlane.externalAddress", why);
        }
        let is_of_authentication =
            |flag: &&String| flag.starts_with("--oidc-") || flag.starts_with("--anonymous-auth");
        if let Some(flag) = self.api.extra_args.iter().find(is_of_authentication) {
            let why = format!("{flag:?} excludes the file of weft that says how clients authenticate");
            return refuse("controlPlane.api.extraArgs", why);
        }
        let components = [
            ("controlPlane.api.extraArgs", &self.api),
            ("controlPlane.controllers.extraArgs", &self.controllers),
            ("controlPlane.store.extraArgs", &self.store),
        ];
        for (key, component) in components {
            if let Some(flag) = component.extra_args.iter().find(|flag| !is_flag(flag)) {
                return refuse(key, format!("{flag:?} must be one flag with its value: --flag=value"));
            }
        }
        Ok(())
    }
}

/// The minor version of Kubernetes in `v1.36.3`: 36.
pub fn minor(version: &str) -> Option<u32> {
    let mut parts = version.strip_prefix("v1.")?.split('.');
    let minor = parts.next()?.parse().ok()?;
    parts.next().filter(|patch| patch.starts_with(|digit: char| digit.is_ascii_digit()))?;
    Some(minor)
}

/// The host part of `host:port`, without the brackets of an IPv6 address.
pub fn host_of(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    is_server_name(host).then_some(host)
}

fn is_server_name(name: &str) -> bool {
    let of_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '*');
    name.parse::<IpAddr>().is_ok() || (!name.is_empty() && name.len() <= 253 && name.chars().all(of_name))
}

fn is_flag(text: &str) -> bool {
    let name = text.strip_prefix("--").and_then(|flag| flag.split_once('=')).map(|(name, _)| name);
    name.is_some_and(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(edit: impl FnOnce(&mut ControlPlane)) -> String {
        let mut control_plane = ControlPlane::default();
        edit(&mut control_plane);
        control_plane.check().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_can_be_used() {
        ControlPlane::default().check().unwrap();
    }

    #[test]
    fn a_value_that_cannot_be_used_is_refused_by_its_key_with_an_example() {
        let text = refusal(|plane| plane.service_cidrs = vec!["10.96.0.0".to_owned()]);
        assert!(text.contains("serviceCidrs") && text.contains("10.96.0.0/16"), "{text}");
        let text = refusal(|plane| plane.service_cidrs = vec!["10.0.0.0/16".into(), "10.1.0.0/16".into()]);
        assert!(text.contains("at most one range of IPv4"), "{text}");
        let text = refusal(|plane| plane.version = "1.36".to_owned());
        assert!(text.contains("controlPlane.version") && text.contains("v1.36.3"), "{text}");
        let text = refusal(|plane| plane.server_names = vec!["a b".to_owned()]);
        assert!(text.contains("serverNames"), "{text}");
        let text = refusal(|plane| plane.external_address = Some("vc.example.com".to_owned()));
        assert!(text.contains("externalAddress") && text.contains("host:port"), "{text}");
        let text = refusal(|plane| plane.api.extra_args = vec!["--v".to_owned()]);
        assert!(text.contains("controlPlane.api.extraArgs") && text.contains("--flag=value"), "{text}");
    }

    #[test]
    fn versions_and_addresses_are_taken_apart() {
        assert_eq!(
            (minor("v1.36.3"), minor("v1.37.0-rc.1"), minor("v1.36"), minor("1.36.3")),
            (Some(36), Some(37), None, None)
        );
        assert_eq!(host_of("[fd00::1]:443"), Some("fd00::1"));
        assert_eq!(
            (host_of("vc.example.com:443"), host_of("vc.example.com:x")),
            (Some("vc.example.com"), None)
        );
    }
}

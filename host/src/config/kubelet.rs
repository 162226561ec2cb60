//! The endpoint behind `kubectl logs`, `exec`, `attach`, `cp` and `port-forward`: `kubelet`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Error;

/// The kubelet of the virtual cluster's made-up nodes, for `kubectl logs`, `exec`, `attach`, `cp` and `port-forward`. A
/// change needs a restart of the pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Kubelet {
    /// Whether the syncer serves it. It needs `pods/log`, `pods/exec`, `pods/attach` and `pods/portforward` on the host.
    pub enabled: bool,
    /// Where it listens. Port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Name or address at which the virtual API server reaches it; nodes publish it. Loopback where both are in one pod.
    pub address: String,
    /// Keys, where weft does not run the control plane; without them such a virtual cluster has no kubelet.
    pub tls: Option<KubeletTls>,
}

/// Keys of the kubelet's endpoint, PEM files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeletTls {
    /// Its certificate, which must be valid for `kubelet.address` where the API server has
    /// `--kubelet-certificate-authority`.
    pub certificate: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
    /// Who signs the API server's `--kubelet-client-certificate`. That must be in the group `system:masters`.
    pub client_authority: PathBuf,
}

impl Default for Kubelet {
    fn default() -> Self {
        // The port of every kubelet; nothing else in the pod of the control plane has it.
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 10_250));
        Self { enabled: true, listen, address: "localhost".to_owned(), tls: None }
    }
}

impl KubeletTls {
    /// The keys that `weft init` makes, in the folder that the containers of a control plane share.
    pub(super) fn of_control_plane(shared: &Path) -> Self {
        let file = |name: &str| shared.join("pki").join(name);
        Self { certificate: file("kubelet.crt"), key: file("kubelet.key"), client_authority: file("ca.crt") }
    }
}

impl Kubelet {
    pub(super) fn check(&self, has_control_plane: bool) -> Result<(), Error> {
        if has_control_plane && self.tls.is_some() {
            let why = "with `controlPlane`, weft makes these keys itself; remove it".to_owned();
            return Err(Error::Value { key: "kubelet.tls", why });
        }
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | ':');
        if self.address.is_empty() || !self.address.chars().all(is_part) {
            let why = format!("{:?} is neither a host name nor an address", self.address);
            return Err(Error::Value { key: "kubelet.address", why });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config::testing::config;

    #[test]
    fn it_is_served_where_there_are_keys_for_it() {
        let tls = json!({"certificate": "/c", "key": "/k", "clientAuthority": "/a"});
        for (rest, authority) in [
            (json!({}), None),
            (json!({"controlPlane": {}}), Some("/run/weft/pki/ca.crt")),
            (json!({"kubelet": {"tls": tls}}), Some("/a")),
            (json!({"controlPlane": {}, "kubelet": {"enabled": false}}), None),
        ] {
            let found = config(&rest).kubelet_tls().map(|tls| tls.client_authority);
            assert_eq!(found.as_deref(), authority.map(std::path::Path::new), "{rest}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_by_its_key() {
        for (address, is_good) in
            [("localhost", true), ("10.1.2.3", true), ("fd00::1", true), ("", false), ("a b", false)]
        {
            let kubelet = config(&json!({"kubelet": {"address": address}})).kubelet;
            assert_eq!(kubelet.check(true).is_ok(), is_good, "{address}");
        }
    }

    #[test]
    fn keys_are_set_only_where_weft_makes_none() {
        let tls = json!({"certificate": "/c", "key": "/k", "clientAuthority": "/a"});
        let kubelet = config(&json!({"kubelet": {"tls": tls}})).kubelet;
        assert!(kubelet.check(false).is_ok());
        assert!(kubelet.check(true).unwrap_err().to_string().contains("`kubelet.tls`"));
    }
}

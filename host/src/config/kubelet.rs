//! The endpoint behind `kubectl logs`, `exec`, `attach`, `cp`, `port-forward` and `top`: `kubelet`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
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
    /// What metrics-server reads in the virtual cluster, for `kubectl top` and autoscaling.
    pub metrics: KubeletMetrics,
}

/// What metrics-server reads in the virtual cluster: usage and pods of this virtual cluster alone, for whom the virtual API
/// server allows `nodes/metrics`, `nodes/stats` or `nodes/pods`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KubeletMetrics {
    /// Whether the syncer serves them. It needs `pods` of `metrics.k8s.io` on the host, and a metrics API there.
    pub enabled: bool,
    /// Where pods reach the syncer: it listens there, on the port of `kubelet.listen`, and nodes publish it. The address of
    /// its pod (`POD_IP`) by default.
    pub address: Option<IpAddr>,
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
        Self {
            enabled: true,
            listen,
            address: "localhost".to_owned(),
            tls: None,
            metrics: KubeletMetrics::default(),
        }
    }
}

impl KubeletTls {
    /// The keys that `weft init` makes, in the folder that the containers of a control plane share.
    pub(super) fn of_control_plane(shared: &Path) -> Self {
        let file = |name: &str| shared.join("pki").join(name);
        Self { certificate: file("kubelet.crt"), key: file("kubelet.key"), client_authority: file("ca.crt") }
    }
}

impl KubeletMetrics {
    /// Where the endpoint is served to readers: as configured, or the address of this pod.
    pub fn address(&self) -> Option<IpAddr> {
        let of_pod = || std::env::var("POD_IP").ok()?.parse().ok();
        self.address.or_else(of_pod).filter(|_| self.enabled)
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
        let readers = self.metrics.address.filter(|_| self.metrics.enabled);
        if readers.is_some_and(|address| address.is_unspecified() || address == self.listen.ip()) {
            let why =
                "name an address that pods reach; the API server has its own, `kubelet.listen`".to_owned();
            return Err(Error::Value { key: "kubelet.metrics.address", why });
        }
        if self.metrics.enabled && self.listen.ip().is_unspecified() {
            let why = "with `kubelet.metrics`, name one address, as readers of metrics get the same port on another";
            return Err(Error::Value { key: "kubelet.listen", why: why.to_owned() });
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
    fn readers_of_metrics_get_an_address_of_their_own() {
        let check = |kubelet: serde_json::Value| {
            let result = config(&json!({"kubelet": kubelet})).kubelet.check(true);
            result.map_err(|error| error.to_string())
        };
        let metrics = |address: &str| json!({"enabled": true, "address": address});
        assert_eq!(check(json!({"metrics": metrics("10.1.2.3")})), Ok(()));
        assert_eq!(check(json!({"metrics": {"enabled": true}})), Ok(()));
        for address in ["0.0.0.0", "::", "127.0.0.1"] {
            let error = check(json!({"metrics": metrics(address)})).unwrap_err();
            assert!(error.contains("`kubelet.metrics.address`"), "{error}");
        }
        let all = json!({"listen": "0.0.0.0:10250", "metrics": metrics("10.1.2.3")});
        assert!(check(all).unwrap_err().contains("`kubelet.listen`"));
        let off = json!({"listen": "0.0.0.0:10250", "metrics": {"address": "10.1.2.3"}});
        assert_eq!(check(off), Ok(()));
    }

    #[test]
    fn without_metrics_there_are_no_readers() {
        let address = |enabled: bool| {
            let metrics = json!({"enabled": enabled, "address": "10.1.2.3"});
            config(&json!({"kubelet": {"metrics": metrics}})).kubelet.metrics.address()
        };
        assert_eq!(address(true), Some([10, 1, 2, 3].into()));
        assert_eq!(address(false), None);
    }

    #[test]
    fn keys_are_set_only_where_weft_makes_none() {
        let tls = json!({"certificate": "/c", "key": "/k", "clientAuthority": "/a"});
        let kubelet = config(&json!({"kubelet": {"tls": tls}})).kubelet;
        assert!(kubelet.check(false).is_ok());
        assert!(kubelet.check(true).unwrap_err().to_string().contains("`kubelet.tls`"));
    }
}

//! Who may read metrics and the list of plugins.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who may read `/metrics`, `/plugins` and why `/readyz` is 503, which are served beside `/livez`. A change needs a restart of the
/// pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Metrics {
    /// `loopback`, which `kubectl port-forward` comes from as well, or `anyone` who reaches the port: a collector of the
    /// host, and tenants' pods too unless a `NetworkPolicy` keeps them away.
    pub readers: Readers,
}

/// Who may read them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Readers {
    /// Who connects from inside of the pod, or through a forwarded port.
    #[default]
    Loopback,
    /// Whoever reaches the port.
    Anyone,
}

impl Readers {
    /// Whether a client at this address may read them.
    pub fn has(self, client: SocketAddr) -> bool {
        match self {
            Self::Loopback => client.ip().to_canonical().is_loopback(),
            Self::Anyone => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config::testing::config;

    #[test]
    fn by_default_only_loopback_reads() {
        for (metrics, remote_may) in [(json!({}), false), (json!({"readers": "anyone"}), true)] {
            let readers = config(&json!({"metrics": metrics})).metrics.readers;
            for local in ["127.0.0.1:9", "127.8.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9"] {
                assert!(readers.has(local.parse().unwrap()), "{local}");
            }
            for remote in ["10.1.2.3:9", "[fd00::1]:9", "[::ffff:10.1.2.3]:9", "169.254.1.1:9"] {
                assert_eq!(readers.has(remote.parse().unwrap()), remote_may, "{remote} {metrics}");
            }
        }
    }
}

//! The DNS server of the virtual cluster: `dns`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::Error;

/// The image of the control plane, which has CoreDNS as well.
const IMAGE: &str = "ghcr.io/weft/kubernetes:v1.36.3";
/// What CoreDNS accepts in one `forward`.
const MOST_UPSTREAMS: usize = 15;
/// More would only be a typing error: ten replicas answer a million queries a second.
const MOST_REPLICAS: u32 = 10;

/// The DNS server of the virtual cluster. Changes are applied without a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Dns {
    /// Whether the syncer runs CoreDNS in the virtual cluster. Without it, pods that the virtual Service
    /// `kube-system/kube-dns` selects answer, and it is up to the tenant to run them. When it is turned off, what the
    /// syncer has applied is deleted, but for that Service.
    pub enabled: bool,
    /// Image of CoreDNS; empty means `ghcr.io/weft/kubernetes:v1.36.3`, the image of the control plane.
    pub image: String,
    /// The program within the image, with its first arguments. For the upstream image: `[/coredns]`.
    pub command: Vec<String>,
    /// How many pods answer, 1 to 10.
    pub replicas: u32,
    /// `resources` of the container, as in a pod.
    pub resources: Map<String, Value>,
    /// Who is asked about names outside the virtual cluster: IP addresses of DNS servers, or a file such as
    /// `/etc/resolv.conf`, which is the node's. When it is empty, such names are refused.
    pub forward: Vec<String>,
    /// Whether `forward` is asked about names of the virtual cluster's own domain as well that it does not have. With the
    /// address of the host's DNS Service in `forward`, pods find Services of the host by their full names, where both
    /// clusters have the same domain; in a domain of its own they do without this.
    pub fallthrough: bool,
    /// Lines added to the default server block of the Corefile. A tenant adds lines and server blocks by the keys
    /// `*.override` and `*.server` of a ConfigMap `kube-system/coredns-custom`.
    pub extra_config: String,
    /// Server blocks added to the Corefile. Ports under 1024 cannot be used.
    pub extra_servers: String,
}

impl Default for Dns {
    fn default() -> Self {
        let resources = json!({"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"memory": "256Mi"}});
        Self {
            enabled: true,
            image: String::new(),
            command: ["/kubernetes", "coredns"].map(str::to_owned).into(),
            replicas: 1,
            resources: resources.as_object().cloned().unwrap_or_default(),
            forward: vec!["/etc/resolv.conf".to_owned()],
            fallthrough: false,
            extra_config: String::new(),
            extra_servers: String::new(),
        }
    }
}

impl Dns {
    /// The image that is run.
    pub fn image(&self) -> &str {
        if self.image.is_empty() { IMAGE } else { &self.image }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse = |key, why: &str| Err(Error::Value { key, why: why.to_owned() });
        if !(1..=MOST_REPLICAS).contains(&self.replicas) {
            return refuse("dns.replicas", "give a number from 1 to 10");
        }
        if self.command.iter().all(String::is_empty) {
            return refuse("dns.command", "name the program, such as `[/coredns]`");
        }
        if self.forward.len() > MOST_UPSTREAMS || !self.forward.iter().all(|upstream| is_word(upstream)) {
            return refuse("dns.forward", "give up to 15 addresses or files, each without spaces");
        }
        if self.fallthrough && self.forward.is_empty() {
            return refuse("dns.fallthrough", "nobody would be asked; give an address in `dns.forward`");
        }
        if !is_balanced(&self.extra_config) {
            return refuse("dns.extraConfig", "it closes more braces than it opens, or fewer");
        }
        Ok(())
    }
}

/// Whether it is one token of a Corefile.
fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|letter: char| letter.is_whitespace() || "{}\"#".contains(letter))
}

/// Whether no brace of the surrounding block is closed, and none is left open.
fn is_balanced(text: &str) -> bool {
    let depths = text.chars().scan(0_i32, |depth, letter| {
        *depth += match letter {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        Some(*depth)
    });
    let (lowest, last) = depths.fold((0, 0), |(lowest, _), depth| (lowest.min(depth), depth));
    lowest == 0 && last == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(dns: &Value) -> String {
        let dns: Dns = serde_json::from_value(dns.clone()).unwrap();
        dns.check().map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn the_default_can_be_used_and_names_the_image_of_the_control_plane() {
        assert_eq!(refused(&json!({})), "");
        assert_eq!(Dns::default().image(), IMAGE);
        let own = Dns { image: "mirror.example/coredns:1".to_owned(), ..Dns::default() };
        assert_eq!(own.image(), "mirror.example/coredns:1");
    }

    #[test]
    fn what_would_break_the_corefile_is_refused_with_its_key() {
        for (dns, key) in [
            (json!({"replicas": 0}), "`dns.replicas`"),
            (json!({"command": []}), "`dns.command`"),
            (json!({"forward": ["10.0.0.1 }"]}), "`dns.forward`"),
            (json!({"forward": [""]}), "`dns.forward`"),
            (json!({"fallthrough": true, "forward": []}), "`dns.fallthrough`"),
            (json!({"extraConfig": "}\n. {"}), "`dns.extraConfig`"),
            (json!({"extraConfig": "hosts {"}), "`dns.extraConfig`"),
        ] {
            assert!(refused(&dns).contains(key), "{dns}: {}", refused(&dns));
        }
        assert_eq!(refused(&json!({"forward": [], "extraConfig": "hosts {\n 10.0.0.1 a\n}"})), "");
    }
}

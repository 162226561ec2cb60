//! Which labels and annotations of tenants reach the host, where its controllers obey them.
//!
//! What does not is escaped there: people can still read it, the downward API still answers with it, and the tenant's own
//! selectors still find it, but no controller knows it.

use crate::host_controllers::keys;
use crate::key_pattern;
use crate::object::ResourceType;

/// What the operator allows labels and annotations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetadataPolicy {
    /// Keys of labels.
    pub labels: KeyPolicy,
    /// Keys of annotations.
    pub annotations: KeyPolicy,
}

/// Patterns of keys, as [`key_pattern::means`] reads them, on top of the table of [`keys::obeyed_by`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyPolicy {
    /// What reaches the host though a controller there obeys it.
    pub allow: Vec<String>,
    /// What does not though nothing is known of it, and whatever is allowed.
    pub deny: Vec<String>,
}

/// Why a key does not reach the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// These controllers obey it.
    Obeyed(&'static str),
    /// The operator says so.
    ByOperator,
}

impl MetadataPolicy {
    /// Everything that can be allowed at all.
    pub fn open() -> Self {
        let all = KeyPolicy { allow: vec!["*".to_owned()], deny: Vec::new() };
        Self { labels: all.clone(), annotations: all }
    }
}

impl KeyPolicy {
    /// Why a key does not reach the host: `deny` goes before `allow`, and that before the table.
    pub fn denied(&self, key: &str) -> Option<Denied> {
        let has = |patterns: &[String]| patterns.iter().any(|pattern| key_pattern::means(pattern, key));
        if has(&self.deny) {
            return Some(Denied::ByOperator);
        }
        keys::obeyed_by(key).filter(|_| !has(&self.allow)).map(Denied::Obeyed)
    }

    /// The same on an object of this kind, which its mapping may judge better.
    pub fn denied_on(&self, resource: &ResourceType, key: &str) -> Option<Denied> {
        let denied = self.denied(key)?;
        (denied == Denied::ByOperator || !keys::is_of_kind(resource, key)).then_some(denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str], deny: &[&str]) -> KeyPolicy {
        let owned = |list: &[&str]| list.iter().map(|pattern| (*pattern).to_owned()).collect();
        KeyPolicy { allow: owned(allow), deny: owned(deny) }
    }

    #[test]
    fn deny_goes_before_allow_and_allow_before_the_table() {
        let by_default = KeyPolicy::default();
        assert!(matches!(by_default.denied("sidecar.istio.io/inject"), Some(Denied::Obeyed(_))));
        assert_eq!(by_default.denied("app"), None);
        let both = policy(&["*.istio.io/*", "app"], &["security.istio.io/*", "app"]);
        assert_eq!(both.denied("sidecar.istio.io/inject"), None);
        assert_eq!(both.denied("security.istio.io/tlsMode"), Some(Denied::ByOperator));
        assert_eq!(both.denied("app"), Some(Denied::ByOperator));
        assert!(both.denied("linkerd.io/inject").is_some());
    }

    #[test]
    fn what_is_of_a_kind_passes_there_unless_the_operator_denies_it() {
        let ingress =
            ResourceType { group: "networking.k8s.io".into(), ..ResourceType::core("Ingress", "ingresses") };
        let key = "nginx.ingress.kubernetes.io/auth-url";
        assert!(KeyPolicy::default().denied(key).is_some());
        assert_eq!(KeyPolicy::default().denied_on(&ingress, key), None);
        assert_eq!(
            policy(&[], &["*.ingress.kubernetes.io/*"]).denied_on(&ingress, key),
            Some(Denied::ByOperator)
        );
    }
}

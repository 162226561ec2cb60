//! Which labels and annotations controllers of the host obey, and what a tenant could make them do.
//!
//! A closed list: of the domains of Kubernetes itself everything but what is known to do no harm, of others those whose
//! controllers act on objects that they did not make. A key in this table does not reach the host as it is, unless the
//! operator allows it ([`crate::policy::metadata`]).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::key_pattern;
use crate::object::ResourceType;

mod table;

use table::{HARMLESS, KUBERNETES, OBEYED, OF_KIND};

/// Controllers of one sort, and the keys by which others command them.
#[derive(Debug)]
pub struct Obeyed {
    /// What they are, and what they would do.
    pub who: &'static str,
    /// Their keys: each a domain, which stands for itself and its subdomains, or a key without one.
    pub keys: &'static [&'static str],
}

/// All groups of the table, for those who document or test it.
pub fn groups() -> impl Iterator<Item = &'static Obeyed> {
    [&KUBERNETES].into_iter().chain(OBEYED)
}

/// Patterns of the keys of Kubernetes' own domains that pass all the same.
pub fn harmless() -> &'static [&'static str] {
    HARMLESS
}

/// Who on the host obeys the label or annotation of this key, if anybody does.
pub fn obeyed_by(key: &str) -> Option<&'static str> {
    let domain = key.split_once('/').map_or(key, |(domain, _)| domain);
    let above = domain.match_indices('.').filter_map(|(dot, _)| domain.get(dot + 1..));
    let who = [domain].into_iter().chain(above).find_map(|domain| TABLE.get(domain).copied())?;
    // Asked last: most keys are in no domain of the table.
    let is_harmless = HARMLESS.iter().any(|harmless| key_pattern::means(harmless, key));
    (!is_harmless).then_some(who)
}

/// Whether the key is what objects of this kind are configured by: what it may say is for the kind's mapping to judge.
pub fn is_of_kind(resource: &ResourceType, key: &str) -> bool {
    let of_kind = OF_KIND.iter().filter(|of| of.group == resource.group && of.kind == resource.kind);
    of_kind.flat_map(|of| of.keys).any(|pattern| key_pattern::means(pattern, key))
}

/// Key or domain → who obeys it.
static TABLE: LazyLock<BTreeMap<&'static str, &'static str>> =
    LazyLock::new(|| groups().flat_map(|group| group.keys.iter().map(|key| (*key, group.who))).collect());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_stands_for_its_subdomains_and_for_nothing_that_only_ends_like_it() {
        for key in ["sidecar.istio.io/inject", "istio.io/rev", "linkerd.io/inject", "aadpodidbinding"] {
            assert!(obeyed_by(key).is_some(), "{key}");
        }
        for key in ["notistio.io/inject", "app", "example.com/istio.io", "x/aadpodidbinding"] {
            assert_eq!(obeyed_by(key), None, "{key}");
        }
    }

    #[test]
    fn of_kubernetes_own_domains_only_what_does_no_harm_passes() {
        for key in [
            "app.kubernetes.io/name",
            "batch.kubernetes.io/job-name",
            "statefulset.kubernetes.io/pod-name",
            "kubernetes.io/service-name",
            "endpointslice.kubernetes.io/managed-by",
            "kubectl.kubernetes.io/default-container",
        ] {
            assert_eq!(obeyed_by(key), None, "{key}");
        }
        for key in [
            "cluster-autoscaler.kubernetes.io/safe-to-evict",
            "service.beta.kubernetes.io/aws-load-balancer-type",
            "kubernetes.io/config.mirror",
            "k8s.io/unknown",
            "future.kubernetes.io/anything",
            "nginx.ingress.kubernetes.io/auth-url",
        ] {
            assert!(obeyed_by(key).is_some(), "{key}");
        }
    }

    #[test]
    fn an_ingress_has_the_keys_of_ingress_controllers_and_a_service_does_not() {
        let ingress =
            ResourceType { group: "networking.k8s.io".into(), ..ResourceType::core("Ingress", "ingresses") };
        for key in
            ["nginx.ingress.kubernetes.io/auth-url", "ingress.kubernetes.io/a", "kubernetes.io/ingress.class"]
        {
            assert!(is_of_kind(&ingress, key), "{key}");
            assert!(!is_of_kind(&ResourceType::core("Service", "services"), key), "{key}");
        }
        for key in
            ["ingress.kubernetes.io.example.com/a", "xingress.kubernetes.io/a", "cert-manager.io/issuer"]
        {
            assert!(!is_of_kind(&ingress, key), "{key}");
        }
    }

    #[test]
    fn each_entry_is_there_once_and_says_who() {
        let all: Vec<_> = groups().flat_map(|group| group.keys).collect();
        assert_eq!(all.len(), TABLE.len(), "an entry is there twice");
        assert!(groups().all(|group| !group.who.is_empty() && !group.keys.is_empty()));
        // An entry below another one is never looked up.
        for key in all {
            let above = key.match_indices('.').filter_map(|(dot, _)| key.get(dot + 1..));
            assert!(
                !above.into_iter().any(|domain| TABLE.contains_key(domain)),
                "{key} is in a domain of the table"
            );
        }
    }
}

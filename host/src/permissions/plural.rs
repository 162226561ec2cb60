//! Guesses the name of a kind in URLs where nothing says it.

use weft_core::object::ResourceType;

/// The resource type of `apiVersion/Kind`, with the plural that English has for the kind; none if it is not written so.
/// Like `UnsafeGuessKindToResource` of client-go, which in addition takes `Gateway` for `gatewaies`.
pub(super) fn guess(kind: &str) -> Option<ResourceType> {
    let (api_version, kind) = kind.rsplit_once('/')?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Some(ResourceType {
        group: group.to_owned().into(),
        version: version.to_owned().into(),
        kind: kind.to_owned().into(),
        plural: plural(&kind.to_lowercase()).into(),
        namespaced: true,
    })
}

fn plural(singular: &str) -> String {
    /// A kind that is a plural already.
    const ENDPOINTS: &str = "endpoints";
    let ends_in = |endings: &[&str]| endings.iter().any(|ending| singular.ends_with(ending));
    match singular.strip_suffix('y') {
        _ if singular.ends_with(ENDPOINTS) => singular.to_owned(),
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ if ends_in(&["s", "x", "z", "ch", "sh"]) => format!("{singular}es"),
        _ => format!("{singular}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_get_the_plural_that_their_api_has() {
        for (kind, wanted) in [
            ("networking.k8s.io/v1/Ingress", "networking.k8s.io ingresses"),
            ("networking.k8s.io/v1/NetworkPolicy", "networking.k8s.io networkpolicies"),
            ("gateway.networking.k8s.io/v1/Gateway", "gateway.networking.k8s.io gateways"),
            ("policy/v1/PodDisruptionBudget", "policy poddisruptionbudgets"),
            ("example.com/v1/Mesh", "example.com meshes"),
            ("v1/Endpoints", " endpoints"),
            ("v1/Pod", " pods"),
        ] {
            let found = guess(kind).unwrap();
            assert_eq!(format!("{} {}", found.group, found.plural), wanted, "{kind}");
        }
        assert_eq!(guess("Pod"), None);
    }
}

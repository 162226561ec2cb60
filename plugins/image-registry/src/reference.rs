//! Parses image references: `docker.io`, `library/`, `nginx:1.29@sha256:…`.

/// The registry of references that name none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Another name of the same registry.
const DEFAULT_REGISTRY_ALIAS: &str = "index.docker.io";
/// The path of images without a path in that registry.
const LIBRARY: &str = "library/";

/// An image reference, parsed as far as a change of registry needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    /// Host and port.
    pub(crate) registry: &'a str,
    /// `library/` if it is implied.
    pub(crate) library: &'static str,
    /// Path, tag and digest, as they are.
    pub(crate) rest: &'a str,
}

impl<'a> Reference<'a> {
    /// Parses `image` as container runtimes do; none if it is not a reference.
    pub(crate) fn parse(image: &'a str) -> Option<Self> {
        if image.is_empty() || image.contains(char::is_whitespace) {
            return None;
        }
        let (registry, rest) = match image.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest),
            _ => (DEFAULT_REGISTRY, image),
        };
        if rest.is_empty() {
            return None;
        }
        let registry = if registry == DEFAULT_REGISTRY_ALIAS { DEFAULT_REGISTRY } else { registry };
        let is_official = registry == DEFAULT_REGISTRY && !rest.contains('/');
        Some(Self { registry, library: if is_official { LIBRARY } else { "" }, rest })
    }
}

/// Whether the first part of a reference is a host: a path has no dots, colons or capital letters there.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.contains(|c: char| c.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(image: &str) -> (&str, &str, &str) {
        let reference = Reference::parse(image).unwrap();
        (reference.registry, reference.library, reference.rest)
    }

    #[test]
    fn a_missing_registry_and_path_are_implied() {
        assert_eq!(parts("nginx"), ("docker.io", "library/", "nginx"));
        assert_eq!(parts("nginx:1.29"), ("docker.io", "library/", "nginx:1.29"));
        assert_eq!(parts("docker.io/nginx"), ("docker.io", "library/", "nginx"));
        assert_eq!(parts("index.docker.io/library/nginx"), ("docker.io", "", "library/nginx"));
        assert_eq!(parts("bitnami/redis"), ("docker.io", "", "bitnami/redis"));
    }

    #[test]
    fn a_host_is_known_by_its_dot_or_port() {
        assert_eq!(parts("quay.io/a"), ("quay.io", "", "a"));
        assert_eq!(parts("localhost/a:1"), ("localhost", "", "a:1"));
        assert_eq!(parts("registry:5000/a/b"), ("registry:5000", "", "a/b"));
        assert_eq!(parts("[2001:db8::1]:5000/a"), ("[2001:db8::1]:5000", "", "a"));
    }

    #[test]
    fn tags_and_digests_stay_in_place() {
        assert_eq!(parts("nginx@sha256:0123"), ("docker.io", "library/", "nginx@sha256:0123"));
        assert_eq!(parts("ghcr.io/a/b:v1@sha256:0123"), ("ghcr.io", "", "a/b:v1@sha256:0123"));
    }

    #[test]
    fn an_invalid_reference_is_not_changed() {
        assert!(["", "quay.io/", "a b"].into_iter().all(|image| Reference::parse(image).is_none()));
    }
}

//! Which strings the API takes for names of objects: RFC 1123, as Kubernetes reads it.
//!
//! A string that is no such name comes from a server that lies, or from a field that no server checks. It must not
//! get into a URL, where `../` and `/` lead to other objects.

/// Longest label, and longest subdomain (RFC 1123; `k8s.io/apimachinery/pkg/util/validation`).
const MAX_LABEL: usize = 63;
const MAX_SUBDOMAIN: usize = 253;

/// Whether `text` is an RFC 1123 label, as names of Namespaces and Services are.
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= MAX_LABEL && is_plain_label(text)
}

/// Whether `text` is an RFC 1123 subdomain, as names of most objects are. Kubernetes limits its whole length only.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= MAX_SUBDOMAIN && text.split('.').all(is_plain_label)
}

/// Whether a server can have an object of this name, in this namespace where there is one. Beside subdomains these are
/// the names of roles, which have colons: `system:controller:job-controller`, `system::leader-locking`.
pub fn is_object_name(namespace: &str, name: &str) -> bool {
    let is_part = |part: &str| part.is_empty() || is_dns_subdomain(part);
    let is_name = !name.is_empty() && name.len() <= MAX_SUBDOMAIN && name.split(':').all(is_part);
    is_name && (namespace.is_empty() || is_dns_label(namespace))
}

/// Whether `text` is lower-case letters, digits and `-`, and begins and ends with a letter or digit.
fn is_plain_label(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_api_takes() {
        let longest = "a".repeat(MAX_SUBDOMAIN);
        for name in ["a", "0", "a-b", "a.b", "web-0.shop", "a--b", &longest] {
            assert!(is_dns_subdomain(name) && is_object_name("", name), "{name}");
        }
        let too_long = "a".repeat(MAX_SUBDOMAIN + 1);
        let bad = [
            "", ".", "..", "a..b", ".a", "a.", "-a", "a-", "a.-b", "A", "a_b", "a/b", "../../x", "a,b",
            "a b", "a%2fb", "a\n", "ä", &too_long,
        ];
        for name in bad {
            assert!(!is_dns_subdomain(name) && !is_object_name("", name), "{name:?}");
        }
    }

    #[test]
    fn a_label_is_short_and_has_no_dot() {
        assert!(is_dns_label("team-a") && is_dns_label(&"a".repeat(MAX_LABEL)));
        assert!(!is_dns_label("a.b") && !is_dns_label("") && !is_dns_label(&"a".repeat(MAX_LABEL + 1)));
    }

    #[test]
    fn names_of_roles_have_colons_and_namespaces_are_labels() {
        for name in ["system:node", "system::leader-locking-kube-scheduler", "a:b.c"] {
            assert!(is_object_name("kube-system", name) && !is_dns_subdomain(name), "{name}");
        }
        assert!(!is_object_name("", "system:../x") && !is_object_name("", "system:a/b"));
        assert!(!is_object_name("a.b", "web") && !is_object_name("..", "web") && is_object_name("", "web"));
    }
}

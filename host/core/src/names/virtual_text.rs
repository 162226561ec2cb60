//! Replaces host names by virtual ones in strings that the host wrote, so that tenants learn nothing of the host.

use std::borrow::Cow;

use super::{Names, Parts};

/// The segment of an API path that a namespace follows.
const NAMESPACES: &str = "namespaces";

/// What the host's API server writes around the name of an object of its own: what stands before it, and what ends it. What
/// nothing ends is hidden to the end: how a webhook was called, with its Service and address.
const OF_THE_HOST: [(&str, char); 8] = [
    ("exceeded quota: ", ','),
    ("failed quota: ", ':'),
    ("status unknown for quota: ", ','),
    ("Policy '", '\''),
    ("policy '", '\''),
    ("with binding '", '\''),
    ("User \"", '"'),
    ("failed to call webhook: ", '\0'),
];
/// What stands for a name that is hidden.
const HIDDEN: &str = "…";

impl Names {
    /// `text` about an object in the virtual `namespace`, with every host name of this tenant in it replaced
    /// by the virtual name, and those of the host's own objects hidden, so that the tenant learns nothing of the host.
    pub fn to_virtual_text(&self, text: &str, namespace: &str) -> String {
        let text = without_host_objects(text);
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/');
        let mut result = String::with_capacity(text.len());
        let mut rest = &*text;
        while let Some(start) = rest.find(is_name) {
            let (before, from) = rest.split_at_checked(start).unwrap_or((rest, ""));
            let (word, after) =
                from.split_at_checked(from.find(|c| !is_name(c)).unwrap_or(from.len())).unwrap_or((from, ""));
            result.push_str(before);
            result.push_str(&self.to_virtual_path(word, namespace));
            rest = after;
        }
        result.push_str(rest);
        result
    }

    /// A name, `namespace/name`, or a path with such in it: `secrets/db-x-shop-x-vc`.
    fn to_virtual_path(&self, word: &str, about: &str) -> String {
        let path = word.trim_end_matches(['.', '-', '/']);
        let end = word.get(path.len()..).unwrap_or_default();
        let mut shown: Vec<String> = Vec::new();
        let mut before = None;
        let mut segments = path.split('/').peekable();
        while let Some(segment) = segments.next() {
            let next = segments.peek().and_then(|next| self.parts(next));
            // Elsewhere the word may be a part of an image's name.
            let is_namespace = next.is_some() || before.is_none_or(|before| before == NAMESPACES);
            shown.push(match (self.parts(segment), next) {
                (Some(Parts::Readable { name, .. }), _) => name.to_owned(),
                // Of a hashed name the readable part is all there is.
                (Some(Parts::Hashed { prefix }), _) => format!("{prefix}…"),
                (None, Some(Parts::Readable { namespace, .. })) if segment == self.namespace => {
                    namespace.to_owned()
                }
                (None, _) if segment == self.namespace && is_namespace => about.to_owned(),
                (None, _) => segment.to_owned(),
            });
            before = Some(segment);
        }
        format!("{}{end}", shown.join("/"))
    }
}

/// `text` without the names of the host's own objects.
fn without_host_objects(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for (before, end) in OF_THE_HOST {
        if text.contains(before) {
            text = hidden_after(&text, before, end).into();
        }
    }
    text
}

/// `text` with what stands after each `before` hidden, up to `end`.
fn hidden_after(text: &str, before: &str, end: char) -> String {
    let mut parts = text.split(before);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.split_at_checked(part.find(end).unwrap_or(part.len())).map_or("", |(_, rest)| rest);
        result.extend([before, HIDDEN, rest]);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::VirtualName;

    fn names() -> Names {
        Names::new("my-vcluster", "team-a").unwrap()
    }

    #[test]
    fn a_string_with_host_names_is_shown_with_virtual_names() {
        let shown = names().to_virtual_text(
            "assigned team-a/web-0-x-shop-x-my-vcluster to node-1. \"db-x-shop-x-my-vcluster\" not found",
            "shop",
        );
        assert_eq!(shown, "assigned shop/web-0 to node-1. \"db\" not found");
        let shown = names().to_virtual_text(
            "web-x-shop-x-my-vcluster_team-a(1), team-a/quota, in namespace team-a.",
            "shop",
        );
        assert_eq!(shown, "web_shop(1), shop/quota, in namespace shop.");
        let long = names().host_name(&VirtualName::new("shop", "l".repeat(70)));
        assert!(!names().to_virtual_text(&format!("pod {long}: no"), "shop").contains("my-vcluster"));
    }

    #[test]
    fn objects_of_the_host_itself_are_not_named() {
        let shown = |text: &str| names().to_virtual_text(text, "shop");
        for (text, expected) in [
            (
                "pods \"web-x-shop-x-my-vcluster\" is forbidden: exceeded quota: gold-tier, requested: pods=1, used: pods=3, limited: pods=3",
                "pods \"web\" is forbidden: exceeded quota: …, requested: pods=1, used: pods=3, limited: pods=3",
            ),
            (
                "failed quota: gold-tier: must specify cpu for: web",
                "failed quota: …: must specify cpu for: web",
            ),
            (
                "status unknown for quota: gold-tier, resources: pods",
                "status unknown for quota: …, resources: pods",
            ),
            (
                "ValidatingAdmissionPolicy 'no-latest' with binding 'no-latest-prod' denied request: name a tag",
                "ValidatingAdmissionPolicy '…' with binding '…' denied request: name a tag",
            ),
            (
                "User \"system:serviceaccount:team-a:weft-my-vcluster\" cannot create resource \"pods\"",
                "User \"…\" cannot create resource \"pods\"",
            ),
            (
                "failed calling webhook \"a.example.com\": failed to call webhook: Post \"https://hook.infra.svc:443/a?timeout=10s\": dial tcp 10.1.2.3:443: connect: connection refused",
                "failed calling webhook \"a.example.com\": failed to call webhook: …",
            ),
            ("no quota is named here", "no quota is named here"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn a_path_is_shown_with_virtual_names_in_every_segment() {
        let shown = |text: &str| names().to_virtual_text(text, "shop");
        assert_eq!(shown("secrets/db-x-bank-x-my-vcluster"), "secrets/db");
        assert_eq!(
            shown("/api/v1/namespaces/team-a/pods/web-x-shop-x-my-vcluster/log"),
            "/api/v1/namespaces/shop/pods/web/log"
        );
        assert_eq!(shown("see team-a/db-x-bank-x-my-vcluster."), "see bank/db.");
        assert_eq!(shown("pulling registry.example/team-a/web:1"), "pulling registry.example/team-a/web:1");
    }
}

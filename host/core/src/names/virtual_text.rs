//! Replaces host names by virtual ones in strings that the host wrote, so that tenants learn nothing of the host.

use super::{Names, Parts};

/// The segment of an API path that a namespace follows.
const NAMESPACES: &str = "namespaces";

impl Names {
    /// `text` about an object in the virtual `namespace`, with every host name of this tenant in it replaced
    /// by the virtual name, so that the tenant learns nothing of the host.
    pub fn to_virtual_text(&self, text: &str, namespace: &str) -> String {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/');
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
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

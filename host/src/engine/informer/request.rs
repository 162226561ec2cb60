//! Builds the URLs of lists and watches.

use std::time::Duration;

use weft_core::object::ResourceType;

use crate::api;
use crate::engine::cache::version::ResourceVersion;

/// Objects a page: large enough to be quick, small enough not to hold a whole kind in memory twice.
const PAGE: usize = 500;

/// What is listed and watched.
#[derive(Clone, Copy)]
pub(super) struct Selection<'a> {
    pub(super) resource: &'a ResourceType,
    /// One namespace, or all for an empty one.
    pub(super) namespace: &'a str,
    /// Label selector in URL form, or empty.
    pub(super) selector: &'a str,
}

impl Selection<'_> {
    /// The page of a list that the token `next` stands for; the first one for an empty token.
    pub(super) fn list_url(self, next: &str) -> String {
        let next = if next.is_empty() { String::new() } else { format!("&continue={next}") };
        format!("{}?limit={PAGE}{}{next}", self.path(), self.selector_query())
    }

    /// A watch of what comes after `version`, which the server is to end after `lifetime`.
    pub(super) fn watch_url(self, version: &ResourceVersion, lifetime: Duration) -> String {
        let (path, selector) = (self.path(), self.selector_query());
        let (seconds, version) = (lifetime.as_secs(), version.as_str());
        format!(
            "{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={version}{selector}"
        )
    }

    fn path(self) -> String {
        api::list_path(self.resource, self.namespace)
    }

    fn selector_query(self) -> String {
        if self.selector.is_empty() { String::new() } else { format!("&labelSelector={}", self.selector) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_of_labels_holds_for_lists_and_watches() {
        let pods = ResourceType::core("Pod", "pods");
        let all = Selection { resource: &pods, namespace: "", selector: "" };
        let some = Selection { namespace: "a", selector: "x%3Dy", ..all };
        assert_eq!(all.list_url(""), "/api/v1/pods?limit=500");
        assert_eq!(
            some.list_url("token"),
            "/api/v1/namespaces/a/pods?limit=500&labelSelector=x%3Dy&continue=token"
        );
        assert_eq!(
            some.watch_url(&ResourceVersion::new("7"), Duration::from_secs(55)),
            "/api/v1/namespaces/a/pods?watch=1&allowWatchBookmarks=true&timeoutSeconds=55&resourceVersion=7&labelSelector=x%3Dy"
        );
    }
}

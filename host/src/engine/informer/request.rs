//! Builds the URLs of lists and watches, and says how large a page of a list is to be.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use weft_core::object::ResourceType;

use crate::api;
use crate::engine::cache::content::Content;
use crate::engine::cache::version::ResourceVersion;

/// Objects a page at most: large enough to be quick, small enough not to hold a whole kind in memory twice.
const PAGE: usize = 500;
/// A page of so few objects that comes too late does so for another reason than its size.
const FEWEST_FOR_TIME: usize = 50;

/// How many objects the pages of a watch are to have, by what has gone well so far.
#[derive(Default)]
pub(crate) struct PageLimits {
    pub(super) lists: PageLimit,
    /// An audit reads metadata only, so its pages may be larger.
    pub(super) audits: PageLimit,
}

/// How many objects a page is to have.
pub(super) struct PageLimit(AtomicUsize);

impl Content {
    /// A request for a page of a list.
    pub(super) fn list(self) -> fn(&str) -> Request<Vec<u8>> {
        match self {
            Self::Whole => api::get,
            Self::Metadata => api::get_metadata,
        }
    }

    /// A request for a watch.
    pub(super) fn watch(self) -> fn(&str) -> Request<Vec<u8>> {
        match self {
            Self::Whole => api::get,
            Self::Metadata => api::watch_metadata,
        }
    }
}

/// What is listed and watched.
#[derive(Clone, Copy)]
pub(super) struct Selection<'a> {
    pub(super) resource: &'a ResourceType,
    /// One namespace, or all for an empty one.
    pub(super) namespace: &'a str,
    /// Label selector in URL form, or empty.
    pub(super) selector: &'a str,
}

impl Default for PageLimit {
    fn default() -> Self {
        Self(AtomicUsize::new(PAGE))
    }
}

impl PageLimit {
    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// After a page that was too large; returns whether there are smaller ones.
    pub(super) fn halve(&self) -> bool {
        self.halve_to(1)
    }

    /// After a page that came too late: that may be its size, or the server's bad hour. Returns whether there are smaller ones.
    pub(super) fn halve_for_time(&self) -> bool {
        self.halve_to(FEWEST_FOR_TIME)
    }

    fn halve_to(&self, fewest: usize) -> bool {
        let limit = self.get();
        self.0.store((limit / 2).max(fewest.min(limit)), Ordering::Relaxed);
        limit > fewest
    }

    /// After a whole list that went well.
    pub(super) fn double(&self) {
        self.0.store((self.get() * 2).min(PAGE), Ordering::Relaxed);
    }
}

impl Selection<'_> {
    /// The page of a list that the token `next` stands for, with `limit` objects; the first one for an empty token.
    pub(super) fn list_url(self, next: &str, limit: usize) -> String {
        let next = if next.is_empty() { String::new() } else { format!("&continue={next}") };
        format!("{}?limit={limit}{}{next}", self.path(), self.selector_query())
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
    fn a_limit_is_halved_down_to_one_object_and_doubled_up_to_a_page() {
        let limit = PageLimit::default();
        let mut halves = vec![limit.get()];
        while limit.halve() {
            halves.push(limit.get());
        }
        assert_eq!(halves, [500, 250, 125, 62, 31, 15, 7, 3, 1]);
        assert_eq!(limit.get(), 1, "a page of no objects is a page of all");
        let doubles: Vec<usize> = (0..10).map(|_| (limit.double(), limit.get()).1).collect();
        assert_eq!(doubles, [2, 4, 8, 16, 32, 64, 128, 256, 500, 500]);
        let mut late = vec![limit.get()];
        while limit.halve_for_time() {
            late.push(limit.get());
        }
        assert_eq!(
            late,
            [500, 250, 125, 62, 50],
            "a server that is slow for long costs no page for each object"
        );
    }

    #[test]
    fn a_selection_of_labels_holds_for_lists_and_watches() {
        let pods = ResourceType::core("Pod", "pods");
        let all = Selection { resource: &pods, namespace: "", selector: "" };
        let some = Selection { namespace: "a", selector: "x%3Dy", ..all };
        assert_eq!(all.list_url("", PAGE), "/api/v1/pods?limit=500");
        assert_eq!(
            some.list_url("token", 250),
            "/api/v1/namespaces/a/pods?limit=250&labelSelector=x%3Dy&continue=token"
        );
        assert_eq!(
            some.watch_url(&ResourceVersion::new("7"), Duration::from_secs(55)),
            "/api/v1/namespaces/a/pods?watch=1&allowWatchBookmarks=true&timeoutSeconds=55&resourceVersion=7&labelSelector=x%3Dy"
        );
    }
}

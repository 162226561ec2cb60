//! What becomes of an object under a name that no server gives: it is logged, and nothing else knows of it.
//!
//! Names become parts of URLs and of other names. An API server checks them (RFC 1123); one that lies does not, and an object
//! called `../../secrets/x` would have the syncer ask for another one.

use tracing::warn;
use weft_core::names::is_object_name;

use crate::engine::informer::watch::Watch;

impl<S: 'static> Watch<S> {
    /// Whether what the server shows under this name may get into the store.
    pub(super) fn admits(&self, namespace: &str, name: &str) -> bool {
        let is_admitted = is_object_name(namespace, name);
        if !is_admitted {
            let kind = self.resource.kind();
            warn!(
                %kind, server = self.server, ?namespace, ?name,
                "no API server gives an object this name: it is not synced; find out what answers in the server's place"
            );
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use crate::engine::informer::testing::{Running, Script, config_map, frame, modified, nested};

    /// Names that lead elsewhere in a URL, or are none.
    const BAD: [&str; 5] = ["../../secrets/x", "..", "", "a,b", "A"];

    #[tokio::test(start_paused = true)]
    async fn a_name_that_no_server_gives_does_not_get_into_the_store() {
        let mut items = vec![config_map("a", "5")];
        items.extend(BAD.iter().map(|name| config_map(name, "6")));
        items.extend(BAD.iter().map(|name| nested(name, "6")));
        let mut elsewhere = config_map("web", "6");
        elsewhere["metadata"]["namespace"] = json!("../kube-system");
        items.push(elsewhere);
        let events = BAD.iter().flat_map(|name| {
            [
                modified(name, "8"),
                frame("MODIFIED", &nested(name, "9")),
                frame("DELETED", &config_map(name, "9")),
            ]
        });
        let frames: Vec<String> = events.chain([modified("b", "10")]).collect();
        let running = Running::start(Script::default().items("7", &items).ended_watch(&frames));
        running.until_watches(2).await;
        assert_eq!(running.record(), ["+a@5", "listed", "+b@10"], "see Watch::admits");
        for name in BAD {
            assert!(!running.store.contains("shop", name), "{name:?} is in the store");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_no_server_gives_is_nothing_that_a_watch_has_missed() {
        let items = [config_map("a", "5"), config_map("..", "6")];
        let running = Running::start(Script::default().items("7", &items).items("7", &items));
        running.until_watches(1).await;
        tokio::time::sleep(Duration::from_mins(5)).await;
        running.end_watches();
        running.until("an audit", |running| running.pages().len() == 2).await;
        running.until_watches(running.watched_from().len() + 1).await;
        assert_eq!(running.record(), ["+a@5", "listed"], "the audit finds nothing missing: see compare_page");
    }
}

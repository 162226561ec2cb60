//! What becomes of an object that cannot be decoded: it is known to be there, its owner learns why it is not synced, and
//! no other object waits for it.

use std::error::Error as StdError;

use serde_json::json;
use tracing::warn;
use weft_core::object::Object;

use crate::api;
use crate::engine::cache::store::Change;
use crate::engine::cache::version::ResourceVersion;
use crate::engine::informer::watch::Watch;
use crate::engine::informer::wire::HeadMetadata;

impl<S: 'static> Watch<S> {
    /// Records an object that cannot be decoded, in a list or an event of version `seen`: no other waits for it.
    pub(super) fn pass_over(&self, head: &HeadMetadata<'_>, error: &api::Error, seen: &ResourceVersion) {
        let HeadMetadata { namespace, name, uid, version, .. } = head;
        let read = ResourceVersion::new(version);
        if self.store.put_unreadable(namespace, name, uid, read, seen) == Change::Known {
            return;
        }
        let (kind, error) = (self.resource.kind(), error as &dyn StdError);
        warn!(
            %kind, server = self.server, %namespace, %name, %version, error,
            "the object is nested too deeply, or is no object: it is not synced until it changes; make it flatter"
        );
        let metadata = json!({"namespace": namespace, "name": name, "uid": uid, "resourceVersion": version});
        let metadata = [("metadata".to_owned(), metadata)];
        (self.unreadable)(Object::new(metadata.into_iter().collect()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::api::scripted::Answer;
    use crate::engine::informer::testing::{Running, Script, config_map, nested};

    #[tokio::test(start_paused = true)]
    async fn an_item_that_cannot_be_decoded_is_reported_once_and_counts_as_listed() {
        let items = [nested("a", "60"), nested("b", "61"), config_map("c", "62")];
        let script = Script::default().after("a", "50").items("70", &items).items("71", &items);
        let running = Running::start(script.watch_answer(Answer::failure(410, "Expired")));
        running.until_watches(2).await;
        assert_eq!(
            running.record(),
            ["?a@60", "?b@61", "+c@62", "listed", "listed"],
            "the list goes on, and nothing is removed or reported again: see Watch::store_item"
        );
        assert_eq!(running.version("a").as_deref(), Some("50"), "what was read stays");
        assert!(running.store.is_unread("shop", "b"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_decoded_is_nothing_that_a_watch_has_missed() {
        let items = [nested("a", "60")];
        let running = Running::start(Script::default().items("70", &items).items("71", &items));
        running.until_watches(1).await;
        tokio::time::sleep(Duration::from_mins(5)).await;
        running.end_watches();
        running.until("an audit", |running| running.pages().len() == 2).await;
        let audited = running.watched_from().len();
        running.until_watches(audited + 1).await;
        assert_eq!(running.watched_from().last().map(String::as_str), Some("70"), "the watch goes on");
        assert_eq!(running.record(), ["?a@60", "listed"], "an audit that misses it lists again");
    }
}

//! Lists a kind: stores every object there is, page by page, then removes what the list does not have.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::warn;
use weft_core::object::Object;

use crate::api;
use crate::engine::cache::changed::Changed;
use crate::engine::cache::content::Content;
use crate::engine::cache::store::Change;
use crate::engine::cache::version::ResourceVersion;
use crate::engine::informer::error::Error;
use crate::engine::informer::state::{Listed, Listing, Names, State};
use crate::engine::informer::watch::Watch;
use crate::engine::informer::wire::{Head, Page, PageMetadata};

/// More than these, and more than a tenth of a kind, leave a store only after a second reading.
const FEW: usize = 20;

impl<S: 'static> Watch<S> {
    /// One page of the list.
    pub(super) async fn list(&self, mut listing: Listing) -> State {
        if listing.next.is_empty() {
            (listing.epoch, listing.outages) = (self.epoch(), self.api.outages());
        }
        let page = self.store_page(&listing.next, &mut listing.names).await;
        listing.step(page.map_err(|error| error.where_kind(self.may_lack)))
    }

    async fn store_page(&self, next: &str, listed: &mut Names) -> Result<PageMetadata, Error> {
        // Before the question: what is written while it is answered is newer, and no sign of anything. All pages of a list
        // are of one version.
        let newest = if next.is_empty() { self.store.newest() } else { ResourceVersion::default() };
        let body = self.read_page(&self.limits.lists, next, self.content.list()).await?;
        let Page { metadata, items } = serde_json::from_slice(&body).map_err(Error::Page)?;
        self.confirm_identity().await?;
        let version = ResourceVersion::new(&metadata.version);
        if newest.is_newer_than(&version) {
            // The server was restored to an older state: its versions of today mean other things.
            self.store.forget_versions();
        }
        for item in items {
            listed.extend(self.store_item(item.get(), &version)?);
        }
        Ok(metadata)
    }

    /// Stores an item of a list of this version; returns its name, if it is one. What cannot be decoded counts as listed too: it
    /// is there.
    fn store_item(&self, item: &str, version: &ResourceVersion) -> Result<Option<(String, String)>, Error> {
        match api::decode(item.as_bytes()) {
            Ok(mut object) => {
                if !self.admits(object.namespace(), object.name()) {
                    return Ok(None);
                }
                self.mark_metadata(&mut object);
                self.set_type(&mut object);
                let name = (object.namespace().to_owned(), object.name().to_owned());
                self.put_listed(object, version);
                Ok(Some(name))
            }
            Err(error) => {
                let Head { metadata } = serde_json::from_str(item).map_err(Error::Page)?;
                if !self.admits(&metadata.namespace, &metadata.name) {
                    return Ok(None);
                }
                self.pass_over(&metadata, &error, version);
                Ok(Some((metadata.namespace.into_owned(), metadata.name.into_owned())))
            }
        }
    }

    /// Stores an item of a list. Up to the version of the list, the list is right about every object.
    fn put_listed(&self, object: Object<S>, version: &ResourceVersion) {
        let object = Arc::new(object);
        if self.store.put_listed(object.clone(), version) == Change::Stored {
            (self.changed)(Changed::new(object));
        } else if let Some(answer) = self.store.take_unshown(object.namespace(), object.name()) {
            (self.changed)(Changed::new(answer));
        }
    }

    /// Says of an object that it is metadata alone, where nothing else was asked for and nothing else is there: servers say so
    /// themselves, but what the host loses if one does not is the content.
    pub(super) fn mark_metadata(&self, object: &mut Object<S>) {
        let is_metadata = |field: &String| matches!(field.as_str(), "apiVersion" | "kind" | "metadata");
        if self.content == Content::Metadata && object.fields().keys().all(is_metadata) {
            object.set_metadata_only();
        }
    }

    /// Sets what lists leave out of their items, so that rules see the same of an object however it came.
    fn set_type(&self, object: &mut Object<S>) {
        let fields = object.fields_mut();
        if !fields.contains_key("kind") {
            fields.insert("apiVersion".to_owned(), self.resource.api_version().into());
            fields.insert("kind".to_owned(), self.resource.kind.as_ref().into());
        }
    }

    /// The end of the list.
    pub(super) async fn remove_unlisted(&self, listed: Listed) -> State {
        let removed = self.remove_all_but(&listed).await;
        if removed.is_ok() {
            if listed.was_absent() {
                self.report_present();
            }
            self.limits.lists.double();
            self.store.set_synced_in(listed.epoch);
            (self.listed)();
        }
        listed.step(removed, Instant::now())
    }

    async fn remove_all_but(&self, list: &Listed) -> Result<(), Error> {
        // What is missing may be what host objects go by.
        self.confirm_identity().await?;
        let Listed { names, version, .. } = list;
        let is_listed =
            |namespace: &str, name: &str| names.contains(&(namespace.to_owned(), name.to_owned()));
        let (missing, all) = self.store.count_unlisted(&is_listed, version);
        if missing > FEW.max(all / 10) {
            if !list.is_second_reading() {
                return Err(Error::ManyMissing { missing, all });
            }
            warn!(kind = %self.resource.kind, server = self.server, missing, all, "two lists in a row lack these objects; they are gone");
        }
        for (namespace, name, last) in self.store.retain(&is_listed, version) {
            (self.changed)(Changed { namespace, name, object: None, last });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use weft_core::object::Object;

    use crate::api::scripted::Answer;
    use crate::engine::cache::store::Absence;
    use crate::engine::informer::testing::{LIFETIME, Running, Script, config_map, modified};

    #[tokio::test(start_paused = true)]
    async fn a_list_is_read_page_by_page_and_complete_after_the_last() {
        let script =
            Script::default().page("7", "two", &[("a", "1"), ("b", "2")]).page("7", "", &[("c", "3")]);
        let running = Running::start(script);
        running.until_watches(1).await;
        assert_eq!(running.pages(), ["", "two"], "each page is asked for by the token of the one before");
        assert_eq!(
            running.record(),
            ["+a@1", "+b@2", "+c@3", "listed"],
            "`listed` is for the whole list: see Listing::step"
        );
        assert_eq!(running.watched_from(), ["7"], "the watch begins where the list was made");
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_wakes_what_came_as_an_answer_and_nothing_else() {
        // Before the list begins, and while it is read.
        for answered in ["5", "80"] {
            let (sender, page) = Answer::stream();
            let script = Script::default().list("7", &[("a", "4"), ("b", "2")]).watch(&[]);
            let script = script.watch_answer(Answer::failure(410, "Expired"));
            let running = Running::start(script.page("70", "two", &[("b", "2")]).list_answer(page));
            running.until_watches(1).await;
            tokio::time::sleep(LIFETIME / 2).await;
            let answer = || Arc::new(Object::from_json(config_map("a", answered)).unwrap());
            if answered == "5" {
                running.store.put_answer(answer());
            }
            running.end_watches();
            running.until("the second page", |running| running.pages().len() == 3).await;
            running.store.put_answer(answer());
            let page = json!({"metadata": {"resourceVersion": "70"}, "items": [config_map("a", "5")]});
            sender.send(Ok(page.to_string().into())).await.unwrap();
            drop(sender);
            running.until_watches(3).await;
            let woken = format!("+a@{answered}");
            assert_eq!(running.changes(), ["+a@4", "+b@2", woken.as_str()], "see Store::take_unshown");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_token_in_the_middle_of_a_list_begins_it_anew() {
        let script = Script::default()
            .page("7", "two", &[("a", "1"), ("b", "2")])
            .list_answer(Answer::failure(410, "Expired"))
            .list("9", &[("b", "2")]);
        let running = Running::start(script);
        running.until_watches(1).await;
        assert_eq!(running.pages(), ["", "two", ""], "a token that has expired is not asked for again");
        assert_eq!(
            running.record(),
            ["+a@1", "+b@2", "-a", "listed"],
            "what the failed list had does not count: see Tries::failed"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn items_of_a_list_get_the_type_that_lists_leave_out() {
        let running = Running::start(Script::default().list("7", &[("a", "1")]));
        running.until_watches(1).await;
        let object = running.store.get("shop", "a").unwrap();
        assert_eq!((object.text("/apiVersion"), object.text("/kind")), (Some("v1"), Some("ConfigMap")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_for_without_its_content_is_marked_unless_it_has_some() {
        let mut whole = config_map("b", "2");
        whole["data"] = json!({"a": "b"});
        let script =
            Script::default().items("7", &[config_map("a", "1"), whole]).watch(&[modified("c", "8")]);
        let running = Running::start(script.metadata_alone());
        running.until_changes(3).await;
        let is_marked = |name: &str| running.store.get("shop", name).unwrap().is_metadata_only();
        assert_eq!(["a", "b", "c"].map(is_marked), [true, false, true], "see Watch::mark_metadata");
    }

    #[tokio::test(start_paused = true)]
    async fn every_list_is_of_a_server_that_was_asked_who_it_is() {
        let running = Running::start(Script::default().list("7", &[("a", "1")]));
        running.until_watches(1).await;
        assert_eq!(running.confirmations(), 1, "one answer serves the list and the watch");
        let mut script = Script::default().of_another_cluster();
        for _ in 0..9 {
            script = script.list("7", &[("a", "1")]);
        }
        let running = Running::start(script);
        running.until("a second try", |running| running.confirmations() >= 2).await;
        assert_eq!(running.record(), Vec::<String>::new(), "a first list of another cluster fills no cache");
        let running = Running::start(Script::default().after("a", "1").list("7", &[]));
        running.until_watches(1).await;
        assert_eq!(running.confirmations(), 1, "nothing leaves a store unconfirmed: see remove_all_but");
        assert_eq!(running.changes(), ["-a"]);
        assert_eq!(running.store.absence("shop", "a"), Absence::Unseen, "a list does not say why");
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_of_another_cluster_removes_nothing() {
        let mut script = Script::default().after("a", "1").of_another_cluster();
        for _ in 0..20 {
            script = script.list("7", &[]);
        }
        let running = Running::start(script);
        running.until("a second try", |running| running.confirmations() >= 2).await;
        assert_eq!(running.changes(), Vec::<String>::new(), "the guard stands before retain: see Listed");
        assert_eq!(running.watched_from(), Vec::<String>::new(), "a list that is not trusted is no list");
        running.restore_identity();
        running.until_watches(1).await;
        assert_eq!(running.changes(), ["-a"], "once the server is the expected one, its list counts");
    }

    #[tokio::test(start_paused = true)]
    async fn versions_of_a_restored_server_count_from_there_again() {
        let running = Running::start(Script::default().after("a", "50").list("7", &[("a", "3")]));
        running.until_watches(1).await;
        assert_eq!(running.changes(), ["+a@3"], "3 is newer than 50 now: see follow_server_back");
        assert_eq!(running.confirmations(), 1, "one answer serves the versions and what the list lacks");
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_right_about_all_versions_up_to_its_own() {
        let running = Running::start(Script::default().after("a", "50").list("60", &[("a", "40")]));
        running.until_watches(1).await;
        assert_eq!(
            running.changes(),
            ["+a@40"],
            "50 belongs to a past that the server has lost: see put_listed"
        );
        let running = Running::start(Script::default().after("a", "70").list("60", &[("b", "40")]));
        running.until_watches(1).await;
        assert_eq!(running.version("a"), None, "the whole server is older than the store: see is_ahead_of");
    }

    /// What is removed when a list of thirty objects is followed by two that have these.
    async fn after_thirty(second: &[(&str, &str)], third: &[(&str, &str)]) -> (usize, usize) {
        let names: Vec<String> = (0..30).map(|number| number.to_string()).collect();
        let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "5")).collect();
        let script = Script::default().list("7", &all).watch_answer(Answer::failure(410, "Expired"));
        let running = Running::start(script.list("9", second).list("9", third));
        running.until_watches(2).await;
        let removed = running.changes().iter().filter(|line| line.starts_with('-')).count();
        (removed, running.pages().len())
    }

    #[tokio::test(start_paused = true)]
    async fn many_objects_leave_only_after_two_lists_in_a_row_lack_them() {
        assert_eq!(after_thirty(&[], &[]).await, (30, 3));
        let names: Vec<String> = (0..30).map(|number| number.to_string()).collect();
        let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "5")).collect();
        assert_eq!(after_thirty(&[], &all).await, (0, 3), "the second reading has them: see ManyMissing");
        assert_eq!(after_thirty(&all[20..], &[]).await, (20, 2), "twenty are few");
    }

    #[tokio::test(start_paused = true)]
    async fn versions_are_kept_while_the_server_is_another_one() {
        let mut script = Script::default().after("a", "50").of_another_cluster();
        for _ in 0..20 {
            script = script.list("7", &[("a", "3")]);
        }
        let running = Running::start(script);
        running.until("a second try", |running| running.confirmations() >= 2).await;
        assert_eq!(running.version("a").as_deref(), Some("50"), "the guard stands before forget_versions");
        assert_eq!(running.record(), Vec::<String>::new());
        running.restore_identity();
        running.until_watches(1).await;
        assert_eq!(running.version("a").as_deref(), Some("3"));
    }
}

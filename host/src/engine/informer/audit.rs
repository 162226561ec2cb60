//! Audits a store: compares names, UIDs and versions with the server's, for what a lost watch frame hid.

use tokio::time::Instant;
use tracing::{debug, warn};

use crate::api;
use crate::engine::cache::changed::Changed;
use crate::engine::cache::store::listed::{Item, Place};
use crate::engine::cache::version::ResourceVersion;
use crate::engine::informer::error::Error;
use crate::engine::informer::state::{Auditing, Finding, Names, State};
use crate::engine::informer::watch::Watch;
use crate::engine::informer::wire::{Head, HeadMetadata, Page};

impl<S: 'static> Watch<S> {
    /// One page of the audit.
    pub(super) async fn audit(&self, mut auditing: Auditing) -> State {
        let (kind, was_away) = (&self.resource.kind, auditing.was_away());
        let finding = self.compare_page(&mut auditing).await;
        let state = auditing.step(finding, Instant::now());
        match state {
            State::Expired if was_away => {
                debug!(%kind, "something has changed while the server was away; listing again");
            }
            // As after a list: what was in doubt until then is so no more.
            State::Watching(_) if was_away => (self.listed)(),
            State::Expired => warn!(%kind, "the watch has missed something; listing again"),
            _ => {}
        }
        state
    }

    async fn compare_page(&self, auditing: &mut Auditing) -> Result<Finding, Error> {
        // Before the question: what is written while it is answered is newer. The answers to writes may be ahead of the watch.
        let newest = if auditing.next.is_empty() { self.store.newest() } else { ResourceVersion::default() };
        let body = self.read_page(&self.limits.audits, &auditing.next, api::get_metadata).await?;
        let Page { metadata, items } = serde_json::from_slice(&body).map_err(Error::Page)?;
        let listed = ResourceVersion::new(&metadata.version);
        // A server that was restored to an older state counts from there again.
        if [&auditing.watching.version, &newest].iter().any(|known| known.is_newer_than(&listed)) {
            return Ok(Finding::Missed);
        }
        let place = Place { seen: &auditing.watching.version, listed: &listed };
        for item in &items {
            let Head { metadata } = serde_json::from_str(item.get()).map_err(Error::Page)?;
            if !self.admits(&metadata.namespace, &metadata.name) {
                continue;
            }
            let HeadMetadata { namespace, name, uid, version, .. } = &metadata;
            let version = ResourceVersion::new(version);
            if !self.store.agrees(&Item { namespace, name, uid, version }, &place) {
                return Ok(Finding::Missed);
            }
            auditing.names.insert((metadata.namespace.into_owned(), metadata.name.into_owned()));
        }
        if !metadata.next.is_empty() {
            return Ok(Finding::Same { next: metadata.next });
        }
        self.limits.audits.double();
        if auditing.was_away() {
            self.show_answers(&auditing.names);
        }
        let is_listed =
            |namespace: &str, name: &str| auditing.names.contains(&(namespace.to_owned(), name.to_owned()));
        Ok(Finding::Complete(self.store.unlisted(&is_listed, &listed)))
    }

    /// Emits what came as an answer to a write: it may hold what no event will show, such as the state that the server went back to.
    fn show_answers(&self, names: &Names) {
        for (namespace, name) in names {
            if let Some(answer) = self.store.take_unshown(namespace, name) {
                (self.changed)(Changed::new(answer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use weft_core::object::Object;

    use crate::api::scripted::Answer;
    use crate::engine::informer::testing::{
        LIFETIME, Running, Script, bookmark, config_map, frame, modified,
    };

    const BETWEEN_AUDITS: Duration = Duration::from_mins(5);

    /// A server with `a` and `b`, as of version 7.
    fn script() -> Script {
        Script::default().list("7", &[("a", "5"), ("b", "6")])
    }

    /// Runs until the time of an audit has come, and a moment longer.
    async fn audited(script: Script) -> Running {
        audited_before(script, &[]).await
    }

    /// The same; the watch after the audit sends these frames.
    async fn audited_before(script: Script, frames: &[String]) -> Running {
        let running = Running::start(script);
        running.until_watches(1).await;
        tokio::time::sleep(BETWEEN_AUDITS).await;
        running.end_watches();
        running.queue_watch(frames);
        tokio::time::sleep(Duration::from_secs(2)).await;
        running
    }

    #[tokio::test(start_paused = true)]
    async fn a_clean_audit_leaves_the_watch_as_it_is() {
        let same = script().page("9", "two", &[("a", "5")]).page("9", "", &[("b", "6")]);
        let running = audited(same).await;
        assert_eq!(running.pages(), ["", "", "two"], "one list, and an audit of two pages");
        assert_eq!(running.record(), ["+a@5", "+b@6", "listed"]);
        assert_eq!(running.watched_from().last().map(String::as_str), Some("7"), "the watch goes on");
        running.end_watches();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(running.pages().len(), 3, "the next audit is due in five minutes: see Watching::step");
    }

    /// What an audit and the list after it do to the store, when the server is at `version` and has `items`.
    async fn repaired(version: &str, items: &[(&str, &str)]) -> Vec<String> {
        let running = audited(script().list(version, items).list(version, items)).await;
        assert_eq!(running.pages().len(), 3, "{items:?} is not what the store has: see compare_page");
        assert_eq!(running.record().last().map(String::as_str), Some("listed"));
        running.changes().split_off(2)
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_watch_has_missed_makes_for_a_new_list() {
        assert_eq!(repaired("9", &[("a", "5"), ("b", "6"), ("c", "7")]).await, ["+c@7"], "an object");
        assert_eq!(repaired("9", &[("a", "5"), ("b", "7")]).await, ["+b@7"], "a change");
        assert_eq!(repaired("4", &[("a", "2"), ("b", "3")]).await, ["+a@2", "+b@3"], "a restored server");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_behind_the_answers_to_our_writes_went_back() {
        let same = [("a", "5"), ("b", "6")];
        let running = Running::start(script().list("12", &same).list("12", &same));
        running.until_watches(1).await;
        running.store.put_answer(Arc::new(Object::from_json(config_map("c", "13")).unwrap()));
        tokio::time::sleep(BETWEEN_AUDITS).await;
        running.end_watches();
        running.until_changes(3).await;
        assert_eq!(running.changes().split_off(2), ["+a@5", "+b@6", "-c"], "see compare_page");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_cut_each_time_is_audited_too() {
        let running = Running::start(
            script().list("9", &[("a", "5"), ("b", "7")]).list("9", &[("a", "5"), ("b", "7")]),
        );
        running.until_watches(1).await;
        // Quiet watches are cut by what is between, before the server would end them.
        let started = tokio::time::Instant::now();
        while started.elapsed() < BETWEEN_AUDITS + LIFETIME {
            tokio::time::sleep(LIFETIME / 2).await;
            running.break_watches();
        }
        running.until_changes(3).await;
        assert_eq!(running.changes(), ["+a@5", "+b@6", "+b@7"], "see Watching::step");
    }

    /// Ends the watch after an audit, and waits a moment.
    async fn next_watch_ended(running: &Running) {
        running.end_watches();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_deletion_that_the_next_watch_does_not_show_was_missed() {
        let without = [("a", "5")];
        let running = audited(script().list("9", &without).list("9", &without).list("9", &without)).await;
        assert_eq!(
            running.pages().len(),
            2,
            "it may have been deleted after our place: see Auditing::complete"
        );
        assert_eq!(running.changes(), ["+a@5", "+b@6"]);
        next_watch_ended(&running).await;
        assert_eq!(running.pages().len(), 4, "an audit, and the list that it makes for");
        assert_eq!(running.changes(), ["+a@5", "+b@6", "-b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn plain_churn_makes_for_no_list() {
        let frames = [frame("DELETED", &config_map("b", "8")), modified("c", "12")];
        let script = script().list("9", &[("a", "5")]).list("14", &[("a", "5"), ("c", "12")]);
        let running = audited_before(script, &frames).await;
        assert_eq!(running.pages().len(), 2, "one list, and an audit");
        next_watch_ended(&running).await;
        assert_eq!(running.pages().len(), 3, "another audit, to see what became of `b`, and no list");
        assert_eq!(running.record(), ["+a@5", "+b@6", "listed", "-b", "+c@12"]);
    }

    #[tokio::test(start_paused = true)]
    async fn objects_that_come_and_go_between_audits_are_not_taken_for_one_that_was_missed() {
        let frames = [frame("DELETED", &config_map("b", "8")), modified("b", "10")];
        let script = script().list("9", &[("a", "5")]).list("14", &[("a", "5")]);
        let running = audited_before(script, &frames).await;
        next_watch_ended(&running).await;
        assert_eq!(running.pages().len(), 3, "it is another `b` that is unlisted: see Auditing::complete");
        assert_eq!(running.record(), ["+a@5", "+b@6", "listed", "-b", "+b@10"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_newer_than_the_watch_is_not_missed_yet() {
        let running = audited(script().list("12", &[("a", "11"), ("b", "6"), ("c", "12")])).await;
        assert_eq!(running.pages().len(), 2, "its events are still to come: see compare_page");
        assert_eq!(running.changes(), ["+a@5", "+b@6"], "an audit stores nothing");
    }

    /// A server that was away after its version 8 and has now, at version 12, these items: what that does to the store.
    async fn returned(items: &[(&str, &str)]) -> Running {
        let script = script().ended_watch(&[bookmark("8")]).watch_answer(Answer::Away);
        let script = script.watch(&[modified("b", "13")]).list("12", items).list("12", items);
        let running = Running::start(script);
        running.until_watches(4).await;
        running
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_was_away_is_audited_before_anything_more_of_it_is_believed() {
        for (items, changes) in [
            (vec![("a", "5"), ("b", "4")], vec!["+b@4"]),
            (vec![("a", "5")], vec!["-b"]),
            (vec![("a", "5"), ("b", "6"), ("c", "7")], vec!["+c@7"]),
        ] {
            let running = returned(&items).await;
            assert_eq!(running.changes().split_off(2), changes, "see Watching::opened");
            assert_eq!(running.pages().len(), 3, "an audit, and the list that it makes for");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_of_a_server_that_was_away_are_looked_at_again() {
        let script = script().ended_watch(&[bookmark("8")]).watch_answer(Answer::Away).watch(&[]);
        let running = Running::start(script.list("12", &[("a", "5"), ("b", "11")]));
        running.until_watches(1).await;
        running.store.put_answer(Arc::new(Object::from_json(config_map("b", "11")).unwrap()));
        running.until_watches(4).await;
        assert_eq!(running.changes().split_off(2), ["+b@11"], "see show_answers");
    }

    #[tokio::test(start_paused = true)]
    async fn where_a_server_that_was_away_cannot_be_audited_it_is_listed() {
        let script = script().ended_watch(&[bookmark("8")]).watch_answer(Answer::Away).watch(&[]);
        let refused = script.list_answer(Answer::failure(500, "InternalError"));
        let running = Running::start(refused.list("12", &[("a", "5"), ("b", "6"), ("c", "7")]));
        running.until_watches(4).await;
        assert_eq!(running.changes().split_off(2), ["+c@7"], "see Auditing::step");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_was_away_and_goes_on_from_what_the_store_has_is_watched_from_where_it_was() {
        let running = returned(&[("a", "5"), ("b", "6"), ("c", "11")]).await;
        assert_eq!(running.pages().len(), 2, "one list, and an audit");
        assert_eq!(running.watched_from().last().map(String::as_str), Some("8"));
        assert_eq!(running.record()[2..4], ["listed", "listed"], "the audit says as much as a list");
    }

    #[tokio::test(start_paused = true)]
    async fn an_audit_that_fails_does_no_harm() {
        let running = audited(script().list_answer(Answer::failure(500, "InternalError"))).await;
        assert_eq!(running.pages().len(), 2, "the next audit will do: see Auditing::step");
        let watches = running.watched_from();
        assert_eq!(watches.last().map(String::as_str), Some("7"));
        assert_eq!(running.record(), ["+a@5", "+b@6", "listed"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_of_an_audit_that_is_too_large_is_asked_for_again_and_changes_no_list() {
        let same = script().too_large().page("9", "two", &[("a", "5")]).page("9", "", &[("b", "7")]);
        let running = audited(same.list("9", &[("a", "5"), ("b", "7")])).await;
        assert_eq!(
            running.limits(),
            [500, 500, 250, 250, 500],
            "audits have a limit of their own: see PageLimits"
        );
        assert_eq!(running.changes(), ["+a@5", "+b@6", "+b@7"], "what it found makes for a new list");
    }
}

//! Watches a kind: brings each event of the server into the store.

use std::cmp::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::api;
use crate::engine::cache::changed::Changed;
use crate::engine::cache::version::ResourceVersion;
use crate::engine::informer::effect::Effect;
use crate::engine::informer::error::Error;
use crate::engine::informer::frames::Frames;
use crate::engine::informer::state::{State, Watching};
use crate::engine::informer::watch::Watch;
use crate::engine::informer::wire::Event;

/// How much later than asked a server may end a watch before it counts as dead.
const LATE: Duration = Duration::from_secs(5);

impl<S: 'static> Watch<S> {
    /// One watch, to its end.
    pub(super) async fn follow(&self, mut watching: Watching) -> State {
        let end = self.read_events(&mut watching).await;
        let end = end.map_err(|error| error.where_kind(self.may_lack));
        if end.as_ref().is_err_and(Error::is_expired) {
            debug!(kind = %self.resource.kind, "the server has forgotten our place in the watch");
        }
        watching.step(end, Instant::now())
    }

    async fn read_events(&self, watching: &mut Watching) -> Result<(), Error> {
        let url = self.selection().watch_url(&watching.version, self.lifetime);
        let body = timeout(LATE * 2, self.api.start(self.content.watch()(&url)))
            .await
            .map_err(|_| Error::Silent)??;
        // It may be another server that answers since the last watch ended.
        self.confirm_identity().await?;
        if let Some(reporter) = &self.reporter {
            reporter.works();
        }
        watching.opened(self.api.outages(), Instant::now())?;
        let mut frames = Frames::new(body, Instant::now() + self.lifetime + LATE);
        loop {
            let line = tokio::select! {
                // Nothing more of this watch is believed once its epoch is over.
                biased;
                () = self.epoch_over(watching.epoch) => return Err(Error::WentBack),
                line = frames.next() => line?,
            };
            let Some(line) = line else { return Ok(()) };
            let effect = watching.event(Event::read(&line).map_err(Error::Frame)?)?;
            self.carry_out(effect, &watching.version);
        }
    }

    fn carry_out(&self, effect: Effect<'_>, version: &ResourceVersion) {
        match effect {
            Effect::Put { head, .. } if !self.admits(&head.namespace, &head.name) => {}
            Effect::Remove { namespace, name, .. } if !self.admits(&namespace, &name) => {}
            Effect::Put { head, object } => match self.store.shown(&head.namespace, &head.name, version) {
                Ordering::Greater => match api::decode(object.as_bytes()) {
                    Ok(mut object) => {
                        self.mark_metadata(&mut object);
                        self.put(object);
                    }
                    Err(error) => self.pass_over(&head, &error, version),
                },
                // The answer to a write or a read of ours was quicker: what others have changed before it came with it unseen.
                Ordering::Less => self.changed_unseen(&head.namespace, &head.name),
                Ordering::Equal => {}
            },
            Effect::Remove { namespace, name, absence } => {
                let last = self.store.remove(&namespace, &name, version.clone(), absence);
                if self.store.contains(&namespace, &name) {
                    return self.changed_unseen(&namespace, &name);
                }
                let (namespace, name) = (namespace.into_owned(), name.into_owned());
                (self.changed)(Changed { namespace, name, object: None, last });
            }
            Effect::Nothing => {}
        }
    }

    /// Emits what the store has of an object once more: something of it may have changed without an event that counted.
    fn changed_unseen(&self, namespace: &str, name: &str) {
        if let Some(object) = self.store.peek(namespace, name) {
            (self.changed)(Changed::new(object));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::scripted::Answer;
    use crate::engine::cache::store::Absence;
    use crate::engine::informer::testing::{
        LIFETIME, Running, Script, bookmark, config_map, error_frame, frame, modified, nested,
    };
    use crate::engine::informer::wire::MAX_FRAME;

    /// A server with `a` in version 5, as of version 7.
    fn script() -> Script {
        Script::default().list("7", &[("a", "5")])
    }

    /// An object that any reader takes for JSON and none can decode: no number is that large.
    fn undecodable(kind: &str, name: &str, version: &str) -> String {
        frame(kind, &config_map(name, version)).replace("{\"metadata\"", "{\"data\":1e999,\"metadata\"")
    }

    #[tokio::test(start_paused = true)]
    async fn a_bookmark_moves_the_version_and_nothing_else() {
        let running = Running::start(script().ended_watch(&[bookmark("20")]));
        running.until_watches(2).await;
        assert_eq!(running.watched_from(), ["7", "20"], "see Watching::event");
        assert_eq!(running.record(), ["+a@5", "listed"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bookmark_of_an_older_version_makes_for_a_new_list() {
        let running = Running::start(script().ended_watch(&[bookmark("6")]).list("6", &[("a", "4")]));
        running.until_watches(2).await;
        assert_eq!(running.changes(), ["+a@5", "+a@4"], "see Watching::event");
        assert_eq!(running.watched_from(), ["7", "6"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_storage_that_went_back_makes_for_a_new_list_when_a_watch_is_opened() {
        let running = Running::start(script().list("9", &[("a", "4")]));
        running.set_storage_version(60);
        running.until_watches(1).await;
        tokio::time::sleep(LIFETIME / 2).await;
        running.set_storage_version(9);
        running.end_watches();
        running.until_watches(3).await;
        assert_eq!(running.watched_from(), ["7", "7", "9"], "see epoch_over");
        assert_eq!(running.changes(), ["+a@5", "+a@4"]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_believed_of_a_watch_of_another_cluster() {
        let mut script = script().watch(&[]);
        for _ in 0..9 {
            script = script.watch(&[modified("a", "9")]);
        }
        let running = Running::start(script.list("9", &[("a", "9")]));
        running.until_watches(1).await;
        tokio::time::sleep(LIFETIME / 2).await;
        running.become_another_cluster();
        running.end_watches();
        running.until_watches(4).await;
        assert_eq!(running.changes(), ["+a@5"], "see read_events");
        running.restore_identity();
        running.until_changes(2).await;
        assert_eq!(running.changes(), ["+a@5", "+a@9"]);
        assert_eq!(running.pages().len(), 2, "it was another one meanwhile: see IdentityGuard::learn");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_ends_is_resumed_without_a_pause_or_a_list() {
        let running = Running::start(script().ended_watch(&[modified("a", "9")]));
        running.until_watches(1).await;
        let started = Instant::now();
        running.until_watches(2).await;
        assert!(started.elapsed() < Duration::from_millis(50), "{:?}", started.elapsed());
        assert_eq!((running.watched_from(), running.pages().len()), (vec!["7".into(), "9".into()], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn watches_that_the_server_ends_at_once_are_resumed_after_pauses_that_grow() {
        const WATCHES: usize = 20;
        let script = (0..WATCHES).fold(script(), |script, _| script.ended_watch(&[bookmark("7")]));
        let running = Running::start(script);
        let started = Instant::now();
        running.until_watches(5).await;
        assert!(started.elapsed() > Duration::from_millis(500), "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_that_the_server_has_forgotten_makes_for_a_new_list() {
        let expired = Answer::failure(410, "Expired");
        for script in [script().ended_watch(&[error_frame(410)]), script().watch_answer(expired)] {
            let running = Running::start(script.list("30", &[("b", "8")]));
            running.until_watches(2).await;
            assert_eq!(running.record(), ["+a@5", "listed", "+b@8", "-a", "listed"], "see State::Expired");
            assert_eq!(running.watched_from(), ["7", "30"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn any_other_error_frame_resumes_the_watch() {
        let running = Running::start(script().ended_watch(&[modified("a", "9"), error_frame(500)]));
        running.until_watches(2).await;
        assert_eq!(running.watched_from(), ["7", "9"], "only 410 makes for a new list: see is_expired");
        assert_eq!(running.pages().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_died_silently_is_replaced_soon_after_its_lifetime() {
        let running = Running::start(script().watch(&[modified("a", "9")]));
        running.until_watches(1).await;
        let started = Instant::now();
        running.until_watches(2).await;
        let took = started.elapsed();
        assert!(took > LIFETIME && took < LIFETIME + LATE + Duration::from_secs(1), "{took:?}: see Frames");
        assert_eq!((running.watched_from(), running.pages().len()), (vec!["7".into(), "9".into()], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_watch_that_stays_silent_may_have_held_back_is_listed() {
        let whole = modified("a", "9");
        for piece in [&whole[..0], &whole[..10]] {
            let script = script().watch(&[piece.to_owned()]).list("9", &[("a", "9")]);
            let running = Running::start(script);
            let started = Instant::now();
            running.until_watches(2).await;
            let took = started.elapsed();
            assert!(took < LIFETIME + LATE + Duration::from_secs(1), "{took:?}");
            assert_eq!(running.record(), ["+a@5", "listed", "+a@9", "listed"], "see Watching::step");
            assert_eq!(running.watched_from(), ["7", "9"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_the_server_does_not_begin_is_tried_again() {
        let running = Running::start(script().watch_answer(Answer::Silence));
        running.until_watches(1).await;
        let started = Instant::now();
        running.until_watches(2).await;
        assert!(started.elapsed() < LATE * 2 + Duration::from_secs(1), "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_cut_in_a_frame_resumes_after_the_last_whole_one() {
        let cut = modified("b", "10").split_at(30).0.to_owned();
        let script = script().broken_watch(&[modified("a", "9"), cut]).watch(&[modified("b", "10")]);
        let running = Running::start(script);
        running.until_watches(2).await;
        assert_eq!(running.watched_from(), ["7", "9"]);
        assert_eq!(running.changes(), ["+a@5", "+a@9", "+b@10"]);
    }

    #[tokio::test(start_paused = true)]
    async fn watches_that_break_after_a_while_or_a_frame_are_resumed_soon_and_those_that_break_at_once_are_not()
     {
        const BREAKS: usize = 6;
        for (breaks_late, frames, resumes_soon) in [(true, 0, true), (false, 1, true), (false, 0, false)] {
            let mut script = script();
            for number in 0..BREAKS {
                let frame = modified("a", &(9 + number).to_string());
                let frames = if frames == 0 { Vec::new() } else { vec![frame] };
                script = if breaks_late { script.watch(&frames) } else { script.broken_watch(&frames) };
            }
            let (running, started) = (Running::start(script), Instant::now());
            for number in 1..=BREAKS {
                running.until_watches(number).await;
                if breaks_late {
                    tokio::time::sleep(LIFETIME / 5).await;
                    running.break_watches();
                }
            }
            running.until_watches(BREAKS + 1).await;
            let open = if breaks_late { LIFETIME / 5 * 6 } else { Duration::ZERO };
            let took = started.elapsed();
            let is_soon = took < open + Duration::from_secs(3);
            assert_eq!(is_soon, resumes_soon, "{took:?}, of which open {open:?}: see Watching::step");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_may_come_in_pieces_and_frames_together() {
        let (whole, both) = (modified("a", "9"), modified("b", "10") + &modified("c", "11"));
        let pieces: Vec<String> = whole.chars().map(String::from).collect();
        let (first, second) = both.split_at(20);
        let (sender, answer) = Answer::stream();
        let running = Running::start(script().watch_answer(answer));
        for piece in pieces.iter().map(String::as_str).chain([first, second]) {
            sender.send(Ok(bytes::Bytes::from(piece.to_owned()))).await.unwrap();
        }
        running.until_changes(4).await;
        assert_eq!(running.changes(), ["+a@5", "+a@9", "+b@10", "+c@11"], "see Frames::next");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_is_known_already_is_not_even_decoded() {
        let known = [modified("a", "9"), modified("a", "9"), undecodable("MODIFIED", "a", "9")];
        let running = Running::start(script().watch(&known));
        running.until_changes(2).await;
        // Longer than the pause after a failure.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(running.changes(), ["+a@5", "+a@9"]);
        assert_eq!(running.watched_from(), ["7"], "the watch broke at an event it had no need to decode");
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_event_requeues_and_changes_nothing() {
        let deleted = frame("DELETED", &config_map("a", "8"));
        let running = Running::start(script().watch(&[modified("a", "9"), modified("a", "6"), deleted]));
        running.until_changes(4).await;
        assert_eq!(running.version("a").as_deref(), Some("9"), "an older version replaced a newer one");
        assert_eq!(running.changes(), ["+a@5", "+a@9", "+a@9", "+a@9"], "see carry_out");
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_object_that_was_being_deleted_counts_as_deleted() {
        let unselected = frame("DELETED", &config_map("a", "9"));
        let mut dying = config_map("a", "9");
        dying["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        for (deleted, absence) in
            [(unselected, Absence::Unseen), (frame("DELETED", &dying), Absence::Deleted)]
        {
            let running = Running::start(script().watch(&[deleted]));
            running.until_changes(2).await;
            assert_eq!(running.changes(), ["+a@5", "-a"]);
            assert_eq!(running.store.absence("shop", "a"), absence, "see Watching::event");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_does_not_end_is_given_up() {
        let endless = "x".repeat(MAX_FRAME + 1);
        let running = Running::start(script().watch(&[modified("a", "9"), endless]));
        running.until_watches(1).await;
        let started = Instant::now();
        running.until_watches(2).await;
        assert!(started.elapsed() < Duration::from_secs(1), "the limit is MAX_FRAME: see Frames::next");
        assert_eq!(running.watched_from(), ["7", "9"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_is_no_json_resumes_the_watch_where_it_was() {
        let running = Running::start(script().watch(&[modified("a", "9"), "{oops\n".to_owned()]));
        running.until_watches(2).await;
        assert_eq!((running.watched_from(), running.pages().len()), (vec!["7".into(), "9".into()], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_cannot_be_decoded_is_reported_once_and_the_watch_goes_on() {
        let deep = |name: &str, version: &str| frame("MODIFIED", &nested(name, version));
        let bad = [deep("a", "9"), undecodable("ADDED", "b", "10"), deep("a", "9"), modified("c", "11")];
        let running = Running::start(script().watch(&bad));
        running.until("what comes later", |running| running.version("c").is_some()).await;
        assert_eq!(running.changes(), ["+a@5", "?a@9", "?b@10", "+c@11"], "see Watch::pass_over");
        assert_eq!(running.version("a").as_deref(), Some("5"), "what was read stays");
        running.end_watches();
        running.until_watches(2).await;
        assert_eq!(running.watched_from(), ["7", "11"], "one watch: an object does not end it");
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_could_not_be_decoded_is_stored_when_it_can_be_and_removed_when_it_is_gone() {
        let deep = |name: &str, version: &str| frame("ADDED", &nested(name, version));
        let deleted = frame("DELETED", &nested("b", "11"));
        let events = [deep("a", "8"), deep("b", "9"), modified("a", "10"), deleted];
        let running = Running::start(script().watch(&events));
        running.until_changes(5).await;
        assert_eq!(running.changes(), ["+a@5", "?a@8", "?b@9", "+a@10", "-b"]);
        assert!(!running.store.is_unread("shop", "b"));
    }
}

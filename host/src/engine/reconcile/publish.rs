//! Publishes on virtual objects why a pair is held back, and what rules have noted.
//!
//! Rules from outside may report much, and often: see [`EventRecorder`] for events. Conditions that change with every
//! decision would make a loop, because each write of them requeues the object.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;
use weft_core::conditions;
use weft_core::context::{Event, Notes};
use weft_core::mapper::Mapper;
use weft_core::object::{Key, VirtualObject};
use weft_core::plan::{Plan, Step};
use weft_core::verdict::{Hold, Problem};

use crate::bucket::Buckets;
use crate::engine::cache::state::State;
use crate::engine::events::reason::Reason;
use crate::engine::events::recorder::{EventRecorder, ObjectEvent, Recorded};
use crate::engine::queue::Outcome;

/// Nobody waits for less.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// What was not published, or did not quite work, is requeued after about this time.
const LATER: Duration = Duration::from_secs(30);
/// So many changes of one object's conditions are written at once.
const CONDITION_CHANGES: u32 = 5;
/// After this time one change more is.
const CONDITION_CHANGE: Duration = Duration::from_secs(10);

/// Publishes on the virtual objects.
pub(crate) struct Publisher {
    state: Arc<State>,
    recorder: EventRecorder,
    /// Changes of the conditions of each object.
    conditions: Mutex<Buckets<Key>>,
}

impl Publisher {
    pub(crate) fn new(state: Arc<State>, recorder: EventRecorder) -> Self {
        Self { state, recorder, conditions: Mutex::new(Buckets::new(CONDITION_CHANGES, CONDITION_CHANGE)) }
    }

    /// Notes for a decision about `key`: without conditions, if they have changed too often.
    pub(crate) fn notes(&self, key: &Key, mapper: &dyn Mapper) -> Notes {
        if !mapper.spec().has_conditions {
            return Notes::default();
        }
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        if conditions.has_any(key, Instant::now()) { Notes::default() } else { Notes::without_conditions() }
    }

    /// Publishes what a decision about `source` reports; returns when to requeue it because of that.
    pub(crate) fn publish(
        &self,
        key: &Key,
        mapper: &dyn Mapper,
        source: &Arc<VirtualObject>,
        plan: &Plan,
        notes: Notes,
    ) -> Outcome {
        let of_conditions = if mapper.spec().has_conditions {
            self.count_conditions(key, source, plan, &notes)
        } else {
            Outcome::Done
        };
        let of_hold = plan.hold.as_ref().map_or(Outcome::Done, |hold| self.publish_hold(key, source, hold));
        let (events, failures) = notes.into_parts();
        for event in events {
            self.publish_event(key, source, event);
        }
        let worked = failures.is_empty();
        for problem in &failures {
            self.publish_problem(key, source, problem);
        }
        let of_failures = if worked { Outcome::Done } else { self.later() };
        of_hold.and(of_conditions).and(of_failures)
    }

    /// Publishes an event of the engine's own; says whether it is one that was not published lately.
    pub(crate) fn publish_reason(
        &self,
        key: &Key,
        object: &Arc<VirtualObject>,
        reason: Reason,
        message: &str,
    ) -> bool {
        let event = ObjectEvent {
            // What a server says differs from one try to the next; this does when something has been done about it.
            is_known_by_reason: reason != Reason::KindNotSynced,
            ..self.event(key, object, None, reason.is_warning(), reason.as_str().to_owned(), message)
        };
        self.recorder.record(event) == Recorded::New
    }

    fn publish_hold(&self, key: &Key, source: &Arc<VirtualObject>, hold: &Hold) -> Outcome {
        match hold {
            Hold::Absent(_) => Outcome::Done,
            Hold::Wait(wait) => {
                debug!(%key, why = wait.problem.for_log(), "waiting");
                wait.after.map_or(Outcome::Done, |after| Outcome::Again(self.about(after.max(SHORTEST_WAIT))))
            }
            Hold::Skip(problem) => {
                debug!(%key, why = problem.for_log(), "the other side is left as it is");
                Outcome::Done
            }
            // Who gets no event cannot know what to change.
            Hold::Reject(problem) if self.publish_problem(key, source, problem) => Outcome::Done,
            Hold::Reject(_) => self.later(),
            Hold::Fail(problem) => {
                self.publish_problem(key, source, problem);
                Outcome::Failed(None)
            }
        }
    }

    /// Counts a change of conditions; what was not taken is requeued.
    fn count_conditions(&self, key: &Key, source: &VirtualObject, plan: &Plan, notes: &Notes) -> Outcome {
        if !notes.takes_conditions() {
            debug!(%key, "the conditions that rules set change too often; they are written later");
            return Outcome::Again(self.about(CONDITION_CHANGE));
        }
        let writes = plan.steps.iter().any(|step| matches!(step, Step::PatchVirtual { .. }));
        if writes && conditions::are_new(notes, source) {
            self.conditions.lock().unwrap_or_else(PoisonError::into_inner).take(key, Instant::now());
        }
        Outcome::Done
    }

    fn publish_event(&self, key: &Key, source: &Arc<VirtualObject>, event: Event) {
        let Event { by, is_warning, reason, message } = event;
        self.recorder.record(self.event(
            key,
            source,
            by.plugin().map(str::to_owned),
            is_warning,
            reason,
            &message,
        ));
    }

    /// Whether it was published now, or not long ago.
    fn publish_problem(&self, key: &Key, source: &Arc<VirtualObject>, problem: &Problem) -> bool {
        let (by, reason) = (problem.by.plugin().map(str::to_owned), problem.reason.clone());
        let event = self.event(key, source, by, true, reason, &problem.to_string());
        self.recorder.record(event) != Recorded::Dropped
    }

    fn event(
        &self,
        key: &Key,
        object: &Arc<VirtualObject>,
        by: Option<String>,
        is_warning: bool,
        reason: String,
        message: &str,
    ) -> ObjectEvent {
        let message = self.state.names.to_virtual_text(message, &key.name.namespace);
        ObjectEvent {
            object: object.clone(),
            key: key.clone(),
            by,
            is_warning,
            reason,
            message,
            is_known_by_reason: false,
        }
    }

    fn later(&self) -> Outcome {
        Outcome::Again(self.about(LATER))
    }

    /// Not all at the same time, and never sooner.
    fn about(&self, time: Duration) -> Duration {
        self.state.ambient.jittered(time, 1.0..1.25)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use serde_json::json;
    use weft_core::change::Change;
    use weft_core::context::Condition;
    use weft_core::verdict::{By, Wait};

    use crate::engine::testing::{Bench, key};

    struct Published {
        bench: Bench,
        publisher: Publisher,
        key: Key,
        source: Arc<VirtualObject>,
    }

    impl Published {
        fn new() -> Self {
            let bench = Bench::echoing();
            let metadata =
                json!({"namespace": "shop", "name": "web", "uid": "uid-1", "resourceVersion": "1"});
            let source = bench.put_virtual("v1/Service", json!({"metadata": metadata}));
            let publisher = Publisher::new(bench.state.clone(), bench.recorder());
            Self { publisher, key: key("v1/Service", "shop", "web"), source, bench }
        }

        fn publish(&self, hold: Option<Hold>, notes: Notes) -> Outcome {
            let synced = self.bench.state.synced(&self.key.kind).unwrap();
            // What writes conditions.
            let (name, uid) = (self.source.virtual_name(), "uid-1".to_owned());
            let steps = vec![Step::PatchVirtual { name, uid, change: Change::merge(json!({})) }];
            let plan = Plan { steps, hold, ..Plan::default() };
            self.publisher.publish(&self.key, &*synced.mapper, &self.source, &plan, notes)
        }

        fn notes(&self) -> Notes {
            self.publisher.notes(&self.key, &*self.bench.state.synced(&self.key.kind).unwrap().mapper)
        }
    }

    fn problem(by: By) -> Problem {
        Problem::of(by, "NotAllowed", "web-x-shop-x-vc is not allowed")
    }

    fn waiting(after: Option<u64>) -> Hold {
        let after = after.map(Duration::from_millis);
        Hold::Wait(Box::new(Wait { problem: problem(By::Mapper), until: BTreeSet::new(), after }))
    }

    /// Whether it is requeued after about `seconds`, and never sooner.
    fn is_about(outcome: Outcome, seconds: u64) -> bool {
        let least = Duration::from_secs(seconds);
        matches!(outcome, Outcome::Again(after) if after >= least && after <= least.mul_f64(1.25))
    }

    #[tokio::test(start_paused = true)]
    async fn what_holds_a_pair_back_decides_what_is_published_and_when_it_is_requeued() {
        let refused = ["Warning NotAllowed"];
        let cases: [(Option<Hold>, Option<Outcome>, &[&str]); 6] = [
            (None, Some(Outcome::Done), &[]),
            (Some(Hold::Absent(problem(By::Mapper))), Some(Outcome::Done), &[]),
            (Some(Hold::Skip(problem(By::Mapper))), Some(Outcome::Done), &[]),
            (Some(waiting(None)), Some(Outcome::Done), &[]),
            (Some(Hold::Reject(problem(By::Guard))), Some(Outcome::Done), &refused),
            (Some(Hold::Fail(problem(By::Mapper))), Some(Outcome::Failed(None)), &refused),
        ];
        for (hold, outcome, reasons) in cases {
            let (published, title) = (Published::new(), format!("{hold:?}"));
            assert_eq!(Some(published.publish(hold, Notes::default())), outcome, "{title}");
            assert_eq!(published.bench.reasons().await, *reasons, "{title}");
        }
        let soon = Published::new().publish(Some(waiting(Some(5))), Notes::default());
        assert!(is_about(soon, 1), "nobody waits for less than a second: {soon:?}");
        let later = Published::new().publish(Some(waiting(Some(8000))), Notes::default());
        assert!(is_about(later, 8), "{later:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn events_and_failures_of_plugins_are_published_under_their_names_without_host_names() {
        let (published, notes) = (Published::new(), Notes::default());
        let message = "team-a/web-x-shop-x-vc is ready".to_owned();
        let by = || "labels".to_owned();
        notes.event(Event { by: By::Plugin(by()), is_warning: false, reason: "Ready".to_owned(), message });
        notes.failure(problem(By::Plugin(by())));
        let outcome = published.publish(None, notes);
        assert!(is_about(outcome, 30), "the failure is tried again: {outcome:?}");
        assert_eq!(published.bench.reasons().await, ["Normal Ready", "Warning NotAllowed"]);
        let events = published.bench.events().await;
        assert_eq!(events[0]["message"], "shop/web is ready");
        assert_eq!(events[1]["message"], "web is not allowed (plugin labels)");
        assert!(events.iter().all(|event| event["source"]["component"] == "weft/labels"), "{events:?}");
        assert_eq!(events[0]["involvedObject"]["uid"], "uid-1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejection_whose_event_is_dropped_is_requeued() {
        let published = Published::new();
        let reject = |number: usize| {
            let why = format!("no {number}");
            Some(Hold::Reject(Problem::of(By::Plugin("flood".to_owned()), "No", why)))
        };
        let outcomes: Vec<Outcome> =
            (0..11).map(|number| published.publish(reject(number), Notes::default())).collect();
        let (last, first) = outcomes.split_last().unwrap();
        assert!(first.iter().all(|outcome| *outcome == Outcome::Done), "{first:?}");
        assert!(is_about(*last, 30), "the plugin may record ten events at once: {last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn conditions_that_change_too_often_are_written_later() {
        let published = Published::new();
        let changed = |number: usize| {
            let notes = published.notes();
            let message = format!("change {number}");
            let kind = weft_core::conditions::kind("labels", "Ready");
            let condition = Condition { kind, status: "True", reason: "Ready".to_owned(), message };
            notes.conditions("labels", vec![condition]);
            notes
        };
        for number in 0..CONDITION_CHANGES as usize {
            let notes = changed(number);
            assert!(notes.takes_conditions(), "change {number}");
            assert_eq!(published.publish(None, notes), Outcome::Done, "change {number}");
        }
        let notes = changed(9);
        assert!(!notes.takes_conditions(), "so many changes at once are not written");
        let outcome = published.publish(None, notes);
        assert!(is_about(outcome, CONDITION_CHANGE.as_secs()), "{outcome:?}");
        tokio::time::advance(CONDITION_CHANGE).await;
        assert!(published.notes().takes_conditions(), "one more after a while");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reason_of_the_engine_is_an_event_of_its_type() {
        let published = Published::new();
        published.publisher.publish_reason(&published.key, &published.source, Reason::HostRefused, "why");
        assert_eq!(published.bench.reasons().await, ["Warning HostRefused"]);
        assert_eq!(published.bench.events().await[0]["source"]["component"], "weft");
    }
}

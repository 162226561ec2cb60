//! Publishes on virtual objects why a pair is held back, and what rules have noted.
//!
//! Rules from outside may report much, and often: see [`EventRecorder`] for events. Conditions that change with every
//! decision would make a loop, because each write of them requeues the object.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
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
use crate::engine::events::recorder::{EventRecorder, ObjectEvent};
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
        let of_failures = if worked { Outcome::Done } else { later() };
        of_hold.and(of_conditions).and(of_failures)
    }

    /// Publishes an event of the engine's own.
    pub(crate) fn publish_reason(
        &self,
        key: &Key,
        object: &Arc<VirtualObject>,
        reason: Reason,
        message: &str,
    ) {
        self.record(key, object, None, reason.is_warning(), reason.as_str().to_owned(), message);
    }

    fn publish_hold(&self, key: &Key, source: &Arc<VirtualObject>, hold: &Hold) -> Outcome {
        match hold {
            Hold::Absent(_) => Outcome::Done,
            Hold::Wait(wait) => {
                debug!(%key, why = wait.problem.for_log(), "waiting");
                wait.after.map_or(Outcome::Done, |after| Outcome::Again(about(after.max(SHORTEST_WAIT))))
            }
            Hold::Skip(problem) => {
                debug!(%key, why = problem.for_log(), "the other side is left as it is");
                Outcome::Done
            }
            // Who gets no event cannot know what to change.
            Hold::Reject(problem) if self.publish_problem(key, source, problem) => Outcome::Done,
            Hold::Reject(_) => later(),
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
            return Outcome::Again(about(CONDITION_CHANGE));
        }
        let writes = plan.steps.iter().any(|step| matches!(step, Step::PatchVirtual { .. }));
        if writes && conditions::are_new(notes, source) {
            self.conditions.lock().unwrap_or_else(PoisonError::into_inner).take(key, Instant::now());
        }
        Outcome::Done
    }

    fn publish_event(&self, key: &Key, source: &Arc<VirtualObject>, event: Event) {
        let Event { by, is_warning, reason, message } = event;
        self.record(key, source, Some(by), is_warning, reason, &message);
    }

    /// Whether it was published now, or not long ago.
    fn publish_problem(&self, key: &Key, source: &Arc<VirtualObject>, problem: &Problem) -> bool {
        let (by, reason) = (problem.by.plugin().map(str::to_owned), problem.reason.clone());
        self.record(key, source, by, true, reason, &problem.to_string())
    }

    fn record(
        &self,
        key: &Key,
        object: &Arc<VirtualObject>,
        by: Option<String>,
        is_warning: bool,
        reason: String,
        message: &str,
    ) -> bool {
        let message = self.state.names.to_virtual_text(message, &key.name.namespace);
        self.recorder.record(ObjectEvent {
            object: object.clone(),
            key: key.clone(),
            by,
            is_warning,
            reason,
            message,
        })
    }
}

fn later() -> Outcome {
    Outcome::Again(about(LATER))
}

/// Not all at the same time, and never sooner.
fn about(time: Duration) -> Duration {
    time.mul_f64(rand::rng().random_range(1.0..1.25))
}

//! How often one object is written to: at once while there is a cause, and at a bounded pace whatever changes it.
//!
//! A status that changes many times a second is written with its last state, not with each. And where another client changes back
//! what we write, neither side ever rests: we write less and less of it, and say who the other is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use weft_core::digest;
use weft_core::object::{HostObject, Key};
use weft_core::plan::{Plan, Step};

use crate::bucket::Bucket;
use crate::engine::apply::Side;
use crate::engine::queue::Outcome;

/// So many patches of a virtual object at once; then one in this time.
const CHANGES: (u32, Duration) = (4, Duration::from_millis(500));
/// So many patches at once that write what was written last; then one in this time: twelve in a minute.
const CORRECTIONS: (u32, Duration) = (4, Duration::from_millis(7500));
/// An event about the same fight is not worth a request sooner.
const QUIET: Duration = Duration::from_mins(5);
/// At so many objects those that were not written to lately are forgotten.
const FEW: usize = 256;

/// Limits the patches of each object.
#[derive(Default)]
pub(crate) struct Pace {
    state: Mutex<Lately>,
}

/// What was written lately.
struct Lately {
    objects: HashMap<(Key, Side), Patches>,
    clear_at: usize,
}

/// The patches of one object.
struct Patches {
    /// The digest of what was written last.
    written: String,
    changes: Bucket,
    corrections: Bucket,
    /// When the fight about it was published last.
    published: Option<Instant>,
}

/// What is left of a plan.
pub(crate) struct Paced {
    /// When to decide again, if a step was left out.
    pub(crate) outcome: Outcome,
    /// On which side another client seems to change what we write, where that is worth an event.
    pub(crate) fight: Option<Side>,
    /// What the patches that are left write, by side.
    writes: Vec<(Side, String)>,
}

impl Default for Lately {
    fn default() -> Self {
        Self { objects: HashMap::new(), clear_at: FEW }
    }
}

impl Pace {
    /// Leaves out the patches of `plan` for which it is too early. What they would have written is decided about again; of a pair
    /// that is ending, there may be no other time.
    pub(crate) fn limit(&self, key: &Key, plan: &mut Plan, is_ending: bool) -> Paced {
        let mut paced = Paced { outcome: Outcome::Done, fight: None, writes: Vec::new() };
        if is_ending {
            return paced;
        }
        for side in [Side::Host, Side::Virtual] {
            let Some(written) = written(plan, side) else { continue };
            let mut lately = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let patches = lately.of(key, side, now);
            let Some(early) = patches.early(side, &written, now) else {
                paced.writes.push((side, written));
                continue;
            };
            plan.steps.retain(|step| patched(step) != Some(side));
            paced.outcome = paced.outcome.and(Outcome::Again(early.time));
            if early.is_fight && patches.is_worth_an_event(now) {
                paced.fight = Some(side);
            }
        }
        paced
    }

    /// Counts what was written: a patch that fails is tried again, which is nobody's fight.
    pub(crate) fn wrote(&self, key: &Key, paced: &Paced) {
        let (mut lately, now) = (self.state.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        for (side, written) in &paced.writes {
            lately.of(key, *side, now).take(*side, written, now);
        }
    }
}

/// A patch that comes too early.
struct Early {
    /// By so much.
    time: Duration,
    is_fight: bool,
}

impl Lately {
    fn of(&mut self, key: &Key, side: Side, now: Instant) -> &mut Patches {
        if self.objects.len() >= self.clear_at {
            self.objects.retain(|_, patches| !patches.is_rested(now));
            self.clear_at = FEW.max(self.objects.len() * 2);
        }
        self.objects.entry((key.clone(), side)).or_default()
    }
}

impl Default for Patches {
    fn default() -> Self {
        let bucket = |(burst, refill)| Bucket::new(burst, refill);
        Self {
            written: String::new(),
            changes: bucket(CHANGES),
            corrections: bucket(CORRECTIONS),
            published: None,
        }
    }
}

impl Patches {
    /// By how much a patch that writes this is too early, if it is.
    fn early(&mut self, side: Side, written: &str, now: Instant) -> Option<Early> {
        let (bucket, is_fight) = self.bucket(side, written)?;
        let time = bucket.next().saturating_duration_since(now);
        (!bucket.has_any(now)).then_some(Early { time, is_fight })
    }

    /// Counts a patch that has written this.
    fn take(&mut self, side: Side, written: &str, now: Instant) {
        if let Some((bucket, _)) = self.bucket(side, written) {
            bucket.take(now);
        }
        written.clone_into(&mut self.written);
    }

    /// What a patch that writes this counts towards, and whether somebody has changed it back. What the tenant changes is written
    /// as often as it does: each change costs it a request too.
    fn bucket(&mut self, side: Side, written: &str) -> Option<(&mut Bucket, bool)> {
        match (self.written == written, side) {
            (true, _) => Some((&mut self.corrections, true)),
            (false, Side::Host) => None,
            (false, Side::Virtual) => Some((&mut self.changes, false)),
        }
    }

    fn is_worth_an_event(&mut self, now: Instant) -> bool {
        let is_worth = self.published.is_none_or(|time| now.saturating_duration_since(time) >= QUIET);
        if is_worth {
            self.published = Some(now);
        }
        is_worth
    }

    /// Whether nothing is lost when it is forgotten.
    fn is_rested(&self, now: Instant) -> bool {
        self.changes.is_full(now)
            && self.corrections.is_full(now)
            && self.published.is_none_or(|time| now.saturating_duration_since(time) >= QUIET)
    }
}

/// The digest of what the patches of one side write, if there are any: of the host object, all of it, for another client may change
/// one field today and another tomorrow.
fn written(plan: &Plan, side: Side) -> Option<String> {
    let patches: Vec<(&str, &Value)> = plan
        .steps
        .iter()
        .filter(|step| patched(step) == Some(side))
        .filter_map(|step| match step {
            Step::PatchHost { uid, change, .. } | Step::PatchVirtual { uid, change, .. } => {
                Some((uid.as_str(), &change.body))
            }
            _ => None,
        })
        .collect();
    let (uid, _) = patches.first()?;
    Some(match plan.desired.as_ref().filter(|_| side == Side::Host).map(HostObject::fields) {
        Some(fields) => digest::of_value(&json!([uid, fields])),
        None => digest::of_value(&json!(patches)),
    })
}

/// The side whose object a step patches.
fn patched(step: &Step) -> Option<Side> {
    match step {
        Step::PatchHost { .. } => Some(Side::Host),
        Step::PatchVirtual { .. } => Some(Side::Virtual),
        Step::CreateHost(_) | Step::DeleteHost { .. } | Step::Bind { .. } | Step::DeleteVirtual { .. } => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use weft_core::change::Change;
    use weft_core::object::VirtualName;

    use crate::engine::testing::key;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan(side: Side, value: u32) -> Plan {
        let (uid, change) =
            ("uid-1".to_owned(), Change::merge(json!({"metadata": {"labels": {"a": value}}})));
        let step = match side {
            Side::Host => {
                let name = crate::engine::testing::host_name("shop", "web");
                Step::PatchHost { name, uid, change }
            }
            Side::Virtual => Step::PatchVirtual { name: VirtualName::new("shop", "web"), uid, change },
        };
        Plan { steps: vec![step], ..Plan::default() }
    }

    /// How many of the patches that are decided about ten times a second for a minute are written, and how many events that is
    /// worth.
    async fn minute(pace: &Pace, side: Side, value: impl Fn(u32) -> u32) -> (usize, usize) {
        let (mut writes, mut events) = (0, 0);
        for number in 0..600 {
            let mut plan = plan(side, value(number));
            let key = key("v1/Pod", "shop", "web");
            let paced = pace.limit(&key, &mut plan, false);
            pace.wrote(&key, &paced);
            events += usize::from(paced.fight == Some(side));
            if plan.steps.is_empty() {
                assert!(matches!(paced.outcome, Outcome::Again(_)), "it is decided about again");
            } else {
                writes += 1;
            }
            tokio::time::advance(SECOND / 10).await;
        }
        (writes, events)
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_client_changes_back_is_written_twelve_times_a_minute_and_published_once() {
        for side in [Side::Host, Side::Virtual] {
            let pace = Pace::default();
            let (writes, events) = minute(&pace, side, |_| 1).await;
            assert!((11..=13).contains(&writes) && events == 1, "{side:?}: {writes} writes, {events} events");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_changes_all_the_time_is_written_twice_a_second_and_its_last_state_arrives() {
        let pace = Pace::default();
        let (writes, events) = minute(&pace, Side::Virtual, |number| number).await;
        assert!((120..=125).contains(&writes) && events == 0, "{writes} writes, {events} events");
        tokio::time::advance(SECOND).await;
        let mut last = plan(Side::Virtual, 600);
        pace.limit(&key("v1/Pod", "shop", "web"), &mut last, false);
        assert!(!last.steps.is_empty(), "the last state is written");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_tenant_changes_is_written_at_once() {
        let (writes, events) = minute(&Pace::default(), Side::Host, |number| number).await;
        assert_eq!((writes, events), (600, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_nobodys_fight_and_what_ends_is_written_at_once() {
        let (pace, key) = (Pace::default(), key("v1/Pod", "shop", "web"));
        for _ in 0..100 {
            let mut failing = plan(Side::Virtual, 1);
            let paced = pace.limit(&key, &mut failing, false);
            assert!(paced.fight.is_none() && !failing.steps.is_empty(), "it was never written");
        }
        for number in 0..100 {
            let mut last = plan(Side::Virtual, number);
            let paced = pace.limit(&key, &mut last, true);
            pace.wrote(&key, &paced);
            assert!(!last.steps.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn objects_that_rest_are_forgotten() {
        let pace = Pace::default();
        for number in 0..10_000 {
            let key = key("v1/Pod", "shop", &number.to_string());
            let paced = pace.limit(&key, &mut plan(Side::Virtual, 1), false);
            pace.wrote(&key, &paced);
            tokio::time::advance(SECOND / 10).await;
        }
        assert!(pace.state.lock().unwrap().objects.len() <= FEW * 2);
    }
}

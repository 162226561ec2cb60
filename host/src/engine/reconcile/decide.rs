//! Decides about one pair, with everything that its rules may read.
//!
//! Rules that may take long run on a thread of their own, while the engine goes on.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use weft_core::context::{Ctx, Moment, Notes};
use weft_core::object::{Key, VirtualObject};
use weft_core::plan::{self, Plan, Seen};
use weft_core::verdict::Hold;

use crate::engine::cache::kinds::{Kinds, SyncedKind};
use crate::engine::cache::state::{State, node_key};
use crate::engine::cache::view::View;
use crate::engine::reconcile::observe::Observed;

/// What was decided.
pub(crate) struct Decision {
    pub(crate) plan: Plan,
    pub(crate) notes: Notes,
}

/// Decides by the rules of `synced`, one of `kinds`. What rules have to report goes into `notes`.
pub(crate) async fn decide(
    state: &Arc<State>,
    kinds: &Arc<Kinds>,
    synced: &Arc<SyncedKind>,
    key: &Key,
    observed: &Observed,
    notes: Notes,
) -> Decision {
    let facts = state.facts();
    let (decision, reads) = if synced.mapper.spec().may_block {
        decide_blocking(state.clone(), kinds.clone(), synced.clone(), key.clone(), observed.clone(), notes)
            .await
    } else {
        plan_with(state, View::new(state.clone(), kinds.clone()), synced, observed, notes)
    };
    state.set_reads(key, reads);
    // They may have changed on the way, before it was known that this depends on them.
    if !Arc::ptr_eq(&facts, &state.facts()) {
        state.queue.add(key.clone());
    }
    decision
}

/// The same on a thread of its own, while others go on.
async fn decide_blocking(
    state: Arc<State>,
    kinds: Arc<Kinds>,
    synced: Arc<SyncedKind>,
    key: Key,
    observed: Observed,
    notes: Notes,
) -> (Decision, BTreeSet<Key>) {
    // Never closed, so there is always an answer.
    let thread = synced.threads.clone().acquire_owned().await;
    let decision = tokio::task::spawn_blocking(move || {
        let view = View::beside_changes(state.clone(), kinds.clone(), key);
        let decision = plan_with(&state, view, &synced, &observed, notes);
        drop(thread);
        decision
    });
    match decision.await {
        Ok(decision) => decision,
        // A bug is the pair's failure, on whatever thread it was met.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Only the end of the process cancels a thread.
        Err(_) => std::future::pending().await,
    }
}

/// Calls the mapper; returns what the decision depends on as well.
fn plan_with(
    state: &State,
    view: View,
    synced: &SyncedKind,
    observed: &Observed,
    notes: Notes,
) -> (Decision, BTreeSet<Key>) {
    let (facts, now) = (state.facts(), moment(state.ambient.now()));
    let ctx = Ctx {
        names: &state.names,
        facts: &facts,
        lookup: &view,
        now: &now,
        host_object: observed.host.as_deref(),
        notes: &notes,
    };
    let seen = Seen {
        virtual_object: observed.source.as_deref(),
        host_object: observed.host.as_deref(),
        used: observed.is_used,
        is_elsewhere: observed.host.is_none()
            && observed.source.as_deref().is_some_and(|source| is_elsewhere(state, &view, source)),
        was_placed: observed.source.as_deref().is_some_and(|source| state.was_placed(source)),
    };
    let plan = plan::plan(&ctx, &*synced.mapper, seen);
    if let Some(Hold::Wait(wait)) = &plan.hold {
        for awaited in &wait.until {
            view.note(awaited.clone());
        }
    }
    (Decision { plan, notes }, view.into_reads())
}

/// Whether a pod is on a node that is none of ours; it is reconciled again when that node changes.
fn is_elsewhere(state: &State, view: &View, source: &VirtualObject) -> bool {
    let node = source.text("/spec/nodeName").filter(|node| !node.is_empty());
    node.is_some_and(|node| {
        view.note(node_key(node));
        !state.is_our_node(node)
    })
}

/// The time, the same throughout one decision.
fn moment(now: Timestamp) -> Moment {
    // Digits of a second are cut off.
    Moment { millis: u64::try_from(now.as_millisecond()).unwrap_or_default(), text: format!("{now:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::Method;
    use weft_core::mapper::Mapper;
    use weft_core::object::{HostObject, Kind};
    use weft_core::spec::KindSpec;
    use weft_core::verdict::Verdict;

    use crate::engine::queue::Outcome;
    use crate::engine::testing::{Bench, key, service};
    use crate::registry::Rules;

    #[test]
    fn the_time_is_given_to_the_second_and_to_the_millisecond() {
        let now = moment(Timestamp::now());
        let text: Timestamp = now.text.parse().unwrap();
        assert_eq!(u64::try_from(text.as_second()).unwrap(), now.millis / 1000);
        assert_eq!(now.text.len(), "2026-11-20T10:00:00Z".len());
    }

    /// A mapper with a bug.
    struct Buggy(KindSpec);

    impl Mapper for Buggy {
        fn spec(&self) -> &KindSpec {
            &self.0
        }

        fn to_host(&self, _: &Ctx<'_>, _: &VirtualObject, _: HostObject) -> Verdict<HostObject> {
            panic!("a bug, on purpose")
        }
    }

    #[tokio::test]
    async fn a_mapper_that_panics_fails_its_object_and_nothing_else() {
        // On a thread of its own, and beside the engine.
        for may_block in [true, false] {
            let bench = Bench::echoing();
            let buggy = Buggy(KindSpec { may_block, ..KindSpec::core("Service", "services") });
            let rules = Rules { mappers: vec![Arc::new(buggy)], ..Rules::default() };
            bench.state.set_kinds(Kinds::default().under(&rules, 1).0);
            let services = bench.state.synced(&Kind::new("v1/Service")).unwrap();
            services.r#virtual.set_synced();
            services.host.set_synced();
            bench.put_virtual("v1/Service", service("web", "5"));
            let outcome = bench.syncer(Vec::new()).reconcile(&key("v1/Service", "shop", "web")).await;
            assert_eq!(outcome, Outcome::Failed(None));
            while bench.virtual_requests.all().is_empty() {
                tokio::task::yield_now().await;
            }
            assert_eq!(bench.virtual_requests.bodies(&Method::POST)[0]["reason"], "MapperPanicked");
            assert!(bench.host_requests.all().is_empty(), "{:?}", bench.host_requests.lines());
        }
    }
}

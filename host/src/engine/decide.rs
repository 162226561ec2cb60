//! Decides about one pair, with everything that its rules may read.
//!
//! Rules that may take long run on a thread of their own, while the engine goes on.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use weft_core::context::{Ctx, Moment, Notes};
use weft_core::object::{HostObject, Key, VirtualObject};
use weft_core::plan::{self, Plan, Seen};
use weft_core::verdict::Hold;

use crate::engine::kinds::{Kinds, Pair};
use crate::engine::state::State;
use crate::engine::view::View;

/// What the caches show of a pair, held while it is decided about.
#[derive(Clone)]
pub(crate) struct Sight {
    pub(crate) source: Option<Arc<VirtualObject>>,
    pub(crate) host: Option<Arc<HostObject>>,
}

/// What was decided.
pub(crate) struct Decision {
    pub(crate) plan: Plan,
    pub(crate) notes: Notes,
}

/// A rule broke off in the middle, which only a mistake in it can do.
#[derive(Debug, thiserror::Error)]
#[error("the rules of the kind broke off")]
pub(crate) struct Broken(#[source] tokio::task::JoinError);

/// Decides by the rules of `pair`, one of `kinds`. Rules tell what they have to tell in `notes`.
pub(crate) async fn decide(
    state: &Arc<State>,
    kinds: &Arc<Kinds>,
    pair: &Arc<Pair>,
    key: &Key,
    sight: &Sight,
    notes: Notes,
) -> Result<Decision, Broken> {
    let (decision, reads) = if pair.mapper.spec().may_block {
        apart(state.clone(), kinds.clone(), pair.clone(), key.clone(), sight.clone(), notes).await?
    } else {
        ask(state, View::new(state.clone(), kinds.clone()), pair, key, sight, notes)
    };
    state.set_reads(key, reads);
    Ok(decision)
}

/// The same, while others go on.
async fn apart(
    state: Arc<State>,
    kinds: Arc<Kinds>,
    pair: Arc<Pair>,
    key: Key,
    sight: Sight,
    notes: Notes,
) -> Result<(Decision, BTreeSet<Key>), Broken> {
    // Never closed, so there is always an answer.
    let thread = pair.threads.clone().acquire_owned().await;
    let decision = tokio::task::spawn_blocking(move || {
        let view = View::beside_changes(state.clone(), kinds.clone(), key.clone());
        let decision = ask(&state, view, &pair, &key, &sight, notes);
        drop(thread);
        decision
    });
    decision.await.map_err(Broken)
}

/// Asks the rules; gives what the answer depends on as well.
fn ask(
    state: &State,
    view: View,
    pair: &Pair,
    key: &Key,
    sight: &Sight,
    notes: Notes,
) -> (Decision, BTreeSet<Key>) {
    let (facts, now) = (state.facts(), now());
    let ctx = Ctx {
        names: &state.names,
        facts: &facts,
        lookup: &view,
        now: &now,
        host_object: sight.host.as_deref(),
        notes: &notes,
    };
    let seen = Seen {
        virtual_object: sight.source.as_deref(),
        host_object: sight.host.as_deref(),
        used: state.is_used(key),
    };
    let plan = plan::plan(&ctx, &*pair.mapper, seen);
    if let Some(Hold::Wait(wait)) = &plan.hold {
        for awaited in &wait.until {
            view.note(awaited.clone());
        }
    }
    (Decision { plan, notes }, view.into_reads())
}

/// The time, which stands still for one decision.
fn now() -> Moment {
    let now = Timestamp::now();
    // Digits of a second are cut off.
    Moment { millis: u64::try_from(now.as_millisecond()).unwrap_or_default(), text: format!("{now:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_told_to_the_second_and_to_the_millisecond() {
        let now = now();
        let text: Timestamp = now.text.parse().unwrap();
        assert_eq!(u64::try_from(text.as_second()).unwrap(), now.millis / 1000);
        assert_eq!(now.text.len(), "2026-11-20T10:00:00Z".len());
    }
}

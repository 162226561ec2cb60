//! What has to be true in the moment of a write: the gate that every write passes.
//!
//! A decision is made on caches, and carried out later; between the two the virtual API server may have become another
//! one, or a list may have begun anew. So it is the write that asks, and not a timer.

use std::sync::Arc;

use tokio::sync::watch;
use weft_core::causes::causes;

use crate::api::Error;
use crate::engine::cache::state::State;
use crate::engine::informer::identity::IdentityGuard;

/// Lets writes pass, or says why nothing is written now.
pub(crate) enum Gate {
    /// For what makes the virtual cluster ready, and for events about ourselves.
    Open,
    /// For what is decided on nothing but the rules: the virtual cluster is ready, and the one that is expected.
    Ready(Ready),
    /// For what is decided on the caches, which must be complete as well.
    Cached(Ready, Arc<State>),
}

/// Whether the virtual cluster is ready, and the one that is expected.
#[derive(Clone)]
pub(crate) struct Ready {
    pub(crate) guard: Arc<IdentityGuard>,
    pub(crate) ready: watch::Receiver<bool>,
}

impl Gate {
    /// Passes a write. One that does not pass was not sent.
    pub(super) async fn pass(&self) -> Result<(), Error> {
        if let Some(why) = self.closed() {
            return Err(Error::Withheld(why.to_owned()));
        }
        match self {
            Self::Open => Ok(()),
            Self::Ready(Ready { guard, .. }) => confirmed(guard).await,
            Self::Cached(Ready { guard, .. }, state) => {
                confirmed(guard).await?;
                let epoch = *guard.epoch().borrow();
                let is_current = state.is_current(epoch);
                is_current.then_some(()).ok_or_else(|| {
                    Error::Withheld("the caches are of another state of the server".to_owned())
                })
            }
        }
    }

    /// Why nothing passes, as far as that is known without asking a server.
    pub(super) fn closed(&self) -> Option<&'static str> {
        let is_ready = |ready: &Ready| *ready.ready.borrow();
        match self {
            Self::Ready(ready) | Self::Cached(ready, _) if !is_ready(ready) => {
                Some("the virtual cluster is not ready")
            }
            Self::Cached(_, state) if !state.is_synced() => Some("the lists are not complete"),
            Self::Open | Self::Ready(_) | Self::Cached(..) => None,
        }
    }
}

async fn confirmed(guard: &IdentityGuard) -> Result<(), Error> {
    guard.check().await.map_err(|error| Error::Withheld(causes(&*error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;

    use crate::api::scripted::{Answer, scripted};
    use crate::engine::testing::Bench;

    fn ready(is_ready: bool, uid: &'static str) -> Ready {
        let (api, _) = scripted(move |_| {
            let item = json!({"metadata": {"uid": uid}});
            Answer::ok(json!({"metadata": {"resourceVersion": "7"}, "items": [item]}))
        });
        let guard = IdentityGuard::new(api);
        guard.expect("cluster-1");
        Ready { guard: Arc::new(guard), ready: watch::Sender::new(is_ready).subscribe() }
    }

    #[tokio::test]
    async fn each_gate_asks_for_more() {
        let (complete, empty) = (Bench::echoing().state, Arc::new(Bench::empty_state()));
        let refusal = async |gate: Gate| gate.pass().await.err().map(|error| error.to_string());
        let cached = |ready: Ready, state: &Arc<State>| Gate::Cached(ready, state.clone());
        assert_eq!(refusal(Gate::Open).await, None);
        assert_eq!(refusal(Gate::Ready(ready(true, "cluster-1"))).await, None);
        assert_eq!(refusal(cached(ready(true, "cluster-1"), &complete)).await, None);
        for (gate, why) in [
            (Gate::Ready(ready(false, "cluster-1")), "not ready"),
            (Gate::Ready(ready(true, "cluster-2")), "another virtual cluster"),
            (cached(ready(true, "cluster-1"), &empty), "lists are not complete"),
            (cached(ready(true, "cluster-2"), &complete), "another virtual cluster"),
        ] {
            let refused = refusal(gate).await.unwrap_or_default();
            assert!(refused.contains(why), "{refused:?}");
        }
        complete.nodes.set_synced_in(7);
        let refused = refusal(cached(ready(true, "cluster-1"), &complete)).await.unwrap_or_default();
        assert!(refused.contains("another state"), "{refused:?}");
    }
}

//! What has to be true in the moment of a write: the gate that every write passes.
//!
//! A decision is made on caches, and carried out later; between the two an API server may have become another
//! one, or a list may have begun anew. So it is the write that asks, and not a timer.

use std::sync::Arc;

use tokio::sync::watch;
use weft_core::causes::causes;

use crate::api::Error;
use crate::engine::cache::state::State;
use crate::engine::informer::identity::Guards;

/// Lets writes pass, or says why nothing is written now.
pub(crate) enum Gate {
    /// For what makes the virtual cluster ready, and for events about ourselves.
    Open,
    /// For what is decided on nothing but the rules: the virtual cluster is ready, and the one that is expected.
    Ready(Ready),
    /// For what is decided on the caches, which must be complete as well.
    Cached(Ready, Arc<State>),
}

/// Whether the virtual cluster is ready, and both servers are the ones that are expected.
#[derive(Clone)]
pub(crate) struct Ready {
    pub(crate) guards: Guards,
    pub(crate) ready: watch::Receiver<bool>,
}

impl Gate {
    /// Passes a write. One that does not pass was not sent.
    pub(in crate::engine) async fn pass(&self) -> Result<(), Error> {
        if let Some(why) = self.closed() {
            return Err(Error::Withheld(why.to_owned()));
        }
        match self {
            Self::Open => Ok(()),
            Self::Ready(Ready { guards, .. }) => confirmed(guards).await,
            Self::Cached(Ready { guards, .. }, state) => {
                confirmed(guards).await?;
                state.is_current(guards.epochs()).then_some(()).ok_or_else(|| {
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

async fn confirmed(guards: &Guards) -> Result<(), Error> {
    guards.check().await.map_err(|error| Error::Withheld(causes(&*error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;
    use weft_core::keys::VIRTUAL_CLUSTER_UID;

    use crate::api::scripted::Answer;
    use crate::engine::cache::version::Epochs;
    use crate::engine::testing::{Bench, identity_answer};

    /// A virtual cluster and a host that remembers one.
    fn ready(is_ready: bool, r#virtual: &'static str, remembered: &'static str) -> Ready {
        let service = json!({"metadata": {"uid": "u", "annotations": {VIRTUAL_CLUSTER_UID: remembered}}});
        let of_host = json!({"metadata": {"resourceVersion": "7"}, "items": [service]});
        let bench = Bench::new(move |_| Answer::ok(of_host.clone()), move |_| identity_answer(r#virtual, 7));
        let guards = bench.guards();
        guards.expect("cluster-1");
        Ready { guards, ready: watch::Sender::new(is_ready).subscribe() }
    }

    #[tokio::test]
    async fn each_gate_asks_for_more() {
        let (complete, empty) = (Bench::echoing().state, Arc::new(Bench::empty_state()));
        let refusal = async |gate: Gate| gate.pass().await.err().map(|error| error.to_string());
        let cached = |ready: Ready, state: &Arc<State>| Gate::Cached(ready, state.clone());
        let expected = |is_ready| ready(is_ready, "cluster-1", "cluster-1");
        let other_cluster = || ready(true, "cluster-2", "cluster-1");
        let other_host = || ready(true, "cluster-1", "cluster-2");
        assert_eq!(refusal(Gate::Open).await, None);
        assert_eq!(refusal(Gate::Ready(expected(true))).await, None);
        assert_eq!(refusal(cached(expected(true), &complete)).await, None);
        for (gate, why) in [
            (Gate::Ready(expected(false)), "not ready"),
            (Gate::Ready(other_cluster()), "another virtual cluster"),
            (Gate::Ready(other_host()), "another host"),
            (cached(expected(true), &empty), "lists are not complete"),
            (cached(other_cluster(), &complete), "another virtual cluster"),
            (cached(other_host(), &complete), "another host"),
        ] {
            let refused = refusal(gate).await.unwrap_or_default();
            assert!(refused.contains(why), "{refused:?}");
        }
        let services = complete.synced(&weft_core::object::Kind::new("v1/Service")).unwrap();
        services.host.set_synced_in(7);
        let refused = refusal(cached(expected(true), &complete)).await.unwrap_or_default();
        assert!(refused.contains("another state"), "{refused:?}");
        services.host.set_synced_in(0);
        complete.nodes.set_synced_in(7);
        let refused = refusal(cached(expected(true), &complete)).await.unwrap_or_default();
        assert!(refused.contains("another state"), "{refused:?}");
        assert!(!complete.is_current(Epochs { host: 7, r#virtual: 7 }));
    }
}

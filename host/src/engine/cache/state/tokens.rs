//! Which pod the Secret with its tokens is of, and when it queues that pod.

use weft_core::keys::PURPOSE_LABEL;
use weft_core::names::Identity;
use weft_core::object::{HostObject, Key, Kind};

use crate::engine::cache::state::State;

/// What such a Secret has as the label that says what it is for.
pub(crate) const PURPOSE: &str = "token";

/// Whether a host pod owns the Secret, and takes it along.
pub(crate) fn goes_with_a_pod(secret: &HostObject) -> bool {
    secret.text("/metadata/ownerReferences/0/kind") == Some("Pod")
}

impl State {
    /// The virtual pod that a Secret with tokens says it is of.
    pub(super) fn pod_of_tokens(&self, secret: &HostObject) -> Option<Key> {
        let identity = Identity::of_tokens(secret)?;
        (identity.cluster == self.names.cluster()).then(|| identity.key())
    }

    /// Queues the pods whose tokens are on the host before they are, or without them: a pod that is on neither side is in no
    /// list that would queue it.
    pub(super) fn requeue_early_tokens(&self) {
        let Some(secrets) = self.synced(&Kind::new("v1/Secret")) else { return };
        secrets.host.each(self.names.namespace(), &mut |secret| {
            if secret.label(PURPOSE_LABEL) == Some(PURPOSE)
                && !goes_with_a_pod(secret)
                && let Some(pod) = self.pod_of_tokens(secret)
            {
                self.queue.add(pod);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use weft_core::keys::TOKEN_POD;

    use super::*;
    use crate::engine::cache::changed::Changed;
    use crate::engine::cache::testing::queued;
    use crate::engine::testing::Bench;

    /// The tokens of a pod, on the host.
    fn put_tokens(bench: &Bench, pod: &str, owner: &str, cluster: &str) -> Arc<HostObject> {
        let identity =
            json!({"cluster": cluster, "kind": "v1/Pod", "namespace": "shop", "name": pod, "uid": "u"});
        let metadata: Value = json!({
            "name": format!("tokens-{pod}"), "namespace": "team-a", "resourceVersion": "5",
            "labels": {PURPOSE_LABEL: PURPOSE}, "annotations": {TOKEN_POD: identity.to_string()},
            "ownerReferences": [{"kind": owner, "name": "any"}],
        });
        bench.put_host("v1/Secret", json!({"metadata": metadata}))
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_queues_the_pod_that_it_is_of_also_one_that_is_gone() {
        let bench = Bench::echoing();
        for (cluster, expected) in [("vc", &["Pod shop/web"][..]), ("other", &[])] {
            let secret = put_tokens(&bench, "web", "ConfigMap", cluster);
            bench.state.host_changed(&Kind::new("v1/Secret"), &Changed::new(secret));
            assert_eq!(queued(&bench.state).await, expected, "{cluster}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_list_of_pods_queues_those_whose_tokens_were_made_and_no_host_pod() {
        let bench = Bench::echoing();
        put_tokens(&bench, "early", "ConfigMap", "vc");
        put_tokens(&bench, "runs", "Pod", "vc");
        bench.state.listed(&Kind::new("v1/ConfigMap"));
        assert_eq!(queued(&bench.state).await, Vec::<String>::new());
        bench.state.listed(&Kind::new("v1/Pod"));
        assert_eq!(queued(&bench.state).await, ["Pod shop/early"]);
    }
}

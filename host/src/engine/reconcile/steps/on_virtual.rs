//! Carries out the steps that go to the virtual cluster.

use weft_core::object::VirtualName;

use crate::engine::apply::Side;
use crate::engine::reconcile::error::Error;
use crate::engine::reconcile::steps::{Steps, Target};

impl Steps {
    pub(super) async fn bind(
        &self,
        target: Target<'_>,
        name: &VirtualName,
        uid: &str,
        node: &str,
    ) -> Result<(), Error> {
        // The store does not show the last binding yet.
        if self.state.bindings.is_accepted(uid) {
            return Ok(());
        }
        self.state.bindings.placed(uid);
        let bound = self.send_binding(target, name, uid, node).await;
        if bound.is_err() {
            self.state.bindings.failed(uid);
        }
        // The pod may have gone meanwhile, and nothing else will say so.
        let pod = target.synced.r#virtual.peek(&name.namespace, &name.name);
        if pod.is_none_or(|pod| pod.uid() != uid) {
            self.state.bindings.shown(uid);
        }
        bound
    }

    async fn send_binding(
        &self,
        target: Target<'_>,
        name: &VirtualName,
        uid: &str,
        node: &str,
    ) -> Result<(), Error> {
        self.companions.before_bind(&target.key.kind, node).await?;
        match self.writer.bind(target.resource(), name, uid, node).await {
            // Gone: the next watch event shows it. A conflict is tried again: it may be bound already, which the next decision
            // sees, but nothing says so.
            Err(error) if error.is_not_found() => {}
            result => {
                result.map_err(target.failed_to(Side::Virtual, "bind"))?;
                self.state.bindings.accepted(uid);
            }
        }
        Ok(())
    }

    pub(super) async fn delete_virtual(
        &self,
        target: Target<'_>,
        name: &VirtualName,
        uid: &str,
        grace: i64,
    ) -> Result<(), Error> {
        match self.writer.delete_virtual(target.resource(), name, uid, grace).await {
            Err(error) => return Err(target.failed_to(Side::Virtual, "delete")(error).into()),
            Ok(None) => {}
            Ok(Some(object)) => {
                self.state.virtual_answered(&target.key.kind, &object);
                // Its tenant has deleted it with less already: the answer is that version, unchanged, and its event known.
                if object.deletion_grace_seconds().is_some_and(|given| given < grace) {
                    self.state.queue.add(target.key.clone());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::api::scripted::{Answer, Asked};
    use crate::engine::cache::store::Absence;
    use crate::engine::cache::version::ResourceVersion;
    use crate::engine::queue::Outcome;
    use crate::engine::testing::{Bench, echo, key, pod};

    /// A pod that the host has placed on `node-1`, before the virtual side has it bound.
    async fn placed(on_virtual: fn(&Asked) -> Answer) -> (Bench, Outcome) {
        let bench = Bench::new(echo, on_virtual);
        let (syncer, key) = (bench.syncer(Vec::new()), key("v1/Pod", "shop", "web"));
        bench.put_virtual("v1/Pod", pod());
        syncer.reconcile(&key).await;
        let mut host = bench.created_on_host();
        host["spec"]["nodeName"] = "node-1".into();
        bench.put_host("v1/Pod", host);
        syncer.reconcile(&key).await;
        let outcome = syncer.reconcile(&key).await;
        (bench, outcome)
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_is_bound_once_and_a_conflict_is_tried_again() {
        const BINDING: &str = "POST /api/v1/namespaces/shop/pods/web/binding";
        let (bench, outcome) = placed(echo).await;
        assert_eq!((outcome, bench.virtual_requests.lines()), (Outcome::Done, vec![BINDING.to_owned()]));
        assert!(bench.state.bindings.is_accepted("uid-1"), "until the store shows it");
        let (bench, outcome) = placed(|_| Answer::failure(409, "Conflict")).await;
        assert_eq!(outcome, Outcome::Failed(None));
        assert_eq!(bench.virtual_requests.lines(), [BINDING, BINDING], "it is not taken for bound");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_was_placed_and_lost_while_bindings_failed_is_not_created_again() {
        let (bench, _) = placed(|asked| {
            if asked.path.ends_with("/binding") { Answer::failure(500, "InternalError") } else { echo(asked) }
        })
        .await;
        let (syncer, key) = (bench.syncer(Vec::new()), key("v1/Pod", "shop", "web"));
        assert_eq!(bench.state.bindings.all_failed(), ["uid-1".to_owned()].into());
        let pods = bench.state.synced(&key.kind).unwrap();
        pods.host.remove("team-a", "web-x-shop-x-vc", ResourceVersion::new("200"), Absence::Deleted);
        assert_eq!(syncer.reconcile(&key).await, Outcome::Done);
        let created = bench.host_requests.lines().iter().filter(|line| line.starts_with("POST")).count();
        assert_eq!(created, 1, "{:?}", bench.host_requests.lines());
        let last = bench.virtual_requests.lines().pop();
        assert_eq!(last.as_deref(), Some("DELETE /api/v1/namespaces/shop/pods/web"));
    }
}

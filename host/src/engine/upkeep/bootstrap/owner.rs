//! The ConfigMap that owns the host objects: there, made again where it was lost, and said so.

use std::sync::Arc;

use tracing::warn;
use weft_core::context::Owner;
use weft_core::object::HostObject;

use super::{Bootstrap, Error};
use crate::api;
use crate::engine::events::operator;
use crate::engine::resources::{config_maps, events};

impl Bootstrap {
    /// Makes sure that the host objects have an owner, and that it owns what is created from now on and what is there.
    pub(super) async fn ensure_owner(&self) -> Result<(), Error> {
        let failed =
            |source| Error::Api { action: "read or make the ConfigMap that owns the host objects", source };
        let owner = Owner::of(&*self.owner().await.map_err(failed)?);
        let before = self.state.facts().owner.clone();
        if before.as_ref() == Some(&owner) {
            return Ok(());
        }
        self.state.update_facts(|facts| facts.owner = Some(owner));
        // The host's garbage collector leaves alone what has one owner that exists.
        self.state.requeue_all();
        if let Some(before) = before {
            self.report_loss(&before).await;
        }
        Ok(())
    }

    /// The owner; the chart makes it, and where nobody did, this does.
    async fn owner(&self) -> Result<Arc<HostObject>, api::Error> {
        let (cluster, namespace) = (self.state.names.cluster(), self.state.names.namespace());
        match self.host.get(&config_maps(), namespace, cluster).await {
            Err(error) if error.is_not_found() => {}
            found => return found.map(Arc::new),
        }
        match self.writer.create_host(&config_maps(), &Owner::object(cluster, namespace)).await {
            // `weft init`, or whoever installs the chart, was faster.
            Err(error) if error.is_already_exists() => {
                self.host.get(&config_maps(), namespace, cluster).await.map(Arc::new)
            }
            created => created,
        }
    }

    async fn report_loss(&self, before: &Owner) {
        let message = format!(
            "ConfigMap {}, which owns what this virtual cluster has on the host, was deleted, and has been made again. The \
             host deletes what belonged to it: pods are replaced where a controller of the virtual cluster wants them, \
             other objects are made again, and volume claims stay with their data",
            before.name
        );
        warn!(message, "the owner of the host objects was lost");
        if let Some(event) = operator::compose(&self.state, true, "OwnerLost", &message)
            && let Err(error) = self.writer.create_host(&events(), &event).await
        {
            warn!(error = &error as &dyn std::error::Error, "failed to write an event on the host");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::Method;
    use serde_json::{Value, json};
    use weft_core::object::Key;

    use super::*;
    use crate::api::scripted::{Answer, Asked};
    use crate::engine::queue::Outcome;
    use crate::engine::testing::{Bench, echo, key, pod};
    use crate::engine::upkeep::bootstrap::tests::{OWNER, bootstrap};

    /// A host that keeps the ConfigMap that it is sent, and gives it another UID each time.
    fn keeping(owner: Option<&str>) -> (Bench, Arc<Mutex<Option<Value>>>) {
        let object = |uid: &str| json!({"metadata": {"name": "vc", "namespace": "team-a", "uid": uid}});
        let kept = Arc::new(Mutex::new(owner.map(object)));
        let on_host = {
            let kept = kept.clone();
            move |asked: &Asked| {
                let mut kept = kept.lock().unwrap();
                match (asked.method == Method::POST, asked.path.as_str()) {
                    (false, OWNER) => kept.clone().map_or(Answer::failure(404, "NotFound"), Answer::ok),
                    (true, path) if OWNER.starts_with(path) => {
                        *kept = Some(object("uid-made"));
                        Answer::ok(object("uid-made"))
                    }
                    _ => echo(asked),
                }
            }
        };
        let bench = Bench::new(on_host, echo);
        bench.know_service();
        bench.put_virtual("v1/Pod", pod());
        (bench, kept)
    }

    fn next(bench: &Bench) -> Option<Key> {
        let key = futures::FutureExt::now_or_never(bench.state.queue.next()).flatten()?;
        bench.state.queue.done(&key, Outcome::Done);
        Some(key)
    }

    #[tokio::test]
    async fn an_owner_that_is_missing_at_the_start_is_made_without_an_event() {
        let (bench, _) = keeping(None);
        bench.state.update_facts(|facts| facts.owner = None);
        bootstrap(&bench).ensure_owner().await.unwrap();
        assert_eq!(bench.state.facts().owner.as_ref().map(|owner| &*owner.uid), Some("uid-made"));
        let made = &bench.host_requests.bodies(&Method::POST)[..];
        assert_eq!(made.len(), 1, "{made:?}");
        assert_eq!(
            made[0]["metadata"]["labels"]["app.kubernetes.io/instance"], "vc",
            "`weft delete` finds it"
        );
    }

    #[tokio::test]
    async fn an_owner_that_is_lost_is_made_again_owns_what_is_there_and_an_event_says_so() {
        let (bench, kept) = keeping(Some("uid-owner"));
        let bootstrap = bootstrap(&bench);
        bootstrap.ensure_owner().await.unwrap();
        assert_eq!(
            (next(&bench), bench.host_requests.bodies(&Method::POST)),
            (None, Vec::new()),
            "it is there"
        );
        // Gone, and then made again by somebody else.
        for again in [None, Some(json!({"metadata": {"name": "vc", "uid": "uid-other"}}))] {
            *kept.lock().unwrap() = again;
            bootstrap.ensure_owner().await.unwrap();
            assert_eq!(next(&bench), Some(key("v1/Pod", "shop", "web")));
            let event = bench.host_requests.bodies(&Method::POST).pop().unwrap();
            assert_eq!((&event["reason"], &event["type"]), (&json!("OwnerLost"), &json!("Warning")));
            assert_eq!(event["involvedObject"]["uid"], "uid-service");
            let message = event["message"].as_str().unwrap();
            assert!(message.contains("ConfigMap vc") && message.contains("volume claims stay"), "{message}");
        }
    }

    #[tokio::test]
    async fn an_owner_that_somebody_else_makes_at_the_same_time_is_taken() {
        let asked_before = Mutex::new(false);
        let raced = move |asked: &Asked| match asked.method {
            Method::POST => Answer::failure(409, "AlreadyExists"),
            _ if std::mem::replace(&mut *asked_before.lock().unwrap(), true) => {
                Answer::ok(json!({"metadata": {"name": "vc", "uid": "uid-of-chart"}}))
            }
            _ => Answer::failure(404, "NotFound"),
        };
        let bench = Bench::new(raced, echo);
        bootstrap(&bench).ensure_owner().await.unwrap();
        assert_eq!(bench.state.facts().owner.as_ref().map(|owner| &*owner.uid), Some("uid-of-chart"));
    }
}

//! Writes what flows back to the virtual object; what its server refuses stays as it is there, and the rest is written.
//!
//! A move of a Service takes two patches, and between them nobody can use it. So the server is asked by a dry run whether it would
//! take the second; where it refuses that one all the same, the Service gets back what it had, under the same UID.

use std::sync::Arc;

use weft_core::change::Change;
use weft_core::object::VirtualObject;
use weft_core::plan;

use super::{Steps, Target};
use crate::api;
use crate::engine::apply::{Failed, Side};
use crate::engine::reconcile::error::Error;

/// A server names all fields that it refuses, or one at a time where it allocates them: more than any object has of those.
const ROUNDS: usize = 16;

/// The virtual object on its way to what flows back.
pub(super) struct WayBack {
    /// As its server has it; none once it is gone.
    current: Option<Arc<VirtualObject>>,
    desired: Option<Box<VirtualObject>>,
    /// Why something was left out.
    refusal: Option<Failed>,
}

impl WayBack {
    pub(super) fn new(source: Option<Arc<VirtualObject>>, desired: Option<Box<VirtualObject>>) -> Self {
        Self { current: source, desired, refusal: None }
    }

    /// Why something was left out, if it was.
    pub(super) fn into_refusal(self) -> Option<Failed> {
        self.refusal
    }
}

impl Steps {
    /// Carries out one patch of the virtual object; does nothing once something was left out, because the rest is written then.
    pub(super) async fn flow_back(
        &self,
        target: Target<'_>,
        back: &mut WayBack,
        change: &Change,
    ) -> Result<(), Error> {
        if back.refusal.is_some() {
            return Ok(());
        }
        let Err(refusal) = self.try_and_patch(target, back, change).await else { return Ok(()) };
        if self.is_relaxed(target, back, &refusal).await? {
            back.refusal = Some(failed(target, refusal));
            return Ok(());
        }
        Err(failed(target, refusal).into())
    }

    async fn try_and_patch(
        &self,
        target: Target<'_>,
        back: &mut WayBack,
        change: &Change,
    ) -> Result<(), api::Error> {
        self.try_move(target, back).await?;
        self.patch_virtual(target, back, change).await
    }

    /// Writes as much as the virtual server takes after it has refused something; whether there is anything that can be left out.
    async fn is_relaxed(
        &self,
        target: Target<'_>,
        back: &mut WayBack,
        refusal: &api::Error,
    ) -> Result<bool, Error> {
        let Some(relaxed) = relax(target, back, refusal) else { return Ok(false) };
        back.desired = Some(relaxed);
        for _ in 0..ROUNDS {
            let Err(next) = self.write_desired(target, back).await else { return Ok(true) };
            let Some(relaxed) = relax(target, back, &next) else { return Err(failed(target, next).into()) };
            back.desired = Some(relaxed);
        }
        Ok(false)
    }

    async fn write_desired(&self, target: Target<'_>, back: &mut WayBack) -> Result<(), api::Error> {
        self.try_move(target, back).await?;
        let (Some(current), Some(desired)) = (&back.current, &back.desired) else { return Ok(()) };
        for change in plan::virtual_patches(&*target.synced.mapper, desired, current) {
            self.patch_virtual(target, back, &change).await?;
        }
        Ok(())
    }

    /// Fails if the virtual server would refuse the end of a move that is to be begun.
    async fn try_move(&self, target: Target<'_>, back: &WayBack) -> Result<(), api::Error> {
        let (Some(current), Some(desired)) = (&back.current, &back.desired) else { return Ok(()) };
        match target.synced.mapper.patcher().virtual_trial(desired, current) {
            Some(trial) => self.writer.try_virtual(target.resource(), &trial).await,
            None => Ok(()),
        }
    }

    async fn patch_virtual(
        &self,
        target: Target<'_>,
        back: &mut WayBack,
        change: &Change,
    ) -> Result<(), api::Error> {
        let Some(current) = &back.current else { return Ok(()) };
        let (name, uid) = (current.virtual_name(), current.uid());
        match self.writer.patch_virtual(target.resource(), &name, uid, change).await {
            Err(error) if error.is_not_found() => back.current = None,
            Err(error) => return Err(error),
            Ok(object) => {
                self.state.virtual_answered(&target.key.kind, &object);
                back.current = Some(object);
            }
        }
        Ok(())
    }
}

/// What is to flow back after this refusal; none where nothing can be left out.
fn relax(target: Target<'_>, back: &WayBack, refusal: &api::Error) -> Option<Box<VirtualObject>> {
    let refused = match refusal {
        _ if refusal.is_conflict() => return None,
        _ if refusal.is_failure() => &[],
        _ => refusal.refused_fields()?,
    };
    let (current, desired) = (back.current.as_ref()?, back.desired.as_ref()?);
    target.synced.mapper.patcher().relax_virtual(desired, current, refused).map(Box::new)
}

fn failed(target: Target<'_>, error: api::Error) -> Failed {
    let names_fields = error.refused_fields().is_some_and(|fields| !fields.is_empty());
    let action = if names_fields { target.synced.mapper.patcher().verb_on_virtual() } else { "patch" };
    target.failed_to(Side::Virtual, action)(error)
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::queue::Outcome;
    use crate::engine::testing::{Bench, echo, host_object, invalid, key, service};

    /// A virtual Service `shop/web` at 10.96.0.7 with the port 30080 of nodes, whose host object is at 10.96.0.9 with 31080 and has a
    /// load balancer's address.
    fn bench(on_virtual: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Bench {
        let bench = Bench::new(echo, on_virtual);
        let mut source = service("web", "5");
        source["spec"]["type"] = "LoadBalancer".into();
        source["spec"]["ports"][0]["nodePort"] = 30080.into();
        bench.put_virtual("v1/Service", source);
        bench
    }

    /// Creates the host object, and has it allocated otherwise.
    async fn allocated(bench: &Bench, address: &str) -> Outcome {
        let (syncer, key) = (bench.syncer(Vec::new()), key("v1/Service", "shop", "web"));
        syncer.reconcile(&key).await;
        let mut host = bench.created_on_host();
        host["spec"]["clusterIP"] = address.into();
        host["spec"]["clusterIPs"] = json!([address]);
        host["spec"]["ports"][0]["nodePort"] = 31080.into();
        host["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}});
        bench.put_host("v1/Service", host);
        syncer.reconcile(&key).await
    }

    /// The patches of the virtual Service and its status that were no dry runs.
    fn patches(bench: &Bench) -> Vec<Value> {
        let writes = bench.virtual_requests.all().into_iter();
        let writes = writes.filter(|asked| asked.method == Method::PATCH && !asked.has("dryRun=All"));
        writes.filter(|asked| asked.path.contains("/services/")).map(|asked| asked.body).collect()
    }

    /// A server that merges patches of the Service into what it has, but for those that `refuses` answers.
    fn serving(
        refuses: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
    ) -> impl Fn(&Asked) -> Answer {
        let stored = std::sync::Mutex::new(Value::Null);
        move |asked: &Asked| {
            if let Some(answer) = refuses(asked) {
                return answer;
            }
            if asked.method != Method::PATCH || asked.has("dryRun=All") {
                return echo(asked);
            }
            let mut stored = stored.lock().unwrap();
            merge(&mut stored, &asked.body);
            stored["metadata"]["resourceVersion"] = "100".into();
            stored["metadata"]["name"] = "web".into();
            stored["metadata"]["namespace"] = "shop".into();
            Answer::ok(stored.clone())
        }
    }

    fn merge(into: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else { return *into = patch.clone() };
        if !into.is_object() {
            *into = json!({});
        }
        for (name, value) in patch {
            match value {
                Value::Null => drop(into.as_object_mut().unwrap().remove(name)),
                value => merge(&mut into[name.as_str()], value),
            }
        }
    }

    fn asks(asked: &Asked, pointer: &str, value: &Value) -> bool {
        asked.body.pointer(pointer) == Some(value)
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_that_is_refused_does_not_hold_back_the_status() {
        let bench = bench(serving(|asked| {
            let is_refused = asks(asked, "/spec/ports/0/nodePort", &json!(31080));
            is_refused.then(|| invalid(&["spec.ports[0].nodePort"]))
        }));
        assert_eq!(allocated(&bench, "10.96.0.7").await, Outcome::Refused, "it is tried again");
        let [refused, status] = patches(&bench).try_into().unwrap();
        assert_eq!(refused["spec"]["ports"][0]["nodePort"], 31080);
        assert_eq!(status["status"]["loadBalancer"]["ingress"][0]["ip"], "192.0.2.7", "{status}");
        assert_eq!(bench.reasons().await, ["Warning AllocationReplaced", "Warning StatusRefused"]);
        let message = bench.events().await[1]["message"].to_string();
        assert!(message.contains("--service-node-port-range"), "{message}");
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_move_that_is_refused_in_one_field_the_others_are_done() {
        let bench = bench(serving(|asked| {
            let is_refused = asks(asked, "/spec/ports/0/nodePort", &json!(31080));
            is_refused.then(|| invalid(&["spec.ports[0].nodePort"]))
        }));
        assert_eq!(allocated(&bench, "10.96.0.9").await, Outcome::Refused);
        let patches = patches(&bench);
        let there = &patches[0]["spec"];
        assert_eq!(there["type"], "ExternalName", "the dry run had shown what is refused: {patches:?}");
        let back = &patches[1]["spec"];
        assert_eq!((&back["clusterIP"], &back["ports"][0]["nodePort"]), (&json!("10.96.0.9"), &json!(30080)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_taken_between_the_dry_run_and_the_move_gives_the_service_its_own_back() {
        // What is free in the dry run is taken in earnest; the second time also what the Service had.
        for (taken, last) in [(&["10.96.0.9"][..], Some("10.96.0.7")), (&["10.96.0.9", "10.96.0.7"], None)] {
            let bench = bench(serving(move |asked| {
                let is_taken = taken.iter().any(|address| asks(asked, "/spec/clusterIP", &json!(address)));
                (is_taken && !asked.has("dryRun=All")).then(|| invalid(&["spec.clusterIPs"]))
            }));
            assert_eq!(allocated(&bench, "10.96.0.9").await, Outcome::Refused, "it is tried again");
            let patches = patches(&bench);
            let back = patches.iter().rfind(|patch| patch["spec"]["type"] == "LoadBalancer").unwrap();
            assert_eq!(back["spec"]["clusterIP"].as_str(), last, "{patches:?}");
            assert_eq!(back["spec"]["ports"][0]["nodePort"], 31080, "{back}");
            let memory = &patches[0]["metadata"]["annotations"]["weft.dev/moving"];
            assert!(memory.as_str().unwrap().contains("10.96.0.7"), "what it had is remembered: {memory}");
            let reasons =
                ["Normal AllocationReplaced", "Warning AllocationReplaced", "Warning StatusRefused"];
            assert_eq!(bench.reasons().await, reasons);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_move_is_not_begun_while_the_server_fails() {
        let bench =
            bench(serving(|asked| asked.has("dryRun=All").then(|| Answer::failure(500, "InternalError"))));
        assert_eq!(allocated(&bench, "10.96.0.9").await, Outcome::Failed(None));
        assert_eq!(patches(&bench), Vec::<Value>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_field_that_the_virtual_server_refuses_does_not_hold_back_others_of_any_kind() {
        let bench = Bench::new(echo, |asked: &Asked| {
            let is_refused = asked.body.pointer("/status/conditions").is_some_and(|list| !list.is_null());
            if is_refused { invalid(&["status.conditions[0].type"]) } else { echo(asked) }
        });
        let metadata = json!({"namespace": "shop", "name": "data", "uid": "uid-1", "resourceVersion": "5"});
        bench.put_virtual("v1/PersistentVolumeClaim", json!({"metadata": metadata, "spec": {}}));
        let mut host = host_object("v1/PersistentVolumeClaim", "shop", "data", "uid-1");
        host["status"] = json!({"phase": "Bound", "conditions": [{"type": "Resizing", "status": "True"}]});
        bench.put_host("v1/PersistentVolumeClaim", host);
        let outcome =
            bench.syncer(Vec::new()).reconcile(&key("v1/PersistentVolumeClaim", "shop", "data")).await;
        assert_eq!(outcome, Outcome::Refused);
        let patches = bench.virtual_requests.bodies(&Method::PATCH);
        let last = patches.last().unwrap();
        assert_eq!(
            (&last["status"]["phase"], last["status"].get("conditions")),
            (&json!("Bound"), None),
            "{patches:?}"
        );
        assert_eq!(bench.reasons().await, ["Warning StatusRefused"]);
    }
}

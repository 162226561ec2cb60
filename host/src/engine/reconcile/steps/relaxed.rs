//! Leaves to the host what it cannot give as requested, such as an address that it has given away.
//!
//! The host names the fields that it refuses, all but one: a taken `healthCheckNodePort` is answered with 500, like a failure
//! of the server, of its storage or of a webhook, which passes. So such an answer counts as a refusal only if it is the
//! field that makes the difference: as dry runs, the request without it is accepted and the request with it fails, several
//! times in turn. A server that is down fails both; one that works again accepts both. Otherwise the write has failed and is
//! tried again later, as it was requested. A host whose webhooks refuse dry runs never gets to choose that port by itself.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use weft_core::names::HostName;
use weft_core::object::HostObject;
use weft_core::plan;

use super::{Steps, Target};
use crate::api;
use crate::engine::apply::{Side, Trial};
use crate::engine::cache::kinds::SyncedKind;
use crate::engine::reconcile::error::Error;

/// A server releases the address of a deleted Service a moment after it has published the deletion: what is refused
/// to its successor is requested once more after this time.
const RELEASE: Duration = Duration::from_millis(100);
/// How often.
const RELEASES: u32 = 5;
/// How often a failure has to show that a field makes the difference: a server that fails every other request at random
/// shows it once in a hundred times.
const TRIALS: u32 = 3;

impl Steps {
    /// Creates a host object; leaves to the host what it cannot give as requested; finds out whose object is
    /// there when there is one already.
    pub(super) async fn create_relaxed(
        &self,
        target: Target<'_>,
        object: &HostObject,
    ) -> Result<Arc<HostObject>, Error> {
        let mut relaxed: Option<HostObject> = None;
        let was_there = target.synced.host.was_there(self.state.names.namespace(), object.name());
        let mut retries = if was_there { RELEASES } else { 0 };
        loop {
            let requested = relaxed.as_ref().unwrap_or(object);
            let error = match self.writer.create_host(target.resource(), requested).await {
                Ok(created) => return Ok(created),
                Err(error) if error.is_already_exists() => return self.adopt(target, object).await,
                Err(error) => error,
            };
            let next = relax(target.synced, requested, &error);
            if next.is_some() && retries > 0 {
                retries -= 1;
                tokio::time::sleep(RELEASE).await;
                continue;
            }
            match next {
                Some(next) if self.creation_is_refused(target, requested, &next, &error).await => {
                    relaxed = Some(next);
                }
                _ => return Err(target.failed_to(Side::Host, "create")(error).into()),
            }
        }
    }

    /// After the host has refused a patch of the object of this UID: leaves to the host what it cannot give
    /// as requested. The digest stays that of what the tenant wants, so that it is not requested again.
    pub(super) async fn patch_relaxed(
        &self,
        target: Target<'_>,
        desired: Option<&HostObject>,
        uid: &str,
        mut refusal: api::Error,
    ) -> Result<Arc<HostObject>, api::Error> {
        // The cache has what earlier steps wrote.
        let host = self.state.host_object(target.synced, target.key).filter(|host| host.uid() == uid);
        let (Some(mut host), Some(desired)) = (host, desired) else { return Err(refusal) };
        let mut requested = Cow::Borrowed(desired);
        loop {
            let Some(relaxed) = relax(target.synced, &requested, &refusal) else { return Err(refusal) };
            if !self.patch_is_refused(target, &host, [&requested, &relaxed], &refusal).await {
                return Err(refusal);
            }
            match self.patch_to(target, &relaxed, &mut host).await {
                Ok(()) => return Ok(host),
                Err(error) => refusal = error,
            }
            requested = Cow::Owned(relaxed);
        }
    }

    async fn patch_to(
        &self,
        target: Target<'_>,
        desired: &HostObject,
        host: &mut Arc<HostObject>,
    ) -> Result<(), api::Error> {
        for change in plan::host_patches(&*target.synced.mapper, desired, host) {
            let name = HostName::of(host);
            *host = self.writer.patch_host(target.resource(), &name, host.uid(), &change).await?;
            self.state.host_answered(&target.key.kind, host);
        }
        Ok(())
    }

    /// Whether `error`, the answer to the creation of `requested`, refuses what `relaxed` leaves to the host.
    async fn creation_is_refused(
        &self,
        target: Target<'_>,
        requested: &HostObject,
        relaxed: &HostObject,
        error: &api::Error,
    ) -> bool {
        !error.is_failure()
            || self.makes_the_difference(target, Trial::Create(requested), Trial::Create(relaxed)).await
    }

    /// The same for a patch of `host` to the first of these objects, of which the second is the relaxed one.
    async fn patch_is_refused(
        &self,
        target: Target<'_>,
        host: &HostObject,
        objects: [&HostObject; 2],
        error: &api::Error,
    ) -> bool {
        if !error.is_failure() {
            return true;
        }
        let mapper = &*target.synced.mapper;
        let [requested, relaxed] =
            objects.map(|object| plan::host_patches(mapper, object, host).into_iter().next());
        let (Some(requested), Some(relaxed)) = (requested, relaxed) else { return false };
        let name = HostName::of(host);
        let trial = |change| Trial::Patch { name: &name, uid: host.uid(), change };
        self.makes_the_difference(target, trial(&requested), trial(&relaxed)).await
    }

    /// Whether the host accepts `relaxed`, and fails at `requested`, each time.
    async fn makes_the_difference(
        &self,
        target: Target<'_>,
        requested: Trial<'_>,
        relaxed: Trial<'_>,
    ) -> bool {
        for _ in 0..TRIALS {
            if self.writer.try_host(target.resource(), relaxed).await.is_err() {
                return false;
            }
            let answer = self.writer.try_host(target.resource(), requested).await;
            if !answer.is_err_and(|error| error.is_failure()) {
                return false;
            }
            tokio::time::sleep(RELEASE).await;
        }
        true
    }
}

/// What to request after `error` was the host's answer to `requested`; none when there is nothing to leave to
/// the host. It names one refused field at a time, so each round leaves one more to it.
fn relax(synced: &SyncedKind, requested: &HostObject, error: &api::Error) -> Option<HostObject> {
    let patcher = synced.mapper.patcher();
    let relaxed = if error.is_failure() {
        patcher.relax_unnamed(requested)
    } else {
        patcher.relax(requested, error.refused_fields()?)
    };
    relaxed.filter(|next| next != requested)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use serde_json::{Value, json};
    use weft_core::object::Key;

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::cache::store::Absence;
    use crate::engine::cache::version::ResourceVersion;
    use crate::engine::queue::Outcome;
    use crate::engine::reconcile::syncer::Syncer;
    use crate::engine::testing::{Bench, echo, invalid, key, service};

    fn web() -> Key {
        key("v1/Service", "shop", "web")
    }

    /// A host that does not give the address 10.96.0.7, and the Service; `was_there` if one was deleted lately.
    async fn refused(was_there: bool) -> Bench {
        let on_host = |asked: &Asked| {
            let wants = asked.method == Method::POST && asked.body["spec"].get("clusterIP").is_some();
            if wants { invalid(&["spec.clusterIPs"]) } else { echo(asked) }
        };
        let bench = Bench::new(on_host, echo);
        let (key, object) = (web(), service("web", "5"));
        bench.put_virtual("v1/Service", object);
        let host = &bench.state.synced(&key.kind).unwrap().host;
        if was_there {
            host.remove("team-a", "web-x-shop-x-vc", ResourceVersion::new("3"), Absence::Deleted);
        }
        assert_eq!(bench.syncer(Vec::new()).reconcile(&key).await, Outcome::Done);
        bench
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_host_cannot_give_is_left_to_it_after_a_deleted_predecessor_had_time_to_release_it() {
        for (was_there, requests) in [(false, 2), (true, 2 + RELEASES as usize)] {
            let bench = refused(was_there).await;
            let created = bench.host_requests.bodies(&Method::POST);
            assert_eq!(created.len(), requests, "{:?}", bench.host_requests.lines());
            let (last, earlier) = created.split_last().unwrap();
            assert!(earlier.iter().all(|body| body["spec"]["clusterIP"] == "10.96.0.7"), "{earlier:?}");
            assert_eq!(last["spec"].get("clusterIP"), None, "{last}");
            assert_eq!(bench.reasons().await, Vec::<String>::new());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_patch_that_the_host_refuses_is_relaxed_too() {
        let on_host = |asked: &Asked| {
            let node_port = asked.body.pointer("/spec/ports/0/nodePort");
            if asked.method == Method::PATCH && node_port.is_some_and(|port| !port.is_null()) {
                return invalid(&["spec.ports[0].nodePort"]);
            }
            echo(asked)
        };
        let bench = Bench::new(on_host, echo);
        let (syncer, key, mut object) = (bench.syncer(Vec::new()), web(), service("web", "5"));
        bench.put_virtual("v1/Service", object.clone());
        syncer.reconcile(&key).await;
        object["metadata"]["resourceVersion"] = "6".into();
        object["spec"]["type"] = "NodePort".into();
        object["spec"]["ports"] = json!([{"port": 80, "nodePort": 30080}]);
        bench.put_virtual("v1/Service", object);
        assert_eq!(syncer.reconcile(&key).await, Outcome::Done);
        let patches = bench.host_requests.bodies(&Method::PATCH);
        assert_eq!(patches.len(), 2, "{patches:?}");
        assert_eq!(patches[0]["spec"]["ports"][0]["nodePort"], 30080, "{}", patches[0]);
        assert_eq!(patches[1]["spec"]["type"], "NodePort", "{}", patches[1]);
    }

    /// The Service with a load balancer and the health check port 31000.
    fn balanced(version: &str) -> Value {
        let mut object = service("web", version);
        object["spec"]["type"] = "LoadBalancer".into();
        object["spec"]["externalTrafficPolicy"] = "Local".into();
        object["spec"]["healthCheckNodePort"] = 31000.into();
        object
    }

    fn wants_health_port(asked: &Asked) -> bool {
        asked.body.pointer("/spec/healthCheckNodePort").is_some_and(|port| *port == 31000)
    }

    /// The health check port of each write of this method that was no dry run.
    fn requested(bench: &Bench, method: &Method) -> Vec<Value> {
        let writes = bench.host_requests.all().into_iter();
        let writes = writes.filter(|asked| asked.method == *method && !asked.has("dryRun=All"));
        writes.map(|asked| asked.body["spec"]["healthCheckNodePort"].clone()).collect()
    }

    /// A host on which each write fails of which `fails` says so; it is called with the number of the write.
    fn failing(fails: fn(usize, &Asked) -> bool) -> Bench {
        let number = std::sync::atomic::AtomicUsize::new(0);
        let on_host = move |asked: &Asked| {
            let is_write = [Method::POST, Method::PATCH].contains(&asked.method);
            if is_write && fails(number.fetch_add(1, std::sync::atomic::Ordering::Relaxed), asked) {
                return Answer::failure(500, "InternalError");
            }
            echo(asked)
        };
        Bench::new(on_host, echo)
    }

    /// Reconciles until nothing is left to do; how often.
    async fn until_done(bench: &Bench, syncer: &Syncer) -> usize {
        for tries in 1..10 {
            if syncer.reconcile(&web()).await == Outcome::Done {
                return tries;
            }
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
        panic!("it does not end: {:?}", bench.host_requests.lines())
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_passes_leaves_a_service_with_the_health_check_port_that_it_wants() {
        let outages: [fn(usize, &Asked) -> bool; 3] = [
            |number, _| number == 0,
            |number, _| number < 2,
            // The server works again between two requests, as seen from the one without the port.
            |number, asked| number < 4 && wants_health_port(asked),
        ];
        for (case, fails) in outages.into_iter().enumerate() {
            let bench = failing(fails);
            bench.put_virtual("v1/Service", balanced("5"));
            let tries = until_done(&bench, &bench.syncer(Vec::new())).await;
            assert!(tries > 1, "outage {case}: the failure itself is not the end");
            let ports = requested(&bench, &Method::POST);
            assert!(ports.len() > 1 && ports.iter().all(|port| *port == 31000), "outage {case}: {ports:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_health_check_port_that_makes_the_host_fail_each_time_is_left_to_it() {
        let bench = failing(|_, asked| wants_health_port(asked));
        bench.put_virtual("v1/Service", balanced("5"));
        assert_eq!(bench.syncer(Vec::new()).reconcile(&web()).await, Outcome::Done);
        assert_eq!(requested(&bench, &Method::POST), [json!(31000), Value::Null]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_to_a_health_check_port_is_relaxed_only_if_the_port_makes_it_fail() {
        let fails: [fn(usize, &Asked) -> bool; 2] =
            [|_, asked| wants_health_port(asked), |number, _| number == 1];
        for (fails, expected) in fails.into_iter().zip([Value::Null, json!(31000)]) {
            let bench = failing(fails);
            let syncer = bench.syncer(Vec::new());
            bench.put_virtual("v1/Service", service("web", "5"));
            assert_eq!(syncer.reconcile(&web()).await, Outcome::Done);
            bench.put_virtual("v1/Service", balanced("6"));
            until_done(&bench, &syncer).await;
            assert_eq!(requested(&bench, &Method::PATCH), [json!(31000), expected]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_names_no_field_relaxes_nothing() {
        let on_host = |asked: &Asked| if wants_health_port(asked) { invalid(&[]) } else { echo(asked) };
        let bench = Bench::new(on_host, echo);
        bench.put_virtual("v1/Service", balanced("5"));
        assert_eq!(bench.syncer(Vec::new()).reconcile(&web()).await, Outcome::Refused);
        assert_eq!(requested(&bench, &Method::POST), [json!(31000)]);
    }
}

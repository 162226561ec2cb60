//! Pod: runs on the host under the virtual cluster's identity, addresses and names.
//!
//! `places` says where a pod names other objects; `environment`, `volumes`, `scheduling`, `narrowing`, `dns`, `hostname`
//! and `hosts_file` make the host's spec; `update` says what of it can change later; [`status`] is what flows back,
//! [`tokens`] which tokens the syncer requests, and [`environment`] which variables of Services it provides. Fields that
//! are not known here pass as they are.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;

use crate::change::Change;
use crate::context::Ctx;
use crate::diff;
use crate::mapper::{Mapper, Patcher};
use crate::object::{HostObject, Key, VirtualObject};
use crate::references;
use crate::spec::KindSpec;
use crate::verdict::Verdict;

mod affinity;
mod dns;
mod downward;
pub mod environment;
#[cfg(test)]
mod fixture;
mod hostname;
mod hosts_file;
mod messages;
mod narrowing;
mod parts;
mod places;
pub mod quantity;
mod scheduling;
pub mod status;
mod status_patch;
pub mod tokens;
mod update;
mod volumes;

/// The mapper of Pods.
#[derive(Debug)]
pub struct Pod;

static SPEC: LazyLock<KindSpec> = LazyLock::new(|| {
    KindSpec::core("Pod", "pods")
        .references(places::references())
        .selectors(places::selectors())
        .process()
        .with_conditions()
        .patched_in(["ephemeralcontainers", "resize", "status"])
        .managed([])
});

impl Mapper for Pod {
    fn spec(&self) -> &KindSpec {
        &SPEC
    }

    /// The table's, and the claims of ephemeral volumes, whose names follow from the pod's.
    fn targets(&self, source: &VirtualObject) -> BTreeSet<Key> {
        let mut targets = references::targets(&SPEC.references, source);
        targets.extend(volumes::ephemeral_claims(source));
        targets
    }

    /// Keeps `ephemeralContainers`, which [`Patcher::creatable`] takes out: they can only be added later.
    fn to_host(&self, ctx: &Ctx<'_>, source: &VirtualObject, mut draft: HostObject) -> Verdict<HostObject> {
        scheduling::refuse_claims(source)?;
        run_without_permissions(ctx, &mut draft);
        environment::apply(ctx, source, &mut draft)?;
        volumes::apply(ctx, source, &mut draft);
        scheduling::apply(ctx, source, &mut draft)?;
        narrowing::apply(ctx, source, &mut draft)?;
        dns::apply(ctx, source, &mut draft)?;
        hostname::apply(ctx, source, &mut draft)?;
        hosts_file::apply(ctx, source, &mut draft)?;
        Ok(draft)
    }

    fn to_virtual(&self, ctx: &Ctx<'_>, host: &HostObject, mut draft: VirtualObject) -> VirtualObject {
        if let Some(node) = host.text("/spec/nodeName").filter(|node| !node.is_empty()) {
            draft.spec_mut().insert("nodeName".into(), node.into());
        }
        if let Some(status) = status::to_virtual(ctx, &self.targets(&draft), host, &draft) {
            draft.fields_mut().insert("status".into(), Value::Object(status));
        }
        draft
    }

    fn patcher(&self) -> &dyn Patcher {
        self
    }
}

impl Patcher for Pod {
    fn managed(&self) -> &[String] {
        &SPEC.managed
    }

    fn before_create(&self, source: &VirtualObject) -> Verdict<()> {
        scheduling::wait_for_gates(source)
    }

    fn creatable(&self, mut desired: HostObject) -> HostObject {
        desired.spec_mut().remove("ephemeralContainers");
        desired
    }

    fn host_changes(&self, desired: &HostObject, current: &HostObject) -> Vec<Change> {
        update::changes(desired, current)
    }

    fn status_changes(&self, source: &VirtualObject, current: &HostObject) -> Vec<Change> {
        status::gates_to_host(source, current).into_iter().collect()
    }

    /// What ran is the same if it began at the same time.
    fn is_of(&self, source: &VirtualObject, host: &HostObject) -> bool {
        let started = source.text("/status/startTime");
        started.is_some() && started == host.text("/status/startTime")
    }

    fn virtual_changes(&self, desired: &VirtualObject, current: &VirtualObject) -> Vec<Change> {
        status_patch::mergeable(diff::exact_changes(desired, current), desired, current)
    }

    fn wanted(&self, desired: &HostObject) -> Option<Value> {
        Some(update::wanted(desired))
    }

    fn digest_view(&self, desired: &HostObject) -> Value {
        update::view(desired)
    }
}

/// Gives the pod nothing with which it could reach the host's API.
fn run_without_permissions(ctx: &Ctx<'_>, draft: &mut HostObject) {
    let spec = draft.spec_mut();
    spec.remove("serviceAccount");
    spec.insert("serviceAccountName".into(), ctx.facts.workload_service_account.as_str().into());
    spec.insert("automountServiceAccountToken".into(), false.into());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::fixture::{World, virtual_object};
    use super::*;

    fn pod() -> VirtualObject {
        virtual_object(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u1"},
            "spec": {
                "containers": [{"name": "web", "image": "web:1"}],
                "ephemeralContainers": [{"name": "debug", "image": "busybox"}],
                "volumes": [{"name": "scratch", "ephemeral": {}}, {"name": "db", "secret": {"secretName": "db"}}],
            },
        }))
    }

    fn on_host(world: &World, source: &VirtualObject) -> HostObject {
        let draft = HostObject::new(source.fields().clone());
        Pod.to_host(&world.ctx(), source, draft).unwrap()
    }

    #[test]
    fn a_pod_is_created_without_its_ephemeral_containers_and_gets_them_then() {
        let world = World::new();
        let desired = on_host(&world, &pod());
        let created = Pod.creatable(desired.clone());
        assert_eq!(created.pointer("/spec/ephemeralContainers"), None);
        let changes = Pod.host_changes(&desired, &created);
        assert_eq!(
            changes.iter().map(|change| change.subresource).collect::<Vec<_>>(),
            [Some("ephemeralcontainers")]
        );
    }

    #[test]
    fn a_pod_is_requeued_when_what_it_names_changes() {
        let found: Vec<String> = Pod.targets(&pod()).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["PersistentVolumeClaim shop/web-scratch", "Secret shop/db"]);
    }

    #[test]
    fn what_a_pod_runs_as_on_the_host_has_no_permissions() {
        let mut source = pod();
        source.spec_mut().insert("serviceAccountName".into(), "admin".into());
        source.spec_mut().insert("serviceAccount".into(), "admin".into());
        let host = on_host(&World::new(), &source);
        assert_eq!(host.text("/spec/serviceAccountName"), Some("workload"));
        assert_eq!(host.pointer("/spec/serviceAccount"), None);
        assert_eq!(host.pointer("/spec/automountServiceAccountToken"), Some(&Value::Bool(false)));
    }

    #[test]
    fn a_host_pod_without_identity_is_known_by_when_it_began() {
        let (world, mut source) = (World::new(), pod());
        let mut host = on_host(&world, &source);
        assert!(!Pod.is_of(&source, &host), "neither has begun");
        host.fields_mut().insert("status".into(), json!({"startTime": "2026-01-01T00:00:00Z"}));
        assert!(!Pod.is_of(&source, &host));
        source.fields_mut().insert("status".into(), json!({"startTime": "2026-01-01T00:00:00Z"}));
        assert!(Pod.is_of(&source, &host));
        source.fields_mut().insert("status".into(), json!({"startTime": "2026-01-01T00:00:01Z"}));
        assert!(!Pod.is_of(&source, &host));
    }

    #[test]
    fn the_node_comes_back_and_never_goes() {
        let world = World::new();
        let mut host = on_host(&world, &pod());
        host.spec_mut().insert("nodeName".into(), "node-a".into());
        let bound = Pod.to_virtual(&world.ctx(), &host, pod());
        assert_eq!(bound.text("/spec/nodeName"), Some("node-a"));
        host.spec_mut().remove("nodeName");
        assert_eq!(Pod.to_virtual(&world.ctx(), &host, bound.clone()), bound);
    }
}

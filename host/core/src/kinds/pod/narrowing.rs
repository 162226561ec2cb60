//! Leaves out of the host pod what the operator does not let tenants choose, where the pod can do without it.
//!
//! Controllers and charts set tolerations and grace periods in passing, so refusing them would keep out pods that mean
//! nothing by it. Without a toleration a pod may run on fewer nodes, and the host's scheduler says so in its message, which
//! flows back; with a shorter grace period it is asked to end in the same way, and killed sooner. A choice of nodes by
//! labels is another matter: a pod that loses it may run on *more* nodes, so the guard refuses it.

use serde_json::{Value, json};

use super::affinity::REQUIRED;
use super::parts::{self, CONTAINER_LISTS};
use crate::context::Ctx;
use crate::object::{Fields, HostObject, VirtualObject};
use crate::policy::pods::PodPolicy;
use crate::verdict::{By, Hold, Verdict};

/// How long a pod may take to end, in its spec and in the probes after which it is killed.
const GRACE: &str = "terminationGracePeriodSeconds";
const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
/// The label of a node that says what its name does.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// Leaves out, or lowers, what exceeds the policy.
pub(super) fn apply(ctx: &Ctx<'_>, source: &VirtualObject, draft: &mut HostObject) -> Verdict<()> {
    let policy = &ctx.facts.policy.pods;
    place(policy, source, ctx.host_object.is_some() || is_scheduled(source), draft)?;
    keep_to_nodes(policy, draft.spec_mut())?;
    // The host's admission sets it from the host's runtime class, and refuses any other.
    draft.spec_mut().remove("overhead");
    tolerate(policy, draft.spec_mut());
    end_in_time(policy, draft);
    Ok(())
}

/// A pod that a tenant has put on a node passes by the scheduler, and so by the node's taints and what is free there. On the
/// host it becomes a demand for that node, as `DaemonSet` pods have it. Of a pod that is placed, the node is the host's answer.
fn place(policy: &PodPolicy, source: &VirtualObject, is_placed: bool, draft: &mut HostObject) -> Verdict<()> {
    draft.spec_mut().remove("nodeName");
    let node = source.text("/spec/nodeName").filter(|node| !node.is_empty() && !is_placed);
    let Some(node) = node else { return Ok(()) };
    if !policy.node_labels.has(HOSTNAME) {
        let why = format!(
            "pods must not choose their node; remove it, or ask the operator to list {HOSTNAME:?} in \
             `pods.allow.nodeLabels`"
        );
        return Err(Hold::refuse(By::Mapper, "spec.nodeName", why));
    }
    demand_node(draft.spec_mut(), node);
    Ok(())
}

/// Has the host's scheduler place the pod on the nodes alone that the operator has selected.
fn keep_to_nodes(policy: &PodPolicy, spec: &mut Fields) -> Verdict<()> {
    if policy.node_selector.is_empty() {
        return Ok(());
    }
    let Some(selector) = object_in(spec, "nodeSelector") else { return Ok(()) };
    for (key, value) in &policy.node_selector {
        let own = selector.insert(key.clone(), value.as_str().into());
        if own.is_some_and(|own| own != value.as_str()) {
            let why = format!(
                "pods of this virtual cluster run on nodes with {key}={value:?} alone, as the operator has set by \
                 `nodes.selector`; remove it"
            );
            return Err(Hold::refuse(By::Mapper, format!("spec.nodeSelector[{key}]"), why));
        }
    }
    Ok(())
}

fn is_scheduled(source: &VirtualObject) -> bool {
    let mut conditions = parts::items(source, "/status/conditions");
    parts::find(&mut conditions, "type", "PodScheduled")
        .is_some_and(|condition| parts::text(condition, "status") == "True")
}

/// Adds the node to each term of the required node affinity, for a pod needs one of them.
fn demand_node(spec: &mut Fields, node: &str) {
    let wanted = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    let required = object_in(spec, "affinity")
        .and_then(|affinity| object_in(affinity, "nodeAffinity"))
        .and_then(|affinity| object_in(affinity, REQUIRED));
    let Some(required) = required else { return };
    match required.get_mut("nodeSelectorTerms") {
        None | Some(Value::Null) => {
            required.insert("nodeSelectorTerms".into(), json!([{"matchFields": [wanted]}]));
        }
        Some(terms) => {
            for term in terms.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                let matches_nodes = ["matchExpressions", "matchFields"].iter().any(|list| {
                    term.get(*list).and_then(Value::as_array).is_some_and(|list| !list.is_empty())
                });
                // A term without demands matches no node, and must not begin to.
                if matches_nodes {
                    push(term, "matchFields", &wanted);
                }
            }
        }
    }
}

/// The object `name` of `fields`, made where there is none.
fn object_in<'a>(fields: &'a mut Fields, name: &str) -> Option<&'a mut Fields> {
    let value = fields.entry(name).or_insert_with(|| json!({}));
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut()
}

fn push(fields: &mut Fields, name: &str, item: &Value) {
    let list = fields.entry(name).or_insert_with(|| json!([]));
    if list.is_null() {
        *list = json!([]);
    }
    if let Some(list) = list.as_array_mut().filter(|list| !list.contains(item)) {
        list.push(item.clone());
    }
}

fn tolerate(policy: &PodPolicy, spec: &mut Fields) {
    if let Some(Value::Array(tolerations)) = spec.get_mut("tolerations") {
        tolerations.retain(|toleration| policy.tolerates(toleration));
        if tolerations.is_empty() {
            spec.remove("tolerations");
        }
    }
}

fn end_in_time(policy: &PodPolicy, draft: &mut HostObject) {
    let limit = policy.max_termination_grace_period_seconds;
    lower(draft.spec_mut(), limit);
    for list in CONTAINER_LISTS {
        for container in parts::objects_mut(draft, &format!("/spec/{list}")) {
            for probe in PROBES {
                if let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) {
                    lower(probe, limit);
                }
            }
        }
    }
}

fn lower(fields: &mut Fields, limit: i64) {
    if let Some(seconds) = fields.get_mut(GRACE)
        && seconds.as_i64().is_some_and(|seconds| seconds > limit)
    {
        *seconds = limit.into();
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{World, virtual_object};
    use super::*;
    use crate::policy::Policy;

    /// The spec on the host of a pod with this one, and this status, where the policy is the default.
    fn narrowed(spec: &Value, status: &Value) -> Verdict<Value> {
        let mut world = World::new();
        world.facts.policy = Policy::default();
        let source = virtual_object(
            json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec, "status": status}),
        );
        let mut draft = HostObject::new(source.fields().clone());
        apply(&world.ctx(), &source, &mut draft)?;
        Ok(draft.pointer("/spec").cloned().unwrap_or_default())
    }

    #[test]
    fn a_toleration_that_is_not_allowed_is_left_out() {
        let kept =
            json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"});
        let others =
            [json!({"operator": "Exists"}), json!({"key": "gpu", "operator": "Exists"}), json!("gpu")];
        let mut all = others.to_vec();
        all.push(kept.clone());
        let found = narrowed(&json!({"tolerations": all}), &Value::Null).unwrap();
        assert_eq!(found, json!({"tolerations": [kept]}));
        assert_eq!(narrowed(&json!({"tolerations": others}), &Value::Null).unwrap(), json!({}));
    }

    #[test]
    fn a_node_that_the_tenant_names_becomes_a_demand_of_the_scheduler() {
        let demand = json!({"key": "metadata.name", "operator": "In", "values": ["n"]});
        let found = narrowed(&json!({"nodeName": "n", "affinity": null}), &Value::Null).unwrap();
        let terms = json!([{"matchFields": [demand]}]);
        assert_eq!(found, json!({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}}}));
        let zone = json!({"key": "zone", "operator": "Exists"});
        let of = |terms: Value| json!({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}});
        let before = of(json!([{"matchExpressions": [zone]}, {}, {"matchFields": [demand]}]));
        let found = narrowed(&json!({"nodeName": "n", "affinity": before}), &Value::Null).unwrap();
        let after = json!([
            {"matchExpressions": [zone], "matchFields": [demand]}, {}, {"matchFields": [demand]},
        ]);
        assert_eq!(found, json!({"affinity": of(after)}));
    }

    #[test]
    fn the_node_of_a_pod_that_is_placed_is_the_hosts_answer() {
        let status = json!({"conditions": [{"type": "PodScheduled", "status": "True"}]});
        assert_eq!(narrowed(&json!({"nodeName": "n"}), &status).unwrap(), json!({}));
        let mut world = World::new();
        world.facts.policy = Policy::default();
        let source = virtual_object(json!({"metadata": {"name": "web"}, "spec": {"nodeName": "n"}}));
        let host = HostObject::new(source.fields().clone());
        let ctx = Ctx { host_object: Some(&host), ..world.ctx() };
        let mut draft = host.clone();
        apply(&ctx, &source, &mut draft).unwrap();
        assert_eq!(draft.pointer("/spec"), Some(&json!({})));
    }

    #[test]
    fn where_nodes_are_not_to_be_chosen_a_node_is_refused_by_its_field() {
        let source = virtual_object(json!({"metadata": {"name": "web"}, "spec": {"nodeName": "n"}}));
        let mut draft = HostObject::new(source.fields().clone());
        let policy =
            PodPolicy { node_labels: crate::policy::patterns::Patterns::default(), ..PodPolicy::default() };
        let held = place(&policy, &source, false, &mut draft).unwrap_err();
        assert_eq!(held.problem().field.as_deref(), Some("spec.nodeName"));
        assert_eq!(place(&policy, &source, true, &mut draft), Ok(()));
    }

    #[test]
    fn a_pod_runs_on_the_nodes_alone_that_the_operator_has_selected() {
        let node_selector = [("example.com/pool".to_owned(), "a".to_owned())].into();
        let policy = PodPolicy { node_selector, ..PodPolicy::default() };
        let selector = |of: &Value| json!({"nodeSelector": of}).as_object().cloned().unwrap();
        let mut own = selector(&json!({"kubernetes.io/os": "linux"}));
        assert_eq!(keep_to_nodes(&policy, &mut own), Ok(()));
        assert_eq!(own, selector(&json!({"kubernetes.io/os": "linux", "example.com/pool": "a"})));
        let mut none = Fields::new();
        assert_eq!(keep_to_nodes(&policy, &mut none), Ok(()));
        assert_eq!(none, selector(&json!({"example.com/pool": "a"})));
        let held = keep_to_nodes(&policy, &mut selector(&json!({"example.com/pool": "b"}))).unwrap_err();
        assert_eq!(held.problem().field.as_deref(), Some("spec.nodeSelector[example.com/pool]"));
        let mut untouched = Fields::new();
        assert_eq!(keep_to_nodes(&PodPolicy::default(), &mut untouched), Ok(()));
        assert!(untouched.is_empty());
    }

    #[test]
    fn a_pod_ends_in_time_and_the_host_says_what_it_costs() {
        let probe = |seconds: i64| json!([{"livenessProbe": {GRACE: seconds}}]);
        let spec = json!({GRACE: 604_800, "overhead": {"cpu": "1"}, "containers": probe(86_401)});
        let found = narrowed(&spec, &Value::Null).unwrap();
        assert_eq!(found, json!({GRACE: 86_400, "containers": probe(86_400)}));
        let short = json!({GRACE: 5, "initContainers": probe(86_400)});
        assert_eq!(narrowed(&short, &Value::Null).unwrap(), short);
    }
}

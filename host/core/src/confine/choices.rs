//! What of the host a pod chooses, and whether the operator lets it: nodes, runtimes, drivers, images, time.
//!
//! The built-in rule drops what a pod can do without (see `kinds/pod/scheduling.rs`); what a pod was made for is refused,
//! and of what an extension made, everything is.

use serde_json::Value;

use super::places::{self, CONTAINERS, PROBES};
use super::refuse;
use crate::context::Ctx;
use crate::object::HostObject;
use crate::policy::pods::{PodPolicy, SecurityLevel, nameable_volumes};
use crate::verdict::Verdict;

/// Where terms that choose nodes stand in a node affinity.
const NODE_TERMS: &[&str] = &[
    "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/*",
    "/spec/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution/*/preference",
];
/// Where keys of node labels stand that say which nodes belong together. Only nodes that have the label count.
const TOPOLOGIES: &[&str] = &[
    "/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/*/topologyKey",
    "/spec/affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution/*/podAffinityTerm/topologyKey",
    "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/*/topologyKey",
    "/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/*/podAffinityTerm/topologyKey",
    "/spec/topologySpreadConstraints/*/topologyKey",
];
/// The field by which an affinity names a node, and the label that does the same.
const NODE_NAME: (&str, &str) = ("metadata.name", "kubernetes.io/hostname");
/// How long a pod may take to end; a probe may have a time of its own.
const GRACE: &str = "/terminationGracePeriodSeconds";

/// Passes `pod` if it chooses nothing of the host that the policy does not list.
pub(super) fn judge(ctx: &Ctx<'_>, pod: &HostObject) -> Verdict<()> {
    let policy = &ctx.facts.policy.pods;
    node(policy, pod)?;
    selected_nodes(policy, pod)?;
    tolerations(policy, pod)?;
    runtime_class(policy, pod)?;
    volumes(policy, pod)?;
    grace(policy, pod)?;
    if policy.security < SecurityLevel::Privileged { pulls_images(pod) } else { Ok(()) }
}

/// A pod with a node's name passes by the scheduler and the taints of the node; a label that is not for everyone says
/// for whom a node is.
fn node(policy: &PodPolicy, pod: &HostObject) -> Verdict<()> {
    places::each(pod, "/spec/nodeName", &mut |at, name| match name {
        Some(name) if name != "" => {
            let why = "it passes by the scheduler and the taints of the node; use a node affinity instead";
            Err(refuse(at, why.to_owned()))
        }
        _ => Ok(()),
    })?;
    places::each(pod, "/spec/nodeSelector", &mut |at, labels| match labels {
        None => Ok(()),
        Some(Value::Object(labels)) => {
            let by_tenant = labels.keys().filter(|key| !policy.node_selector.contains_key(*key));
            let mut keys = by_tenant.map(|key| (format!("{at}/{}", crate::paths::escape(key)), key));
            keys.try_for_each(|(at, key)| node_label(policy, &at, key))
        }
        Some(_) => Err(refuse(at, "an object belongs here".to_owned())),
    })?;
    for term in NODE_TERMS {
        places::each(pod, &format!("{term}/matchExpressions/*/key"), &mut |at, key| {
            key.map_or(Ok(()), |key| node_label(policy, at, text(at, key)?))
        })?;
        places::each(pod, &format!("{term}/matchFields/*/key"), &mut |at, field| {
            let Some(field) = field else { return Ok(()) };
            let field = text(at, field)?;
            node_label(policy, at, if field == NODE_NAME.0 { NODE_NAME.1 } else { field })
        })?;
    }
    TOPOLOGIES.iter().try_for_each(|path| {
        places::each(pod, path, &mut |at, key| {
            key.map_or(Ok(()), |key| node_label(policy, at, text(at, key)?))
        })
    })
}

/// A pod without the operator's labels in its selector may run on nodes that are not for this virtual cluster.
fn selected_nodes(policy: &PodPolicy, pod: &HostObject) -> Verdict<()> {
    let selector = pod.pointer("/spec/nodeSelector");
    let has = |key: &str, value: &str| selector.and_then(|labels| labels.get(key)?.as_str()) == Some(value);
    match policy.node_selector.iter().find(|(key, value)| !has(key, value)) {
        Some((key, value)) => {
            let why = format!(
                "it must have {key:?}: {value:?}, as the operator has set by `nodes.selector`; add it"
            );
            Err(refuse("/spec/nodeSelector", why))
        }
        None => Ok(()),
    }
}

fn node_label(policy: &PodPolicy, at: &str, key: &str) -> Verdict<()> {
    if policy.node_labels.has(key) {
        return Ok(());
    }
    let why = format!(
        "pods must not choose nodes of the host by {key:?}; choose by another label, or ask the operator to list it \
         in `pods.allow.nodeLabels`"
    );
    Err(refuse(at, why))
}

fn tolerations(policy: &PodPolicy, pod: &HostObject) -> Verdict<()> {
    places::each(pod, "/spec/tolerations/*", &mut |at, toleration| match toleration {
        Some(toleration) if !policy.tolerates(toleration) => {
            let why =
                "the operator has not listed each taint that it tolerates in `pods.allow.taints`; remove it";
            Err(refuse(at, why.to_owned()))
        }
        _ => Ok(()),
    })
}

fn runtime_class(policy: &PodPolicy, pod: &HostObject) -> Verdict<()> {
    places::each(pod, "/spec/runtimeClassName", &mut |at, class| {
        let Some(class) = class.filter(|class| *class != "") else { return Ok(()) };
        let class = text(at, class)?;
        if policy.runtime_classes.has(class) {
            return Ok(());
        }
        let why = format!(
            "pods must not run with the host's runtime class {class:?}; remove it, or ask the operator to list it in \
             `pods.allow.runtimeClasses`"
        );
        Err(refuse(at, why))
    })
}

/// Such volumes are mounted by the node, from what the tenant names; what drivers make of `volumeAttributes` only they know.
fn volumes(policy: &PodPolicy, pod: &HostObject) -> Verdict<()> {
    for source in nameable_volumes() {
        places::each(pod, &format!("/spec/volumes/*/{source}"), &mut |at, volume| {
            if volume.is_none() || policy.volumes.has(source) {
                return Ok(());
            }
            let why = format!(
                "the node would mount what it names; use a PersistentVolumeClaim, or ask the operator to list \
                 {source:?} in `pods.allow.volumes`"
            );
            Err(refuse(at, why))
        })?;
    }
    places::each(pod, "/spec/volumes/*/csi", &mut |at, csi| match csi {
        Some(csi) => csi_driver(policy, at, csi.get("driver").and_then(Value::as_str).unwrap_or_default()),
        None => Ok(()),
    })
}

fn csi_driver(policy: &PodPolicy, at: &str, driver: &str) -> Verdict<()> {
    if policy.csi_drivers.has(driver) {
        return Ok(());
    }
    let why = format!(
        "the driver {driver:?} may read what the volume names on the host; use a PersistentVolumeClaim, or ask the \
         operator to list the driver in `pods.allow.csiDrivers`"
    );
    Err(refuse(at, why))
}

/// A pod that never ends holds up the draining of its node.
fn grace(policy: &PodPolicy, pod: &HostObject) -> Verdict<()> {
    let limit = policy.max_termination_grace_period_seconds;
    let of_pod = [format!("/spec{GRACE}")].into_iter();
    let of_probes =
        CONTAINERS.iter().flat_map(|list| PROBES.iter().map(move |probe| format!("{list}/*{probe}{GRACE}")));
    of_pod.chain(of_probes).try_for_each(|path| {
        places::each(pod, &path, &mut |at, seconds| match seconds {
            Some(seconds) if seconds.as_i64().is_none_or(|seconds| seconds > limit) => {
                let why = format!(
                    "it must be {limit} seconds at most, as the operator has set by \
                     `pods.maxTerminationGracePeriodSeconds`"
                );
                Err(refuse(at, why))
            }
            _ => Ok(()),
        })
    })
}

/// Without a pull nobody asks the registry whether the tenant may have the image: the node runs what it has pulled for others.
fn pulls_images(pod: &HostObject) -> Verdict<()> {
    let mut judge = |at: &str, policy: Option<&Value>| match policy {
        Some(policy) if policy != "Always" && policy != "IfNotPresent" => {
            let why = "it must be Always or IfNotPresent: images that were pulled for others must not run, unless \
                       the operator sets `pods.security: privileged`";
            Err(refuse(at, why.to_owned()))
        }
        _ => Ok(()),
    };
    places::each_in_containers(pod, "/imagePullPolicy", &mut judge)?;
    places::each(pod, "/spec/volumes/*/image/pullPolicy", &mut judge)
}

fn text<'a>(at: &str, value: &'a Value) -> Verdict<&'a str> {
    value.as_str().ok_or_else(|| refuse(at, "a string belongs here".to_owned()))
}

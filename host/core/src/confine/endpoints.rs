//! Where endpoints may send traffic: to this virtual cluster's own pods, and to what the operator lists.
//!
//! Whatever reads endpoints on the host, such as kube-proxy, an Ingress controller or a load balancer, connects to what they
//! say, from places that no `NetworkPolicy` of the tenant's namespace limits.

use std::net::IpAddr;

use serde_json::Value;

use super::{items, refuse, services};
use crate::context::Ctx;
use crate::keys::NAMESPACE_LABEL;
use crate::object::{HostObject, Key, Kind, VirtualName};
use crate::verdict::Verdict;

/// Lists of addresses in a subset of Endpoints.
const LISTS: &[&str] = &["addresses", "notReadyAddresses"];
/// Phases in which a pod has no address any more, whatever its status shows.
const ENDED: &[&str] = &["Failed", "Succeeded"];

/// Passes Endpoints whose every address may be reached.
pub(super) fn judge_endpoints(ctx: &Ctx<'_>, endpoints: &HostObject) -> Verdict<()> {
    let judge = Judge { ctx, object: endpoints };
    for (subset, fields) in list("/subsets", endpoints.pointer("/subsets"))? {
        for name in LISTS {
            for (pointer, endpoint) in list(&format!("{subset}/{name}"), fields.get(*name))? {
                let value = endpoint.get("ip").unwrap_or(&Value::Null);
                judge.address(&format!("{pointer}/ip"), value, endpoint.get("targetRef"))?;
            }
        }
    }
    Ok(())
}

/// Passes an EndpointSlice whose every address may be reached.
pub(super) fn judge_slice(ctx: &Ctx<'_>, slice: &HostObject) -> Verdict<()> {
    let judge = Judge { ctx, object: slice };
    let are_names = match slice.text("/addressType") {
        Some("IPv4" | "IPv6") => false,
        Some("FQDN") => true,
        _ => return Err(refuse("/addressType", "it must be IPv4, IPv6 or FQDN".to_owned())),
    };
    for (pointer, endpoint) in list("/endpoints", slice.pointer("/endpoints"))? {
        for (pointer, value) in list(&format!("{pointer}/addresses"), endpoint.get("addresses"))? {
            if are_names {
                services::dns_name(&ctx.facts.policy.services, &pointer, value)?;
            } else {
                judge.address(&pointer, value, endpoint.get("targetRef"))?;
            }
        }
    }
    Ok(())
}

struct Judge<'a> {
    ctx: &'a Ctx<'a>,
    object: &'a HostObject,
}

impl Judge<'_> {
    fn address(&self, pointer: &str, value: &Value, target: Option<&Value>) -> Verdict<()> {
        let address = services::address(pointer, value)?;
        if self.ctx.facts.policy.services.endpoints.has(address) || self.is_of_our_pod(target, address) {
            return Ok(());
        }
        let why = format!(
            "{value} is no address of this virtual cluster's pods, and the operator's `services.endpoints` does not list it; \
             for a pod, let `targetRef` name it"
        );
        Err(refuse(pointer, why))
    }

    /// Whether the pod that `target` names, which is one of this virtual cluster, has `address` to itself now. What the
    /// host shows counts: the tenant can write its own pods' status.
    fn is_of_our_pod(&self, target: Option<&Value>, address: IpAddr) -> bool {
        let name = target.and_then(|target| target.get("name")).and_then(Value::as_str).unwrap_or_default();
        let Some(name) = self.virtual_name(name) else { return false };
        let Some(pod) = self.ctx.lookup.host_object(&Key { kind: pod_kind(), name }) else { return false };
        let has = |value: Option<&Value>| {
            value.and_then(Value::as_str).and_then(|text| text.parse().ok()) == Some(address)
        };
        let shares_the_nodes = pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
        let has_ended = pod.text("/status/phase").is_some_and(|phase| ENDED.contains(&phase));
        let mut addresses = items(pod.pointer("/status/podIPs")).map(|entry| entry.get("ip"));
        let is_its_own = has(pod.pointer("/status/podIP")) || addresses.any(has);
        is_its_own && !shares_the_nodes && !has_ended
    }

    /// The virtual pod behind a host name. A hashed name cannot be read: then it is found among those of the namespace.
    fn virtual_name(&self, host_name: &str) -> Option<VirtualName> {
        let names = self.ctx.names;
        if host_name.is_empty() || !names.is_ours(host_name) {
            return None;
        }
        names.virtual_name(host_name).or_else(|| {
            let namespace = self.object.label(NAMESPACE_LABEL).filter(|namespace| !namespace.is_empty())?;
            let pods = self.ctx.lookup.find(&pod_kind(), Some(namespace), &[]);
            let mut found = pods.iter().map(|pod| pod.virtual_name());
            found.find(|name| names.host_name(name).as_str() == host_name)
        })
    }
}

/// The elements of a list with their pointers. What is there and is no list could be read as something else.
fn list<'a>(pointer: &str, value: Option<&'a Value>) -> Verdict<Vec<(String, &'a Value)>> {
    if value.is_some_and(|value| !value.is_null() && !value.is_array()) {
        return Err(refuse(pointer, "it must be a list".to_owned()));
    }
    let indexed = items(value).enumerate();
    Ok(indexed.map(|(index, item)| (format!("{pointer}/{index}"), item)).collect())
}

fn pod_kind() -> Kind {
    Kind::new("v1/Pod")
}

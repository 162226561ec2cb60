//! Maps NetworkPolicies: on the host, all pods of a virtual cluster are in one namespace, so namespaces become labels.
//!
//! Whatever a policy says, each of its selectors ends up with the label of the virtual cluster: it never selects a pod of
//! another virtual cluster.

mod selector;

use serde::Deserialize;
use weft_plugin::{Call, Descriptor, Map, Mapping, Object, Plugin, Result, Value, fail, reject};

use crate::selector::Scope;

/// Without settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkPolicy {}

/// The host's label that says in which virtual namespace an object is.
const NAMESPACE_LABEL: &str = "weft.dev/namespace";

const SPEC: &str = "/spec";
const POD_SELECTOR: &str = "podSelector";
const NAMESPACE_SELECTOR: &str = "namespaceSelector";
const IP_BLOCK: &str = "ipBlock";

/// The rules of each direction, and the field that lists the peers.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

impl Plugin for NetworkPolicy {
    fn describe() -> Descriptor {
        let mapping = Mapping::add("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
            .selector("/spec/podSelector")
            .host_writes(&[SPEC]);
        Descriptor::new("network-policy", env!("CARGO_PKG_VERSION"), "Maps NetworkPolicies.").mapping(mapping)
    }

    fn to_host(&self, call: &Call, draft: &mut Object) -> Result {
        let namespace = draft.label(NAMESPACE_LABEL).map(str::to_owned);
        let namespace = namespace.ok_or_else(|| fail("NoNamespace", "the draft has no virtual namespace"))?;
        let scope = Scope { cluster: call.cluster(), namespace: &namespace };
        match draft.get_mut(SPEC) {
            Some(Value::Object(spec)) => spec_to_host(scope, spec),
            _ => Err(reject("MissingField", "the policy has no spec").at(SPEC)),
        }
    }
}

fn spec_to_host(scope: Scope<'_>, spec: &mut Map<String, Value>) -> Result {
    only_known(spec, &[POD_SELECTOR, "policyTypes", "ingress", "egress"], SPEC)?;
    // weft limited it already if it is there. Where it is not, it would mean every pod.
    let pods = spec.entry(POD_SELECTOR).or_insert(Value::Null);
    if let Value::Object(selector) = pods {
        only_known(selector, &selector::FIELDS, "/spec/podSelector")?;
    }
    scope.limit_to_namespace(pods);
    for (direction, peers) in DIRECTIONS {
        for (at, rule) in items(spec.get_mut(direction), &format!("{SPEC}/{direction}")) {
            let Value::Object(rule) = rule else { return Err(unreadable(&at)) };
            only_known(rule, &["ports", peers], &at)?;
            for (at, peer) in items(rule.get_mut(peers), &format!("{at}/{peers}")) {
                peer_to_host(scope, peer, &at)?;
            }
        }
    }
    Ok(())
}

/// Combines a peer's pod and namespace selectors into one pod selector.
fn peer_to_host(scope: Scope<'_>, peer: &mut Value, at: &str) -> Result {
    let Value::Object(fields) = peer else { return Err(unreadable(at)) };
    only_known(fields, &[POD_SELECTOR, NAMESPACE_SELECTOR, IP_BLOCK], at)?;
    fields.retain(|_, value| !value.is_null());
    let pods = fields.remove(POD_SELECTOR);
    let namespaces = fields.remove(NAMESPACE_SELECTOR);
    let has_selector = pods.is_some() || namespaces.is_some();
    match (fields.contains_key(IP_BLOCK), has_selector) {
        (true, false) => return Ok(()),
        (true, true) => {
            return Err(reject("AmbiguousPeer", "a peer is either an ipBlock or a selector").at(at));
        }
        (false, false) => return Err(reject("EmptyPeer", "a peer must have an ipBlock or a selector").at(at)),
        (false, true) => {}
    }
    let pods_at = format!("{at}/{POD_SELECTOR}");
    let mut selector = selector::to_host(pods.unwrap_or_default(), &pods_at)?;
    match namespaces {
        None => scope.limit_to_namespace(&mut selector),
        Some(namespaces) => {
            scope.limit_to_cluster(&mut selector);
            selector::require_namespaces(&mut selector, namespaces, &format!("{at}/{NAMESPACE_SELECTOR}"))?;
        }
    }
    fields.insert(POD_SELECTOR.to_owned(), selector);
    Ok(())
}

/// A field of a newer Kubernetes could select pods of others, so unknown fields are refused.
fn only_known(fields: &Map<String, Value>, known: &[&str], at: &str) -> Result {
    match fields.iter().find(|(name, value)| !value.is_null() && !known.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => {
            let message = "this field is not known here and could mean pods of others; leave it out";
            Err(reject("UnknownField", message).at(weft_plugin::pointer::below(at, name)))
        }
    }
}

fn unreadable(at: &str) -> weft_plugin::Verdict {
    reject("UnexpectedShape", "this has to be an object").at(at)
}

/// The items of a list, each with its pointer.
fn items<'a>(list: Option<&'a mut Value>, at: &str) -> impl Iterator<Item = (String, &'a mut Value)> {
    let items = list.and_then(Value::as_array_mut).into_iter().flatten();
    items.enumerate().map(move |(index, item)| (format!("{at}/{index}"), item))
}

weft_plugin::export!(NetworkPolicy);

#[cfg(test)]
mod tests {
    use weft_plugin::json;
    use weft_plugin::testing::{Answer, Test};

    use super::*;

    const OURS: [(&str, &str); 2] = [("weft.dev/cluster", "my-vcluster"), ("weft.dev/namespace", "shop")];

    fn map(spec: &Value) -> Answer {
        let labels: Map<String, Value> =
            OURS.iter().map(|&(key, value)| (key.to_owned(), value.into())).collect();
        Test::new("networking.k8s.io/v1/NetworkPolicy")
            .draft(json!({"metadata": {"labels": labels}, "spec": spec}))
            .to_host(&NetworkPolicy {})
    }

    fn peer(peer: &Value) -> Value {
        map(&json!({"ingress": [{"from": [peer]}]})).object()["spec"]["ingress"][0]["from"][0].clone()
    }

    #[test]
    fn a_policy_without_pod_selector_selects_its_namespace() {
        let ours = json!({"matchLabels": {"weft.dev/cluster": "my-vcluster", "weft.dev/namespace": "shop"}});
        assert_eq!(map(&json!({})).object()["spec"]["podSelector"], ours);
        assert_eq!(map(&json!({"podSelector": null})).object()["spec"]["podSelector"], ours);
        assert_eq!(map(&json!({"podSelector": {"matchLabels": null}})).object()["spec"]["podSelector"], ours);
        assert_eq!(map(&json!({"podSelector": ours})).object()["spec"]["podSelector"], ours);
    }

    #[test]
    fn a_peer_without_namespaces_selects_the_policys_own() {
        assert_eq!(
            peer(&json!({"podSelector": {"matchLabels": {"app": "web", "weft.dev/cluster": "other"}}})),
            json!({"podSelector": {"matchLabels": {
                "app": "web", "weft.dev.tenant.weft.dev/cluster": "other",
                "weft.dev/cluster": "my-vcluster", "weft.dev/namespace": "shop",
            }}})
        );
    }

    #[test]
    fn an_empty_namespace_selector_selects_the_whole_virtual_cluster() {
        assert_eq!(
            peer(&json!({"namespaceSelector": {}})),
            json!({"podSelector": {"matchLabels": {"weft.dev/cluster": "my-vcluster"}}})
        );
    }

    #[test]
    fn namespaces_are_selected_by_labels_of_their_pods() {
        let namespaces = json!({
            "matchLabels": {"kubernetes.io/metadata.name": "billing", "team": "a"},
            "matchExpressions": [{"key": "env", "operator": "In", "values": ["prod"]}],
        });
        assert_eq!(
            peer(
                &json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}, "namespaceSelector": namespaces})
            ),
            json!({"podSelector": {
                "matchLabels": {
                    "kubernetes.io.ns.weft.dev/metadata.name": "billing", "ns.weft.dev/team": "a",
                    "weft.dev/cluster": "my-vcluster",
                },
                "matchExpressions": [
                    {"key": "app", "operator": "Exists"},
                    {"key": "ns.weft.dev/env", "operator": "In", "values": ["prod"]},
                ],
            }})
        );
    }

    #[test]
    fn blocks_of_addresses_and_ports_are_copied() {
        let spec = json!({
            "policyTypes": ["Egress"],
            "egress": [{"ports": [{"port": 53, "protocol": "UDP", "endPort": 54}], "to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}],
        });
        assert_eq!(map(&spec).object()["spec"]["egress"], spec["egress"]);
    }

    #[test]
    fn what_could_select_other_pods_is_refused_with_its_field() {
        let refused = |spec: &Value| {
            let answer = map(spec);
            let (_, problem) = answer.refusal();
            (problem.reason.clone(), problem.field.clone().unwrap_or_default())
        };
        let cases = [
            (json!({"podSelector": {"anyOf": []}}), "UnknownField", "/spec/podSelector/anyOf"),
            (json!({"nodeSelector": {}}), "UnknownField", "/spec/nodeSelector"),
            (json!({"egress": [{"towards": []}]}), "UnknownField", "/spec/egress/0/towards"),
            (
                json!({"egress": [{"to": [{"service~Account": {}}]}]}),
                "UnknownField",
                "/spec/egress/0/to/0/service~0Account",
            ),
            (json!({"ingress": [{"from": [{}]}]}), "EmptyPeer", "/spec/ingress/0/from/0"),
            (json!({"ingress": [{"from": [{"podSelector": null}]}]}), "EmptyPeer", "/spec/ingress/0/from/0"),
            (
                json!({"ingress": [{}, {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]}),
                "AmbiguousPeer",
                "/spec/ingress/1/from/0",
            ),
            (
                json!({"ingress": [{"from": [{"podSelector": {"anyOf": []}}]}]}),
                "UnknownField",
                "/spec/ingress/0/from/0/podSelector/anyOf",
            ),
            (json!({"ingress": [{"from": ["all"]}]}), "UnexpectedShape", "/spec/ingress/0/from/0"),
        ];
        for (spec, reason, at) in cases {
            assert_eq!(refused(&spec), (reason.to_owned(), at.to_owned()), "{spec}");
        }
    }
}

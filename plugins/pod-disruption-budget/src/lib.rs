//! Maps PodDisruptionBudgets, so that a drain of a host node spares the pods that a tenant needs.
//!
//! The host does not know the Deployments and StatefulSets that own the pods, so it cannot know how many there should
//! be: with a percentage, or with `maxUnavailable`, it would allow no eviction at all. The virtual cluster's own controller
//! knows, and its status says how many pods must stay. The host gets that number.

use serde::Deserialize;
use weft_plugin::{Call, Descriptor, Mapping, Object, Plugin, Result, Value, fail};

/// Without settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PodDisruptionBudget {}

const SELECTOR: &str = "/spec/selector";
const MIN_AVAILABLE: &str = "/spec/minAvailable";
const MAX_UNAVAILABLE: &str = "/spec/maxUnavailable";
/// The labels that keep a selector within one virtual namespace.
const SCOPE: [&str; 2] = ["weft.dev/cluster", "weft.dev/namespace"];

impl Plugin for PodDisruptionBudget {
    fn describe() -> Descriptor {
        let mapping = Mapping::add("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
            .with_virtual_object()
            .selector(SELECTOR)
            .host_writes(&["/spec"]);
        Descriptor::new("pod-disruption-budget", env!("CARGO_PKG_VERSION"), "Maps PodDisruptionBudgets.")
            .mapping(mapping)
    }

    fn to_host(&self, call: &Call, draft: &mut Object) -> Result {
        let source = call.virtual_object()?;
        limit_selector(source, draft)?;
        if let Some(needed) = needed_pods(source) {
            draft.remove(MAX_UNAVAILABLE);
            draft.set(MIN_AVAILABLE, needed);
        }
        Ok(())
    }
}

/// A missing selector selects no pods and stays missing; an empty one selects every pod of the namespace and is limited
/// by weft.
fn limit_selector(source: &Object, draft: &mut Object) -> Result {
    if source.get(SELECTOR).is_none_or(Value::is_null) {
        draft.remove(SELECTOR);
        return Ok(());
    }
    for key in SCOPE {
        let label = draft.label(key).map(str::to_owned);
        let label = label.ok_or_else(|| fail("NoScope", format!("the draft has no label {key}")))?;
        draft.set(&weft_plugin::pointer::below("/spec/selector/matchLabels", key), label);
    }
    Ok(())
}

/// How many pods must stay, if only the virtual cluster can know and has counted them. Until then the budget is copied,
/// and the host allows no eviction.
fn needed_pods(source: &Object) -> Option<u64> {
    let is_plain_number = source.get(MIN_AVAILABLE).is_some_and(Value::is_number);
    let number = |pointer: &str| source.get(pointer).and_then(Value::as_u64);
    let is_counted = number("/status/observedGeneration") == number("/metadata/generation");
    // For pods without a controller, neither side knows how many there should be; then no eviction is allowed.
    let has_owner = number("/status/expectedPods").is_some_and(|pods| pods > 0);
    number("/status/desiredHealthy").filter(|_| !is_plain_number && is_counted && has_owner)
}

weft_plugin::export!(PodDisruptionBudget);

#[cfg(test)]
mod tests {
    use weft_plugin::json;
    use weft_plugin::testing::Test;

    use super::*;

    fn spec_on_host(source: &Value) -> Value {
        let labels = json!({"weft.dev/cluster": "my-vcluster", "weft.dev/namespace": "shop"});
        let draft = json!({"metadata": {"labels": labels}, "spec": source["spec"]});
        let test = Test::new("policy/v1/PodDisruptionBudget").draft(draft).virtual_object(source.clone());
        test.to_host(&PodDisruptionBudget {}).object()["spec"].clone()
    }

    fn counted(spec: &Value, observed: u64, expected: u64) -> Value {
        json!({
            "metadata": {"generation": 2}, "spec": spec,
            "status": {"observedGeneration": observed, "expectedPods": expected, "desiredHealthy": 3},
        })
    }

    #[test]
    fn a_missing_selector_stays_missing_and_an_empty_one_is_limited() {
        assert_eq!(spec_on_host(&json!({"spec": {"minAvailable": 1}})), json!({"minAvailable": 1}));
        assert_eq!(
            spec_on_host(&json!({"spec": {"minAvailable": 1, "selector": null}})),
            json!({"minAvailable": 1})
        );
        assert_eq!(
            spec_on_host(&json!({"spec": {"minAvailable": 1, "selector": {}}})),
            json!({"minAvailable": 1, "selector": {"matchLabels": {
                "weft.dev/cluster": "my-vcluster", "weft.dev/namespace": "shop",
            }}})
        );
    }

    #[test]
    fn the_host_gets_the_number_that_the_virtual_controller_counted() {
        let of_half = json!({"minAvailable": "50%", "unhealthyPodEvictionPolicy": "AlwaysAllow"});
        assert_eq!(
            spec_on_host(&counted(&of_half, 2, 6)),
            json!({"minAvailable": 3, "unhealthyPodEvictionPolicy": "AlwaysAllow"})
        );
        assert_eq!(spec_on_host(&counted(&json!({"maxUnavailable": 1}), 2, 4)), json!({"minAvailable": 3}));
    }

    #[test]
    fn without_a_count_the_budget_is_copied() {
        let spec = json!({"maxUnavailable": 1});
        assert_eq!(spec_on_host(&counted(&spec, 1, 4)), spec, "counted before the last change");
        assert_eq!(spec_on_host(&counted(&spec, 2, 0)), spec, "the pods have no controller");
        assert_eq!(
            spec_on_host(&json!({"metadata": {"generation": 1}, "spec": spec})),
            spec,
            "not counted yet"
        );
        assert_eq!(spec_on_host(&counted(&json!({"minAvailable": 1}), 2, 4)), json!({"minAvailable": 1}));
    }
}

//! A plugin that drops the scope of a selector of pods is refused, whatever the kind.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with the golden files and the laws, which use more of it")]
#[path = "support/cases.rs"]
mod cases;
#[expect(dead_code, reason = "shared with the laws of the guard, which use more of it")]
#[path = "support/lies.rs"]
mod lies;

use std::sync::Arc;

use serde_json::{Value, json};
use weft_core::chain::Chain;
use weft_core::declared::{Declaration, Declared};
use weft_core::object::{ResourceType, VirtualObject};
use weft_core::spec::Selection;
use weft_core::translate;
use weft_core::verdict::Hold;

use cases::World;
use lies::{Lie, behind, lying};

/// A plugin that adds a kind, and then edits what weft made of its selectors.
fn adding(selectors: &[&str], lie: Lie) -> Chain {
    let declaration = Declaration {
        resource: ResourceType { group: "example.org".into(), ..ResourceType::core("Widget", "widgets") },
        selection: Selection::All,
        references: Vec::new(),
        selectors: selectors.iter().map(|path| (*path).to_owned()).collect(),
        labels: Vec::new(),
        managed: vec!["/spec".to_owned()],
        back: Vec::new(),
        installs_definition: false,
        acts_for_others: false,
    };
    behind(Arc::new(Declared::new(declaration)), lie, "/spec")
}

fn widget(spec: &Value) -> VirtualObject {
    let metadata = json!({"name": "web", "namespace": "shop", "uid": "u-1"});
    let widget =
        json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": metadata, "spec": spec});
    VirtualObject::from_json(widget).expect("it is an object")
}

/// The field that a plugin is refused for; none where its edit is written.
fn refused_field(chain: &Chain, source: &VirtualObject) -> Option<String> {
    match translate::to_host(&World::new(Vec::new()).ctx(), chain, source) {
        Ok(_) => None,
        Err(Hold::Fail(problem)) => {
            assert_eq!(problem.reason, "PluginRefused");
            Some(problem.field.expect("the guard names a field"))
        }
        Err(other) => panic!("it is the plugin's fault, not {other:?}"),
    }
}

#[test]
fn a_plugin_that_adds_a_kind_with_a_pod_selector_and_drops_its_scope_is_refused() {
    let source = widget(&json!({"selector": {"matchLabels": {"app": "web"}}, "targets": [{"pods": {}}]}));
    let refused = |operations: Value| {
        refused_field(&adding(&["/spec/selector", "/spec/targets/*/pods"], Lie::Patch(operations)), &source)
    };
    let label = "/spec/selector/matchLabels/weft.dev~1cluster";
    assert_eq!(refused(json!([])), None);
    assert_eq!(
        refused(json!([{"op": "add", "path": "/spec/selector/matchLabels/team", "value": "a"}])),
        None
    );
    // A list that gets shorter loses no selector that is still asked for.
    assert_eq!(refused(json!([{"op": "remove", "path": "/spec/targets/0"}])), None);
    for operation in [
        json!({"op": "remove", "path": "/spec/selector"}),
        json!({"op": "replace", "path": "/spec/selector", "value": null}),
        json!({"op": "remove", "path": label}),
        json!({"op": "replace", "path": label, "value": "other"}),
        json!({"op": "replace", "path": "/spec/selector", "value": {}}),
        json!({"op": "replace", "path": "/spec/selector", "value": {"weft.dev/cluster": "my-vcluster"}}),
    ] {
        assert_eq!(refused(json!([operation])).as_deref(), Some("spec.selector"), "{operation}");
    }
    let removed = json!([{"op": "remove", "path": "/spec/targets/0/pods"}]);
    assert_eq!(refused(removed).as_deref(), Some("spec.targets[0].pods"));
    let dropped = json!([{"op": "replace", "path": "/spec/targets/0/pods", "value": {}}]);
    assert_eq!(refused(dropped).as_deref(), Some("spec.targets[0].pods"));
    let added = json!([{"op": "add", "path": "/spec/targets/-", "value": {"pods": {"matchLabels": {}}}}]);
    assert_eq!(refused(added).as_deref(), Some("spec.targets[1].pods"));
}

#[test]
fn a_selector_that_is_no_label_selector_cannot_be_limited_and_is_refused() {
    let chain = adding(&["/spec/selector"], Lie::Patch(json!([])));
    let held = translate::to_host(
        &World::new(Vec::new()).ctx(),
        &chain,
        &widget(&json!({"selector": "app == 'web'"})),
    );
    assert!(matches!(held, Err(Hold::Reject(problem)) if problem.field.as_deref() == Some("spec.selector")));
}

#[test]
fn a_plugin_behind_services_that_drops_the_scope_of_the_labels_is_refused() {
    let case = cases::all().iter().find(|case| case.title == "service/cluster_ip").expect("is a case");
    let refused = |operation: Value| {
        let chain = lying(case, Lie::Patch(json!([operation])), "/spec");
        refused_field(&chain, &case.source)
    };
    let label = "/spec/selector/weft.dev~1cluster";
    assert_eq!(refused(json!({"op": "test", "path": label, "value": "my-vcluster"})), None);
    assert_eq!(refused(json!({"op": "replace", "path": "/spec/selector", "value": {}})), None);
    assert_eq!(refused(json!({"op": "remove", "path": label})).as_deref(), Some("spec.selector"));
}

//! Labels and annotations by which an object could command controllers of the host, whoever wrote them.
//!
//! A tenant's keys are escaped before the mapper runs ([`crate::host_keys`]), so what is found here is a mapping's doing, or
//! stands in a template, which nothing escapes.

use serde_json::Value;

use super::refuse;
use crate::context::Ctx;
use crate::labels;
use crate::object::{Fields, HostObject, ResourceType};
use crate::paths;
use crate::policy::metadata::{Denied, KeyPolicy, MetadataPolicy};
use crate::verdict::{Hold, Verdict};

/// Where objects, and templates of objects, have their labels and annotations.
const METADATA: &str = "metadata";

/// Passes `object`, a host object of the kind `resource`, if no controller of the host obeys it.
pub(super) fn judge(ctx: &Ctx<'_>, resource: &ResourceType, object: &HostObject) -> Verdict<()> {
    let policy = &ctx.facts.policy.metadata;
    for (map, policy, found) in [
        ("labels", &policy.labels, object.labels()),
        ("annotations", &policy.annotations, object.annotations()),
    ] {
        let is_denied = |key: &str| policy.denied_on(resource, key);
        refuse_first(&format!("/{METADATA}/{map}"), map, found, is_denied)?;
    }
    // The built-in kinds have no templates.
    if resource.group.is_empty() || resource.group == "discovery.k8s.io" {
        return Ok(());
    }
    let parts = object.fields().iter().filter(|(name, _)| *name != METADATA);
    parts
        .into_iter()
        .try_for_each(|(name, value)| templates(policy, &format!("/{}", paths::escape(name)), value))
}

/// Whatever is made from a template on the host has its labels and annotations.
fn templates(policy: &MetadataPolicy, at: &str, value: &Value) -> Verdict<()> {
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            let at = format!("{at}/{}", paths::escape(name));
            if name == METADATA {
                template(policy, &at, value)?;
            }
            templates(policy, &at, value)
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| templates(policy, &format!("{at}/{index}"), item)),
        _ => Ok(()),
    }
}

fn template(policy: &MetadataPolicy, at: &str, metadata: &Value) -> Verdict<()> {
    for (map, policy) in [("labels", &policy.labels), ("annotations", &policy.annotations)] {
        let found = metadata.get(map).and_then(Value::as_object);
        refuse_first(&format!("{at}/{map}"), map, found, |key| KeyPolicy::denied(policy, key))?;
    }
    Ok(())
}

/// Refuses the first key of a map that is denied. Those of our domain are ours, or a tenant's that are escaped.
fn refuse_first(
    at: &str,
    map: &str,
    found: Option<&Fields>,
    is_denied: impl Fn(&str) -> Option<Denied>,
) -> Verdict<()> {
    let foreign = found.into_iter().flatten().map(|(key, _)| key).filter(|key| !labels::is_reserved(key));
    match foreign.into_iter().find_map(|key| Some((key, is_denied(key)?))) {
        Some((key, denied)) => Err(refusal(&format!("{at}/{}", paths::escape(key)), map, denied)),
        None => Ok(()),
    }
}

fn refusal(pointer: &str, map: &str, denied: Denied) -> Hold {
    let why = match denied {
        Denied::Obeyed(who) => format!(
            "it commands controllers of the host ({who}); remove it, or have the operator add it to `metadata.{map}.allow`"
        ),
        Denied::ByOperator => {
            format!("the operator keeps it from the host by `metadata.{map}.deny`; remove it")
        }
    };
    refuse(pointer, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Facts, Notes};
    use crate::names::Names;
    use crate::offline::Offline;
    use serde_json::json;

    /// The field that an object of this group is refused for.
    fn refused(policy: MetadataPolicy, group: &'static str, object: Value) -> Option<String> {
        let mut facts = Facts::default();
        facts.policy.metadata = policy;
        let offline = Offline::new(Names::new("vc", "team-a").unwrap(), facts);
        let resource = ResourceType { group: group.into(), ..ResourceType::core("Widget", "widgets") };
        let notes = Notes::default();
        let judged = judge(&offline.ctx(None, &notes), &resource, &HostObject::from_json(object).unwrap());
        judged.err().and_then(|hold| hold.problem().field.clone())
    }

    #[test]
    fn a_key_that_controllers_obey_is_refused_with_its_place_unless_the_operator_allows_it() {
        for map in ["labels", "annotations"] {
            let object = json!({"metadata": {map: {
                "app": "a", "weft.dev/cluster": "vc", "istio.io.tenant.weft.dev/rev": "a", "istio.io/rev": "b",
            }}});
            let field = format!("metadata.{map}[istio.io/rev]");
            assert_eq!(refused(MetadataPolicy::default(), "", object.clone()), Some(field));
            assert_eq!(refused(MetadataPolicy::open(), "", object), None);
        }
    }

    #[test]
    fn a_template_in_an_object_of_an_added_kind_commands_as_much() {
        let template =
            |key: &str| json!({"spec": {"pods": [{"template": {"metadata": {"annotations": {key: "a"}}}}]}});
        assert_eq!(
            refused(MetadataPolicy::default(), "a.org", template("k8s.v1.cni.cncf.io/networks")).as_deref(),
            Some("spec.pods[0].template.metadata.annotations[k8s.v1.cni.cncf.io/networks]")
        );
        assert_eq!(refused(MetadataPolicy::default(), "a.org", template("example.com/a")), None);
    }
}

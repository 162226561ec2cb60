//! Claims of volumes: what stays as it was made, and the finalizer that protects them.

use serde_json::{Value, json};

use super::object::{default, fields, map, metadata, set};
use super::refusal::Refusal;
use super::rules::{NONE, Rules, Subject};

pub(super) const RULES: Rules = Rules {
    create: |claim, _| {
        complete(claim);
        Ok(())
    },
    update: check,
    ..NONE
};

const PROTECTION: &str = "kubernetes.io/pvc-protection";

fn complete(claim: &mut Value) {
    let finalizers = metadata(claim).entry("finalizers").or_insert_with(|| json!([]));
    if let Some(finalizers) = finalizers.as_array_mut()
        && !finalizers.iter().any(|finalizer| finalizer == PROTECTION)
    {
        finalizers.push(PROTECTION.into());
    }
    default(map(claim, "spec"), "volumeMode", "Filesystem");
    fields(claim).insert("status".into(), json!({"phase": "Pending"}));
}

/// A volume may be named once, and a bound claim may grow.
fn check(claim: &mut Value, old: &Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    let fixed = |claim: &Value, with_volume: bool| {
        let mut spec = claim.get("spec").cloned().unwrap_or_default();
        set(map(&mut spec, "resources"), "requests", None);
        if !with_volume {
            set(fields(&mut spec), "volumeName", None);
        }
        spec
    };
    let is_bound = old.pointer("/spec/volumeName").is_some();
    let requests = |claim: &Value| claim.pointer("/spec/resources/requests").cloned();
    let may_differ = is_bound || requests(claim) == requests(old);
    if fixed(claim, is_bound) != fixed(old, is_bound) || !may_differ {
        return Err(
            subject.field_forbidden("spec", "spec is immutable after creation except resources.requests")
        );
    }
    Ok(())
}

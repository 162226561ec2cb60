//! What an object of a kind that Kubernetes defines may hold on the host, whoever made it.
//!
//! Each built-in rule sees to this for what it makes; here it is judged once more, because an extension can stand in
//! the rule's place or behind it. Kinds are known by group and name, in any version and however they were added.

use serde_json::Value;

use super::{claims, endpoints, foreign_name, is_unset, pod, refuse, services};
use crate::context::Ctx;
use crate::host_controllers::{
    SERVICE_IMPORT_LABEL, SERVICE_LABEL, is_of_volume_controllers, is_passive_type, ties_to_service_account,
};
use crate::object::{HostObject, ResourceType};
use crate::paths;
use crate::verdict::Verdict;

/// The kind of the only sources that a claim may name.
const CLAIM: &str = "PersistentVolumeClaim";
/// Where a claim says what its volume begins with.
const SOURCES: &[&str] = &["dataSource", "dataSourceRef"];

/// Passes `object`, a host object of the kind `resource`, if nothing of what it holds makes the host act on what is
/// not the tenant's.
pub(super) fn judge(ctx: &Ctx<'_>, resource: &ResourceType, object: &HostObject) -> Verdict<()> {
    match (&*resource.group, &*resource.kind) {
        ("", "Pod") => pod::judge(ctx, object),
        ("", "Secret") => secret(object),
        ("", CLAIM) => {
            claim(object)?;
            claims::judge(&ctx.facts.policy.claims, ctx.host_object, object)
        }
        ("", "Service") => {
            label(ctx, object, SERVICE_IMPORT_LABEL)?;
            services::judge(&ctx.facts.policy.services, object)
        }
        ("", "Endpoints") => {
            label(ctx, object, SERVICE_IMPORT_LABEL)?;
            targets(ctx, object, "/subsets/*/addresses/*/targetRef")?;
            targets(ctx, object, "/subsets/*/notReadyAddresses/*/targetRef")?;
            endpoints::judge_endpoints(ctx, object)
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            label(ctx, object, SERVICE_LABEL)?;
            label(ctx, object, SERVICE_IMPORT_LABEL)?;
            targets(ctx, object, "/endpoints/*/targetRef")?;
            endpoints::judge_slice(ctx, object)
        }
        _ => Ok(()),
    }
}

/// The token controller of the host would put a token of one of its `ServiceAccounts` into a Secret that asks for it.
fn secret(object: &HostObject) -> Verdict<()> {
    let is_passive = |kind: &Value| kind.is_null() || kind.as_str().is_some_and(is_passive_type);
    if let Some(kind) = object.pointer("/type").filter(|kind| !is_passive(kind)) {
        let why = format!("{kind} may be a type that controllers of the host act on; make it \"Opaque\"");
        return Err(refuse("/type", why));
    }
    without_annotation(object, ties_to_service_account, "it ties the Secret to a ServiceAccount of the host")
}

/// A claim gets the volume that the host provisions for it; one that it could choose may be of others.
fn claim(object: &HostObject) -> Verdict<()> {
    if object.pointer("/spec/volumeName").is_some_and(|name| !is_unset(name)) {
        let why =
            "a claim must not name its volume on the host, which may be of others; remove it".to_owned();
        return Err(refuse("/spec/volumeName", why));
    }
    for field in SOURCES {
        if let Some(source) = object.pointer(&format!("/spec/{field}")) {
            claim_source(&format!("/spec/{field}"), source)?;
        }
    }
    without_annotation(object, is_of_volume_controllers, "volume controllers of the host act on it")
}

/// The name of a source is judged with the other references.
fn claim_source(at: &str, source: &Value) -> Verdict<()> {
    let is_set = |field: &str| source.get(field).is_some_and(|value| !is_unset(value));
    if is_set("namespace") {
        let why = "the claim to copy must be in the namespace of the copy; remove it".to_owned();
        return Err(refuse(&format!("{at}/namespace"), why));
    }
    let is_claim = !is_set("apiGroup") && source.get("kind").and_then(Value::as_str) == Some(CLAIM);
    if is_claim || is_unset(source) {
        return Ok(());
    }
    Err(refuse(at, "a volume can begin as a copy of a PersistentVolumeClaim only".to_owned()))
}

/// A label that names an object, on kinds whose references others may have declared.
fn label(ctx: &Ctx<'_>, object: &HostObject, (key, _): (&str, &str)) -> Verdict<()> {
    match object.label(key).filter(|name| !name.is_empty() && !ctx.names.is_ours(name)) {
        Some(name) => Err(foreign_name(&format!("/metadata/labels/{}", paths::escape(key)), name)),
        None => Ok(()),
    }
}

/// What reads endpoints takes a `targetRef` for the object that answers there.
fn targets(ctx: &Ctx<'_>, object: &HostObject, path: &str) -> Verdict<()> {
    let mut foreign = None;
    paths::each_place(object.fields(), path, &mut |place, target| {
        if foreign.is_none() && target.is_some_and(|target| !is_our_pod(ctx, target)) {
            foreign = Some(place.to_owned());
        }
    });
    match foreign {
        Some(place) => {
            let why = "it must name the host pod of a pod of this virtual cluster, without a UID; remove it";
            Err(refuse(&place, why.to_owned()))
        }
        None => Ok(()),
    }
}

fn is_our_pod(ctx: &Ctx<'_>, target: &Value) -> bool {
    let text = |field: &str| target.get(field).and_then(Value::as_str).unwrap_or_default();
    text("kind") == "Pod"
        && text("namespace") == ctx.names.namespace()
        && ctx.names.is_ours(text("name"))
        && target.get("uid").is_none_or(is_unset)
}

fn without_annotation(object: &HostObject, is_refused: fn(&str) -> bool, why: &str) -> Verdict<()> {
    let mut keys = object.annotations().into_iter().flatten().map(|(key, _)| key);
    match keys.find(|key| is_refused(key)) {
        Some(key) => {
            Err(refuse(&format!("/metadata/annotations/{}", paths::escape(key)), format!("{why}; remove it")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The field that a claim with this spec is refused for.
    fn refused(spec: &Value) -> Option<String> {
        let object = HostObject::from_json(json!({"spec": spec})).unwrap();
        claim(&object).err().and_then(|hold| hold.problem().field.clone())
    }

    #[test]
    fn a_claim_names_neither_a_volume_nor_anything_but_a_claim_beside_it() {
        let source = json!({"kind": CLAIM, "name": "a"});
        let nothing =
            json!({"volumeName": "", "dataSource": null, "dataSourceRef": {"kind": CLAIM, "namespace": ""}});
        for fine in [json!({}), json!({"dataSource": source, "dataSourceRef": source}), nothing] {
            assert_eq!(refused(&fine), None, "{fine}");
        }
        for (spec, field) in [
            (json!({"volumeName": "pv"}), "spec.volumeName"),
            (json!({"volumeName": 7}), "spec.volumeName"),
            (json!({"dataSource": {"name": "a"}}), "spec.dataSource"),
            (json!({"dataSource": "a"}), "spec.dataSource"),
            (
                json!({"dataSourceRef": {"kind": CLAIM, "apiGroup": "x.org", "name": "a"}}),
                "spec.dataSourceRef",
            ),
            (json!({"dataSourceRef": {"kind": CLAIM, "namespace": "b"}}), "spec.dataSourceRef.namespace"),
        ] {
            assert_eq!(refused(&spec).as_deref(), Some(field), "{spec}");
        }
    }

    #[test]
    fn a_secret_without_a_type_is_opaque() {
        let of = |kind: Value| secret(&HostObject::from_json(json!({"type": kind})).unwrap());
        assert!(of(Value::Null).is_ok() && of(json!("kubernetes.io/tls")).is_ok());
        assert!(of(json!("")).is_err() && of(json!(["Opaque"])).is_err());
    }
}

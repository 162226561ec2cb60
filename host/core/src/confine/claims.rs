//! Which volume a claim may get: one that the host provisions for it, of a class that the operator allows.

use serde_json::Value;

use super::refuse;
use crate::host_controllers::STORAGE_CLASS;
use crate::object::HostObject;
use crate::paths;
use crate::policy::claims::ClaimPolicy;
use crate::verdict::Verdict;

const CLASS: &str = "/spec/storageClassName";
const ATTRIBUTES_CLASS: &str = "/spec/volumeAttributesClassName";

/// Passes `claim` if it asks for storage that the operator allows.
///
/// What the host object of the pair has already is not asked for anew: its class may be the host's default, which the
/// virtual claim shows from then on.
pub(super) fn judge(policy: &ClaimPolicy, host: Option<&HostObject>, claim: &HostObject) -> Verdict<()> {
    let has = |pointer: &str, value: &Value| {
        host.and_then(|host| host.pointer(pointer)).is_some_and(|found| found == value)
    };
    if let Some(value) = claim.pointer(CLASS).filter(|value| !value.is_null() && !has(CLASS, value)) {
        class(policy, CLASS, value)?;
    }
    // The older way to name the class, which takes precedence.
    let annotation = format!("/metadata/annotations/{}", paths::escape(STORAGE_CLASS));
    if let Some(value) = claim.pointer(&annotation).filter(|value| !has(&annotation, value)) {
        class(policy, &annotation, value)?;
    }
    if claim.pointer("/spec/selector").is_some_and(|selector| !selector.is_null()) && !policy.existing_volumes
    {
        let why = "it binds a volume that somebody has made before, which the operator's `claims.existingVolumes` does not \
                   allow; remove it, and the host provisions one";
        return Err(refuse("/spec/selector", why.to_owned()));
    }
    attributes(policy, claim.pointer(ATTRIBUTES_CLASS).filter(|value| !has(ATTRIBUTES_CLASS, value)))
}

fn class(policy: &ClaimPolicy, pointer: &str, value: &Value) -> Verdict<()> {
    match value.as_str() {
        Some("") if policy.existing_volumes => Ok(()),
        Some("") => {
            let why = "the class \"\" binds a volume that somebody has made before, which the operator's \
                       `claims.existingVolumes` does not allow; name a class, or remove it for the host's default";
            Err(refuse(pointer, why.to_owned()))
        }
        Some(name) if policy.storage_classes.has(name) => Ok(()),
        _ => {
            let why = format!(
                "the operator's `claims.storageClasses` does not list {value}; name a listed one, or none for the host's default"
            );
            Err(refuse(pointer, why))
        }
    }
}

fn attributes(policy: &ClaimPolicy, value: Option<&Value>) -> Verdict<()> {
    let Some(value) = value.filter(|value| !value.is_null() && value.as_str() != Some("")) else {
        return Ok(());
    };
    if value.as_str().is_some_and(|name| policy.volume_attributes_classes.has(name)) {
        return Ok(());
    }
    let why = format!(
        "the operator's `claims.volumeAttributesClasses` does not list {value}; name a listed one, or remove it"
    );
    Err(refuse(ATTRIBUTES_CLASS, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::patterns::Patterns;
    use serde_json::json;

    fn claim(spec: &Value) -> HostObject {
        HostObject::from_json(json!({"metadata": {}, "spec": spec})).unwrap()
    }

    /// The field that a claim is refused for.
    fn refused(policy: &ClaimPolicy, claim: &HostObject) -> Option<String> {
        judge(policy, None, claim).err().and_then(|hold| hold.problem().field.clone())
    }

    /// A claim that names its class in the older way.
    fn annotated(class: &Value) -> HostObject {
        HostObject::from_json(json!({"metadata": {"annotations": {STORAGE_CLASS: class}}})).unwrap()
    }

    #[test]
    fn a_claim_gets_a_volume_of_its_own_by_default() {
        let policy = ClaimPolicy::default();
        for spec in [
            json!({}),
            json!({"storageClassName": null, "selector": null, "volumeAttributesClassName": ""}),
            json!({"volumeMode": "Block", "accessModes": ["ReadWriteMany"]}),
        ] {
            assert_eq!(refused(&policy, &claim(&spec)), None, "{spec}");
        }
        for (spec, field) in [
            (json!({"storageClassName": ""}), "spec.storageClassName"),
            (json!({"storageClassName": "fast"}), "spec.storageClassName"),
            (json!({"storageClassName": ["fast"]}), "spec.storageClassName"),
            (json!({"selector": {}}), "spec.selector"),
            (json!({"volumeAttributesClassName": "gold"}), "spec.volumeAttributesClassName"),
            (json!({"volumeAttributesClassName": 7}), "spec.volumeAttributesClassName"),
        ] {
            assert_eq!(refused(&policy, &claim(&spec)).as_deref(), Some(field), "{spec}");
        }
        for class in [json!(""), json!("fast"), json!(7)] {
            let field = refused(&policy, &annotated(&class));
            assert_eq!(field.unwrap(), format!("metadata.annotations[{STORAGE_CLASS}]"), "{class}");
        }
    }

    #[test]
    fn the_operator_lists_classes_and_opens_volumes_that_exist() {
        let policy =
            ClaimPolicy { storage_classes: Patterns::parse(["fast"]).unwrap(), ..ClaimPolicy::open() };
        let open = json!({"storageClassName": "fast", "selector": {}, "volumeAttributesClassName": "gold"});
        assert_eq!(refused(&policy, &claim(&open)), None);
        assert_eq!(refused(&policy, &claim(&json!({"storageClassName": ""}))), None);
        let slow = json!({"storageClassName": "slow"});
        assert_eq!(refused(&policy, &claim(&slow)).as_deref(), Some("spec.storageClassName"));
        assert!(refused(&policy, &annotated(&json!("slow"))).is_some());
        assert!(refused(&policy, &annotated(&json!("fast"))).is_none());
    }

    #[test]
    fn the_class_that_the_host_gave_is_not_asked_for_anew() {
        let policy = ClaimPolicy::default();
        let of_host = claim(&json!({"storageClassName": "standard"}));
        assert!(judge(&policy, Some(&of_host), &of_host).is_ok());
        let other = claim(&json!({"storageClassName": "fast"}));
        assert!(judge(&policy, Some(&of_host), &other).is_err());
        assert!(judge(&policy, None, &of_host).is_err());
    }
}

//! PersistentVolumeClaim: the host provisions and binds, the virtual claim shows the result.
//!
//! A claim cannot name its volume. The tenant's PersistentVolumes are not on the host, and those of the
//! host are not the tenant's to choose from; so the name of a volume only ever comes back from the
//! host. A claim that names one and has no host claim (a static one, or one whose host claim was
//! deleted) is refused: a new, empty volume in its place would look like lost data.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde_json::Value;

use crate::change::Change;
use crate::conditions;
use crate::context::Ctx;
use crate::diff;
use crate::fields;
use crate::host_controllers::STORAGE_CLASS;
use crate::mapper::{Mapper, Patcher};
use crate::messages;
use crate::object::{Fields, HostObject, Object, VirtualObject};
use crate::references::Reference;
use crate::spec::KindSpec;
use crate::verdict::{By, Hold, Verdict};

pub mod volume;

/// Annotations of the host's volume controllers that show the tenant the state of the claim. That of the node which the
/// scheduler chose is not among them, because it names a host node.
const TAKEN: &[&str] = &[
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/storage-provisioner",
];
/// The conditions that the host's volume controllers and kubelets keep.
const OF_HOST: &[&str] = &[
    "Resizing",
    "FileSystemResizePending",
    "ControllerResizeError",
    "NodeResizeError",
    "ModifyingVolume",
    "ModifyVolumeError",
];
/// Where a claim says what its volume begins with.
const SOURCES: &[&str] = &["dataSource", "dataSourceRef"];

/// The mapper of PersistentVolumeClaims.
#[derive(Debug)]
pub struct PersistentVolumeClaim;

static SPEC: LazyLock<KindSpec> = LazyLock::new(|| {
    // Sources of other kinds are refused, so these name claims whenever they matter.
    let source = |field: &&str| Reference::new(&format!("/spec/{field}/name"), "v1/PersistentVolumeClaim");
    KindSpec::core("PersistentVolumeClaim", "persistentvolumeclaims")
        .only_keys(&[STORAGE_CLASS])
        .references(SOURCES.iter().map(source))
        .managed(["/spec/resources/requests", "/spec/volumeAttributesClassName"])
        .with_conditions()
        .without_owner()
});

impl Mapper for PersistentVolumeClaim {
    fn spec(&self) -> &KindSpec {
        &SPEC
    }

    fn to_host(&self, _ctx: &Ctx<'_>, source: &VirtualObject, mut draft: HostObject) -> Verdict<HostObject> {
        let spec = draft.spec_mut();
        spec.remove("volumeName");
        for field in SOURCES {
            source_to_host(field, source.namespace(), spec)?;
        }
        Ok(draft)
    }

    fn to_virtual(&self, ctx: &Ctx<'_>, source: &HostObject, mut draft: VirtualObject) -> VirtualObject {
        if let Some(status) = source.pointer("/status").and_then(Value::as_object) {
            let mut shown = fields::shown_status(&SPEC.resource, status);
            messages::to_virtual(ctx, source, &draft, &mut shown);
            conditions::keep_others(&draft, &mut shown, OF_HOST);
            draft.fields_mut().insert("status".to_owned(), Value::Object(shown));
        }
        take_class(source, &mut draft);
        take_binding(source, &mut draft);
        draft
    }

    fn patcher(&self) -> &dyn Patcher {
        self
    }
}

impl Patcher for PersistentVolumeClaim {
    fn managed(&self) -> &[String] {
        &SPEC.managed
    }

    fn virtual_changes(&self, desired: &VirtualObject, current: &VirtualObject) -> Vec<Change> {
        conditions::guarded(diff::exact_changes(desired, current), current)
    }

    /// The host's admission says that a class is needed, and not which.
    fn verb_on_host(&self, desired: &HostObject, current: &HostObject) -> Cow<'static, str> {
        const SIZE: &str = "/spec/resources/requests/storage";
        if desired.pointer(SIZE) == current.pointer(SIZE) {
            return "patch".into();
        }
        let class = current.text("/spec/storageClassName").unwrap_or_default();
        format!("expand, for which the host's StorageClass {class:?} must have `allowVolumeExpansion: true`, the volume of").into()
    }

    fn before_create(&self, source: &VirtualObject) -> Verdict<()> {
        let Some(volume) = volume_name(source) else { return Ok(()) };
        let why = format!(
            "the host has no claim that is bound to {volume:?}, and a new one would be empty; to start over, \
             delete this claim and create one without a volume name"
        );
        Err(Hold::refuse(By::Mapper, "spec.volumeName", why))
    }

    /// A new claim must not get the data of an older one.
    fn is_of(&self, source: &VirtualObject, host: &HostObject) -> bool {
        volume_name(source).is_some() && volume_name(source) == volume_name(host)
    }
}

/// The name in `spec.volumeName`, if there is one.
fn volume_name<S>(object: &Object<S>) -> Option<&str> {
    object.text("/spec/volumeName").filter(|name| !name.is_empty())
}

/// Passes claims of the same namespace; their names were rewritten with the other references.
fn source_to_host(field: &str, namespace: &str, spec: &mut Fields) -> Verdict<()> {
    let Some(source) = spec.get_mut(field).and_then(Value::as_object_mut) else { return Ok(()) };
    let text = |name: &str| source.get(name).and_then(Value::as_str).unwrap_or_default();
    if !text("apiGroup").is_empty() || text("kind") != "PersistentVolumeClaim" {
        let why = format!(
            "a {} is not on the host; fill the volume from a PersistentVolumeClaim, or in a pod",
            text("kind")
        );
        return Err(Hold::refuse(By::Mapper, format!("spec.{field}"), why));
    }
    if !text("namespace").is_empty() && text("namespace") != namespace {
        let why = "the claim to copy must be in the same namespace; copy it in a pod";
        return Err(Hold::refuse(By::Mapper, format!("spec.{field}.namespace"), why));
    }
    source.remove("namespace");
    Ok(())
}

/// Shows the class that the host chose; the API takes it once, where there was none.
fn take_class(source: &HostObject, draft: &mut VirtualObject) {
    let class = source.pointer("/spec/storageClassName");
    if let Some(class) = class.filter(|_| draft.pointer("/spec/storageClassName").is_none_or(Value::is_null))
    {
        draft.spec_mut().insert("storageClassName".to_owned(), class.clone());
    }
}

/// Shows the volume that the host bound; the API takes its name once.
fn take_binding(source: &HostObject, draft: &mut VirtualObject) {
    for annotation in TAKEN {
        if let Some(value) = source.annotations().and_then(|annotations| annotations.get(*annotation)) {
            draft.annotations_mut().insert((*annotation).to_owned(), value.clone());
        }
    }
    if let Some(name) = volume_name(source).filter(|_| volume_name(draft).is_none()) {
        draft.spec_mut().insert("volumeName".to_owned(), name.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_an_expansion_names_the_class_that_must_allow_it() {
        let claim = |size: &str| {
            let spec = json!({"storageClassName": "fast", "resources": {"requests": {"storage": size}}});
            HostObject::from_json(json!({"spec": spec})).unwrap()
        };
        let verb = |desired: &str| PersistentVolumeClaim.verb_on_host(&claim(desired), &claim("1Gi"));
        assert_eq!(verb("1Gi"), "patch");
        let expand = verb("2Gi");
        assert!(
            expand.contains("the host's StorageClass \"fast\" must have `allowVolumeExpansion: true`"),
            "{expand}"
        );
    }
}

//! From a virtual object to its host object and back: draft, mapper, confine.

use serde_json::{Value, json};

use crate::conditions;
use crate::confine::{confine, confine_names};
use crate::context::Ctx;
use crate::digest;
use crate::host_keys;
use crate::keys::{ADDON, APPLIED, DIGEST, IDENTITY, MOVING, WANTED};
use crate::labels;
use crate::mapper::Mapper;
use crate::names::Identity;
use crate::object::{Fields, HostObject, VirtualObject};
use crate::policy::metadata::KeyPolicy;
use crate::references;
use crate::spec::KindSpec;
use crate::verdict::Verdict;

/// Written by kubectl with the whole object in it: on the host it would be a second, stale copy.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The host object for `source`, ready to be written, or why there is none.
pub fn to_host(ctx: &Ctx<'_>, mapper: &dyn Mapper, source: &VirtualObject) -> Verdict<HostObject> {
    let draft = draft(ctx, mapper, source);
    let mut result = mapper.to_host(ctx, source, draft.clone())?;
    confine_names(mapper.spec(), source)?;
    host_keys::escape_selectors(&ctx.facts.policy.metadata.labels, mapper.spec(), &mut result);
    confine(ctx, mapper, &draft, &result)?;
    Ok(sign(mapper, result))
}

/// The virtual object as it should be, given its host object: same identity, with what flows back.
pub fn to_virtual(
    ctx: &Ctx<'_>,
    mapper: &dyn Mapper,
    host: &HostObject,
    current: &VirtualObject,
) -> VirtualObject {
    let mut result = mapper.to_virtual(ctx, host, current.clone());
    if mapper.spec().has_conditions {
        conditions::merge(ctx, &mut result, current);
    }
    for field in ["name", "namespace", "uid", "ownerReferences", "finalizers", "deletionTimestamp"] {
        let kept = current.pointer(&format!("/metadata/{field}")).cloned();
        match kept {
            Some(value) => result.metadata_mut().insert(field.to_owned(), value),
            None => result.metadata_mut().remove(field),
        };
    }
    result
}

/// The common part: everything but `status`, under its host name, with our metadata and with every
/// name of the reference table rewritten.
fn draft(ctx: &Ctx<'_>, mapper: &dyn Mapper, source: &VirtualObject) -> HostObject {
    let resource = &mapper.spec().resource;
    let is_copied = |name: &str| !matches!(name, "metadata" | "status");
    let mut fields: Fields = source
        .fields()
        .iter()
        .filter(|(name, _)| is_copied(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    fields.insert("apiVersion".into(), resource.api_version().into());
    fields.insert("kind".into(), resource.kind.as_ref().into());
    fields.insert("metadata".into(), draft_metadata(ctx, mapper, source));
    let mut draft = HostObject::new(fields);
    references::rewrite(&mapper.spec().references, ctx.names, source.namespace(), &mut draft);
    draft
}

fn draft_metadata(ctx: &Ctx<'_>, mapper: &dyn Mapper, source: &VirtualObject) -> Value {
    let names = ctx.names;
    let KindSpec { keys, resource, .. } = mapper.spec();
    let of_tenant = |map: Option<&Fields>, policy: &KeyPolicy| {
        let mut map = map.map(|map| host_keys::map_to_host(policy, resource, map)).unwrap_or_default();
        map.retain(|key, _| keys.has(key));
        map
    };
    let policy = &ctx.facts.policy.metadata;
    let mut all_labels = of_tenant(source.labels(), &policy.labels);
    let is_pod = resource.kind().as_str() == "v1/Pod";
    if is_pod {
        for (key, value) in ctx.lookup.namespace_labels(source.namespace()).iter() {
            all_labels.insert(labels::namespace_label_key(key), value.as_str().into());
        }
    }
    all_labels.extend(labels::scope(names, source.namespace()));

    let mut annotations = of_tenant(source.annotations(), &policy.annotations);
    annotations.remove(LAST_APPLIED);
    // The syncer wrote them on the virtual object; they are no keys of the tenant's.
    for key in [MOVING, ADDON] {
        annotations.remove(&labels::key_to_host(key));
    }
    annotations.insert(IDENTITY.into(), identity(ctx, mapper, source).to_text().into());

    let mut metadata = json!({
        "name": names.host_name(&source.virtual_name()).as_str(),
        "namespace": names.namespace(),
        "labels": all_labels,
        "annotations": annotations,
    });
    if let (Some(owner), Some(metadata)) = (&ctx.facts.owner, metadata.as_object_mut())
        && mapper.spec().is_owned
    {
        let reference = if is_pod { owner.controller_reference() } else { owner.reference() };
        metadata.insert("ownerReferences".into(), json!([reference]));
    }
    metadata
}

fn identity(ctx: &Ctx<'_>, mapper: &dyn Mapper, source: &VirtualObject) -> Identity {
    Identity {
        cluster: ctx.names.cluster().to_owned(),
        kind: mapper.spec().resource.kind().as_str().to_owned(),
        namespace: source.namespace().to_owned(),
        name: source.name().to_owned(),
        uid: source.uid().to_owned(),
    }
}

/// Adds the annotations that make a private store unnecessary: which of the tenant's keys were written, a digest of
/// everything that can still be changed, and of kinds that need it the fields themselves.
fn sign(mapper: &dyn Mapper, mut object: HostObject) -> HostObject {
    let keys = |map: Option<&Fields>| -> Vec<String> {
        map.into_iter().flatten().map(|(key, _)| key).filter(|key| is_tenants(key)).cloned().collect()
    };
    let applied = json!({"labels": keys(object.labels()), "annotations": keys(object.annotations())});
    let written = json!([
        object.pointer("/metadata/labels"),
        object.pointer("/metadata/annotations"),
        mapper.patcher().digest_view(&object)
    ]);
    let wanted = mapper.patcher().wanted(&object);
    let annotations = object.annotations_mut();
    annotations.extend(wanted.map(|wanted| (WANTED.to_owned(), wanted.to_string().into())));
    annotations.insert(DIGEST.into(), digest::of_value(&written).into());
    annotations.insert(APPLIED.into(), applied.to_string().into());
    object
}

/// Whether a key on the host can come and go with the tenant's object.
fn is_tenants(key: &str) -> bool {
    !labels::is_reserved(key) || labels::is_escaped(key) || labels::is_namespace_label(key)
}

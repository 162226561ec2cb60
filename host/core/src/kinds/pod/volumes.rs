//! Turns volume sources that only the virtual cluster can fill into ones that the host can.
//!
//! Names of config maps, secrets and claims were rewritten before: see `places`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{downward, parts, tokens};
use crate::context::Ctx;
use crate::object::{Fields, HostObject, Key, Kind, VirtualName, VirtualObject};

/// Annotations that the host pod must carry for its downward API files.
type Annotations = BTreeMap<String, String>;

/// Rewrites the volumes.
pub(super) fn apply(ctx: &Ctx<'_>, source: &VirtualObject, draft: &mut HostObject) {
    let mut annotations = Annotations::new();
    for volume in parts::objects_mut(draft, "/spec/volumes") {
        claim_ephemeral(ctx, source, volume);
        answer_files(ctx, source, volume.get_mut("downwardAPI"), &mut annotations);
        rewrite_projections(ctx, source, volume, &mut annotations);
    }
    for (key, value) in annotations {
        draft.annotations_mut().insert(key, value.into());
    }
}

/// The claims that the virtual cluster makes for the pod's ephemeral volumes.
pub(super) fn ephemeral_claims(source: &VirtualObject) -> impl Iterator<Item = Key> + use<'_> {
    let ephemeral = parts::items(source, "/spec/volumes")
        .filter(|volume| volume.get("ephemeral").is_some_and(Value::is_object));
    ephemeral.map(|volume| Key {
        kind: Kind::new("v1/PersistentVolumeClaim"),
        name: claim_name(source, parts::text(volume, "name")),
    })
}

/// The virtual cluster's controller makes the claim of an ephemeral volume. Left as it is, the host's
/// would make a second one.
fn claim_ephemeral(ctx: &Ctx<'_>, source: &VirtualObject, volume: &mut Fields) {
    if volume.remove("ephemeral").is_none_or(|ephemeral| ephemeral.is_null()) {
        return;
    }
    let name = volume.get("name").and_then(Value::as_str).unwrap_or_default();
    let claim = ctx.names.host_name(&claim_name(source, name));
    volume.insert("persistentVolumeClaim".into(), json!({"claimName": claim.as_str()}));
}

fn claim_name(source: &VirtualObject, volume: &str) -> VirtualName {
    VirtualName::new(source.namespace(), format!("{}-{volume}", source.name()))
}

/// Points the files of a downward API volume or projection at the virtual pod's facts.
fn answer_files(
    ctx: &Ctx<'_>,
    source: &VirtualObject,
    downward_api: Option<&mut Value>,
    annotations: &mut Annotations,
) {
    let policy = &ctx.facts.policy.metadata;
    let items = downward_api.and_then(|value| value.get_mut("items")).and_then(Value::as_array_mut);
    for item in items.into_iter().flatten() {
        let Some(slot) = item.pointer_mut("/fieldRef/fieldPath") else { continue };
        if let Some(field) = downward::file_field(policy, source, slot.as_str().unwrap_or_default()) {
            *slot = field.path.into();
            annotations.extend(field.annotation);
        }
    }
}

fn rewrite_projections(
    ctx: &Ctx<'_>,
    source: &VirtualObject,
    volume: &mut Fields,
    annotations: &mut Annotations,
) {
    let name = volume.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let sources = volume.get_mut("projected").and_then(|projected| projected.get_mut("sources"));
    for projection in sources.and_then(Value::as_array_mut).into_iter().flatten() {
        answer_files(ctx, source, projection.get_mut("downwardAPI"), annotations);
        if let Some(fields) = projection.as_object_mut() {
            take_token_from_secret(ctx, source, &name, fields);
        }
    }
}

/// A host kubelet would ask the host's API server for the token; ours stands in a Secret.
fn take_token_from_secret(ctx: &Ctx<'_>, source: &VirtualObject, volume: &str, projection: &mut Fields) {
    let Some(token) = projection.remove("serviceAccountToken").filter(|token| !token.is_null()) else {
        return;
    };
    let path = parts::text(&token, "path");
    let secret = tokens::secret_name(ctx.names, &source.virtual_name());
    let item = json!({"key": tokens::key(volume, path), "path": path});
    projection.insert("secret".into(), json!({"name": secret.as_str(), "items": [item]}));
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{World, host_object, virtual_object};
    use super::*;

    fn volumes(volumes: &Value) -> HostObject {
        let json = json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u1"}, "spec": {"volumes": volumes}});
        let mut draft = host_object(json.clone());
        apply(&World::new().ctx(), &virtual_object(json), &mut draft);
        draft
    }

    #[test]
    fn an_ephemeral_volume_uses_the_claim_of_the_virtual_cluster() {
        let json = json!([{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}]);
        let expected =
            json!([{"name": "scratch", "persistentVolumeClaim": {"claimName": "web-scratch-x-shop-x-vc"}}]);
        assert_eq!(volumes(&json).pointer("/spec/volumes"), Some(&expected));
        let source = virtual_object(
            json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"volumes": json}}),
        );
        let claims: Vec<String> = ephemeral_claims(&source).map(|key| key.to_string()).collect();
        assert_eq!(claims, ["PersistentVolumeClaim shop/web-scratch"]);
    }

    #[test]
    fn a_token_comes_from_a_secret_key_that_its_request_names() {
        let json =
            json!([{"name": "api", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]);
        let host = volumes(&json);
        let source = virtual_object(
            json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"volumes": json}}),
        );
        let key = host.text("/spec/volumes/0/projected/sources/0/secret/items/0/key");
        assert_eq!(key, Some(tokens::requests(&source)[0].key.as_str()));
        assert_eq!(host.pointer("/spec/volumes/0/projected/sources/0/serviceAccountToken"), None);
    }

    #[test]
    fn annotations_are_added_only_when_used() {
        let of = |path: &str| json!([{"name": "info", "downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": path}}]}}]);
        assert_eq!(volumes(&of("metadata.uid")).annotation("downward.weft.dev/uid"), Some("u1"));
        assert_eq!(volumes(&of("metadata.namespace")).annotations(), None);
    }
}

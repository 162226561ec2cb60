//! What host objects name is there: the kubelet of these tests mounts nothing, and a real one would wait for it.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::super::both::{at, name_of, text};
use super::equal::Seen;

/// An object that a field names, with the keys of it that are used.
#[derive(Debug)]
struct Named<'a> {
    kind: &'static str,
    name: &'a str,
    keys: Vec<&'a str>,
}

/// Fails unless everything is there that pods and Ingresses of the host name and cannot do without.
pub(super) fn ensure(seen: &Seen) -> Result<()> {
    let mut count = 0;
    for pod in seen.on_host("v1/Pod") {
        let mut named = Vec::new();
        collect(at(pod, "/spec"), &mut named);
        count += named.len();
        named.iter().try_for_each(|one| ensure_there(seen, one)).with_context(|| name_of(pod).to_owned())?;
    }
    for ingress in seen.on_host("networking.k8s.io/v1/Ingress") {
        let named = of_ingress(ingress);
        named
            .iter()
            .try_for_each(|one| ensure_there(seen, one))
            .with_context(|| name_of(ingress).to_owned())?;
    }
    ensure!(count > 0, "no pod names anything");
    Ok(())
}

fn ensure_there(seen: &Seen, named: &Named) -> Result<()> {
    let found = seen.on_host(named.kind).iter().find(|object| name_of(object) == named.name);
    let found = found.with_context(|| format!("it names what is not there: {named:?}"))?;
    let has = |key: &&str| ["data", "binaryData"].iter().any(|data| found[data].get(key).is_some());
    let missing = named.keys.iter().find(|key| !has(key));
    ensure!(missing.is_none(), "it uses a key that is not there: {named:?}");
    Ok(())
}

/// All names in a pod's spec, by the fields that volumes and environments name objects in.
fn collect<'a>(value: &'a Value, named: &mut Vec<Named<'a>>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                named.extend(named_by(field, value).filter(|_| at(value, "/optional") != &Value::Bool(true)));
                collect(value, named);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, named)),
        _ => {}
    }
}

fn named_by<'a>(field: &str, value: &'a Value) -> Option<Named<'a>> {
    let (kind, name) = match field {
        "configMap" | "configMapRef" | "configMapKeyRef" => ("v1/ConfigMap", "/name"),
        "secret" if value.get("secretName").is_some() => ("v1/Secret", "/secretName"),
        "secret" | "secretRef" | "secretKeyRef" => ("v1/Secret", "/name"),
        "persistentVolumeClaim" => ("v1/PersistentVolumeClaim", "/claimName"),
        _ => return None,
    };
    let items = at(value, "/items").as_array().into_iter().flatten();
    let keys = items.chain([value]).map(|item| text(item, "/key")).filter(|key| !key.is_empty()).collect();
    Some(Named { kind, name: text(value, name), keys })
}

/// What the folder's Ingress names, by annotations of its controller and for its certificate.
fn of_ingress(ingress: &Value) -> Vec<Named<'_>> {
    let annotations =
        [("auth-secret", "v1/Secret"), ("auth-tls-secret", "v1/Secret"), ("custom-headers", "v1/ConfigMap")];
    let mut named = Vec::new();
    for (annotation, kind) in annotations {
        let value =
            text(ingress, &format!("/metadata/annotations/nginx.ingress.kubernetes.io~1{annotation}"));
        // With the namespace before it, or without.
        let name = value.rsplit('/').next().unwrap_or_default();
        named.push(Named { kind, name, keys: Vec::new() });
    }
    let certificate = text(ingress, "/spec/tls/0/secretName");
    named.push(Named { kind: "v1/Secret", name: certificate, keys: vec!["tls.crt", "tls.key"] });
    named
}

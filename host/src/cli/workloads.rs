//! What the controllers of a virtual cluster make of a workload: the pod, and the claims of a StatefulSet, so that a rendered chart
//! can be translated without a cluster.

use serde_json::{Value, json};
use weft_core::object::{Fields, VirtualObject};

/// In the place of what controllers make up: letters that stand in no name by chance.
const HASH: &str = "xxxxxxxxxx";
const RANDOM: &str = "xxxxx";
/// The minute of a run of a `CronJob`, as its Job's name has it.
const MINUTE: &str = "xxxxxxxx";
/// What the API keeps of a name to which five random characters are added.
const GENERATED_PREFIX: usize = 58;

/// The objects that a controller makes of `source`, the pod first; none where it is no workload that is known here. Of several
/// pods it is the first.
pub(super) fn made_of(source: &VirtualObject) -> Vec<VirtualObject> {
    let api = source.text("/apiVersion").unwrap_or_default();
    let kind = source.text("/kind").unwrap_or_default();
    let made = match (api, kind) {
        ("apps/v1", "Deployment") => replica(source, &format!("{}-{HASH}", source.name()), true),
        ("apps/v1", "ReplicaSet") | ("v1", "ReplicationController") => replica(source, source.name(), false),
        ("apps/v1", "StatefulSet") => return stateful(source),
        ("batch/v1", "Job") => job(source, source.name(), "/spec"),
        ("batch/v1", "CronJob") => {
            let name = format!("{}-{MINUTE}", source.name());
            job(source, &name, "/spec/jobTemplate/spec")
        }
        _ => return Vec::new(),
    };
    vec![made]
}

/// One of many pods that are alike.
fn replica(source: &VirtualObject, owner: &str, has_hash: bool) -> VirtualObject {
    let mut pod = pod(source, "/spec/template", &generated(owner));
    if has_hash {
        label(&mut pod, "pod-template-hash", HASH);
    }
    pod
}

/// The first pod of a `StatefulSet`, and its claims.
fn stateful(source: &VirtualObject) -> Vec<VirtualObject> {
    let first = source.pointer("/spec/ordinals/start").and_then(Value::as_u64).unwrap_or_default();
    let name = format!("{}-{first}", source.name());
    let mut pod = pod(source, "/spec/template", &name);
    label(&mut pod, "apps.kubernetes.io/pod-index", &first.to_string());
    label(&mut pod, "statefulset.kubernetes.io/pod-name", &name);
    pod.spec_mut().insert("hostname".to_owned(), name.as_str().into());
    if let Some(service) = source.text("/spec/serviceName").filter(|service| !service.is_empty()) {
        pod.spec_mut().insert("subdomain".to_owned(), service.into());
    }
    let templates = source.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
    let claims: Vec<(String, VirtualObject)> =
        templates.into_iter().flatten().map(|template| claim(source, template, &name)).collect();
    mount(&mut pod, &claims);
    std::iter::once(pod).chain(claims.into_iter().map(|(_, claim)| claim)).collect()
}

/// The claim of a template for the pod `pod`, after the name of its volume.
fn claim(source: &VirtualObject, template: &Value, pod: &str) -> (String, VirtualObject) {
    let volume = template.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let mut fields = template.as_object().cloned().unwrap_or_default();
    fields.insert("apiVersion".to_owned(), "v1".into());
    fields.insert("kind".to_owned(), "PersistentVolumeClaim".into());
    let mut claim = VirtualObject::new(fields);
    rename(&mut claim, source.namespace(), &format!("{volume}-{pod}"));
    (volume.to_owned(), claim)
}

/// Gives the pod a volume for each claim, in the place of any that has its name.
fn mount(pod: &mut VirtualObject, claims: &[(String, VirtualObject)]) {
    let is_replaced = |volume: &Value| {
        claims.iter().any(|(name, _)| volume.get("name").and_then(Value::as_str) == Some(name))
    };
    let own = pod.pointer("/spec/volumes").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut volumes: Vec<Value> = own.into_iter().filter(|volume| !is_replaced(volume)).collect();
    volumes.extend(
        claims
            .iter()
            .map(|(name, claim)| json!({"name": name, "persistentVolumeClaim": {"claimName": claim.name()}})),
    );
    if !volumes.is_empty() {
        pod.spec_mut().insert("volumes".to_owned(), volumes.into());
    }
}

/// The first pod of the Job `name`, whose spec is at `spec` in `source`.
fn job(source: &VirtualObject, name: &str, spec: &str) -> VirtualObject {
    let is_indexed = source.text(&format!("{spec}/completionMode")) == Some("Indexed");
    let owner = if is_indexed { format!("{name}-0") } else { name.to_owned() };
    let mut pod = pod(source, &format!("{spec}/template"), &generated(&owner));
    for key in ["batch.kubernetes.io/job-name", "job-name"] {
        label(&mut pod, key, name);
    }
    if is_indexed {
        label(&mut pod, "batch.kubernetes.io/job-completion-index", "0");
        pod.spec_mut().entry("hostname").or_insert_with(|| owner.into());
    }
    pod
}

/// The pod `name` of the template at `template` in `source`.
fn pod(source: &VirtualObject, template: &str, name: &str) -> VirtualObject {
    let mut fields = source.pointer(template).and_then(Value::as_object).cloned().unwrap_or_default();
    fields.insert("apiVersion".to_owned(), "v1".into());
    fields.insert("kind".to_owned(), "Pod".into());
    let mut pod = VirtualObject::new(fields);
    rename(&mut pod, source.namespace(), name);
    pod
}

fn rename(object: &mut VirtualObject, namespace: &str, name: &str) {
    object.metadata_mut().insert("name".to_owned(), name.into());
    object.metadata_mut().insert("namespace".to_owned(), namespace.into());
}

/// A name as the API generates it.
fn generated(owner: &str) -> String {
    let prefix: String = format!("{owner}-").chars().take(GENERATED_PREFIX).collect();
    format!("{prefix}{RANDOM}")
}

fn label(object: &mut VirtualObject, key: &str, value: &str) {
    let labels = object.metadata_mut().entry("labels").or_insert_with(|| Fields::new().into());
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(key.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(api: &str, kind: &str, spec: &Value) -> Vec<VirtualObject> {
        let metadata = json!({"name": "web", "namespace": "shop"});
        let source = json!({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec});
        made_of(&VirtualObject::from_json(source).unwrap())
    }

    fn template() -> Value {
        let container = json!({"name": "web", "image": "web:1"});
        let volume = json!({"name": "data", "emptyDir": {}});
        json!({
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container], "volumes": [volume]},
        })
    }

    #[test]
    fn each_workload_makes_a_pod_of_its_template_in_its_namespace() {
        let spec = json!({"template": template()});
        let cron = json!({"jobTemplate": {"spec": spec}});
        for (api, kind, spec, name) in [
            ("apps/v1", "Deployment", &spec, "web-xxxxxxxxxx-xxxxx"),
            ("apps/v1", "ReplicaSet", &spec, "web-xxxxx"),
            ("apps/v1", "StatefulSet", &spec, "web-0"),
            ("batch/v1", "Job", &spec, "web-xxxxx"),
            ("batch/v1", "CronJob", &cron, "web-xxxxxxxx-xxxxx"),
        ] {
            let made = made(api, kind, spec);
            let pod = &made[0];
            assert_eq!((made.len(), pod.name(), pod.namespace()), (1, name, "shop"), "{kind}");
            assert_eq!(pod.text("/kind"), Some("Pod"), "{kind}");
            assert_eq!(pod.text("/spec/containers/0/image"), Some("web:1"), "{kind}");
            assert_eq!(pod.label("app"), Some("web"), "{kind}");
        }
        assert!(made("v1", "ConfigMap", &spec).is_empty() && made("example.org/v1", "Job", &spec).is_empty());
    }

    #[test]
    fn a_stateful_pod_has_its_identity_and_its_claims() {
        let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}});
        let spec = json!({
            "serviceName": "db", "ordinals": {"start": 3}, "template": template(), "volumeClaimTemplates": [claim],
        });
        let made = made("apps/v1", "StatefulSet", &spec);
        let names: Vec<&str> = made.iter().map(VirtualObject::name).collect();
        assert_eq!(names, ["web-3", "data-web-3"]);
        assert_eq!(made[0].text("/spec/hostname"), Some("web-3"));
        assert_eq!(made[0].text("/spec/subdomain"), Some("db"));
        assert_eq!(made[0].label("statefulset.kubernetes.io/pod-name"), Some("web-3"));
        let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-3"}}]);
        assert_eq!(made[0].pointer("/spec/volumes"), Some(&volumes), "in the place of the template's own");
        assert_eq!(made[1].text("/kind"), Some("PersistentVolumeClaim"));
        assert_eq!(
            (made[1].namespace(), made[1].text("/spec/accessModes/0")),
            ("shop", Some("ReadWriteOnce"))
        );
    }

    #[test]
    fn a_pod_of_an_indexed_job_knows_its_index_and_long_names_are_cut_as_the_api_does() {
        let pod = &made("batch/v1", "Job", &json!({"completionMode": "Indexed", "template": template()}))[0];
        assert_eq!((pod.name(), pod.text("/spec/hostname")), ("web-0-xxxxx", Some("web-0")));
        assert_eq!(pod.label("batch.kubernetes.io/job-completion-index"), Some("0"));
        assert_eq!(pod.label("job-name"), Some("web"));
        assert_eq!(generated(&"w".repeat(80)), format!("{}xxxxx", "w".repeat(58)));
    }
}

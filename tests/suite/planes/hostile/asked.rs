//! What is asked for: the hostile specs of the core's tests, as objects that a real API server takes.

use serde_json::{Value, json};
use weft_core::confine::field_name;
use weft_core::host_controllers::keys;

use super::hostile_specs::{Spec, specs};
use super::powers::{LISTS, Power, of_baseline, of_choice, put, quiet_pod};
use super::seen::holds;

/// The virtual cluster.
pub(super) const CLUSTER: &str = "hostile";
/// The namespace of most objects.
pub(super) const SHOP: &str = "shop";
/// A namespace whose objects could be taken for those of the other.
pub(super) const BESIDE: &str = "b-x-shop";
/// A runtime class of the virtual cluster, which has an overhead.
pub(super) const RUNTIME_CLASS: &str = "kata";
/// Where ephemeral containers are in a pod.
const EPHEMERAL: &str = "ephemeralContainers";
/// A class of the planes' storage.
pub(super) const STORAGE_CLASS: &str = "standard";
/// Names in which the parts of host names could be found, for each of the two namespaces.
const NAMES: [(&str, &[&str]); 2] = [
    (SHOP, &["a-x-b", "a-x-x-b", "a-x", "x", "x-a", "x-x-x", "a.x-x-x.b", "a-x-shop-x-hostile"]),
    (BESIDE, &["a", "x", "a-x-x-b"]),
];

/// A pod of the tenant's that runs.
pub(super) struct Own {
    pub(super) name: String,
    pub(super) ip: String,
}

/// An object that asks for something.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) kind: &'static str,
    pub(super) namespace: &'static str,
    /// Where the object asks for it, as a pointer.
    pub(super) at: String,
    /// What is looked for there on the host.
    pub(super) value: Value,
    /// What is created.
    pub(super) object: Value,
    /// What is added to the created pod.
    pub(super) ephemeral: Option<Value>,
    /// Beside `at`, what had to be set so that the API server takes the value.
    needs: Vec<String>,
}

impl Asked {
    /// A good object of the kind in the namespace of most, with the value and what the value needs.
    fn new(own: &Own, kind: &'static str, at: &str, value: &Value) -> Self {
        let mut object = good(own, kind);
        put(&mut object, at, value);
        let needs = needs(at, value);
        for (at, value) in &needs {
            put(&mut object, at, value);
        }
        let spec = object.get_mut("spec").and_then(Value::as_object_mut);
        let ephemeral = spec.and_then(|spec| spec.remove(EPHEMERAL)).filter(|_| at.starts_with(LISTS[2]));
        let needs = needs.into_iter().map(|(at, _)| at).collect();
        Self { kind, namespace: SHOP, at: at.to_owned(), value: sought(at, value), object, ephemeral, needs }
    }

    /// The same under this name.
    fn named(mut self, name: &str) -> Self {
        put(&mut self.object, "/metadata/name", &name.into());
        self
    }

    pub(super) fn name(&self) -> &str {
        self.object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether the API server has stored what was asked for: it drops what it does not know.
    pub(super) fn is_in(&self, stored: &Value) -> bool {
        holds(stored.pointer(&self.at), self.object.pointer(&self.at).unwrap_or(&self.value))
    }

    /// The fields by one of which a refusal says what it is about.
    pub(super) fn fields(&self) -> impl Iterator<Item = String> {
        [&self.at].into_iter().chain(&self.needs).map(|at| {
            // Of an element, the refusal of its whole list says as much.
            let (parent, last) = at.rsplit_once('/').unwrap_or_default();
            field_name(if last.parse::<usize>().is_ok() { parent } else { at })
        })
    }
}

/// Everything hostile.
pub(super) fn hostile(own: &Own) -> Vec<Asked> {
    let bad = |power: &Power| {
        let each = |at: String| power.bad.iter().map(move |value| (at.clone(), value.clone()));
        power.places().into_iter().flat_map(each).collect::<Vec<_>>()
    };
    let powers: Vec<_> = of_baseline().iter().chain(&of_choice()).flat_map(bad).collect();
    let of_powers = powers.iter().map(|(at, value)| Asked::new(own, "Pod", at, value));
    let of_specs = specs().into_iter().map(|Spec { kind, at, value }| Asked::new(own, kind, &at, &value));
    numbered("bad", of_powers.chain(of_specs).chain(denied_keys(own))).chain(names(own)).collect()
}

/// The same objects with something harmless in the same places: each must reach the host with it.
pub(super) fn harmless(own: &Own) -> Vec<Asked> {
    let fine = |power: &Power| {
        let last = power.fine.iter().rfind(|value| **value != json!(null) && **value != json!("")).cloned();
        let at = |value: Value| power.places().into_iter().map(move |at| (at, value.clone()));
        last.into_iter().flat_map(at).collect::<Vec<_>>()
    };
    let powers: Vec<_> = of_baseline().iter().chain(&of_choice()).flat_map(fine).collect();
    let of_powers = powers.iter().map(|(at, value)| Asked::new(own, "Pod", at, value));
    let others = [
        ("Service", "/spec/ports/0/port", json!(80)),
        ("Service", "/spec/externalName", json!("db.example.com")),
        ("Endpoints", "/subsets/0/addresses/0/ip", json!(own.ip)),
        ("Endpoints", "/subsets/0/notReadyAddresses/0/ip", json!(own.ip)),
        ("EndpointSlice", "/endpoints/1/addresses/0", json!(own.ip)),
        ("PersistentVolumeClaim", "/spec/storageClassName", json!(STORAGE_CLASS)),
        ("Pod", "/metadata/labels/example.com~1mine", json!("v1")),
        ("Pod", "/metadata/annotations/example.com~1mine", json!("v1")),
        ("Service", "/metadata/labels/example.com~1mine", json!("v1")),
        ("Service", "/metadata/annotations/example.com~1mine", json!("v1")),
    ];
    let others = others.map(|(kind, at, value)| Asked::new(own, kind, at, &value));
    numbered("fine", of_powers.chain(others)).collect()
}

fn numbered(prefix: &str, all: impl Iterator<Item = Asked>) -> impl Iterator<Item = Asked> {
    all.enumerate().map(move |(number, asked)| asked.named(&format!("{prefix}-{number}")))
}

/// A key of each sort of controllers that the host may have, as label and as annotation.
fn denied_keys(own: &Own) -> impl Iterator<Item = Asked> {
    let keys = keys::groups().filter_map(|group| group.keys.first());
    let places =
        keys.flat_map(|key| ["labels", "annotations"].map(|map| format!("/metadata/{map}/{key}~1commands")));
    places.flat_map(move |at| ["Pod", "Service"].map(|kind| Asked::new(own, kind, &at, &json!("v1"))))
}

/// Objects whose names joined with their namespaces would be names of others.
fn names(own: &Own) -> impl Iterator<Item = Asked> {
    let longest = ["a".repeat(63), "x".repeat(63), "b".repeat(63), "c".repeat(61)].join(".");
    let of_namespace = move |(namespace, names): (&'static str, &'static [&'static str])| {
        let names = names.iter().map(|name| (*name).to_owned()).chain([longest.clone()]);
        names.map(move |name| (namespace, name))
    };
    NAMES.into_iter().flat_map(of_namespace).flat_map(move |(namespace, name)| {
        ["Pod", "Service", "PersistentVolumeClaim"].map(|kind| {
            let joined = json!(format!("{name}-x-{namespace}-x-{CLUSTER}"));
            let asked = Asked::new(own, kind, "/metadata/name", &joined).named(&name);
            Asked { namespace, ..asked }
        })
    })
}

/// An object of the kind that every tenant may have.
fn good(own: &Own, kind: &str) -> Value {
    let target = json!({"kind": "Pod", "name": own.name, "namespace": SHOP});
    let (ip, ports) = (json!({"ip": own.ip, "targetRef": target}), json!([{"port": 80, "protocol": "TCP"}]));
    match kind {
        "Pod" => pod(),
        "Service" => json!({"metadata": {"name": ""}, "spec": {"ports": ports}}),
        "PersistentVolumeClaim" => json!({"metadata": {"name": ""}, "spec": {
            "storageClassName": STORAGE_CLASS, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        }}),
        "Endpoints" => json!({
            "metadata": {"name": ""},
            "subsets": [{"addresses": [ip], "notReadyAddresses": [ip], "ports": ports}],
        }),
        _ => json!({
            "metadata": {"name": "", "labels": {"kubernetes.io/service-name": own.name}},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": [own.ip], "targetRef": target}, {"addresses": [own.ip, own.ip], "targetRef": target},
            ],
            "ports": ports,
        }),
    }
}

/// The pod of the core's tests without what only a host pod has.
fn pod() -> Value {
    let mut pod = quiet_pod();
    put(&mut pod, "/metadata", &json!({"name": ""}));
    put(&mut pod, "/spec/serviceAccountName", &Value::Null);
    pod
}

/// What is asked for with `value`, without room for less: a toleration that has got a key is no more of every taint.
fn sought(at: &str, value: &Value) -> Value {
    let mut sought = value.clone();
    let tolerations = sought.as_array_mut().filter(|_| at == "/spec/tolerations");
    for toleration in tolerations.into_iter().flatten().filter_map(Value::as_object_mut) {
        toleration.entry("key").or_insert(Value::Null);
    }
    sought
}

/// What the API server wants to be set with the value, and what keeps others from refusing the object before.
fn needs(at: &str, value: &Value) -> Vec<(String, Value)> {
    let need = |at: &str, value: Value| vec![(at.to_owned(), value)];
    let is_probe = at.ends_with("Probe") || at.contains("/lifecycle/");
    match at {
        "/spec/securityContext/windowsOptions" if value.get("hostProcess") == Some(&json!(true)) => {
            need("/spec/hostNetwork", json!(true))
        }
        _ if at.ends_with("/securityContext/privileged") => {
            need(&at.replace("privileged", "allowPrivilegeEscalation"), Value::Null)
        }
        "/spec/overhead" => need("/spec/runtimeClassName", json!(RUNTIME_CLASS)),
        "/spec/ports/0/nodePort" => need("/spec/type", json!("NodePort")),
        "/spec/loadBalancerClass" => need("/spec/type", json!("LoadBalancer")),
        "/spec/healthCheckNodePort" => {
            vec![
                ("/spec/type".to_owned(), json!("LoadBalancer")),
                ("/spec/externalTrafficPolicy".to_owned(), json!("Local")),
            ]
        }
        "/spec/externalName" => need("/spec/type", json!("ExternalName")),
        "/metadata/annotations/volume.beta.kubernetes.io~1storage-class" => {
            need("/spec/storageClassName", Value::Null)
        }
        // All addresses of a slice are of one family.
        _ if at.starts_with("/endpoints/") && value.as_str().is_some_and(|value| value.contains(':')) => {
            let addresses =
                ["/endpoints/0/addresses/0", "/endpoints/1/addresses/0", "/endpoints/1/addresses/1"];
            let all = addresses.into_iter().map(|at| (at.to_owned(), value.clone()));
            all.chain(need("/addressType", json!("IPv6"))).collect()
        }
        _ if is_probe => {
            // Only what goes on beside the pod's containers has probes.
            let sidecar =
                at.starts_with(LISTS[1]).then(|| (format!("{}/restartPolicy", LISTS[1]), json!("Always")));
            let grace = value.get("terminationGracePeriodSeconds");
            let handler = grace.map(|_| (format!("{at}/exec/command"), json!(["true"])));
            sidecar.into_iter().chain(handler).collect()
        }
        _ => Vec::new(),
    }
}

//! Edits that the guard must refuse: one row each.

use serde_json::{Value, json};

/// An edit that the guard must refuse, and the refusal.
pub(super) struct Row {
    pub(super) title: &'static str,
    /// A list is a JSON Patch, an object a merge patch.
    pub(super) edit: Value,
    pub(super) field: &'static str,
    pub(super) words: &'static [&'static str],
}

pub(super) const OURS: &[&str] = &["must not change it"];
const NEVER: &[&str] = &["must not set it"];
const RESERVED: &[&str] = &["weft.dev", "syncer's own"];
pub(super) const OUTSIDE: &[&str] = &["host-writes"];
const POWER: &[&str] = &["more privileges than the tenant"];
const FOREIGN: &[&str] = &["is not the host name of an object of this virtual cluster"];
const UNKNOWN: &[&str] = &["could name objects of others"];
const SELECTS: &[&str] = &["select pods of this virtual cluster only"];

pub(super) fn row(
    title: &'static str,
    edit: Value,
    field: &'static str,
    words: &'static [&'static str],
) -> Row {
    Row { title, edit, field, words }
}

pub(super) fn action(edit: &Value) -> &'static str {
    if edit.is_array() { "patch" } else { "merge" }
}

pub(super) fn add(path: &str, value: impl Into<Value>) -> Value {
    let value: Value = value.into();
    json!([{"op": "add", "path": path, "value": value}])
}

/// One more container beside the tenant's.
pub(super) fn container(more: Value) -> Value {
    let mut container = json!({"name": "more", "image": "more:1"});
    json_merge(&mut container, more);
    add("/spec/containers/-", container)
}

pub(super) fn volume(source: Value) -> Value {
    let mut volume = json!({"name": "more"});
    json_merge(&mut volume, source);
    add("/spec/volumes/-", volume)
}

fn json_merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

/// Type, name and identity.
pub(super) fn of_identity() -> Vec<Row> {
    let meta = |fields: Value| json!({"metadata": fields});
    vec![
        row("another namespace", meta(json!({"namespace": "kube-system"})), "metadata.namespace", OURS),
        row("another name", meta(json!({"name": "vc-my-vcluster"})), "metadata.name", OURS),
        row("another kind", json!({"kind": "Secret"}), "kind", OURS),
        row("another version", json!({"apiVersion": "v2"}), "apiVersion", OURS),
        row("no name", json!([{"op": "remove", "path": "/metadata/name"}]), "metadata.name", OURS),
        row(
            "a name that a value was moved to",
            json!([{"op": "move", "from": "/metadata/labels/app", "path": "/metadata/name"}]),
            "metadata.name",
            OURS,
        ),
        row(
            "a namespace that a value was copied to",
            json!([{"op": "copy", "from": "/spec/containers/0/name", "path": "/metadata/namespace"}]),
            "metadata.namespace",
            OURS,
        ),
        row(
            "metadata replaced as a whole",
            json!([{"op": "replace", "path": "/metadata", "value": {"name": "x", "namespace": "team-a"}}]),
            "metadata.name",
            OURS,
        ),
        row(
            "the object replaced as a whole",
            json!([{"op": "replace", "path": "", "value": {"kind": "Pod"}}]),
            "apiVersion",
            OURS,
        ),
        row(
            "a foreign owner",
            meta(json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y"}]})),
            "metadata.ownerReferences",
            OURS,
        ),
        row("a finalizer", meta(json!({"finalizers": ["a.b/c"]})), "metadata.finalizers", NEVER),
        row("a uid", meta(json!({"uid": "u"})), "metadata.uid", NEVER),
        row("a resource version", meta(json!({"resourceVersion": "1"})), "metadata.resourceVersion", NEVER),
        row("a generated name", meta(json!({"generateName": "a-"})), "metadata.generateName", NEVER),
        row("a status", json!({"status": {"phase": "Running"}}), "status", NEVER),
        row(
            "a deletion",
            meta(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})),
            "metadata.deletionTimestamp",
            OUTSIDE,
        ),
        row("managed fields", meta(json!({"managedFields": [{}]})), "metadata.managedFields", OUTSIDE),
        row("a field of another kind", json!({"data": {"a": "b"}}), "data", OUTSIDE),
    ]
}

/// Labels and annotations of weft.
pub(super) fn of_reserved_metadata() -> Vec<Row> {
    let labels = |fields: Value| json!({"metadata": {"labels": fields}});
    let annotations = |fields: Value| json!({"metadata": {"annotations": fields}});
    let (label, annotation) = ("metadata.labels", "metadata.annotations");
    vec![
        row("the label of another cluster", labels(json!({"weft.dev/cluster": "other"})), label, RESERVED),
        row("no label of ours", labels(json!({"weft.dev/cluster": null})), label, RESERVED),
        row("a label of a subdomain of ours", labels(json!({"ns.weft.dev/team": "b"})), label, RESERVED),
        row(
            "labels that are not an object",
            json!([{"op": "replace", "path": "/metadata/labels", "value": "x"}]),
            label,
            RESERVED,
        ),
        row(
            "no annotations",
            json!([{"op": "remove", "path": "/metadata/annotations"}]),
            annotation,
            RESERVED,
        ),
        row("the identity of another", annotations(json!({"weft.dev/identity": "{}"})), annotation, RESERVED),
        row(
            "the identity by an escaped pointer",
            add("/metadata/annotations/weft.dev~1identity", json!("{}")),
            annotation,
            RESERVED,
        ),
        row("a digest", annotations(json!({"weft.dev/digest": "x"})), annotation, RESERVED),
        row("a list of keys", annotations(json!({"weft.dev/applied": "{}"})), annotation, RESERVED),
        row("a label that is not a string", labels(json!({"a": 7})), label, &["\"a\"", "must be a string"]),
        row(
            "an annotation that is not a string",
            annotations(json!({"a": {}})),
            annotation,
            &["must be a string"],
        ),
    ]
}

/// Privileges of a pod.
pub(super) fn of_pod_powers() -> Vec<Row> {
    [
        ("the node's network", "spec.hostNetwork", json!(true)),
        ("the node's processes", "spec.hostPID", json!(true)),
        ("the node's shared memory", "spec.hostIPC", json!(true)),
        ("the node's users", "spec.hostUsers", json!(true)),
        ("processes of its other containers", "spec.shareProcessNamespace", json!(true)),
        ("a node", "spec.nodeName", json!("control-plane")),
        ("a scheduler", "spec.schedulerName", json!("mine")),
        ("a runtime class", "spec.runtimeClassName", json!("unconfined")),
        ("a priority class", "spec.priorityClassName", json!("system-node-critical")),
        ("a priority", "spec.priority", json!(2_000_000_000)),
        ("preemption", "spec.preemptionPolicy", json!("PreemptLowerPriority")),
        ("a service account", "spec.serviceAccountName", json!("cluster-admin")),
        ("a service account by its old name", "spec.serviceAccount", json!("cluster-admin")),
        ("a root user", "spec.securityContext", json!({"runAsUser": 0})),
    ]
    .into_iter()
    .map(|(title, field, value)| {
        row(title, add(&format!("/{}", field.replace('.', "/")), value), field, POWER)
    })
    .collect()
}

/// Privileges of its containers.
pub(super) fn of_container_powers() -> Vec<Row> {
    let spec = |fields: Value| json!({"spec": fields});
    let main = "spec.containers[0].securityContext";
    let more = "spec.containers[1].securityContext";
    vec![
        row(
            "a privileged container",
            add("/spec/containers/0/securityContext/privileged", json!(true)),
            main,
            POWER,
        ),
        row(
            "an added capability",
            add("/spec/containers/0/securityContext/capabilities/add/-", json!("SYS_ADMIN")),
            main,
            POWER,
        ),
        row(
            "dropped capabilities",
            json!([{"op": "remove", "path": "/spec/containers/0/securityContext"}]),
            main,
            POWER,
        ),
        row(
            "a new container with powers",
            container(json!({"securityContext": {"privileged": true}})),
            more,
            POWER,
        ),
        row(
            "a new container that may gain powers",
            container(json!({"securityContext": {"allowPrivilegeEscalation": true}})),
            more,
            POWER,
        ),
        row(
            "an init container with powers",
            spec(
                json!({"initContainers": [{"name": "i", "image": "i", "securityContext": {"privileged": true}}]}),
            ),
            "spec.initContainers[0].securityContext",
            POWER,
        ),
        row(
            "a debug container with powers",
            spec(
                json!({"ephemeralContainers": [{"name": "d", "image": "d", "securityContext": {"privileged": true}}]}),
            ),
            "spec.ephemeralContainers[0].securityContext",
            POWER,
        ),
        row(
            "a raw device",
            container(json!({"volumeDevices": [{"name": "node", "devicePath": "/dev/a"}]})),
            "spec.containers[1].volumeDevices",
            POWER,
        ),
    ]
}

/// Access to the node.
pub(super) fn of_node_powers() -> Vec<Row> {
    vec![
        row(
            "a port of the node",
            add("/spec/containers/0/ports/-", json!({"containerPort": 1, "hostPort": 22})),
            "spec.containers[0].ports[1].hostPort",
            POWER,
        ),
        row(
            "a port of the node on all its addresses",
            json!([{"op": "remove", "path": "/spec/containers/0/ports/0/hostIP"}]),
            "spec.containers[0].ports[0].hostPort",
            POWER,
        ),
        row(
            "a request that the node makes for it",
            add("/spec/containers/0/livenessProbe/httpGet/host", json!("169.254.169.254")),
            "spec.containers[0].livenessProbe.httpGet.host",
            POWER,
        ),
        row(
            "a request that the node makes at its end",
            add(
                "/spec/containers/0/lifecycle",
                json!({"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 22}}}),
            ),
            "spec.containers[0].lifecycle.preStop.tcpSocket.host",
            POWER,
        ),
        row(
            "the node's files",
            volume(json!({"hostPath": {"path": "/"}})),
            "spec.volumes[2].hostPath",
            POWER,
        ),
        row(
            "more of the node's files",
            add("/spec/volumes/0/hostPath/path", json!("/")),
            "spec.volumes[0].hostPath",
            POWER,
        ),
        row("a driver's volume", volume(json!({"csi": {"driver": "x"}})), "spec.volumes[2].csi", POWER),
        row(
            "an AppArmor profile",
            json!({"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/main": "unconfined"}}}),
            "metadata.annotations",
            POWER,
        ),
        row(
            "a token of the host",
            json!({"spec": {"automountServiceAccountToken": true}}),
            "spec.automountServiceAccountToken",
            &["host token"],
        ),
    ]
}

/// References and selectors.
pub(super) fn of_references() -> Vec<Row> {
    let from = |source: Value| container(json!({"envFrom": [source]}));
    let projected = |source: Value| volume(json!({"projected": {"sources": [source]}}));
    let near = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]";
    let term = "/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/0";
    vec![
        row(
            "the control plane's own Secret",
            volume(json!({"secret": {"secretName": "vc-my-vcluster"}})),
            "spec.volumes[*].secret.secretName",
            FOREIGN,
        ),
        row(
            "the Secret of another tenant",
            volume(json!({"secret": {"secretName": "db-x-shop-x-other"}})),
            "spec.volumes[*].secret.secretName",
            FOREIGN,
        ),
        row(
            "a foreign ConfigMap",
            volume(json!({"configMap": {"name": "kube-root-ca.crt"}})),
            "spec.volumes[*].configMap.name",
            FOREIGN,
        ),
        row(
            "a foreign claim",
            volume(json!({"persistentVolumeClaim": {"claimName": "data"}})),
            "spec.volumes[*].persistentVolumeClaim.claimName",
            FOREIGN,
        ),
        row(
            "variables of a foreign Secret",
            from(json!({"secretRef": {"name": "vc-my-vcluster"}})),
            "spec.containers[*].envFrom[*].secretRef.name",
            FOREIGN,
        ),
        row(
            "a variable of a foreign Secret",
            container(
                json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "x", "key": "k"}}}]}),
            ),
            "spec.containers[*].env[*].valueFrom.secretKeyRef.name",
            FOREIGN,
        ),
        row(
            "a foreign pull secret",
            json!({"spec": {"imagePullSecrets": [{"name": "registry"}]}}),
            "spec.imagePullSecrets[*].name",
            FOREIGN,
        ),
        row(
            "a foreign Secret among projections",
            projected(json!({"secret": {"name": "vc-my-vcluster"}})),
            "spec.volumes[*].projected.sources[*].secret.name",
            FOREIGN,
        ),
        row(
            "a projected token",
            projected(json!({"serviceAccountToken": {"path": "token"}})),
            "spec.volumes[2].projected.sources[0].serviceAccountToken",
            &["a host token must not reach a tenant"],
        ),
        row(
            "a source of tomorrow",
            volume(json!({"newSource": {"name": "x"}})),
            "spec.volumes[2].newSource",
            UNKNOWN,
        ),
        row(
            "a variable of tomorrow",
            container(json!({"env": [{"name": "A", "valueFrom": {"newRef": {"name": "x"}}}]})),
            "spec.containers[1].env[0].valueFrom.newRef",
            UNKNOWN,
        ),
        row(
            "a device claim",
            json!({"spec": {"resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}]}}),
            "spec.resourceClaims",
            &["not synced to the host"],
        ),
        row("pods of others nearby", add(&format!("{term}/labelSelector"), json!({})), near, SELECTS),
        row(
            "namespaces of others nearby",
            add(&format!("{term}/namespaceSelector"), json!({})),
            near,
            SELECTS,
        ),
        row(
            "pods of others to spread among",
            add("/spec/topologySpreadConstraints", json!([{"topologyKey": "zone", "labelSelector": {}}])),
            "spec.topologySpreadConstraints[0].labelSelector",
            SELECTS,
        ),
    ]
}

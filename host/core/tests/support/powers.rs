//! What a pod could do beyond running in its own box: each power with values that are harmless and values that are not.

use serde_json::{Value, json};

pub(crate) const LISTS: [&str; 3] =
    ["/spec/containers/0", "/spec/initContainers/0", "/spec/ephemeralContainers/0"];

/// One place, and what may stand there.
pub(crate) struct Power {
    /// Behind the spec or a container.
    pub(crate) at: &'static str,
    pub(crate) of: Of,
    pub(crate) fine: Vec<Value>,
    pub(crate) bad: Vec<Value>,
}

/// What has such a place.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Of {
    Pod,
    Containers,
    Both,
}

impl Power {
    /// Its pointers in a pod.
    pub(crate) fn places(&self) -> Vec<String> {
        let pod = (self.of != Of::Containers).then(|| format!("/spec{}", self.at));
        let containers = LISTS.iter().filter(|_| self.of != Of::Pod).map(|list| format!("{list}{}", self.at));
        pod.into_iter().chain(containers).collect()
    }
}

fn power(of: Of, at: &'static str, fine: &[Value], bad: &[Value]) -> Power {
    Power { at, of, fine: fine.to_vec(), bad: bad.to_vec() }
}

/// Refused at `baseline` and `restricted`.
pub(crate) fn of_baseline() -> Vec<Power> {
    let [none, no, yes] = [Value::Null, json!(false), json!(true)];
    let mut all = vec![
        power(Of::Pod, "/hostNetwork", &[none.clone(), no.clone()], &[yes.clone(), json!("true"), json!(1)]),
        power(Of::Pod, "/hostPID", &[none.clone(), no.clone()], &[yes.clone(), json!("")]),
        power(Of::Pod, "/hostIPC", &[none.clone(), no.clone()], &[yes.clone(), json!([])]),
        power(
            Of::Both,
            "/securityContext/windowsOptions",
            &[none.clone(), json!({}), json!({"hostProcess": no})],
            &[json!({"hostProcess": yes}), json!({"hostProcess": "false"}), json!("hostProcess"), json!([])],
        ),
        power(
            Of::Containers,
            "/securityContext/privileged",
            &[none.clone(), no.clone()],
            &[yes.clone(), json!("false"), json!(0), json!({})],
        ),
        power(
            Of::Pod,
            "/volumes",
            &[none.clone(), json!([]), json!([{"name": "v", "emptyDir": {}, "hostPath": none}])],
            &[json!([{"name": "v", "hostPath": {"path": "/"}}]), json!([{"name": "v", "hostPath": {}}])],
        ),
        power(
            Of::Containers,
            "/ports",
            &[none.clone(), json!([{"containerPort": 1}]), json!([{"containerPort": 1, "hostPort": 0}])],
            &[json!([{"containerPort": 1}, {"containerPort": 2, "hostPort": 22}]), json!({"hostPort": 22})],
        ),
        power(
            Of::Both,
            "/securityContext/appArmorProfile",
            &[
                none.clone(),
                json!({"type": "RuntimeDefault"}),
                json!({"type": "Localhost", "localhostProfile": "p"}),
            ],
            &[json!({"type": "Unconfined"}), json!({"type": ""}), json!("Unconfined")],
        ),
        power(
            Of::Both,
            "/securityContext/seLinuxOptions",
            &[
                none.clone(),
                json!({"level": "s0:c1,c2"}),
                json!({"type": "container_engine_t", "user": "", "role": ""}),
            ],
            &[
                json!({"type": "spc_t"}),
                json!({"user": "system_u"}),
                json!({"role": "system_r"}),
                json!({"type": 7}),
            ],
        ),
        power(
            Of::Containers,
            "/securityContext/procMount",
            &[none.clone(), json!("Default")],
            &[json!("Unmasked"), no.clone()],
        ),
    ];
    all.extend([capabilities(), seccomp(), sysctls()]);
    all.extend(probes());
    all
}

fn capabilities() -> Power {
    let adds = |list: &[&str]| json!({"drop": ["ALL"], "add": list});
    let bad = ["NET_RAW", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE", "ALL", "net_bind_service"];
    let bad = bad.map(|capability| adds(&["NET_BIND_SERVICE", capability]));
    let shapes =
        [json!({"drop": ["ALL"], "add": "SYS_ADMIN"}), json!({"drop": ["ALL"], "add": [["SYS_ADMIN"]]})];
    let bad: Vec<Value> = bad.into_iter().chain(shapes).collect();
    power(Of::Containers, "/securityContext/capabilities", &[adds(&[]), adds(&["NET_BIND_SERVICE"])], &bad)
}

fn seccomp() -> Power {
    let fine = [json!({"type": "RuntimeDefault"}), json!({"type": "Localhost", "localhostProfile": "p"})];
    power(
        Of::Both,
        "/securityContext/seccompProfile",
        &fine,
        &[json!({"type": "Unconfined"}), json!({"type": true})],
    )
}

fn sysctls() -> Power {
    let sysctl =
        |name: &str| json!([{"name": "kernel.shm_rmid_forced", "value": "1"}, {"name": name, "value": "1"}]);
    let newest =
        ["net.ipv4.tcp_rmem", "net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat"].map(sysctl);
    let bad = ["kernel.msgmax", "net.core.somaxconn", "net/ipv4/ip_forward", "vm.swappiness"].map(sysctl);
    power(Of::Pod, "/securityContext/sysctls", &newest, &bad)
}

fn probes() -> Vec<Power> {
    let places =
        ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
    let request = |kind: &str, host: &Value| json!({kind: {"port": 80, "host": host}});
    let of = |at| {
        let fine = [Value::Null, request("httpGet", &json!("")), json!({"exec": {"command": ["a"]}})];
        let metadata = json!("169.254.169.254");
        let bad = [
            request("httpGet", &metadata),
            request("tcpSocket", &metadata),
            request("httpGet", &json!("127.0.0.1")),
            request("tcpSocket", &json!(7)),
        ];
        power(Of::Containers, at, &fine, &bad)
    };
    places.into_iter().map(of).collect()
}

/// Refused at `restricted` only.
pub(crate) fn of_restricted() -> Vec<Power> {
    let [none, no, yes] = [Value::Null, json!(false), json!(true)];
    let fields = |source: &str| if source == "csi" { json!({"driver": "example.com"}) } else { json!({}) };
    let volume = |source: &str| json!([{"name": "v", source: fields(source)}]);
    let outside =
        ["nfs", "iscsi", "rbd", "cephfs", "gitRepo", "flexVolume", "awsElasticBlockStore", "storageos"];
    let inside =
        ["csi", "emptyDir", "configMap", "persistentVolumeClaim", "projected", "image", "downwardAPI"];
    let keep = |list: &Value| json!({"drop": list});
    vec![
        power(Of::Pod, "/volumes", &inside.map(volume), &outside.map(volume)),
        power(
            Of::Containers,
            "/securityContext/allowPrivilegeEscalation",
            std::slice::from_ref(&no),
            &[yes.clone(), none.clone()],
        ),
        power(
            Of::Both,
            "/securityContext/runAsNonRoot",
            std::slice::from_ref(&yes),
            std::slice::from_ref(&no),
        ),
        power(
            Of::Both,
            "/securityContext/runAsUser",
            &[none.clone(), json!(1000)],
            &[json!(0), json!("1000")],
        ),
        power(
            Of::Containers,
            "/securityContext/capabilities",
            &[keep(&json!(["ALL"])), keep(&json!(["CHOWN", "ALL"]))],
            &[none, keep(&json!(["CHOWN"])), keep(&json!([])), json!({"drop": ["ALL"], "add": ["CHOWN"]})],
        ),
    ]
}

/// Refused at every level, unless the operator lists it.
pub(crate) fn of_choice() -> Vec<Power> {
    let expression = |key: &str| json!([{"key": key, "operator": "Exists"}]);
    let required = |term: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}});
    let preferred = |term: Value| json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": term}]}});
    let master = "node-role.kubernetes.io/control-plane";
    let near = |key: &str| json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": key}]}});
    let spread =
        |key: &str| json!([{"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]);
    let attributes = json!({"secretProviderClass": "of-the-host"});
    let evicted = json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]);
    vec![
        power(Of::Pod, "/nodeName", &[json!("")], &[json!("control-plane"), json!(7)]),
        power(
            Of::Pod,
            "/nodeSelector",
            &[json!({"kubernetes.io/arch": "arm64"}), json!({"topology.kubernetes.io/zone": "a"})],
            &[
                json!({master: ""}),
                json!({"kubernetes.io/os": "linux", "dedicated": "team-b"}),
                json!([master]),
            ],
        ),
        power(
            Of::Pod,
            "/affinity",
            &[
                required(json!({"matchExpressions": expression("kubernetes.io/hostname")})),
                required(json!({"matchFields": expression("metadata.name")})),
                near("kubernetes.io/hostname"),
            ],
            &[
                required(json!({"matchExpressions": expression(master)})),
                required(json!({"matchFields": expression("metadata.uid")})),
                preferred(json!({"matchExpressions": expression("dedicated")})),
                required(json!({"matchExpressions": [{"key": ["a"]}]})),
                near("dedicated"),
                json!("node-1"),
            ],
        ),
        power(
            Of::Pod,
            "/topologySpreadConstraints",
            &[spread("topology.kubernetes.io/zone")],
            &[spread("dedicated")],
        ),
        power(
            Of::Pod,
            "/tolerations",
            &[Value::Null, evicted],
            &[
                json!([{"operator": "Exists"}]),
                json!([{"key": master, "operator": "Exists", "effect": "NoSchedule"}]),
                json!([{"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}]),
                json!([{"key": "dedicated", "value": "team-b"}]),
                json!(["Exists"]),
            ],
        ),
        power(Of::Pod, "/containers", &[], &[json!({"0": {"name": "a"}}), json!("a")]),
        power(Of::Pod, "/runtimeClassName", &[json!("")], &[json!("kata"), json!(["kata"])]),
        power(Of::Pod, "/overhead", &[Value::Null], &[json!({"cpu": "1"}), json!("1")]),
        power(
            Of::Pod,
            "/volumes",
            &[json!([{"name": "v", "emptyDir": {}}])],
            &[
                json!([{"name": "v", "nfs": {"server": "10.0.0.1", "path": "/"}}]),
                json!([{"name": "v", "iscsi": {"targetPortal": "10.0.0.1"}}]),
                json!([{"name": "v", "csi": {"driver": "secrets-store.csi.k8s.io", "volumeAttributes": attributes}}]),
                json!([{"name": "v", "csi": {}}]),
                json!([{"name": "v", "csi": "driver"}]),
                json!([{"name": "v", "image": {"reference": "of-another:1", "pullPolicy": "Never"}}]),
            ],
        ),
        power(
            Of::Pod,
            "/terminationGracePeriodSeconds",
            &[json!(0), json!(86_400)],
            &[json!(86_401), json!("600")],
        ),
        power(
            Of::Containers,
            "/livenessProbe",
            &[json!({"terminationGracePeriodSeconds": 5})],
            &[json!({"terminationGracePeriodSeconds": 1_000_000})],
        ),
        power(
            Of::Containers,
            "/imagePullPolicy",
            &[Value::Null, json!("Always"), json!("IfNotPresent")],
            &[json!("Never"), json!("never"), json!(true)],
        ),
    ]
}

/// A pod that keeps to every rule, also as it stands: an override that changes nothing passes with it.
pub(crate) fn quiet_pod() -> Value {
    let container = |name: &str| {
        let context = json!({
            "allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        json!([{"name": name, "image": "a:1", "securityContext": context}])
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1"},
        "spec": {
            "serviceAccountName": "weft-workload-my-vcluster", "automountServiceAccountToken": false,
            "enableServiceLinks": false, "dnsPolicy": "Default",
            "containers": container("main"), "initContainers": container("init"),
            "ephemeralContainers": container("debug"),
        },
    })
}

/// Puts `value` where `pointer` leads, and objects on the way to it where there is nothing.
pub(crate) fn put(object: &mut Value, pointer: &str, value: &Value) {
    let mut slot = object;
    for segment in pointer.split('/').skip(1) {
        slot = match segment.parse::<usize>() {
            Ok(index) => &mut slot[index],
            Err(_) => &mut slot[segment.replace("~1", "/")],
        };
    }
    *slot = value.clone();
}

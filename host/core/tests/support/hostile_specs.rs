//! What Services, endpoints and claims may ask for to reach what is not the tenant's, in every spelling.

use serde_json::{Value, json};

/// An object of a kind, with what it asks for at a place.
pub(crate) struct Spec {
    pub(crate) kind: &'static str,
    pub(crate) at: String,
    pub(crate) value: Value,
}

/// Addresses of others: nodes, API servers, metadata services, loopback, other tenants, Service ranges; and spellings.
const ADDRESSES: &[&str] = &[
    "192.0.2.10",
    "10.0.0.1",
    "10.96.0.1",
    "10.96.0.10",
    "10.244.7.7",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "127.0.0.1",
    "127.255.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "::1",
    "::",
    "fe80::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "ff02::1",
    "2001:db8::1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "0:0:0:0:0:ffff:7f00:1",
    "::FFFF:127.0.0.1",
    "010.0.0.1",
    "0177.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "169.254.169.254 ",
    " 10.0.0.1",
    "10.0.0.1/32",
    "fe80::1%eth0",
    "[::1]",
    "",
    "10.0.0.1:80",
    "localhost",
];
/// Names of what is inside the host, and spellings of addresses as names.
pub(crate) const INSIDE: &[&str] = &[
    "web",
    "WEB.",
    "web.team-b",
    "web.team-b.",
    "web.team-b.svc",
    "web.team-b.svc.",
    "Web.Team-B.SVC",
    "web.team-b.svc.cluster.local",
    "WEB.TEAM-B.SVC.CLUSTER.LOCAL",
    "web.team-b.svc.cluster.local.",
    "web.team-b.svc.host.example.com",
    "web-0.web.team-b.svc.host.example.com",
    "10-244-7-7.team-b.pod.cluster.local",
    "kubernetes.default.svc",
    "anything.at.all.local",
    "localhost",
    "a.b.localhost.",
    "a.localdomain",
    "metadata.google.internal",
    "METADATA.google.internal.",
    "ip-10-0-0-1.ec2.internal",
    "1.0.0.10.in-addr.arpa",
    "10.0.0.1",
    "10.0.0.1.",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "169.254.169.254",
    "::1",
    "[fd00:ec2::254]",
    "web.team-b.svc.cluster.local..",
    "web/team-b",
    "web team-b",
    "",
];

/// All of them.
pub(crate) fn specs() -> Vec<Spec> {
    let mut specs = services();
    let spec = |kind, at: &str, value: Value| Spec { kind, at: at.to_owned(), value };
    for address in ADDRESSES {
        for at in ["/endpoints/0/addresses/0", "/endpoints/1/addresses/1"] {
            specs.push(spec("EndpointSlice", at, json!(address)));
        }
        for at in ["/subsets/0/addresses/0/ip", "/subsets/0/notReadyAddresses/0/ip"] {
            specs.push(spec("Endpoints", at, json!(address)));
        }
    }
    for value in [json!(null), json!(7), json!(["10.0.0.1"]), json!({"ip": "10.0.0.1"})] {
        specs.push(spec("EndpointSlice", "/endpoints/0/addresses/0", value.clone()));
        specs.push(spec("Endpoints", "/subsets/0/addresses/0/ip", value));
    }
    for form in ["fqdn", "Ipv4", "Hostname"] {
        specs.push(spec("EndpointSlice", "/addressType", json!(form)));
    }
    specs.extend(claims());
    specs
}

fn services() -> Vec<Spec> {
    let spec = |at: &str, value: Value| Spec { kind: "Service", at: at.to_owned(), value };
    let mut specs = vec![
        spec("/spec/ports/0/nodePort", json!(30_080)),
        spec("/spec/ports/0/nodePort", json!("30080")),
        spec("/spec/healthCheckNodePort", json!(30_081)),
    ];
    for kind in ["NodePort", "LoadBalancer", "nodeport", "NODEPORT", "NodePort ", "Tunnel"] {
        specs.push(spec("/spec/type", json!(kind)));
    }
    for kind in [json!(7), json!(["NodePort"]), json!({"is": "LoadBalancer"}), json!(true)] {
        specs.push(spec("/spec/type", kind));
    }
    for class in [json!("example.com/public"), json!("*"), json!(["a"])] {
        specs.push(spec("/spec/loadBalancerClass", class));
    }
    for address in ADDRESSES {
        specs.push(spec("/spec/externalIPs", json!([address])));
        // Nothing at all is asked for by an empty one.
        if !address.is_empty() {
            specs.push(spec("/spec/loadBalancerIP", json!(address)));
        }
    }
    for addresses in [json!("10.0.0.1"), json!({"a": "10.0.0.1"}), json!([["10.0.0.1"]]), json!([null])] {
        specs.push(spec("/spec/externalIPs", addresses));
    }
    for name in INSIDE.iter().filter(|name| !name.is_empty()) {
        specs.push(spec("/spec/externalName", json!(name)));
    }
    for name in [json!(7), json!(["web.team-b"]), json!({"a": "b"})] {
        specs.push(spec("/spec/externalName", name));
    }
    specs
}

fn claims() -> Vec<Spec> {
    let spec = |at: &str, value: Value| Spec { kind: "PersistentVolumeClaim", at: at.to_owned(), value };
    let labels = json!({"matchLabels": {"team": "b"}});
    let expression = json!({"matchExpressions": [{"key": "team", "operator": "Exists"}]});
    let class = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";
    let mut specs =
        vec![spec("/spec/storageClassName", json!("")), spec(class, json!("")), spec(class, json!("fast"))];
    specs.extend(
        [json!({}), labels, expression, json!("team=b"), json!([])]
            .map(|value| spec("/spec/selector", value)),
    );
    specs.extend(
        [json!("fast"), json!(["fast"]), json!(7)].map(|value| spec("/spec/storageClassName", value)),
    );
    specs.extend(
        [json!("gold"), json!(7), json!(["gold"])]
            .map(|value| spec("/spec/volumeAttributesClassName", value)),
    );
    specs
}

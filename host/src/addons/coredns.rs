//! Renders the objects of CoreDNS from `dns` of the configuration.

use std::fmt::Write as _;

use serde_json::{Value, json};
use weft_core::digest;
use weft_core::keys::AUTHORITY;
use weft_core::object::Fields;

use crate::config::dns::Dns;

/// All objects, without what the configuration says.
const TEMPLATE: &str = include_str!("coredns.yaml");
/// The container of the Deployment.
const CONTAINER: &str = "/spec/template/spec/containers/0";

/// The objects of CoreDNS for this cluster domain, in the order of creation. It trusts the authority that it has read
/// when it started: for another one there are other pods.
pub(super) fn objects(dns: &Dns, domain: &str, authority: Option<&str>) -> Vec<Fields> {
    // A test reads the template.
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(TEMPLATE).unwrap_or_default();
    for object in &mut objects {
        match object.get("kind").and_then(Value::as_str) {
            Some("ConfigMap") => set(object, "", "data", json!({"Corefile": corefile(dns, domain)})),
            Some("Deployment") => {
                complete(object, dns);
                if let Some(authority) = authority {
                    let digest = digest::of_bytes(authority.as_bytes());
                    set(object, "/spec/template/metadata", "annotations", json!({AUTHORITY: digest}));
                }
            }
            _ => {}
        }
    }
    objects.into_iter().filter_map(|object| object.as_object().cloned()).collect()
}

fn complete(deployment: &mut Value, dns: &Dns) {
    set(deployment, "/spec", "replicas", dns.replicas.into());
    set(deployment, CONTAINER, "image", dns.image().into());
    set(deployment, CONTAINER, "command", dns.command.clone().into());
    set(deployment, CONTAINER, "resources", dns.resources.clone().into());
    if dns.command != Dns::default().command {
        // The upstream program carries this file capability, and does not start where it cannot be had.
        let capabilities = json!({"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]});
        set(deployment, &format!("{CONTAINER}/securityContext"), "capabilities", capabilities);
    }
}

fn set(object: &mut Value, at: &str, key: &str, value: Value) {
    if let Some(fields) = object.pointer_mut(at).and_then(Value::as_object_mut) {
        fields.insert(key.to_owned(), value);
    }
}

/// Answers for the cluster's domain and for reverse names; what it does not know of its domain does not exist, so that
/// the host cluster is never asked about it, unless the operator wants it to be.
fn corefile(dns: &Dns, domain: &str) -> String {
    // Without zones all of them fall through.
    let fallthrough = if dns.fallthrough { "fallthrough" } else { "fallthrough in-addr.arpa ip6.arpa" };
    let mut server = format!(
        "\
errors
health {{
    lameduck 5s
}}
ready
kubernetes {domain} in-addr.arpa ip6.arpa {{
    pods insecure
    {fallthrough}
    ttl 30
}}
prometheus :9153
"
    );
    if !dns.forward.is_empty() {
        let _ = writeln!(server, "forward . {} {{\n    max_concurrent 1000\n}}", dns.forward.join(" "));
    }
    server.push_str("cache 30\nloop\nreload\nloadbalance\nimport /etc/coredns-custom/*.override\n");
    server.push_str(&dns.extra_config);
    let mut text = ".:1053 {\n".to_owned();
    for line in server.trim_end().lines() {
        let _ = writeln!(text, "    {line}");
    }
    text.push_str("}\nimport /etc/coredns-custom/*.server\n");
    for line in dns.extra_servers.trim_end().lines() {
        let _ = writeln!(text, "{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(dns: &Dns, kind: &str) -> Value {
        let mut objects = objects(dns, "cluster.local", None).into_iter();
        Value::Object(objects.find(|object| object["kind"] == kind).unwrap())
    }

    #[test]
    fn the_template_is_complete_and_needs_nothing_before_it_is_there() {
        let kinds: Vec<Value> = objects(&Dns::default(), "cluster.local", None)
            .into_iter()
            .map(|object| object["kind"].clone())
            .collect();
        let wanted =
            ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ConfigMap", "Service", "Deployment"];
        assert_eq!(kinds, wanted);
    }

    #[test]
    fn another_authority_comes_with_other_pods() {
        let template = |authority: Option<&str>| {
            let mut objects = objects(&Dns::default(), "cluster.local", authority).into_iter();
            let deployment = objects.find(|object| object["kind"] == "Deployment").unwrap();
            deployment["spec"]["template"].clone()
        };
        assert_eq!(template(Some("one")), template(Some("one")));
        assert_ne!(template(Some("one")), template(Some("two")));
        assert_eq!(template(None)["metadata"].get("annotations"), None);
    }

    #[test]
    fn pods_are_restricted_use_the_nodes_resolver_and_are_selected_by_the_service() {
        let deployment = object(&Dns::default(), "Deployment");
        let pod = &deployment["spec"]["template"];
        assert_eq!(pod["spec"]["dnsPolicy"], "Default");
        let (of_pod, of_container) =
            (&pod["spec"]["securityContext"], &pod["spec"]["containers"][0]["securityContext"]);
        // The user is the image's: a host that chooses users, as OpenShift does, refuses another one.
        assert_eq!((&of_pod["runAsNonRoot"], &of_pod["runAsUser"]), (&json!(true), &json!(null)));
        assert_eq!(of_pod["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(of_container["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(of_container["allowPrivilegeEscalation"], false);
        assert_eq!(of_container["readOnlyRootFilesystem"], true);
        let labels = &pod["metadata"]["labels"];
        assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
        assert_eq!(&object(&Dns::default(), "Service")["spec"]["selector"], labels);
    }

    #[test]
    fn the_service_leads_to_the_ports_of_the_container() {
        let (service, deployment) =
            (object(&Dns::default(), "Service"), object(&Dns::default(), "Deployment"));
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        for port in service["spec"]["ports"].as_array().unwrap() {
            let is_it = |open: &&Value| {
                open["containerPort"] == port["targetPort"] && open["protocol"] == port["protocol"]
            };
            assert!(container["ports"].as_array().unwrap().iter().any(|open| is_it(&open)), "{port}");
        }
    }

    #[test]
    fn the_configuration_decides_about_image_command_replicas_and_resources() {
        let dns = Dns {
            image: "registry.k8s.io/coredns/coredns:v1.12.4".to_owned(),
            command: vec!["/coredns".to_owned()],
            replicas: 2,
            ..Dns::default()
        };
        let deployment = object(&dns, "Deployment");
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(deployment["spec"]["replicas"], 2);
        assert_eq!((&container["image"], &container["command"]), (&dns.image.into(), &json!(["/coredns"])));
        assert_eq!(container["resources"], Value::Object(Dns::default().resources));
        let capabilities = &container["securityContext"]["capabilities"];
        assert_eq!(capabilities["add"], json!(["NET_BIND_SERVICE"]), "upstream's file capability");
    }

    #[test]
    fn the_corefile_answers_for_the_domain_and_forwards_the_rest() {
        let text = corefile(&Dns::default(), "acme.internal");
        let wanted = "\
.:1053 {
    errors
    health {
        lameduck 5s
    }
    ready
    kubernetes acme.internal in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
        max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
    import /etc/coredns-custom/*.override
}
import /etc/coredns-custom/*.server
";
        assert_eq!(text, wanted);
    }

    #[test]
    fn names_of_its_own_domain_are_forwarded_only_where_the_operator_wants_it() {
        let dns = Dns { fallthrough: true, forward: vec!["10.0.0.2".to_owned()], ..Dns::default() };
        let lines =
            |dns: &Dns| corefile(dns, "a.b").lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
        assert!(lines(&dns).contains(&"fallthrough".to_owned()));
        assert!(!lines(&Dns::default()).contains(&"fallthrough".to_owned()));
    }

    #[test]
    fn what_the_operator_adds_stands_in_its_place_and_without_upstreams_nothing_is_forwarded() {
        let dns = Dns {
            forward: Vec::new(),
            extra_config: "hosts {\n    10.0.0.1 a.example\n}".to_owned(),
            extra_servers: "corp.example:1053 {\n    forward . 10.0.0.2\n}\n".to_owned(),
            ..Dns::default()
        };
        let text = corefile(&dns, "cluster.local");
        assert!(!text.contains("forward . /"), "{text}");
        assert!(text.contains("\n    hosts {\n        10.0.0.1 a.example\n    }\n}\n"), "{text}");
        assert!(text.ends_with("corp.example:1053 {\n    forward . 10.0.0.2\n}\n"), "{text}");
        let two = Dns { forward: vec!["10.0.0.2".to_owned(), "10.0.0.3".to_owned()], ..Dns::default() };
        assert!(corefile(&two, "cluster.local").contains("forward . 10.0.0.2 10.0.0.3 {"));
    }
}

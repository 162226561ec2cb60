//! Gives the pod the names of the virtual cluster: its resolver, its hosts file and its own host name.

use serde_json::{Value, json};

use super::environment::{kubernetes_address, wait_for_service};
use super::parts;
use crate::context::{Ctx, Version};
use crate::object::{Fields, HostObject, VirtualObject, child_mut};
use crate::verdict::Verdict;

/// Longest DNS label, and so longest host name.
const MAX_LABEL: usize = 63;
/// Longest host name that Linux keeps.
const MAX_KERNEL_NAME: usize = 64;
/// What the API accepts in `dnsConfig.nameservers`; a kubelet cuts there too.
const MAX_NAMESERVERS: usize = 3;
/// What the API accepts in `dnsConfig.searches`.
const MAX_SEARCHES: usize = 32;
/// From this version on a pod's host name can be any domain name.
const HOSTNAME_OVERRIDE_SINCE: Version = Version { major: 1, minor: 35 };

/// Writes everything that has to do with names.
pub(super) fn apply(ctx: &Ctx<'_>, source: &VirtualObject, draft: &mut HostObject) -> Verdict<()> {
    if asks_cluster_dns(source) {
        resolve_virtually(ctx, source, draft.spec_mut())?;
    }
    know_kubernetes(ctx, source, draft.spec_mut())?;
    keep_hostname(ctx, source, draft.spec_mut());
    Ok(())
}

fn asks_cluster_dns(source: &VirtualObject) -> bool {
    match source.text("/spec/dnsPolicy") {
        Some("ClusterFirstWithHostNet") => true,
        // On the node's network it means the node's resolver.
        Some("ClusterFirst") | None => !parts::is_host_network(source),
        Some(_) => false,
    }
}

/// Writes out what `ClusterFirst` means in the virtual cluster; the tenant's additions come after, and
/// its options win.
fn resolve_virtually(ctx: &Ctx<'_>, source: &VirtualObject, spec: &mut Fields) -> Verdict<()> {
    if ctx.facts.dns.is_empty() {
        return Err(wait_for_service(
            "kube-system",
            "kube-dns",
            "the virtual cluster's DNS Service has no address yet",
        ));
    }
    let domain = &ctx.facts.cluster_domain;
    let searches = [format!("{}.svc.{domain}", source.namespace()), format!("svc.{domain}"), domain.clone()];
    let nameservers = ctx.facts.dns.iter().map(ToString::to_string);
    let config = child_mut(spec, "dnsConfig");
    prepend(config, "nameservers", nameservers, MAX_NAMESERVERS);
    prepend(config, "searches", searches.into_iter(), MAX_SEARCHES);
    default_option(config, "ndots", "5");
    spec.insert("dnsPolicy".into(), "None".into());
    Ok(())
}

/// Puts `ours` in front of the list `name`, each value once and `limit` at most.
fn prepend(config: &mut Fields, name: &str, ours: impl Iterator<Item = String>, limit: usize) {
    let theirs = match config.remove(name) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let mut list: Vec<Value> = Vec::new();
    for value in ours.map(Value::String).chain(theirs) {
        if list.len() < limit && !list.contains(&value) {
            list.push(value);
        }
    }
    config.insert(name.into(), Value::Array(list));
}

fn default_option(config: &mut Fields, name: &str, value: &str) {
    let options = config.entry("options").or_insert(Value::Null);
    if options.is_null() {
        *options = json!([]);
    }
    if let Value::Array(options) = options
        && !options.iter().any(|option| parts::text(option, "name") == name)
    {
        options.insert(0, json!({"name": name, "value": value}));
    }
}

/// The API server's names work without DNS too, as for pods with the node's resolver.
fn know_kubernetes(ctx: &Ctx<'_>, source: &VirtualObject, spec: &mut Fields) -> Verdict<()> {
    let ip = kubernetes_address(ctx)?.to_string();
    let mut names = vec![format!("kubernetes.default.svc.{}", ctx.facts.cluster_domain)];
    names.extend(["kubernetes.default.svc", "kubernetes.default"].map(str::to_owned));
    if source.namespace() == "default" {
        // Elsewhere the short name is another Service, or none.
        names.push("kubernetes".to_owned());
    }
    let aliases = spec.entry("hostAliases").or_insert(Value::Null);
    if aliases.is_null() {
        *aliases = json!([]);
    }
    let Value::Array(aliases) = aliases else { return Ok(()) };
    // Addresses are the list's key: a second entry of the same one would be a duplicate.
    match aliases.iter_mut().find(|alias| parts::text(alias, "ip") == ip).and_then(Value::as_object_mut) {
        Some(alias) => prepend(alias, "hostnames", names.into_iter(), usize::MAX),
        None => aliases.push(json!({"ip": ip, "hostnames": names})),
    }
    Ok(())
}

/// The host name that the virtual cluster would give. The subdomain goes: with it the host's kubelet
/// would write the host's namespace and domain into the hosts file. The price is that `hostname -f` gives
/// the short name; the full one resolves, by the virtual cluster's DNS.
fn keep_hostname(ctx: &Ctx<'_>, source: &VirtualObject, spec: &mut Fields) {
    let hostname = hostname(source);
    let subdomain = spec.remove("subdomain");
    let subdomain = subdomain.as_ref().and_then(Value::as_str).filter(|subdomain| !subdomain.is_empty());
    let wants_fqdn = spec.remove("setHostnameAsFQDN") == Some(Value::Bool(true));
    if let Some(subdomain) = subdomain.filter(|_| wants_fqdn) {
        let fqdn = format!("{hostname}.{subdomain}.{}.svc.{}", source.namespace(), ctx.facts.cluster_domain);
        let is_possible =
            ctx.facts.host_version >= HOSTNAME_OVERRIDE_SINCE && !parts::is_host_network(source);
        if is_possible && fqdn.len() <= MAX_KERNEL_NAME {
            spec.insert("hostnameOverride".into(), fqdn.into());
        }
    }
    spec.insert("hostname".into(), hostname.into());
}

fn hostname(source: &VirtualObject) -> String {
    if let Some(explicit) = source.text("/spec/hostname").filter(|hostname| !hostname.is_empty()) {
        return explicit.to_owned();
    }
    let cut: String = source.name().chars().take(MAX_LABEL).collect();
    cut.replace('.', "-").trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{World, host_object, virtual_object};
    use super::*;
    use crate::verdict::Hold;

    fn applied(world: &World, namespace: &str, name: &str, spec: &Value) -> Verdict<HostObject> {
        let json = json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec});
        let mut draft = host_object(json.clone());
        apply(&world.ctx(), &virtual_object(json), &mut draft).map(|()| draft)
    }

    fn spec(world: &World, spec: &Value) -> Value {
        applied(world, "shop", "web", spec).unwrap().pointer("/spec").cloned().unwrap()
    }

    #[test]
    fn the_tenants_options_survive_and_win() {
        let options = json!([{"name": "edns0"}, {"name": "ndots", "value": "1"}]);
        let found = spec(&World::new(), &json!({"dnsConfig": {"options": options}}));
        assert_eq!(found["dnsConfig"]["options"], options);
        let found = spec(&World::new(), &json!({"dnsConfig": {"options": null}}));
        assert_eq!(found["dnsConfig"]["options"], json!([{"name": "ndots", "value": "5"}]));
    }

    #[test]
    fn no_more_nameservers_are_sent_than_the_api_takes() {
        let found =
            spec(&World::new(), &json!({"dnsConfig": {"nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3"]}}));
        assert_eq!(found["dnsConfig"]["nameservers"], json!(["10.96.0.10", "1.1.1.1", "2.2.2.2"]));
    }

    #[test]
    fn a_pod_waits_for_the_addresses_it_needs_and_for_no_others() {
        let mut world = World::new();
        world.facts.dns.clear();
        let held = applied(&world, "shop", "web", &json!({"dnsPolicy": "ClusterFirst"}));
        let Err(Hold::Wait(wait)) = held else { panic!("does not wait for DNS") };
        assert_eq!(
            wait.until.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["Service kube-system/kube-dns"]
        );
        assert!(applied(&world, "shop", "web", &json!({"dnsPolicy": "Default"})).is_ok());
        world.facts.kubernetes.clear();
        assert!(matches!(
            applied(&world, "shop", "web", &json!({"dnsPolicy": "Default"})),
            Err(Hold::Wait(_))
        ));
    }

    #[test]
    fn a_host_name_is_a_dns_label() {
        let name = format!("{}.{}", "a".repeat(62), "b");
        let found = applied(&World::new(), "shop", &name, &json!({})).unwrap();
        assert_eq!(found.text("/spec/hostname"), Some("a".repeat(62).as_str()));
        assert_eq!(spec(&World::new(), &json!({"hostname": "mine"}))["hostname"], "mine");
    }

    #[test]
    fn a_domain_name_is_the_host_name_only_where_it_can_be() {
        let wish = json!({"setHostnameAsFQDN": true, "subdomain": "db"});
        let mut world = World::new();
        assert_eq!(spec(&world, &wish)["hostnameOverride"], "web.db.shop.svc.cluster.local");
        let mut on_the_node = wish.clone();
        on_the_node["hostNetwork"] = json!(true);
        assert_eq!(spec(&world, &on_the_node).get("hostnameOverride"), None);
        let long = json!({"setHostnameAsFQDN": true, "subdomain": "d".repeat(40)});
        assert_eq!(spec(&world, &long).get("hostnameOverride"), None);
        world.facts.host_version.minor = 34;
        let old = spec(&world, &wish);
        assert_eq!(
            (old.get("hostnameOverride"), old.get("setHostnameAsFQDN"), old.get("subdomain")),
            (None, None, None)
        );
    }

    #[test]
    fn the_short_name_of_the_api_server_is_known_in_its_namespace_only() {
        let names = |namespace: &str| {
            let pod = applied(&World::new(), namespace, "web", &json!({})).unwrap();
            pod.pointer("/spec/hostAliases/0/hostnames").cloned().unwrap()
        };
        assert!(names("default").as_array().unwrap().contains(&json!("kubernetes")));
        assert!(!names("shop").as_array().unwrap().contains(&json!("kubernetes")));
    }
}

//! Gives the pod the resolver that a kubelet of the virtual cluster would give it.

use serde_json::{Value, json};

use super::environment::wait_for_service;
use super::parts;
use crate::context::Ctx;
use crate::object::{Fields, HostObject, VirtualObject, child_mut};
use crate::verdict::Verdict;

/// What the API accepts in `dnsConfig.nameservers`; a kubelet cuts there too.
const MAX_NAMESERVERS: usize = 3;
/// What the API accepts in `dnsConfig.searches`.
const MAX_SEARCHES: usize = 32;

/// Writes the resolver.
pub(super) fn apply(ctx: &Ctx<'_>, source: &VirtualObject, draft: &mut HostObject) -> Verdict<()> {
    if asks_cluster_dns(source) { resolve_virtually(ctx, source, draft.spec_mut()) } else { Ok(()) }
}

fn asks_cluster_dns(source: &VirtualObject) -> bool {
    match source.text("/spec/dnsPolicy") {
        Some("ClusterFirstWithHostNet") => true,
        // On the node's network it means the node's resolver.
        Some("ClusterFirst") | None => !parts::is_host_network(source),
        Some(_) => false,
    }
}

/// Writes out what `ClusterFirst` means in the virtual cluster; the node's search domains and the tenant's additions come
/// after, and its options win.
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
    let searches = searches.into_iter().chain(ctx.facts.node_searches.iter().cloned());
    prepend(config, "searches", searches, MAX_SEARCHES);
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
    fn search_domains_of_the_node_stand_between_the_clusters_and_the_tenants() {
        let mut world = World::new();
        world.facts.node_searches = vec!["node.example".to_owned()];
        let found = spec(&world, &json!({"dnsConfig": {"searches": ["own.example"]}}));
        let cluster = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"];
        let wanted: Vec<&str> = cluster.into_iter().chain(["node.example", "own.example"]).collect();
        assert_eq!(found["dnsConfig"]["searches"], json!(wanted));
        let found = spec(&world, &json!({"dnsPolicy": "None", "dnsConfig": {"searches": ["own.example"]}}));
        assert_eq!(found["dnsConfig"]["searches"], json!(["own.example"]));
    }

    #[test]
    fn no_more_nameservers_are_sent_than_the_api_takes() {
        let found =
            spec(&World::new(), &json!({"dnsConfig": {"nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3"]}}));
        assert_eq!(found["dnsConfig"]["nameservers"], json!(["10.96.0.10", "1.1.1.1", "2.2.2.2"]));
    }

    #[test]
    fn a_pod_waits_for_the_resolver_that_it_asks_for_and_for_no_other() {
        let mut world = World::new();
        world.facts.dns.clear();
        let held = applied(&world, "shop", "web", &json!({"dnsPolicy": "ClusterFirst"}));
        let Err(Hold::Wait(wait)) = held else { panic!("does not wait for DNS") };
        assert_eq!(
            wait.until.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["Service kube-system/kube-dns"]
        );
        assert!(applied(&world, "shop", "web", &json!({"dnsPolicy": "Default"})).is_ok());
    }
}

//! Which search domains the nodes of the host have: a kubelet appends them to those of the cluster, in every pod that uses
//! the cluster's DNS.

use std::fs;

/// Where the syncer's own kubelet has written them.
const RESOLVER: &str = "/etc/resolv.conf";

/// The search domains behind those of the host cluster; none outside of a pod of the host namespace.
pub(super) fn node_searches(namespace: &str) -> Vec<String> {
    // Without the file there is nothing to append, and nothing else fails.
    searches(&fs::read_to_string(RESOLVER).unwrap_or_default(), namespace)
}

/// What follows `<namespace>.svc.<domain> svc.<domain> <domain>`, which a kubelet writes first.
fn searches(resolver: &str, namespace: &str) -> Vec<String> {
    let listed = resolver.lines().filter_map(|line| line.trim_start().strip_prefix("search ")).next_back();
    let domains: Vec<&str> = listed.unwrap_or_default().split_whitespace().collect();
    let services = domains.first().and_then(|first| first.strip_prefix(&format!("{namespace}.")));
    match (services, domains.as_slice()) {
        (Some(services), [_, second, third, nodes @ ..])
            if *second == services && services.strip_prefix("svc.") == Some(third) =>
        {
            nodes.iter().map(|domain| (*domain).to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_clusters_own_domains_is_of_the_node() {
        let of =
            |search: &str| searches(&format!("nameserver 10.96.0.10\n{search}\noptions ndots:5\n"), "team-a");
        let cluster = "search team-a.svc.cluster.local svc.cluster.local cluster.local";
        assert_eq!(of(cluster), Vec::<String>::new());
        assert_eq!(of(&format!("{cluster} corp.example node.example")), ["corp.example", "node.example"]);
    }

    #[test]
    fn a_resolver_that_no_kubelet_wrote_for_this_namespace_says_nothing() {
        for text in [
            "",
            "search corp.example",
            "search other.svc.cluster.local svc.cluster.local cluster.local corp.example",
            "search team-a.svc.cluster.local corp.example cluster.local node.example",
        ] {
            assert_eq!(searches(text, "team-a"), Vec::<String>::new(), "{text}");
        }
    }
}

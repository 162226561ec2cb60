//! Gives the pod the host name that it would have on a cluster of its own.

use super::parts;
use crate::context::{Ctx, Version};
use crate::object::{HostObject, VirtualObject};
use crate::verdict::{By, Hold, Verdict};

/// Longest host name that a kubelet gives. The API takes 64 letters for an override, of which a kubelet cuts the last.
const MAX_HOSTNAME: usize = 63;
/// From this version on a pod's host name can be any domain name.
const HOSTNAME_OVERRIDE_SINCE: Version = Version { major: 1, minor: 35 };

/// Writes the host name. The subdomain goes: with it the host's kubelet would write the host's namespace and domain into
/// the hosts file (see [`super::hosts_file`] for what stands there instead).
pub(super) fn apply(ctx: &Ctx<'_>, source: &VirtualObject, draft: &mut HostObject) -> Verdict<()> {
    let spec = draft.spec_mut();
    spec.remove("subdomain");
    let is_full = spec.remove("setHostnameAsFQDN") == Some(true.into());
    if parts::is_host_network(source) {
        // The name is the node's.
        return Ok(());
    }
    let short = short(source);
    let name = match domain(ctx, source).filter(|_| is_full) {
        Some(domain) => full(&short, &domain)?,
        None => short.clone(),
    };
    let label = short.replace('.', "-");
    if name != label && ctx.facts.host_version >= HOSTNAME_OVERRIDE_SINCE {
        spec.insert("hostnameOverride".into(), name.into());
    }
    // Hosts of before know labels only.
    spec.insert("hostname".into(), label.into());
    Ok(())
}

/// The host name without the domain.
pub(super) fn short(source: &VirtualObject) -> String {
    let asked = ["/spec/hostnameOverride", "/spec/hostname"].into_iter();
    let name = asked.filter_map(|at| source.text(at)).find(|name| !name.is_empty()).unwrap_or(source.name());
    let cut: String = name.chars().take(MAX_HOSTNAME).collect();
    if cut.len() < name.len() { cut.trim_end_matches(['-', '.']).to_owned() } else { cut }
}

/// The domain that the pod's host name is in; none for a pod that asks for none.
pub(super) fn domain(ctx: &Ctx<'_>, source: &VirtualObject) -> Option<String> {
    let has = |at: &str| source.text(at).filter(|text| !text.is_empty());
    // An override is the whole name, whatever it looks like.
    let subdomain = has("/spec/subdomain").filter(|_| has("/spec/hostnameOverride").is_none())?;
    Some(format!("{subdomain}.{}.svc.{}", source.namespace(), ctx.facts.cluster_domain))
}

/// A kubelet does not start a pod whose name does not fit.
fn full(short: &str, domain: &str) -> Verdict<String> {
    let name = format!("{short}.{domain}");
    if name.len() <= MAX_HOSTNAME {
        return Ok(name);
    }
    let why = format!(
        "the host name {name:?} would have {} characters, and a pod's has {MAX_HOSTNAME} at most; remove the field, or \
         shorten the pod's name, its `hostname` or its `subdomain`",
        name.len()
    );
    Err(Hold::refuse(By::Mapper, "spec.setHostnameAsFQDN", why))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixture::{World, host_object, virtual_object};
    use super::*;

    fn applied(world: &World, name: &str, spec: &Value) -> Verdict<Value> {
        let json = json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec});
        let mut draft = host_object(json.clone());
        apply(&world.ctx(), &virtual_object(json), &mut draft)?;
        Ok(draft.pointer("/spec").cloned().unwrap())
    }

    fn spec(name: &str, spec: &Value) -> Value {
        applied(&World::new(), name, spec).unwrap()
    }

    #[test]
    fn a_host_name_is_the_asked_one_or_the_pods_and_is_cut_as_a_kubelet_cuts() {
        assert_eq!(spec("web", &json!({"hostname": "mine", "subdomain": "db"})), json!({"hostname": "mine"}));
        let long = format!("{}.{}", "a".repeat(62), "b");
        assert_eq!(spec(&long, &json!({})), json!({"hostname": "a".repeat(62)}));
        assert_eq!(spec("a-", &json!({})), json!({"hostname": "a-"}), "what fits is not cut");
    }

    #[test]
    fn dots_stay_where_the_host_can_have_them() {
        let mut world = World::new();
        assert_eq!(spec("web.1", &json!({})), json!({"hostname": "web-1", "hostnameOverride": "web.1"}));
        world.facts.host_version.minor = 34;
        assert_eq!(applied(&world, "web.1", &json!({})).unwrap(), json!({"hostname": "web-1"}));
    }

    #[test]
    fn a_full_name_is_the_host_name_where_the_host_can_have_it() {
        let wish = json!({"setHostnameAsFQDN": true, "subdomain": "db"});
        let mut world = World::new();
        let full = json!({"hostname": "web", "hostnameOverride": "web.db.shop.svc.cluster.local"});
        assert_eq!(spec("web", &wish), full);
        world.facts.host_version.minor = 34;
        assert_eq!(applied(&world, "web", &wish).unwrap(), json!({"hostname": "web"}));
        assert_eq!(spec("web", &json!({"setHostnameAsFQDN": true})), json!({"hostname": "web"}));
    }

    #[test]
    fn a_full_name_that_does_not_fit_is_refused_by_its_field() {
        let of = |length: usize| json!({"setHostnameAsFQDN": true, "subdomain": "d".repeat(length)});
        let fits = 63 - "web..shop.svc.cluster.local".len();
        assert!(applied(&World::new(), "web", &of(fits)).is_ok());
        let held = applied(&World::new(), "web", &of(fits + 1)).unwrap_err();
        assert_eq!(held.problem().field.as_deref(), Some("spec.setHostnameAsFQDN"));
        assert!(held.problem().why.contains("64 characters"), "{}", held.problem().why);
    }

    #[test]
    fn an_override_of_the_tenants_is_the_whole_name() {
        let asked = json!({"hostnameOverride": "a.example", "hostname": "b", "subdomain": "db"});
        let json = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": asked});
        assert_eq!(domain(&World::new().ctx(), &virtual_object(json)), None);
        assert_eq!(spec("web", &asked), json!({"hostnameOverride": "a.example", "hostname": "a-example"}));
    }

    #[test]
    fn on_the_network_of_the_node_the_name_is_the_nodes() {
        let asked = json!({"hostNetwork": true, "subdomain": "db", "setHostnameAsFQDN": true});
        assert_eq!(spec("web", &asked), json!({"hostNetwork": true}));
    }
}

//! Replaces host names in messages that flow back.

use std::collections::BTreeSet;

use super::tokens;
use crate::context::Ctx;
use crate::messages;
use crate::object::{Fields, HostObject, Key, VirtualObject};

/// Rewrites every `message` in a pod's status.
pub(super) fn to_virtual(
    ctx: &Ctx<'_>,
    targets: &BTreeSet<Key>,
    host: &HostObject,
    source: &VirtualObject,
    status: &mut Fields,
) {
    let mut renames = None;
    messages::each(status, &mut |message| {
        let renames = renames.get_or_insert_with(|| renames_of(ctx, targets, host, source));
        for (from, to) in renames.iter() {
            if message.contains(from.as_str()) {
                *message = message.replace(from.as_str(), to);
            }
        }
    });
}

/// What to replace by what, in order: longer names before those that they contain.
fn renames_of(
    ctx: &Ctx<'_>,
    targets: &BTreeSet<Key>,
    host: &HostObject,
    source: &VirtualObject,
) -> Vec<(String, String)> {
    let virtual_name = source.virtual_name();
    let token_secret = tokens::secret_name(ctx.names, &virtual_name).to_string();
    let mut names = vec![
        (host.name().to_owned(), source.name().to_owned()),
        (token_secret, format!("{}-tokens", source.name())),
    ];
    for key in targets {
        names.push((ctx.names.host_name(&key.name).to_string(), key.name.name.clone()));
    }
    names.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));

    let (host_namespace, namespace) = (host.namespace(), source.namespace());
    let mut renames = Vec::new();
    for (from, to) in &names {
        // `namespace/name`, and the `name_namespace(uid)` of kubelets.
        renames.push((format!("{host_namespace}/{from}"), format!("{namespace}/{to}")));
        renames.push((format!("{from}_{host_namespace}"), format!("{to}_{namespace}")));
    }
    renames.extend(names);
    renames.push((format!("\"{host_namespace}\""), format!("\"{namespace}\"")));
    renames.push((host.uid().to_owned(), source.uid().to_owned()));
    renames.retain(|(from, _)| !from.is_empty());
    renames
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{World, host_object, virtual_object};
    use super::*;
    use crate::object::{Kind, VirtualName};

    fn rewritten(message: &str) -> String {
        let world = World::new();
        let host =
            host_object(json!({"metadata": {"name": "web-x-shop-x-vc", "namespace": "team-a", "uid": "h1"}}));
        let source = virtual_object(json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u1"}}));
        let secret = Key { kind: Kind::new("v1/Secret"), name: VirtualName::new("shop", "my-web") };
        let mut status = Fields::new();
        status.insert("containerStatuses".into(), json!([{"state": {"waiting": {"message": message}}}]));
        to_virtual(&world.ctx(), &BTreeSet::from([secret]), &host, &source, &mut status);
        status["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap().to_owned()
    }

    #[test]
    fn the_pods_names_are_the_virtual_ones() {
        assert_eq!(rewritten("team-a/web-x-shop-x-vc"), "shop/web");
        assert_eq!(rewritten("container=a pod=web-x-shop-x-vc_team-a(h1)"), "container=a pod=web_shop(u1)");
    }

    #[test]
    fn names_of_other_objects_are_the_virtual_ones() {
        assert_eq!(rewritten("secret \"my-web-x-shop-x-vc\" not found"), "secret \"my-web\" not found");
        assert_eq!(
            rewritten("object \"team-a\"/\"my-web-x-shop-x-vc\" not registered"),
            "object \"shop\"/\"my-web\" not registered"
        );
    }

    #[test]
    fn other_messages_stay() {
        assert_eq!(
            rewritten("back-off 10s restarting failed container"),
            "back-off 10s restarting failed container"
        );
    }
}

//! Says why a server does not serve a kind as it is mapped: whoever reads it knows what to change.

use serde_json::Value;
use weft_core::object::ResourceType;

use crate::api::{self, Api};
use crate::registry::SYNCED;

/// Where something is that a server has, and what has it.
const PLACES: [(&str, &str, &str); 2] =
    [("host", "on the host", "the host"), ("virtual", "in the virtual cluster", "the virtual cluster")];

/// Why `server` answered `error` when it was asked for a list of `resource`.
pub(super) async fn why<S>(
    api: &Api<S>,
    server: &str,
    (namespace, resource): (&str, &ResourceType),
    error: &api::Error,
) -> String {
    let place = PLACES.iter().find(|(name, ..)| *name == server);
    let (at, place) = place.map_or(("there", server), |(_, at, place)| (*at, *place));
    let kind = &resource.kind;
    if !error.is_not_found() {
        return without_permission(at, namespace, resource);
    }
    let found = match ask(api, &version_path(resource)).await {
        Ok(list) => list,
        Err(error) if error.is_not_found() => return without_version(api, place, resource).await,
        Err(_) => return format!("{place} does not have {}", plural(resource)),
    };
    let resources = found.get("resources").and_then(Value::as_array);
    let is_kind = |found: &&Value| text(found, "kind") == kind && !text(found, "name").contains('/');
    match resources.into_iter().flatten().find(is_kind) {
        Some(found) if found.get("namespaced") == Some(&Value::Bool(false)) => {
            format!("{kind} is cluster-scoped {at}, and only what is in a namespace is synced")
        }
        Some(found) if text(found, "name") != resource.plural => format!(
            "the plural of {kind} is {:?} {at}, not {:?}; correct `plural`",
            text(found, "name"),
            resource.plural
        ),
        Some(_) => format!("{place} does not serve {} yet", plural(resource)),
        None => format!(
            "{place} has no {kind} in {}; install its CustomResourceDefinition there",
            resource.api_version()
        ),
    }
}

/// The same where the syncer may not list it, with the rule that its Role lacks, to be pasted. Of what is beyond its namespace on
/// the host it only reads.
fn without_permission(at: &str, namespace: &str, resource: &ResourceType) -> String {
    let (role, verbs) = match namespace {
        "" if at == PLACES[0].1 => ("ClusterRole", "list, watch".to_owned()),
        _ => ("Role", SYNCED.join(", ")),
    };
    let group = &resource.group;
    format!(
        "the syncer has no permission to list and watch {} {at}; its {role} needs the rule `{{apiGroups: [{group:?}], \
         resources: [{}], verbs: [{verbs}]}}`, and `weft rbac` prints all that it needs",
        plural(resource),
        resource.plural
    )
}

/// The same where the version is not served.
async fn without_version<S>(api: &Api<S>, place: &str, resource: &ResourceType) -> String {
    let ResourceType { group, version, kind, .. } = resource;
    let group_is_served = ask(api, &format!("/apis/{group}")).await;
    let versions =
        group_is_served.as_ref().ok().and_then(|found| found.get("versions")).and_then(Value::as_array);
    let versions: Vec<&str> =
        versions.into_iter().flatten().map(|version| text(version, "version")).collect();
    if versions.is_empty() {
        return format!(
            "{place} has no API group {group:?}; install the CustomResourceDefinition of {kind} there"
        );
    }
    format!(
        "{place} serves {group} in {}, not in {version}; map a version that both clusters serve",
        versions.join(" and ")
    )
}

async fn ask<S>(api: &Api<S>, path: &str) -> Result<Value, api::Error> {
    serde_json::from_slice(&api.send(api::get(path)).await?).map_err(api::Error::Decode)
}

fn version_path(resource: &ResourceType) -> String {
    let root = if resource.group.is_empty() { "/api" } else { "/apis" };
    format!("{root}/{}", resource.api_version())
}

/// `widgets.example.org`, as a `CustomResourceDefinition` is called.
fn plural(resource: &ResourceType) -> String {
    let dot = if resource.group.is_empty() { "" } else { "." };
    format!("{}{dot}{}", resource.plural, resource.group)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use weft_core::object::Host;

    use crate::api::scripted::{Answer, Asked, scripted};

    fn widgets() -> ResourceType {
        let core = ResourceType::core("Widget", "widgets");
        ResourceType { group: "example.org".into(), ..core }
    }

    /// Why a host does not serve widgets that answers discovery so, where a list is answered with `code`.
    async fn of(code: u16, group: Option<Value>, version: Option<Value>) -> String {
        let (api, _) = scripted::<Host>(move |asked: &Asked| {
            let answer = match asked.path.as_str() {
                "/apis/example.org" => &group,
                "/apis/example.org/v1" => &version,
                _ => return Answer::failure(code, "Failed"),
            };
            answer.clone().map_or_else(|| Answer::failure(404, "NotFound"), Answer::ok)
        });
        let listed = api.send(api::get("/apis/example.org/v1/namespaces/team-a/widgets")).await;
        why(&api, "host", ("team-a", &widgets()), &listed.unwrap_err()).await
    }

    #[tokio::test]
    async fn of_the_whole_host_the_rule_is_one_of_a_cluster_role_that_only_reads() {
        let (api, _) = scripted::<Host>(|_: &Asked| Answer::failure(403, "Forbidden"));
        let nodes = ResourceType::core_cluster("Node", "nodes");
        let listed = api.send(api::get("/api/v1/nodes")).await.unwrap_err();
        let expected = "the syncer has no permission to list and watch nodes on the host; its ClusterRole needs the rule \
                        `{apiGroups: [\"\"], resources: [nodes], verbs: [list, watch]}`, and `weft rbac` prints all that it needs";
        assert_eq!(why(&api, "host", ("", &nodes), &listed).await, expected);
    }

    fn resources(name: &str, kind: &str, namespaced: bool) -> Value {
        let status = json!({"name": "widgets/status", "kind": "Widget", "namespaced": true});
        json!({"resources": [status, {"name": name, "kind": kind, "namespaced": namespaced}]})
    }

    #[tokio::test]
    async fn each_cause_is_told_apart_and_says_what_to_change() {
        let versions = Some(json!({"versions": [{"version": "v1beta1"}, {"version": "v2"}]}));
        for (found, expected) in [
            (
                of(404, None, None).await,
                "the host has no API group \"example.org\"; install the CustomResourceDefinition of Widget there",
            ),
            (
                of(404, versions, None).await,
                "the host serves example.org in v1beta1 and v2, not in v1; map a version that both clusters serve",
            ),
            (
                of(404, None, Some(resources("gadgets", "Gadget", true))).await,
                "the host has no Widget in example.org/v1; install its CustomResourceDefinition there",
            ),
            (
                of(404, None, Some(resources("widgetes", "Widget", true))).await,
                "the plural of Widget is \"widgetes\" on the host, not \"widgets\"; correct `plural`",
            ),
            (
                of(404, None, Some(resources("widgets", "Widget", false))).await,
                "Widget is cluster-scoped on the host, and only what is in a namespace is synced",
            ),
            (
                of(404, None, Some(resources("widgets", "Widget", true))).await,
                "the host does not serve widgets.example.org yet",
            ),
            (
                of(403, None, None).await,
                "the syncer has no permission to list and watch widgets.example.org on the host; its Role needs the rule `{apiGroups: [\"example.org\"], resources: [widgets], verbs: [create, delete, get, list, patch, watch]}`, and `weft rbac` prints all that it needs",
            ),
        ] {
            assert_eq!(found, expected);
        }
    }
}

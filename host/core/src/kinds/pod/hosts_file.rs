//! Gives pods with a subdomain the hosts file that a kubelet of the virtual cluster would write: with their full name.
//!
//! The host's kubelet would write the host's namespace and domain there. So it is kept from writing any, and an init
//! container that runs `weft hosts` completes what it has written, in a volume whose file all containers have as
//! `/etc/hosts`. Ephemeral containers keep the kubelet's: the API lets them mount no single file.

use serde_json::{Value, json};

use super::{hostname, parts};
use crate::context::Ctx;
use crate::keys::HOSTS_FILE;
use crate::object::{Fields, HostObject, VirtualObject};
use crate::verdict::{By, Hold, Verdict};

/// Where containers have the file.
const PATH: &str = "/etc/hosts";
/// Where the init container has the volume, and the file's name in it.
const FOLDER: &str = "/run/weft-hosts";
const FILE: &str = "hosts";
/// A user for pods that run as root, as the image's.
const USER: u32 = 65_532;
/// What a container can be given of any node, and so the init container as well.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const INIT_CONTAINERS: &str = "/spec/initContainers";
/// Lists of containers that can mount the file.
const MOUNTING: [&str; 2] = ["initContainers", "containers"];

/// Adds the init container, the volume and its mounts.
pub(super) fn apply(ctx: &Ctx<'_>, source: &VirtualObject, draft: &mut HostObject) -> Verdict<()> {
    refuse_reserved_names(source)?;
    let Some((image, domain)) = ctx.facts.hosts_file_image.as_deref().zip(hostname::domain(ctx, source))
    else {
        return Ok(());
    };
    if parts::is_host_network(source) || source.text("/spec/os/name") == Some("windows") {
        return Ok(());
    }
    let writer = writer(source, image, &domain);
    for list in MOUNTING {
        parts::objects_mut(draft, &format!("/spec/{list}")).for_each(mount);
    }
    let spec = draft.spec_mut();
    edit_list(spec, "volumes", |list| list.push(json!({"name": HOSTS_FILE, "emptyDir": {}})));
    // First: what the tenant's own init containers do may need the name.
    edit_list(spec, "initContainers", |list| list.insert(0, writer));
    Ok(())
}

/// Says in the virtual pod's status what its start waits for, and hides the rest of the file's making.
pub(super) fn explain(host: &HostObject, status: &mut Fields) {
    if let Some(why) = unfinished(host) {
        let conditions = status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten();
        for condition in conditions.filter(|condition| parts::text(condition, "type") == "Initialized") {
            if let Some(fields) = condition.as_object_mut() {
                fields.insert("message".into(), why.clone().into());
            }
        }
    }
    let is_only_init_container =
        parts::items(host, INIT_CONTAINERS).map(|init| parts::text(init, "name")).eq([HOSTS_FILE]);
    for list in ["containerStatuses", "initContainerStatuses"] {
        let containers = status.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers.filter_map(Value::as_object_mut) {
            hide_mount(container);
            if is_only_init_container {
                hide_initialisation(container);
            }
        }
    }
}

/// What a container waits for at first in a pod without init containers.
fn hide_initialisation(container: &mut Fields) {
    let waiting = container.get_mut("state").and_then(|state| state.get_mut("waiting"));
    if let Some(reason) = waiting.and_then(|waiting| waiting.get_mut("reason"))
        && reason == "PodInitializing"
    {
        *reason = "ContainerCreating".into();
    }
}

fn hide_mount(container: &mut Fields) {
    let Some(Value::Array(mounts)) = container.get_mut("volumeMounts") else { return };
    mounts.retain(|mount| parts::text(mount, "name") != HOSTS_FILE);
    // The API server drops an empty list, and it would be written again and again.
    if mounts.is_empty() {
        container.remove("volumeMounts");
    }
}

/// Why the file is not there yet; nothing once it is, and for pods without.
fn unfinished(host: &HostObject) -> Option<String> {
    parts::find(parts::items(host, INIT_CONTAINERS), "name", HOSTS_FILE)?;
    let status = parts::find(parts::items(host, "/status/initContainerStatuses"), "name", HOSTS_FILE)?;
    let ended = status.pointer("/state/terminated");
    if ended.is_some_and(|ended| ended.get("exitCode") == Some(&0.into())) {
        return None;
    }
    let state = ended.or_else(|| status.pointer("/state/waiting"));
    let words = ["reason", "message"].map(|field| state.map_or("", |state| parts::text(state, field)));
    let said: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let said = if said.is_empty() { String::new() } else { format!(": {}", said.join(": ")) };
    Some(format!("the pod's hosts file is not written yet{said}"))
}

/// The host's API would take no second one, and nobody would know whose is whose.
fn refuse_reserved_names(source: &VirtualObject) -> Verdict<()> {
    for list in ["initContainers", "containers", "volumes"] {
        let mut items = parts::items(source, &format!("/spec/{list}"));
        if let Some(index) = items.position(|item| parts::text(item, "name") == HOSTS_FILE) {
            let why = format!("{HOSTS_FILE:?} is a name of the syncer's own; choose another one");
            return Err(Hold::refuse(By::Mapper, format!("spec.{list}[{index}].name"), why));
        }
    }
    Ok(())
}

fn writer(source: &VirtualObject, image: &str, domain: &str) -> Value {
    let name = hostname::short(source);
    let file = format!("{FOLDER}/{FILE}");
    json!({
        "name": HOSTS_FILE,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["hosts", format!("--name={name}"), format!("--domain={domain}"), format!("--to={file}")],
        "env": [{"name": "POD_IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}}],
        "resources": resources(source),
        "securityContext": security_context(source),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": HOSTS_FILE, "mountPath": FOLDER}],
    })
}

/// As the pod's first container has: so neither the pod's class of service, nor what it takes, nor what limits and quotas
/// of the host say of it changes.
fn resources(source: &VirtualObject) -> Value {
    let mut resources = Fields::new();
    for group in ["limits", "requests"] {
        let amounts =
            source.pointer(&format!("/spec/containers/0/resources/{group}")).and_then(Value::as_object);
        let amounts: Fields = amounts
            .into_iter()
            .flatten()
            .filter(|(name, _)| RESOURCES.contains(&name.as_str()))
            .map(|(name, amount)| (name.clone(), amount.clone()))
            .collect();
        if !amounts.is_empty() {
            resources.insert(group.into(), Value::Object(amounts));
        }
    }
    Value::Object(resources)
}

/// Enough for the level `restricted`, whatever the pod's own is. The user is the pod's or the image's, unless that is root:
/// a host that chooses users, as `OpenShift` does, refuses another one.
fn security_context(source: &VirtualObject) -> Value {
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    let is_root = source.pointer("/spec/securityContext/runAsUser") == Some(&0.into());
    if let Some(context) = context.as_object_mut().filter(|_| is_root) {
        context.insert("runAsUser".into(), USER.into());
    }
    context
}

/// Mounts the file, unless the container has something else there.
fn mount(container: &mut Fields) {
    edit_list(container, "volumeMounts", |mounts| {
        if !mounts.iter().any(|mount| parts::text(mount, "mountPath").trim_end_matches('/') == PATH) {
            mounts.push(json!({"name": HOSTS_FILE, "mountPath": PATH, "subPath": FILE}));
        }
    });
}

fn edit_list(fields: &mut Fields, name: &str, edit: impl FnOnce(&mut Vec<Value>)) {
    let mut list = match fields.remove(name) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    edit(&mut list);
    fields.insert(name.into(), list.into());
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{World, host_object, virtual_object};
    use super::*;

    fn world() -> World {
        let mut world = World::new();
        world.facts.hosts_file_image = Some("weft:1".to_owned());
        world
    }

    fn applied(world: &World, spec: &Value) -> Verdict<HostObject> {
        let json = json!({"metadata": {"name": "db-0", "namespace": "shop"}, "spec": spec});
        let mut draft = host_object(json.clone());
        apply(&world.ctx(), &virtual_object(json), &mut draft).map(|()| draft)
    }

    fn with_subdomain(change: &Value) -> HostObject {
        let mut spec = json!({"subdomain": "db", "containers": [{"name": "db"}]});
        json_patch::merge(&mut spec, change);
        applied(&world(), &spec).unwrap()
    }

    fn writer_of(pod: &HostObject) -> Option<&Value> {
        pod.pointer("/spec/initContainers/0").filter(|first| first["name"] == HOSTS_FILE)
    }

    #[test]
    fn only_pods_with_a_domain_of_their_own_and_a_network_of_their_own_get_a_file() {
        assert!(writer_of(&with_subdomain(&json!({}))).is_some());
        for change in [
            json!({"subdomain": null}),
            json!({"hostNetwork": true}),
            json!({"os": {"name": "windows"}}),
            json!({"hostnameOverride": "a.example"}),
        ] {
            let pod = with_subdomain(&change);
            assert_eq!((writer_of(&pod), pod.pointer("/spec/volumes")), (None, None), "{change}");
        }
        let pod = applied(&World::new(), &json!({"subdomain": "db", "containers": [{}]})).unwrap();
        assert_eq!(pod.pointer("/spec/initContainers"), None, "there is no image for it");
    }

    #[test]
    fn every_container_has_the_file_but_those_with_one_of_their_own() {
        let own = json!({"name": "own", "volumeMounts": [{"name": "a", "mountPath": "/etc/hosts", "subPath": "x"}]});
        let pod = with_subdomain(
            &json!({"containers": [{"name": "db"}, own], "initContainers": [{"name": "first"}]}),
        );
        let mount = json!([{"name": HOSTS_FILE, "mountPath": "/etc/hosts", "subPath": "hosts"}]);
        assert_eq!(pod.pointer("/spec/containers/0/volumeMounts"), Some(&mount));
        assert_eq!(pod.pointer("/spec/containers/1"), Some(&own));
        assert_eq!(pod.pointer("/spec/initContainers/1/volumeMounts"), Some(&mount));
    }

    #[test]
    fn the_init_container_takes_what_the_first_one_may_and_no_devices() {
        let of = |resources: Value| {
            let pod = with_subdomain(&json!({"containers": [{"name": "db", "resources": resources}]}));
            writer_of(&pod).unwrap()["resources"].clone()
        };
        assert_eq!(of(json!({})), json!({}), "the pod stays what it is: best effort");
        let asked =
            json!({"limits": {"cpu": "1", "example.com/gpu": 1}, "requests": {"hugepages-2Mi": "2Mi"}});
        assert_eq!(of(asked), json!({"limits": {"cpu": "1"}}));
    }

    #[test]
    fn it_is_not_root_in_pods_that_are() {
        let user = |context: Value| {
            let pod = with_subdomain(&json!({"securityContext": context}));
            writer_of(&pod).unwrap().pointer("/securityContext/runAsUser").cloned()
        };
        assert_eq!(user(json!({"runAsUser": 0})), Some(json!(65_532)));
        assert_eq!((user(json!({"runAsUser": 7})), user(json!({}))), (None, None));
    }

    #[test]
    fn a_name_that_is_the_syncers_own_is_refused_by_its_field() {
        for (list, field) in [
            ("containers", "spec.containers[1].name"),
            ("initContainers", "spec.initContainers[1].name"),
            ("volumes", "spec.volumes[1].name"),
        ] {
            let held =
                applied(&World::new(), &json!({list: [{"name": "a"}, {"name": HOSTS_FILE}]})).unwrap_err();
            assert_eq!(held.problem().field.as_deref(), Some(field));
        }
    }

    /// What a tenant reads of a pod whose init container is in this state.
    fn message(state: &Value) -> Value {
        let init = json!([{"name": HOSTS_FILE, "state": state}]);
        let conditions = json!([{"type": "Initialized", "message": "incomplete: [weft-hosts]"}]);
        let spec = json!({"initContainers": [{"name": HOSTS_FILE}]});
        let status = json!({"initContainerStatuses": init, "conditions": conditions});
        let pod = host_object(json!({"metadata": {"name": "x"}, "spec": spec, "status": status.clone()}));
        let mut shown = status.as_object().cloned().unwrap();
        explain(&pod, &mut shown);
        shown["conditions"][0]["message"].clone()
    }

    #[test]
    fn a_pod_that_waits_for_its_file_says_why() {
        let waits = json!({"waiting": {"reason": "ErrImagePull", "message": "no such host"}});
        assert_eq!(message(&waits), "the pod's hosts file is not written yet: ErrImagePull: no such host");
        let failed = json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "disk full"}});
        assert_eq!(message(&failed), "the pod's hosts file is not written yet: Error: disk full");
        assert_eq!(message(&json!({"running": {}})), "the pod's hosts file is not written yet");
        let done = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
        assert_eq!(message(&done), "incomplete: [weft-hosts]");
    }

    #[test]
    fn a_container_waits_as_in_a_pod_without_init_containers_where_there_is_no_other() {
        let reason = |init: Value| {
            let pod = host_object(json!({"metadata": {"name": "x"}, "spec": {"initContainers": init}}));
            let waiting = json!([{"state": {"waiting": {"reason": "PodInitializing"}}}]);
            let mut status = Fields::from_iter([("containerStatuses".to_owned(), waiting)]);
            explain(&pod, &mut status);
            status["containerStatuses"][0]["state"]["waiting"]["reason"].clone()
        };
        assert_eq!(reason(json!([{"name": HOSTS_FILE}])), "ContainerCreating");
        assert_eq!(reason(json!([{"name": HOSTS_FILE}, {"name": "setup"}])), "PodInitializing");
        assert_eq!(reason(json!([{"name": "setup"}])), "PodInitializing");
    }

    #[test]
    fn the_mount_is_not_shown() {
        let (data, own) = (json!({"name": "data", "mountPath": "/data"}), json!({"name": HOSTS_FILE}));
        let containers = json!([{"volumeMounts": [data, own]}, {"volumeMounts": [own]}]);
        let mut status = Fields::from_iter([("containerStatuses".to_owned(), containers)]);
        explain(&host_object(json!({"metadata": {"name": "x"}})), &mut status);
        assert_eq!(status["containerStatuses"], json!([{"volumeMounts": [data]}, {}]));
    }
}

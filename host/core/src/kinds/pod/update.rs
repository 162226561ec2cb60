//! Says what of a running pod can change, and how.
//!
//! The API lets little of a pod change, and the host may have added containers, tolerations and default
//! resources of its own. So everything is compared by the names that we know, and lists are merged. The host may also have
//! changed what was written, as a policy does that takes images from a mirror: so each field is written again only when
//! the tenant has changed that field, by what the host pod remembers of the last time ([`WANTED`]).

use serde_json::{Value, json};

use super::parts::{self, CONTAINER_LISTS};
use super::quantity;
use crate::change::Change;
use crate::keys::{DIGEST, HOSTS_FILE, WANTED};
use crate::object::{Fields, HostObject};

/// Containers that are part of the pod from the start.
const LASTING: [&str; 2] = ["initContainers", "containers"];

/// The patches that bring `current` to `desired`.
pub(super) fn changes(desired: &HostObject, current: &HostObject) -> Vec<Change> {
    let mut changes = Vec::new();
    if let Some(last) = Last::of(desired, current) {
        // Resources first: the annotation, which says that all of it arrived, goes with the object's own patch.
        changes.extend(resize(desired, current, &last));
        changes.extend(main(desired, current, &last));
    }
    changes.extend(debug(desired, current));
    changes
}

/// What the tenant wanted when the host pod was last written, as [`wanted`] has it; nothing where that is not known.
/// Whatever the host's admission or autoscaler has made of it stays: writing it again would fight over it for ever.
struct Last(Value);

impl Last {
    /// None if the tenant wants just what it wanted then.
    fn of(desired: &HostObject, current: &HostObject) -> Option<Self> {
        let digest = desired.annotation(DIGEST);
        if digest.is_some() && digest == current.annotation(DIGEST) {
            return None;
        }
        let text = current.annotation(WANTED).unwrap_or_default();
        Some(Self(serde_json::from_str(text).unwrap_or_default()))
    }

    fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(&self.0, |value, field| value.get(field))
    }

    fn is(&self, path: &[&str], value: &Value) -> bool {
        self.at(path) == Some(value)
    }
}

/// What a host pod remembers of what the tenant wants, of the fields that can change.
pub(super) fn wanted(desired: &HostObject) -> Value {
    let mut wanted = Fields::new();
    for field in ["activeDeadlineSeconds", "tolerations", "resources"] {
        if let Some(value) = desired.pointer(&format!("/spec/{field}")).filter(|value| !value.is_null()) {
            wanted.insert(field.into(), value.clone());
        }
    }
    let containers = LASTING.iter().flat_map(|list| parts::items(desired, &format!("/spec/{list}")));
    let of = |container: &Value| {
        let fields = ["image", "resources"].into_iter();
        fields.filter_map(|field| Some((field.to_owned(), container.get(field)?.clone()))).collect::<Fields>()
    };
    let containers: Fields = containers
        .map(|container| (parts::text(container, "name").to_owned(), of(container).into()))
        .collect();
    wanted.insert("containers".into(), containers.into());
    Value::Object(wanted)
}

/// All that [`changes`] can change.
pub(super) fn view(desired: &HostObject) -> Value {
    let mut view = Fields::new();
    for field in ["activeDeadlineSeconds", "tolerations", "resources"] {
        if let Some(value) = desired.pointer(&format!("/spec/{field}")) {
            view.insert(field.into(), value.clone());
        }
    }
    for list in CONTAINER_LISTS {
        let containers = parts::items(desired, &format!("/spec/{list}"));
        let of = |container: &Value| match list {
            "ephemeralContainers" => json!([container.get("name")]),
            _ => json!([container.get("name"), container.get("image"), container.get("resources")]),
        };
        view.insert(list.into(), containers.map(of).collect());
    }
    Value::Object(view)
}

/// Images, the deadline and tolerations.
fn main(desired: &HostObject, current: &HostObject, last: &Last) -> Option<Change> {
    let mut spec = Fields::new();
    for list in LASTING {
        let images = by_name(desired, current, list, |name, want, have| {
            let image = want.get("image")?;
            let is_new = Some(image) != have.get("image") && !last.is(&["containers", name, "image"], image);
            is_new.then(|| ("image", image.clone()))
        });
        insert_list(&mut spec, list, images);
    }
    if let Some(deadline) = desired.pointer("/spec/activeDeadlineSeconds")
        && !deadline.is_null()
        && Some(deadline) != current.pointer("/spec/activeDeadlineSeconds")
        && !last.is(&["activeDeadlineSeconds"], deadline)
    {
        spec.insert("activeDeadlineSeconds".into(), deadline.clone());
    }
    insert_list(&mut spec, "tolerations", tolerations(desired, current, last));
    (!spec.is_empty()).then(|| Change::strategic(None, json!({"spec": spec})))
}

/// All tolerations, if some are missing. The API lets them only be added, and its patch replaces the list.
fn tolerations(desired: &HostObject, current: &HostObject, last: &Last) -> Vec<Value> {
    let before = last.at(&["tolerations"]).and_then(Value::as_array);
    let is_new = |wanted: &Value| before.is_none_or(|before| !before.contains(wanted));
    let mut all: Vec<Value> = parts::items(current, "/spec/tolerations").cloned().collect();
    let wanted = parts::items(desired, "/spec/tolerations");
    let missing: Vec<Value> =
        wanted.filter(|wanted| !all.contains(wanted) && is_new(wanted)).cloned().collect();
    if missing.is_empty() {
        return missing;
    }
    all.extend(missing);
    all
}

/// Resources of containers and of the pod.
fn resize(desired: &HostObject, current: &HostObject, last: &Last) -> Option<Change> {
    let mut spec = Fields::new();
    for list in LASTING {
        let resources = by_name(desired, current, list, |name, want, have| {
            // It has ended, and the API resizes only what may run again.
            if name == HOSTS_FILE {
                return None;
            }
            let last = last.at(&["containers", name, "resources"]);
            changed_resources(want.get("resources"), have.get("resources"), last)
                .map(|changed| ("resources", changed))
        });
        insert_list(&mut spec, list, resources);
    }
    let (want, have) = (desired.pointer("/spec/resources"), current.pointer("/spec/resources"));
    if let Some(changed) = changed_resources(want, have, last.at(&["resources"])) {
        spec.insert("resources".into(), changed);
    }
    (!spec.is_empty()).then(|| Change::strategic(Some("resize"), json!({"spec": spec})))
}

/// The wanted amounts that differ from what is there, and from what was wanted last. What the host has beside them was its
/// default and stays.
fn changed_resources(want: Option<&Value>, have: Option<&Value>, last: Option<&Value>) -> Option<Value> {
    let mut changed = Fields::new();
    for group in ["limits", "requests"] {
        let wanted =
            want.and_then(|resources| resources.get(group)).and_then(Value::as_object).into_iter().flatten();
        let is_in = |resources: Option<&Value>, name: &str, amount: &Value| {
            let found = resources.and_then(|resources| resources.get(group)?.get(name));
            found.is_some_and(|found| quantity::same(found, amount))
        };
        let differs = |name: &str, amount: &Value| !is_in(have, name, amount) && !is_in(last, name, amount);
        let amounts: Fields = wanted
            .filter(|(name, amount)| differs(name, amount))
            .map(|(name, amount)| (name.clone(), amount.clone()))
            .collect();
        if !amounts.is_empty() {
            changed.insert(group.into(), Value::Object(amounts));
        }
    }
    (!changed.is_empty()).then_some(Value::Object(changed))
}

/// Ephemeral containers that the host does not have yet. They can be neither changed nor removed.
fn debug(desired: &HostObject, current: &HostObject) -> Option<Change> {
    const POINTER: &str = "/spec/ephemeralContainers";
    let is_new = |wanted: &&Value| {
        parts::find(parts::items(current, POINTER), "name", parts::text(wanted, "name")).is_none()
    };
    let new: Vec<&Value> = parts::items(desired, POINTER).filter(is_new).collect();
    (!new.is_empty()).then(|| {
        Change::strategic(Some("ephemeralcontainers"), json!({"spec": {"ephemeralContainers": new}}))
    })
}

/// A patch element for each container of both pods for which `difference` finds a field to send.
fn by_name(
    desired: &HostObject,
    current: &HostObject,
    list: &str,
    difference: impl Fn(&str, &Value, &Value) -> Option<(&'static str, Value)>,
) -> Vec<Value> {
    let pointer = format!("/spec/{list}");
    let mut found = Vec::new();
    for want in parts::items(desired, &pointer) {
        let name = parts::text(want, "name");
        let have = parts::find(parts::items(current, &pointer), "name", name);
        if let Some((field, value)) = have.and_then(|have| difference(name, want, have)) {
            found.push(json!({"name": name, field: value}));
        }
    }
    found
}

fn insert_list(spec: &mut Fields, name: &str, list: Vec<Value>) {
    if !list.is_empty() {
        spec.insert(name.into(), Value::Array(list));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::PatchFormat;

    fn host(spec: &Value) -> HostObject {
        HostObject::from_json(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap()
    }

    fn bodies(desired: &Value, current: &Value) -> Vec<(Option<&'static str>, Value)> {
        let found = changes(&host(desired), &host(current));
        assert!(found.iter().all(|change| change.format == PatchFormat::Strategic));
        found.into_iter().map(|change| (change.subresource, change.body)).collect()
    }

    #[test]
    fn what_the_host_added_stays() {
        let desired =
            json!({"containers": [{"name": "a", "image": "a:1", "resources": {"limits": {"cpu": "1"}}}]});
        let current = json!({
            "containers": [
                {"name": "proxy", "image": "mesh"},
                {"name": "a", "image": "a:1", "resources": {"limits": {"cpu": "1000m", "memory": "1Gi"}}},
            ],
            "tolerations": [{"key": "node.kubernetes.io/not-ready"}],
            "schedulingGates": [{"name": "quota"}],
            "activeDeadlineSeconds": 60,
        });
        assert_eq!(bodies(&desired, &current), []);
    }

    #[test]
    fn an_image_is_changed_by_the_containers_name() {
        let desired = json!({"containers": [{"name": "a", "image": "a:2"}], "activeDeadlineSeconds": 5});
        let current =
            json!({"containers": [{"name": "proxy", "image": "mesh"}, {"name": "a", "image": "a:1"}]});
        let body =
            json!({"spec": {"containers": [{"name": "a", "image": "a:2"}], "activeDeadlineSeconds": 5}});
        assert_eq!(bodies(&desired, &current), [(None, body)]);
    }

    #[test]
    fn a_new_toleration_joins_those_of_the_host() {
        let desired = json!({"tolerations": [{"key": "mine"}]});
        let current = json!({"tolerations": [{"key": "theirs"}]});
        let body = json!({"spec": {"tolerations": [{"key": "theirs"}, {"key": "mine"}]}});
        assert_eq!(bodies(&desired, &current), [(None, body)]);
    }

    #[test]
    fn resources_are_resized_amount_by_amount() {
        let of = |cpu: &str| json!({"requests": {"cpu": cpu, "memory": "1Gi"}});
        let desired = json!({"containers": [{"name": "a", "resources": of("2")}], "resources": of("4")});
        let current = json!({"containers": [{"name": "a", "resources": of("1")}], "resources": of("4000m")});
        let body = json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "2"}}}]}});
        assert_eq!(bodies(&desired, &current), [(Some("resize"), body)]);
    }

    #[test]
    fn the_init_container_of_the_hosts_file_is_not_resized() {
        let of = |cpu: &str| {
            let resources = json!({"requests": {"cpu": cpu}});
            json!({
                "containers": [{"name": "a", "resources": resources}],
                "initContainers": [{"name": HOSTS_FILE, "resources": resources}],
            })
        };
        let body = json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "2"}}}]}});
        assert_eq!(bodies(&of("2"), &of("1")), [(Some("resize"), body)]);
    }

    #[test]
    fn what_the_host_made_of_our_words_is_not_fought_over() {
        let of = |cpu: &str, image: &str, digest: &str| {
            let container = json!({"name": "a", "image": image, "resources": {"limits": {"cpu": cpu}}});
            let mut pod = host(&json!({"containers": [container]}));
            pod.annotations_mut().insert(DIGEST.into(), digest.into());
            pod
        };
        let current = of("2", "mirror/a:1", "one");
        assert_eq!(changes(&of("1", "a:1", "one"), &current), []);
        assert_eq!(changes(&of("1", "a:1", "two"), &current).len(), 2);
    }

    #[test]
    fn each_field_is_sent_when_the_tenant_changes_that_field() {
        let asked = |image: &str, cpu: &str, memory: &str, deadline: u32, key: &str| {
            json!({
                "containers": [{"name": "a", "image": image, "resources": {"requests": {"cpu": cpu, "memory": memory}}}],
                "initContainers": [{"name": "i", "image": "i:1"}],
                "resources": {"limits": {"cpu": cpu}}, "activeDeadlineSeconds": deadline, "tolerations": [{"key": key}],
            })
        };
        let first = asked("a:1", "1", "1Gi", 60, "one");
        // The host's admission has changed all of it.
        let mut current = host(&json!({
            "containers": [{"name": "a", "image": "mirror/a:1", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}],
            "initContainers": [{"name": "i", "image": "mirror/i:1"}],
            "resources": {"limits": {"cpu": "100m"}}, "activeDeadlineSeconds": 5, "tolerations": [],
        }));
        current.annotations_mut().insert(WANTED.into(), wanted(&host(&first)).to_string().into());
        let sent = |desired: &Value| -> Vec<Value> {
            changes(&host(desired), &current).into_iter().map(|change| change.body["spec"].clone()).collect()
        };
        assert_eq!(sent(&first), Vec::<Value>::new(), "only metadata has changed");
        let container = |field: &str, value: Value| json!([{"containers": [{"name": "a", field: value}]}]);
        let same = ["a:1", "1", "1Gi"];
        let cases = [
            (asked("a:2", same[1], same[2], 60, "one"), container("image", json!("a:2"))),
            (
                asked(same[0], same[1], "2Gi", 60, "one"),
                container("resources", json!({"requests": {"memory": "2Gi"}})),
            ),
            (asked(same[0], same[1], same[2], 50, "one"), json!([{"activeDeadlineSeconds": 50}])),
            (asked(same[0], same[1], same[2], 60, "two"), json!([{"tolerations": [{"key": "two"}]}])),
            (asked(same[0], "1000m", "1024Mi", 60, "one"), json!([])),
        ];
        for (desired, expected) in cases {
            assert_eq!(json!(sent(&desired)), expected);
        }
        let cpu = asked(same[0], "2", same[2], 60, "one");
        let of_both = json!([{
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "2"}}}], "resources": {"limits": {"cpu": "2"}},
        }]);
        assert_eq!(json!(sent(&cpu)), of_both);
    }

    #[test]
    fn a_debug_container_is_added_beside_others() {
        let desired =
            json!({"ephemeralContainers": [{"name": "one", "image": "x"}, {"name": "two", "image": "y"}]});
        let current = json!({"ephemeralContainers": [{"name": "one", "image": "x"}, {"name": "ops"}]});
        let body = json!({"spec": {"ephemeralContainers": [{"name": "two", "image": "y"}]}});
        assert_eq!(bodies(&desired, &current), [(Some("ephemeralcontainers"), body)]);
    }
}

//! Where a pod says what it may do, and how to reach each such place.

use serde_json::Value;

use super::refuse;
use crate::object::HostObject;
use crate::paths;
use crate::verdict::Verdict;

/// Lists of containers.
pub(super) const CONTAINERS: &[&str] =
    &["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"];
/// Where the kubelet probes a container: with a `host`, it sends requests to whatever the node can reach.
pub(super) const PROBES: &[&str] =
    &["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
/// Probes that go over the network.
pub(super) const REQUESTS: &[&str] = &["httpGet", "tcpSocket"];
/// Begins the annotations that chose `AppArmor` profiles before there was a field for it.
pub(super) const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
/// Judges each place of `path`: its pointer and what stands there, nothing where it is missing or null. `*` stands for
/// the elements of a list. What has another shape than `path` says is refused: nobody knows what the host makes of it.
pub(super) fn each<'a>(
    pod: &'a HostObject,
    path: &str,
    judge: &mut dyn FnMut(&str, Option<&'a Value>) -> Verdict<()>,
) -> Verdict<()> {
    match paths::next(path) {
        Some((name, rest)) => below(pod.pointer(&format!("/{name}")), &format!("/{name}"), rest, judge),
        None => Ok(()),
    }
}

fn below<'a>(
    value: Option<&'a Value>,
    at: &str,
    path: &str,
    judge: &mut dyn FnMut(&str, Option<&'a Value>) -> Verdict<()>,
) -> Verdict<()> {
    let value = value.filter(|value| !value.is_null());
    match (paths::next(path), value) {
        (None, value) => judge(at, value),
        (Some(("*", rest)), Some(Value::Array(items))) => {
            let mut items = items.iter().enumerate();
            items.try_for_each(|(index, item)| below(Some(item), &format!("{at}/{index}"), rest, judge))
        }
        (Some(("*", _)), None) => Ok(()),
        (Some(("*", _)), Some(_)) => Err(refuse(at, "a list belongs here".to_owned())),
        (Some((name, rest)), Some(Value::Object(fields))) => {
            below(fields.get(&*paths::unescape(name)), &format!("{at}/{name}"), rest, judge)
        }
        (Some((name, rest)), None) => below(None, &format!("{at}/{name}"), rest, judge),
        (Some(_), Some(_)) => Err(refuse(at, "an object belongs here".to_owned())),
    }
}

/// The same for `path` in each container of each list.
pub(super) fn each_in_containers<'a>(
    pod: &'a HostObject,
    path: &str,
    judge: &mut dyn FnMut(&str, Option<&'a Value>) -> Verdict<()>,
) -> Verdict<()> {
    CONTAINERS.iter().try_for_each(|list| each(pod, &format!("{list}/*{path}"), judge))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn places(spec: &Value, path: &str) -> Result<Vec<(String, bool)>, String> {
        let pod = HostObject::from_json(json!({"spec": spec})).unwrap();
        let mut found = Vec::new();
        let visited = each(&pod, path, &mut |at, value| {
            found.push((at.to_owned(), value.is_some()));
            Ok(())
        });
        visited.map(|()| found).map_err(|hold| hold.problem().field.clone().unwrap_or_default())
    }

    #[test]
    fn a_place_is_visited_whether_something_is_there_or_not() {
        let at = |at: &str, is_set: bool| (at.to_owned(), is_set);
        let list = json!({"list": [{"a": {"b": 1}}, {"a": null}, {}]});
        assert_eq!(
            places(&list, "/spec/list/*/a/b").unwrap(),
            [at("/spec/list/0/a/b", true), at("/spec/list/1/a/b", false), at("/spec/list/2/a/b", false)]
        );
        assert_eq!(places(&json!({}), "/spec/list/*/a").unwrap(), []);
        assert_eq!(places(&json!({}), "/spec/a/b").unwrap(), [at("/spec/a/b", false)]);
    }

    #[test]
    fn another_shape_is_refused_where_it_stands() {
        for (spec, place) in [
            (json!({"list": {"a": {}}}), "spec.list"),
            (json!({"list": "a"}), "spec.list"),
            (json!({"list": [{"a": []}]}), "spec.list[0].a"),
            (json!({"list": [{"a": true}]}), "spec.list[0].a"),
            (json!({"list": [7]}), "spec.list[0]"),
        ] {
            assert_eq!(places(&spec, "/spec/list/*/a/b"), Err(place.to_owned()), "{spec}");
        }
    }
}

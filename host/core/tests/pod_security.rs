//! What pods may do at each level of the Pod Security Standards, and what of the host they may choose.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with the golden files and the laws, which use more of it")]
#[path = "support/cases.rs"]
mod cases;
#[path = "support/guarded.rs"]
mod guarded;
#[path = "support/powers.rs"]
mod powers;

use proptest::prelude::*;
use serde_json::{Value, json};
use weft_core::confine::{confine_content, field_name};
use weft_core::kinds::pod::Pod;
use weft_core::mapper::Mapper;
use weft_core::policy::Policy;
use weft_core::policy::patterns::Patterns;
use weft_core::policy::pods::{PodPolicy, SecurityLevel, Taints};

use cases::World;
use guarded::on_host;
use powers::{LISTS, Power, of_baseline, of_choice, of_restricted, put, quiet_pod};

use SecurityLevel::{Baseline, Privileged, Restricted};

/// The policy of this level and otherwise the default, or everything but the level.
fn policy(level: SecurityLevel, base: PodPolicy) -> Policy {
    Policy { pods: PodPolicy { security: level, ..base }, ..Policy::open() }
}

/// What the pod with `value` at `place` is refused for.
fn refused(place: &str, value: &Value, policy: Policy) -> Option<(String, String)> {
    let mut pod = quiet_pod();
    put(&mut pod, place, value);
    let problem = on_host(&Pod, &pod, policy).err()?;
    Some((problem.problem().field.clone().expect("a field"), problem.problem().to_string()))
}

/// Everything may be chosen; the level is what is judged.
fn level(level: SecurityLevel) -> Policy {
    policy(level, PodPolicy::open())
}

fn each(powers: &[Power], judge: impl Fn(&str, &Value, bool)) {
    for power in powers {
        for place in power.places() {
            power.fine.iter().for_each(|value| judge(&place, value, true));
            power.bad.iter().for_each(|value| judge(&place, value, false));
        }
    }
}

#[test]
fn each_control_of_baseline_refuses_by_its_field_and_lets_harmless_values_pass() {
    each(&of_baseline(), |place, value, is_fine| {
        for strict in [Baseline, Restricted] {
            let found = refused(place, value, level(strict));
            if is_fine {
                assert_eq!(found, None, "{place} {value} at {strict}");
                continue;
            }
            let (field, why) = found.unwrap_or_else(|| panic!("{place} {value} passes at {strict}"));
            assert!(field.starts_with(&field_name(place)), "{place} {value} is refused at {field}");
            assert!(why.contains("pods.security: privileged") || why.contains("belongs here"), "{why}");
        }
        // A value of another shape than the API's is searched for names at every level.
        let at_privileged = refused(place, value, level(Privileged));
        let is_judged = at_privileged.as_ref().is_some_and(|(_, why)| !why.contains("is not known here"));
        assert!(!is_judged, "{place} {value} at privileged: {at_privileged:?}");
    });
}

#[test]
fn each_control_of_restricted_is_its_own() {
    each(&of_restricted(), |place, value, is_fine| {
        let found = refused(place, value, level(Restricted));
        assert_eq!(found.is_none(), is_fine, "{place} {value}: {found:?}");
        if let Some((field, why)) = found {
            assert!(field.starts_with(&field_name(place)), "{place} {value} is refused at {field}");
            assert!(why.contains("\"restricted\"") && why.contains("pods.security: baseline"), "{why}");
        }
        assert_eq!(refused(place, value, level(Baseline)), None, "{place} {value} at baseline");
    });
}

#[test]
fn what_the_pod_says_holds_for_containers_that_say_nothing() {
    let mut pod = quiet_pod();
    for list in LISTS {
        for field in ["runAsNonRoot", "seccompProfile"] {
            put(&mut pod, &format!("{list}/securityContext/{field}"), &Value::Null);
        }
    }
    let of = |pod: &Value| {
        on_host(&Pod, pod, level(Restricted)).err().and_then(|hold| hold.problem().field.clone())
    };
    assert_eq!(of(&pod).as_deref(), Some("spec.containers[0].securityContext.runAsNonRoot"));
    put(&mut pod, "/spec/securityContext/runAsNonRoot", &json!(true));
    assert_eq!(of(&pod).as_deref(), Some("spec.containers[0].securityContext.seccompProfile.type"));
    put(&mut pod, "/spec/securityContext/seccompProfile/type", &json!("RuntimeDefault"));
    assert_eq!(of(&pod), None);
}

#[test]
fn a_user_namespace_relaxes_what_the_standard_says_and_nothing_else() {
    let mut pod = quiet_pod();
    put(&mut pod, "/spec/hostUsers", &json!(false));
    put(&mut pod, "/spec/containers/0/securityContext/procMount", &json!("Unmasked"));
    let passes = |pod: &Value, strict| on_host(&Pod, pod, level(strict)).is_ok();
    assert!(passes(&pod, Baseline) && !passes(&pod, Restricted), "procMount");
    put(&mut pod, "/spec/containers/0/securityContext/procMount", &Value::Null);
    put(&mut pod, "/spec/containers/0/securityContext/runAsNonRoot", &json!(false));
    put(&mut pod, "/spec/securityContext/runAsUser", &json!(0));
    assert!(passes(&pod, Restricted), "root in it is nobody on the node");
    for users in [json!(true), Value::Null, json!("false")] {
        put(&mut pod, "/spec/hostUsers", &users);
        assert!(!passes(&pod, Restricted), "hostUsers: {users}");
    }
}

#[test]
fn a_windows_pod_need_not_give_up_what_only_linux_has() {
    let mut pod = quiet_pod();
    for list in LISTS {
        put(&mut pod, &format!("{list}/securityContext"), &json!({"runAsNonRoot": true}));
    }
    assert!(on_host(&Pod, &pod, level(Restricted)).is_err());
    put(&mut pod, "/spec/os/name", &json!("windows"));
    assert!(on_host(&Pod, &pod, level(Restricted)).is_ok());
    put(&mut pod, "/spec/securityContext/windowsOptions/hostProcess", &json!(true));
    assert!(on_host(&Pod, &pod, level(Baseline)).is_err());
}

#[test]
fn an_apparmor_annotation_is_judged_like_the_field() {
    let with = |profile: Value| {
        let mut pod = quiet_pod();
        pod["metadata"]["annotations"] =
            json!({"container.apparmor.security.beta.kubernetes.io/main": profile});
        on_host(&Pod, &pod, level(Baseline)).err().and_then(|hold| hold.problem().field.clone())
    };
    for fine in ["", "runtime/default", "localhost/p"] {
        assert_eq!(with(json!(fine)), None, "{fine}");
    }
    let field = "metadata.annotations[container.apparmor.security.beta.kubernetes.io/main]";
    for bad in [json!("unconfined"), json!("localhost"), json!("RuntimeDefault")] {
        assert_eq!(with(bad.clone()).as_deref(), Some(field), "{bad}");
    }
}

/// Of what a pod chooses, a part is left out and the rest refused; both keep it from the host.
#[test]
fn what_the_operator_does_not_list_does_not_reach_the_host() {
    each(&of_choice(), |place, value, is_fine| {
        let mut pod = quiet_pod();
        put(&mut pod, place, value);
        let of =
            |policy: Policy| on_host(&Pod, &pod, policy).ok().and_then(|host| host.pointer(place).cloned());
        let found = of(policy(Baseline, PodPolicy::default()));
        if is_fine {
            let refused = refused(place, value, policy(Restricted, PodPolicy::default()));
            assert_eq!(refused, None, "{place} {value}");
        } else {
            assert_ne!(found.as_ref(), Some(value), "{place}");
        }
    });
}

#[test]
fn what_the_operator_lists_passes() {
    let text = |list: &[&'static str]| Patterns::parse(list.iter().copied()).expect("usable");
    let allowed = PodPolicy {
        node_labels: text(&["dedicated", "kubernetes.io/hostname"]),
        node_selector: std::collections::BTreeMap::new(),
        taints: Taints::parse(["dedicated=team-a"]).expect("usable"),
        runtime_classes: text(&["gvisor"]),
        volumes: text(&["nfs"]),
        csi_drivers: text(&["example.com"]),
        max_termination_grace_period_seconds: 1_000_000,
        security: Baseline,
    };
    for (at, value) in [
        ("/spec/nodeSelector", json!({"dedicated": "team-a"})),
        ("/spec/tolerations", json!([{"key": "dedicated", "value": "team-a", "effect": "NoSchedule"}])),
        ("/spec/runtimeClassName", json!("gvisor")),
        ("/spec/volumes", json!([{"name": "v", "nfs": {"server": "s", "path": "/"}}])),
        ("/spec/volumes", json!([{"name": "v", "csi": {"driver": "example.com"}}])),
        ("/spec/terminationGracePeriodSeconds", json!(1_000_000)),
    ] {
        let mut pod = quiet_pod();
        put(&mut pod, at, &value);
        let host = on_host(&Pod, &pod, Policy { pods: allowed.clone(), ..Policy::open() });
        assert_eq!(host.expect("it is listed").pointer(at), Some(&value), "{at}");
    }
    let with_list = |at: &str, value: &Value| {
        refused(at, value, Policy { pods: allowed.clone(), ..Policy::open() }).map(|(field, _)| field)
    };
    assert_eq!(
        with_list("/spec/nodeSelector", &json!({"kubernetes.io/os": "linux"})).as_deref(),
        Some("spec.nodeSelector[kubernetes.io/os]"),
        "a list replaces the default"
    );
}

#[test]
fn a_pod_keeps_to_the_selected_nodes_whoever_made_its_host_pod() {
    let node_selector = [("example.com/pool".to_owned(), "a".to_owned())].into();
    let pods = PodPolicy { node_selector, ..PodPolicy::default() };
    let policy = Policy { pods, ..Policy::open() };
    let host = on_host(&Pod, &quiet_pod(), policy.clone()).expect("the operator's own label passes");
    assert_eq!(host.pointer("/spec/nodeSelector"), Some(&json!({"example.com/pool": "a"})));
    for edit in [json!(null), json!({"example.com/pool": "b"}), json!({"kubernetes.io/os": "linux"})] {
        let mut bare = host.clone();
        bare.spec_mut().insert("nodeSelector".to_owned(), edit.clone());
        let mut world = World::new(Vec::new());
        world.facts.policy = policy.clone();
        let held =
            confine_content(&world.ctx(), Pod.spec(), &bare).expect_err("it leaves the selected nodes");
        assert_eq!(held.problem().field.as_deref(), Some("spec.nodeSelector"), "{edit}");
    }
}

#[test]
fn only_a_privileged_pod_runs_images_that_were_pulled_for_others() {
    let never = json!("Never");
    for list in LISTS {
        let at = format!("{list}/imagePullPolicy");
        let (field, _) = refused(&at, &never, level(Baseline)).expect("it is refused");
        assert_eq!(field, field_name(&at));
        assert_eq!(refused(&at, &never, level(Privileged)), None);
    }
}

/// What the syncer itself applies in a virtual cluster runs whatever the operator has chosen.
#[test]
fn the_dns_server_of_virtual_clusters_keeps_to_the_strictest_level() {
    let manifests: Vec<Value> =
        serde_saphyr::from_multiple(include_str!("../../src/addons/coredns.yaml")).expect("it is YAML");
    let deployment =
        manifests.iter().find(|manifest| manifest["kind"] == "Deployment").expect("there is one");
    let mut pod = quiet_pod();
    pod["spec"] = deployment.pointer("/spec/template/spec").cloned().expect("it makes pods");
    let host = on_host(&Pod, &pod, policy(Restricted, PodPolicy::default()));
    assert!(host.is_ok(), "{host:?}");
}

/// Some values at some of the places.
fn edits() -> impl Strategy<Value = Vec<(String, Value)>> {
    let mut all = Vec::new();
    for power in of_baseline().iter().chain(&of_restricted()).chain(&of_choice()) {
        for place in power.places() {
            all.extend(power.fine.iter().chain(&power.bad).map(|value| (place.clone(), value.clone())));
        }
    }
    // What makes a pod a list of none would hide what the others put into it.
    all.retain(|(place, _)| place != "/spec/containers");
    all.extend([true, false].map(|users| ("/spec/hostUsers".to_owned(), json!(users))));
    all.push(("/spec/os/name".to_owned(), json!("windows")));
    proptest::collection::vec(proptest::sample::select(all), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn what_a_level_accepts_the_next_one_accepts(edits in edits()) {
        let mut pod = quiet_pod();
        for (place, value) in &edits {
            // An edit of what an edit before has put there as another shape has no place.
            if pod.pointer(place.rsplit_once('/').map_or("", |(parent, _)| parent)).is_none_or(|parent| parent.is_object() || parent.is_null()) {
                put(&mut pod, place, value);
            }
        }
        let [restricted, baseline, privileged] =
            [Restricted, Baseline, Privileged].map(|level| on_host(&Pod, &pod, policy(level, PodPolicy::default())).is_ok());
        prop_assert!(!restricted || baseline, "restricted accepts {pod}");
        prop_assert!(!baseline || privileged, "baseline accepts {pod}");
    }
}

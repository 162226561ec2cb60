//! Names that no server gives: a virtual server that lies shows them, and fields that no server checks hold them.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with the golden files and the laws, which use more of it")]
#[path = "support/cases.rs"]
mod cases;

use proptest::prelude::*;
use serde_json::{Value, json};
use weft_core::names::{is_dns_label, is_dns_subdomain};
use weft_core::object::{HostObject, VirtualName, VirtualObject};
use weft_core::references;
use weft_core::translate;
use weft_core::verdict::Verdict;

use cases::Case;

/// What becomes of the case's object with this change.
fn translated(case: &Case, change: impl FnOnce(&mut VirtualObject)) -> Verdict<HostObject> {
    let mut source = case.source.clone();
    change(&mut source);
    translate::to_host(&case.world.ctx(), case.mapper.as_ref(), &source)
}

fn named(case: &Case, namespace: &str, name: &str) -> Verdict<HostObject> {
    translated(case, |source| {
        source.metadata_mut().insert("namespace".to_owned(), namespace.into());
        source.metadata_mut().insert("name".to_owned(), name.into());
    })
}

fn case(title: &str) -> &'static Case {
    cases::all().iter().find(|case| case.title == title).expect("there is such a case")
}

/// The field of a refusal; none for an object that is written.
fn field(verdict: Verdict<HostObject>) -> Option<String> {
    verdict.err().map(|hold| hold.problem().field.clone().expect("the guard names a field"))
}

/// A pod whose volume is the Secret `name`.
fn pod_with(name: &Value) -> Verdict<HostObject> {
    translated(case("pod/plain"), |source| {
        source
            .spec_mut()
            .insert("volumes".to_owned(), json!([{"name": "v", "secret": {"secretName": name}}]));
    })
}

#[test]
fn an_object_with_a_name_that_no_server_gives_is_refused_whatever_its_kind() {
    for title in [
        "config_map/plain",
        "pod/plain",
        "secret/opaque",
        "service/cluster_ip",
        "persistent_volume_claim/pending",
    ] {
        let long = format!("{}/../../secrets/x", "a".repeat(40));
        for name in ["../../secrets/x", "..", "a/b", "a,b", "A", "a_b", "", "a%2fb", &long] {
            assert_eq!(
                field(named(case(title), "shop", name)).as_deref(),
                Some("metadata.name"),
                "{title} {name}"
            );
        }
        for namespace in ["..", "a.b", "a/b", "Shop"] {
            assert_eq!(
                field(named(case(title), namespace, "web")).as_deref(),
                Some("metadata.name"),
                "{namespace}"
            );
        }
        assert_eq!(field(named(case(title), "shop", "web.x-x-x")), None, "{title}");
    }
}

#[test]
fn a_reference_that_is_no_name_is_refused_with_its_field() {
    for name in ["team-b/db", "../../x", "a,b", "My_Secret", "..", "a/b/c"] {
        let field = field(pod_with(&name.into()));
        assert_eq!(field.as_deref(), Some("spec.volumes[*].secret.secretName"), "{name}");
    }
    for value in [json!(["db"]), json!({"name": "db"}), json!(7), json!(true)] {
        let field = field(pod_with(&value));
        assert_eq!(field.as_deref(), Some("spec.volumes[0].secret.secretName"), "{value}");
    }
    assert_eq!(field(pod_with(&json!("db"))), None);
}

proptest! {
    #[test]
    fn only_names_get_to_the_host(
        namespace in "[a-bx.-]{1,8}|[a-bx/.,-]{1,70}", name in "[a-bx.-]{1,12}|[a-bx/.,_%A-]{1,70}",
    ) {
        let is_named = is_dns_label(&namespace) && is_dns_subdomain(&name);
        let case = case("config_map/plain");
        let host = named(case, &namespace, &name);
        prop_assert_eq!(host.is_ok(), is_named);
        if let Ok(host) = host {
            let ctx = case.world.ctx();
            prop_assert!(ctx.names.is_ours(host.name()));
            prop_assert_eq!(ctx.names.identity(&host).map(|identity| identity.key().name), Some(VirtualName::new(namespace, name)));
        }
    }

    #[test]
    fn whatever_a_reference_holds_it_names_what_is_ours(name in "[a-bx/.,_%A-]{1,70}|[a-bx.-]{1,12}") {
        if let Ok(host) = pod_with(&name.as_str().into()) {
            let case = case("pod/plain");
            for used in references::host_names(&case.mapper.spec().references, &host) {
                prop_assert!(is_dns_subdomain(used.name) && case.world.ctx().names.is_ours(used.name), "{}", used.name);
            }
        } else {
            prop_assert!(!is_dns_subdomain(&name), "{} is a name", name);
        }
    }
}

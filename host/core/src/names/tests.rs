//! Host names are injective, readable in one way only, and nobody else's.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn names() -> Names {
    Names::new("my-vcluster", "team-a").unwrap()
}

#[test]
fn a_short_name_stays_readable() {
    let host = names().host_name(&VirtualName::new("nginx", "nginx-76d6c9b8c-57xk5"));
    assert_eq!(host.as_str(), "nginx-76d6c9b8c-57xk5-x-nginx-x-my-vcluster");
}

#[test]
fn a_name_with_a_separator_in_it_is_hashed() {
    let one = names().host_name(&VirtualName::new("c", "a-x-b"));
    let two = names().host_name(&VirtualName::new("b-x-c", "a"));
    assert_ne!(one, two);
    assert!(names().is_ours(one.as_str()) && names().is_ours(two.as_str()), "{one} {two}");
}

#[test]
fn a_readable_name_can_be_read_and_a_hashed_one_cannot() {
    let web = VirtualName::new("shop", "web");
    assert_eq!(names().virtual_name(names().host_name(&web).as_str()), Some(web));
    let hashed = names().host_name(&VirtualName::new("shop", "w".repeat(70)));
    assert_eq!(names().virtual_name(hashed.as_str()), None);
    assert_eq!(names().virtual_name("web-x-shop-x-another"), None);
}

#[test]
fn another_clusters_names_are_not_ours() {
    let other = Names::new("vcluster", "team-a").unwrap().host_name(&VirtualName::new("nginx", "web"));
    assert!(!names().is_ours(other.as_str()));
    assert!(!names().is_ours("weft-my-vcluster"));
    assert!(!names().is_ours("vc-my-vcluster"));
    assert!(!names().is_ours("my-vcluster"));
}

#[test]
fn cluster_names_that_blur_the_parts_are_refused() {
    assert_eq!(Names::new("a-x-b", "ns"), Err(ClusterNameError::Separator));
    assert_eq!(Names::new("x-b", "ns"), Err(ClusterNameError::Separator));
    assert_eq!(Names::new("Big", "ns"), Err(ClusterNameError::Characters));
    assert_eq!(Names::new("", "ns"), Err(ClusterNameError::Length(0)));
}

#[test]
fn a_hashed_name_never_looks_like_a_readable_one() {
    // Separators overlap in it: without the first, the second is left.
    let host = names().host_name(&VirtualName::new("c", "a-x-x-b"));
    let hash = host.as_str().strip_suffix("-x-my-vcluster").and_then(|rest| rest.rsplit('-').next()).unwrap();
    assert_eq!(names().virtual_name(host.as_str()), None);
    let forged = names().host_name(&VirtualName::new(format!("b-{hash}"), "a"));
    assert_ne!(host, forged, "two objects of two namespaces have one host name");
}

#[test]
fn names_that_are_hashed_without_overlapping_separators_stay_what_they_were() {
    let host = |name: &str| names().host_name(&VirtualName::new("shop", name)).to_string();
    assert_eq!(host("a-x-b"), "a-b-qmpgl6as7tazfcnf56o4x5wqv4-x-my-vcluster");
    assert_eq!(host(&"w".repeat(70)), "wwwwwwwwwwwwwwwwwwwwww-mm6ttfrnwoyh67ay646qg3it7l-x-my-vcluster");
}

#[test]
fn what_no_object_can_be_called_is_nobodys_name() {
    for before in ["team-b/", "../../", "/", "a,", "A", "a..", "-", ".", "a_", "a b", "\u{e4}", "a%2f"] {
        for ours in ["db-x-shop-x-my-vcluster", "db-abcdefghijklmnopqrstuvwxyz-x-my-vcluster"] {
            let name = format!("{before}{ours}");
            assert!(names().is_ours(ours) && !names().is_ours(&name), "{name}");
            assert_eq!(names().virtual_name(&name), None, "{name}");
        }
    }
    for name in
        ["a-x-b.c-x-my-vcluster", "a-x-x-b-x-my-vcluster", "a-x-b-x-c-x-my-vcluster", "-x-n-x-my-vcluster"]
    {
        assert!(!names().is_ours(name), "{name}");
    }
    assert!(!names().is_ours(&format!("{}-x-n-x-my-vcluster", "a".repeat(60))), "names of ours are short");
}

#[test]
fn an_identity_with_a_name_that_no_object_has_is_nobodys() {
    let claims = |namespace: &str, name: &str| {
        let identity = Identity {
            cluster: "my-vcluster".to_owned(),
            kind: "v1/Pod".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: "u".to_owned(),
        };
        let host_name = names().host_name(&VirtualName::new(namespace, name)).to_string();
        let metadata = json!({"name": host_name, "annotations": {IDENTITY: identity.to_text()}});
        names().identity(&HostObject::from_json(json!({"metadata": metadata})).unwrap()).is_some()
    };
    let long = "a".repeat(30);
    assert!(claims("shop", "web") && claims("shop", &long) && claims("", "web"));
    assert!(!claims("shop", &format!("{long}{}/../../secrets/x", "a".repeat(30))), "its host name is hashed");
    assert!(!claims("..", &long) && !claims("a.b", &long) && !claims("shop", ""));
}

/// Strings of what separates the parts of names, and of what hides it.
fn tricky(is_valid: fn(&str) -> bool, pieces: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec!["a", "b", "x", "-", "-x", "x-", "-x-", "x-x", ".", "my-vcluster"]);
    prop::collection::vec(piece, pieces)
        .prop_map(|pieces| pieces.concat())
        .prop_filter("it is a name", move |name| is_valid(name))
}

fn tricky_name() -> impl Strategy<Value = VirtualName> {
    (
        tricky(is_dns_label, 1..6),
        prop_oneof![tricky(is_dns_subdomain, 1..6), tricky(is_dns_subdomain, 12..30)],
    )
        .prop_map(|(namespace, name)| VirtualName::new(namespace, name))
}

/// Every name that `host` could be the readable host name of, wherever a separator stands in it.
fn readings(host: &str) -> Vec<VirtualName> {
    let Some(rest) = host.strip_suffix("-x-my-vcluster") else { return Vec::new() };
    let places = (0..rest.len()).filter(|place| rest[*place..].starts_with(SEPARATOR));
    places.map(|place| VirtualName::new(&rest[place + SEPARATOR.len()..], &rest[..place])).collect()
}

proptest! {
    #[test]
    fn host_names_are_short_valid_and_ours(name in r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?){0,4}", namespace in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?") {
        let host = names().host_name(&VirtualName::new(namespace, name));
        prop_assert!(host.as_str().len() <= MAX_NAME);
        prop_assert!(names().is_ours(host.as_str()), "{}", host);
        prop_assert!(!host.as_str().contains(".-"));
    }

    #[test]
    fn different_objects_have_different_host_names(
        one in ("[ax-]{1,6}", "[ax-]{1,6}"), two in ("[ax-]{1,6}", "[ax-]{1,6}"),
    ) {
        let host = |(name, namespace): &(String, String)| names().host_name(&VirtualName::new(namespace, name));
        prop_assert_eq!(one == two, host(&one) == host(&two));
    }

    #[test]
    fn different_objects_have_different_host_names_whatever_separates_their_parts(
        one in tricky_name(), two in tricky_name(),
    ) {
        prop_assert_eq!(one == two, names().host_name(&one) == names().host_name(&two));
        prop_assert_ne!(names().derived("token", &one), names().host_name(&two));
        prop_assert_eq!(one == two, names().derived("token", &one) == names().derived("token", &two));
        prop_assert_ne!(names().derived("token", &one), names().derived("other", &two));
    }

    #[test]
    fn a_host_name_is_ours_and_is_read_as_what_it_was_made_of_or_not_at_all(name in tricky_name()) {
        for host in [names().host_name(&name), names().derived("token", &name)] {
            prop_assert!(names().is_ours(host.as_str()) && is_dns_subdomain(host.as_str()), "{}", host);
            prop_assert!(host.as_str().len() <= MAX_NAME);
            prop_assert!(names().virtual_name(host.as_str()).is_none_or(|read| read == name), "{}", host);
            for other in readings(host.as_str()) {
                prop_assert!(other == name || names().host_name(&other) != host, "{} is of {:?} too", host, other);
            }
        }
    }

    #[test]
    fn two_virtual_clusters_share_no_host_name(one in tricky_name(), two in tricky_name(), other in "[abx-]{1,8}") {
        if let Ok(other) = Names::new(&other, "team-a") {
            prop_assert_ne!(names().host_name(&one), other.host_name(&two));
            prop_assert!(!names().is_ours(other.host_name(&two).as_str()));
        }
    }

    #[test]
    fn a_name_that_is_ours_is_one_that_we_give(host in tricky(|_| true, 1..9)) {
        let host = format!("{host}-x-my-vcluster");
        if let Some(name) = names().virtual_name(&host) {
            let given = names().host_name(&name);
            prop_assert_eq!(given.as_str(), host);
        } else {
            prop_assert!(!names().is_ours(&host), "{} has no hash", host);
        }
    }
}

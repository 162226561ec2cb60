//! Services, endpoints and claims that reach for what is not the tenant's: none gets to the host by default.
//!
//! Each is tried as a tenant's object, with an override that leaves it as it is, as the edit of a plugin behind the
//! built-in rule, and as an object of a kind that a declaration has added.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "what was tried is reported")]

#[expect(dead_code, reason = "shared with the golden files and the laws, which use more of it")]
#[path = "support/cases.rs"]
mod cases;
#[path = "support/hostile_specs.rs"]
mod hostile_specs;
#[expect(dead_code, reason = "shared with the laws of the guard, which use more of it")]
#[path = "support/lies.rs"]
mod lies;
#[path = "support/silent.rs"]
mod silent;

use std::sync::Arc;

use serde_json::{Value, json};
use weft_core::chain::Chain;
use weft_core::confine::field_name;
use weft_core::kinds;
use weft_core::mapper::Mapper;
use weft_core::object::{HostObject, Key, Kind, ResourceType, VirtualName, VirtualObject};
use weft_core::policy::Policy;
use weft_core::policy::addresses::Addresses;
use weft_core::translate;
use weft_core::verdict::{By, Hold, Verdict};

use cases::World;
use hostile_specs::{INSIDE, Spec, specs};
use lies::{Lie, behind, liar};

/// The ways to the host.
#[derive(Debug, Clone, Copy)]
enum Way {
    Tenant,
    Override,
    Plugin,
    Added,
}

const WAYS: [Way; 4] = [Way::Tenant, Way::Override, Way::Plugin, Way::Added];

/// An object of the kind that every tenant may have.
fn good(kind: &str) -> Value {
    let own = json!({"kind": "Pod", "name": "web-0", "namespace": "shop"});
    let content = match kind {
        "Service" => json!({"spec": {"ports": [{"port": 80}]}}),
        "PersistentVolumeClaim" => {
            json!({"spec": {"accessModes": ["ReadWriteOnce"]}})
        }
        "Endpoints" => json!({"subsets": [{
            "addresses": [{"ip": "10.244.1.7", "targetRef": own}],
            "notReadyAddresses": [{"ip": "10.244.1.7", "targetRef": own}],
        }]}),
        _ => json!({"addressType": "IPv4", "endpoints": [
            {"addresses": ["10.244.1.7"], "targetRef": own}, {"addresses": ["10.244.1.7", "10.244.1.7"], "targetRef": own},
        ]}),
    };
    let mut object = content;
    let resource = mapper(kind).spec().resource.clone();
    let group = if resource.group.is_empty() { String::new() } else { format!("{}/", resource.group) };
    let metadata = json!({"name": "web", "namespace": "shop", "uid": "u1", "annotations": {}});
    for (at, value) in [
        ("/metadata", metadata),
        ("/apiVersion", format!("{group}{}", resource.version).into()),
        ("/kind", kind.into()),
    ] {
        lies::put(&mut object, at, &value);
    }
    object
}

fn mapper(kind: &str) -> Arc<dyn Mapper> {
    kinds::builtin().into_iter().find(|mapper| mapper.spec().resource.kind == kind).expect("it is built in")
}

fn pod_key() -> Key {
    Key { kind: Kind::new("v1/Pod"), name: VirtualName::new("shop", "web-0") }
}

/// A host pod with this address, and with these fields of another one.
fn pod(change: &Value) -> HostObject {
    let mut pod = json!({"spec": {}, "status": {"phase": "Running", "podIP": "10.244.1.7", "podIPs": [{"ip": "10.244.1.7"}, {"ip": "2001:db8::7"}]}});
    for (at, value) in change.as_object().expect("places and values") {
        lies::put(&mut pod, at, value);
    }
    HostObject::from_json(pod).expect("it is an object")
}

/// Surroundings with these virtual objects, and with `pod` as the host object of `key`.
fn surroundings(policy: Policy, others: Vec<Value>, key: Key, pod: HostObject) -> World {
    let mut world = World::new(others);
    world.facts.policy = policy;
    world.host_objects.insert(key, Arc::new(pod));
    world
}

fn world(policy: Policy) -> World {
    world_with(policy, &json!({}))
}

/// The usual surroundings, in which the host pod has these fields of another one.
fn world_with(policy: Policy, change: &Value) -> World {
    let service = |name: &str| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": name}, "spec": {}});
    let shown = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": "web-0"}, "status": {"podIP": "10.0.0.1"}});
    surroundings(policy, vec![service("web"), shown], pod_key(), pod(change))
}

/// What becomes of a good object of `kind` with these values, by this way.
fn translated(world: &World, kind: &str, places: &[(String, Value)], way: Way) -> Verdict<HostObject> {
    let mut asked = good(kind);
    for (at, value) in places {
        lies::put(&mut asked, at, value);
    }
    let object = |json: Value| VirtualObject::from_json(json).expect("it is an object");
    let ctx = world.ctx();
    match way {
        Way::Tenant => translate::to_host(&ctx, mapper(kind).as_ref(), &object(asked)),
        Way::Override => {
            let mut chain = Chain::new(mapper(kind));
            chain.overridden_by(liar(Lie::Merge(json!({})), "/spec"));
            translate::to_host(&ctx, &chain, &object(without_targets(&asked)))
        }
        Way::Plugin => {
            let root = places.first().map_or("/spec", |(at, _)| root(at));
            let chain = behind(mapper(kind), Lie::Whole(places.to_vec()), root);
            translate::to_host(&ctx, &chain, &object(good(kind)))
        }
        Way::Added => translate::to_host(&ctx, added(kind).as_ref(), &object(without_targets(&asked))),
    }
}

/// The object without the pods that it names: the names are the tenant's, where no built-in rule translates them.
fn without_targets(object: &Value) -> Value {
    let text =
        object.to_string().replace(r#","targetRef":{"kind":"Pod","name":"web-0","namespace":"shop"}"#, "");
    serde_json::from_str(&text).expect("it is JSON")
}

/// The kind as a declaration adds it that says nothing of it.
fn added(kind: &str) -> Arc<dyn Mapper> {
    let resource = mapper(kind).spec().resource.clone();
    silent::silent(ResourceType { version: "v9".into(), ..resource })
}

/// The first segment of a pointer, as a pointer.
fn root(pointer: &str) -> &str {
    let end = pointer.get(1..).and_then(|rest| rest.find('/')).map_or(pointer.len(), |slash| slash + 1);
    pointer.get(..end).expect("the slash is there")
}

/// Whether the guard refuses it because of what is at `at`.
fn is_refused(verdict: &Verdict<HostObject>, at: &str) -> bool {
    // An element is added at the end of its list.
    let (parent, last) = at.rsplit_once('/').expect("a pointer");
    let place = if last.parse::<usize>().is_ok() { parent } else { at };
    let names_it =
        |field: &Option<String>| field.as_ref().is_some_and(|field| field.starts_with(&field_name(place)));
    match verdict {
        Err(Hold::Reject(problem)) => names_it(&problem.field) && problem.by.plugin().is_none(),
        Err(Hold::Fail(problem)) => names_it(&problem.field) && problem.by == By::Plugin("liar".to_owned()),
        _ => false,
    }
}

/// The least that an operator can allow, and one address, which is good in every way and hides nothing of what is bad.
fn closed() -> Policy {
    let mut policy = Policy::default();
    policy.services.endpoints = Addresses::new(vec!["10.244.1.7".parse().expect("an address")]);
    policy
}

#[test]
fn no_power_gets_to_the_host_by_default() {
    let world = world(closed());
    let specs = specs();
    let mut passed = Vec::new();
    for Spec { kind, at, value } in &specs {
        for way in WAYS {
            let verdict = translated(&world, kind, &[(at.clone(), value.clone())], way);
            if !is_refused(&verdict, at) {
                passed.push(format!("{way:?} {kind} {at} {value}: {verdict:?}"));
            }
        }
    }
    println!(
        "hostile services, endpoints and claims: {} tried, {} passed",
        specs.len() * WAYS.len(),
        passed.len()
    );
    assert!(specs.len() >= 200, "{} specs are too few", specs.len());
    assert!(passed.is_empty(), "{}", passed.join("\n"));
}

#[test]
fn a_name_of_the_inside_is_refused_to_a_slice_of_names_as_well() {
    let world = world(Policy::default());
    let slice = |name: &str| {
        let endpoints = json!([{"addresses": [name]}]);
        [("/addressType".to_owned(), json!("FQDN")), ("/endpoints".to_owned(), endpoints)]
    };
    let passed: Vec<&&str> = INSIDE
        .iter()
        .filter(|name| {
            !is_refused(
                &translated(&world, "EndpointSlice", &slice(name), Way::Tenant),
                "/endpoints/0/addresses/0",
            )
        })
        .collect();
    assert!(passed.is_empty(), "{passed:?}");
    assert!(translated(&world, "EndpointSlice", &slice("db.example.com"), Way::Tenant).is_ok());
}

#[test]
fn what_every_tenant_may_gets_to_the_host_by_every_way() {
    let world = world(closed());
    for kind in ["Service", "PersistentVolumeClaim", "Endpoints", "EndpointSlice"] {
        for way in WAYS {
            let verdict = translated(&world, kind, &[], way);
            assert!(verdict.is_ok(), "{way:?} {kind}: {verdict:?}");
        }
    }
}

#[test]
fn an_address_is_a_pods_as_long_as_the_host_shows_that() {
    let refused = |change: &Value, places: &[(String, Value)]| {
        let world = world_with(Policy::default(), change);
        is_refused(&translated(&world, "EndpointSlice", places, Way::Tenant), "/endpoints")
    };
    assert!(!refused(&json!({}), &[]));
    assert!(!refused(&json!({"/status/podIP": null}), &[]), "it is among all its addresses");
    let v6 = [
        ("/addressType".to_owned(), json!("IPv6")),
        ("/endpoints/0/addresses".to_owned(), json!(["2001:db8:0::7"])),
        ("/endpoints/1/addresses".to_owned(), json!(["2001:db8::7"])),
    ];
    assert!(!refused(&json!({}), &v6), "in any spelling of the standard");
    assert!(refused(&json!({"/spec/hostNetwork": true}), &[]), "the address is the node's");
    for phase in ["Succeeded", "Failed"] {
        assert!(
            refused(&json!({"/status/phase": phase}), &[]),
            "{phase}: the address may be another pod's by now"
        );
    }
    assert!(refused(&json!({"/status": {}}), &[]));
    let of_nobody = [("/endpoints/0/targetRef/name".to_owned(), json!("other"))];
    assert!(refused(&json!({}), &of_nobody));
}

#[test]
fn a_pod_with_a_hashed_name_is_found_in_the_namespace() {
    let name = format!("{}-0", "a".repeat(60));
    let key = Key { kind: Kind::new("v1/Pod"), name: VirtualName::new("shop", name.as_str()) };
    let of_name = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": name}});
    let world = surroundings(Policy::default(), vec![of_name], key, pod(&json!({})));
    let target = json!({"kind": "Pod", "name": name, "namespace": "shop"});
    let places = [("/endpoints".to_owned(), json!([{"addresses": ["10.244.1.7"], "targetRef": target}]))];
    let verdict = translated(&world, "EndpointSlice", &places, Way::Tenant);
    assert!(verdict.is_ok(), "{verdict:?}");
}

//! Pods that reach for the host, from tenants and from extensions: how many are tried, and that none gets there.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says how much it tried"
)]

#[expect(dead_code, reason = "shared with the golden files and the laws, which use more of it")]
#[path = "support/cases.rs"]
mod cases;
#[path = "support/guarded.rs"]
mod guarded;
#[expect(dead_code, reason = "shared with the laws of the guard, which use more of it")]
#[path = "support/lies.rs"]
mod lies;
#[expect(dead_code, reason = "shared with the tests of each level, which use more of it")]
#[path = "support/powers.rs"]
mod powers;

use std::sync::Arc;

use serde_json::{Value, json};
use weft_core::chain::Chain;
use weft_core::kinds::pod::Pod;
use weft_core::mapper::Mapper;
use weft_core::policy::Policy;

use guarded::on_host;
use lies::{Lie, behind, liar};
use powers::{LISTS, of_baseline, of_choice, put, quiet_pod};

/// Who asks for it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    /// The tenant, of the built-in rule.
    Tenant,
    /// The tenant, where an extension stands in the rule's place and returns what it gets.
    Override,
    /// An extension behind the rule, of a pod that asks for nothing.
    Extension,
    /// An extension behind the rule, in a container that it adds.
    AddedContainer,
}

/// One pod that must not reach the host.
struct Hostile {
    by: By,
    place: String,
    value: Value,
}

impl Hostile {
    /// Whether the host would get it.
    fn reaches_the_host(&self) -> bool {
        let mut asked = quiet_pod();
        if matches!(self.by, By::Tenant | By::Override) {
            put(&mut asked, &self.place, &self.value);
        }
        let host = on_host(self.mapper().as_ref(), &asked, Policy::default());
        host.is_ok_and(|host| host.pointer(&self.place) == Some(&self.value))
    }

    fn mapper(&self) -> Arc<dyn Mapper> {
        match self.by {
            By::Tenant => Arc::new(Pod),
            By::Override => {
                let mut chain = Chain::new(Arc::new(Pod));
                chain.overridden_by(liar(Lie::Merge(json!({})), "/spec"));
                Arc::new(chain)
            }
            By::Extension | By::AddedContainer => {
                let writes = Lie::Whole(self.edits());
                Arc::new(behind(Arc::new(Pod), writes, "/spec"))
            }
        }
    }

    /// What the extension writes.
    fn edits(&self) -> Vec<(String, Value)> {
        let mut edited = quiet_pod();
        let list = self.place.split('/').take(3).collect::<Vec<_>>().join("/");
        if self.by == By::AddedContainer {
            let mut added = edited.pointer(&format!("{list}/0")).cloned().expect("a container");
            added["name"] = "added".into();
            let first = edited.pointer(&format!("{list}/0")).cloned().expect("a container");
            put(&mut edited, &list, &json!([added, first]));
        }
        put(&mut edited, &self.place, &self.value);
        vec![(list.clone(), edited.pointer(&list).cloned().unwrap_or_default())]
    }
}

/// Each power in each place, by each of those who could ask for it.
fn all() -> Vec<Hostile> {
    let mut all = Vec::new();
    for power in of_baseline().into_iter().chain(of_choice()) {
        for place in power.places() {
            let is_in_container = LISTS.iter().any(|list| place.starts_with(list));
            for by in [By::Tenant, By::Override, By::Extension, By::AddedContainer] {
                if by != By::AddedContainer || is_in_container {
                    let of = |value: &Value| Hostile { by, place: place.clone(), value: value.clone() };
                    all.extend(power.bad.iter().map(of));
                }
            }
        }
    }
    all
}

#[test]
fn no_pod_reaches_the_host_with_a_power_that_the_operator_does_not_allow() {
    let all = all();
    let through: Vec<String> = all
        .iter()
        .filter(|hostile| hostile.reaches_the_host())
        .map(|hostile| format!("{:?} {} {}", hostile.by, hostile.place, hostile.value))
        .collect();
    println!("{} hostile pods, {} reach the host", all.len(), through.len());
    assert!(all.len() >= 300, "only {} were tried", all.len());
    assert!(through.is_empty(), "{through:#?}");
}

/// Otherwise the refusals above would mean nothing.
#[test]
fn the_same_pod_without_a_power_reaches_the_host_whoever_makes_it() {
    for by in [By::Tenant, By::Override, By::Extension, By::AddedContainer] {
        for list in LISTS {
            let quiet = Hostile { by, place: format!("{list}/image"), value: json!("b:1") };
            assert!(quiet.reaches_the_host(), "{by:?} {list}");
        }
    }
}

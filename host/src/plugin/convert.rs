//! Converts between the records of the interface and the types of the core. Decides nothing, except that
//! strings are cut to what the interface promises to keep.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use weft_core::causes::causes;
use weft_core::conditions;
use weft_core::confine::field_name;
use weft_core::context::{Condition, Ctx, Event};
use weft_core::edit::{self, Edit};
use weft_core::extension::{Answer, Failure};
use weft_core::object::{Key, Kind, ResourceType, VirtualName};
use weft_core::references::Reference;
use weft_core::spec::Selection;
use weft_core::text::one_line;
use weft_core::verdict::{By, Hold, Problem, Wait};

use crate::config::grants::Side;
use crate::plugin::bindings::weft::mapping::types;
use crate::registry::descriptor::{Descriptor, LookupPermission, Mapping, Role};

/// Bytes that are kept of a message.
const MESSAGE: usize = 1024;
/// Bytes that are kept of the name of a field.
const FIELD: usize = 256;
/// Longest reason or condition name.
const REASON: usize = 64;
/// Events and conditions of one answer.
const REPORTED: usize = 8;
/// Objects that one answer may wait for.
const AWAITED: usize = 64;
/// Longest name that an object can have.
const NAME: usize = 253;
/// The least time after which a rule may ask to run again.
const SOONEST: Duration = Duration::from_secs(1);

pub(super) fn kind(kind: &types::Kind) -> Kind {
    resource(kind, "").kind()
}

pub(super) fn side(side: types::Side) -> Side {
    match side {
        types::Side::VirtualSide => Side::Virtual,
        types::Side::HostSide => Side::Host,
    }
}

/// Whether there can be an object of this name. Names are kept for as long as they are waited for.
pub(super) fn can_be(target: &types::ObjectRef) -> bool {
    let names = [&target.name, &target.kind.group, &target.kind.version, &target.kind.kind];
    names.into_iter().chain(&target.namespace).all(|name| name.len() <= NAME)
}

pub(super) fn key(target: &types::ObjectRef) -> Key {
    let namespace = target.namespace.clone().unwrap_or_default();
    Key { kind: kind(&target.kind), name: VirtualName::new(namespace, target.name.clone()) }
}

fn resource(kind: &types::Kind, plural: &str) -> ResourceType {
    ResourceType {
        group: Cow::Owned(kind.group.clone()),
        version: Cow::Owned(kind.version.clone()),
        kind: Cow::Owned(kind.kind.clone()),
        plural: Cow::Owned(plural.to_owned()),
        namespaced: true,
    }
}

/// The kind of a mapping as a request names it.
pub(super) fn kind_record(resource: &ResourceType) -> types::Kind {
    types::Kind {
        group: resource.group.to_string(),
        version: resource.version.to_string(),
        kind: resource.kind.to_string(),
    }
}

pub(super) fn descriptor(descriptor: types::Descriptor) -> Descriptor {
    Descriptor {
        name: descriptor.name,
        version: one_line(&descriptor.version, REASON),
        summary: one_line(&descriptor.summary, MESSAGE),
        mappings: descriptor.mappings.into_iter().map(mapping).collect(),
        lookups: descriptor.lookups.iter().map(lookup).collect(),
        settings_schema: descriptor.settings_schema,
        uses_time: descriptor.uses_time,
    }
}

fn mapping(mapping: types::Mapping) -> Mapping {
    let or = |paths: Vec<String>, default: &[&str]| -> Vec<String> {
        if paths.is_empty() { default.iter().map(|path| (*path).to_owned()).collect() } else { paths }
    };
    let role = match mapping.role {
        types::Role::Add => Role::Add,
        types::Role::Override => Role::Override,
        types::Role::Mutate(order) => Role::Mutate(order),
    };
    Mapping {
        resource: resource(&mapping.kind, &mapping.plural),
        to_host: mapping.directions.contains(types::Directions::TO_HOST),
        to_virtual: mapping.directions.contains(types::Directions::TO_VIRTUAL),
        wants_virtual: mapping.inputs.contains(types::Inputs::VIRTUAL_OBJECT),
        wants_host: mapping.inputs.contains(types::Inputs::HOST_OBJECT),
        selection: match mapping.selection {
            types::Selection::All => Selection::All,
            types::Selection::Used => Selection::Used,
        },
        references: mapping.references.into_iter().map(reference).collect(),
        selectors: mapping.selectors,
        host_writes: match role {
            // Most add a label: the operator has nothing to grant for that.
            Role::Mutate(_) => mapping.host_writes,
            Role::Add | Role::Override => or(mapping.host_writes, &["/spec", "/data"]),
        },
        virtual_writes: or(mapping.virtual_writes, &["/status"]),
        role,
        installs_definition: mapping.install_definition,
    }
}

fn reference(reference: types::ReferencePath) -> Reference {
    Reference {
        path: reference.path,
        kind: kind(&reference.target),
        namespace_field: reference.namespace_field,
    }
}

fn lookup(permission: &types::LookupPermission) -> LookupPermission {
    LookupPermission {
        side: side(permission.side),
        resource: resource(&permission.kind, &permission.plural),
        fields: permission.fields.clone(),
    }
}

/// What a rule may know of both clusters. The time is given only to rules that say that they depend on it.
pub(super) fn context(ctx: &Ctx<'_>, uses_time: bool) -> types::Context {
    let (names, facts) = (ctx.names, ctx.facts);
    let version = |version: weft_core::context::Version| format!("{}.{}", version.major, version.minor);
    types::Context {
        cluster: names.cluster().to_owned(),
        host_namespace: names.namespace().to_owned(),
        cluster_domain: facts.cluster_domain.clone(),
        dns: facts.dns.iter().map(ToString::to_string).collect(),
        api_servers: facts.kubernetes.iter().map(ToString::to_string).collect(),
        host_version: version(facts.host_version),
        virtual_version: version(facts.virtual_version),
        now: if uses_time { ctx.now.millis } else { 0 },
        extra: Vec::new(),
    }
}

/// The outcome of a rule of `plugin`.
///
/// # Errors
/// The edit is not the JSON that it says it is.
pub(super) fn answer(plugin: &str, outcome: &types::Outcome) -> Result<Answer, Failure> {
    let problem = |found: &types::Problem| problem(plugin, found);
    let verdict = match &outcome.verdict {
        types::Verdict::Apply(wanted) => Ok(edit(wanted)?),
        types::Verdict::Skip(found) => Err(Hold::Skip(problem(found))),
        types::Verdict::Absent(found) => Err(Hold::Absent(problem(found))),
        types::Verdict::Reject(found) => Err(Hold::Reject(problem(found))),
        types::Verdict::Fail(found) => Err(Hold::Fail(problem(found))),
        types::Verdict::Wait(wait) => {
            let until: BTreeSet<Key> =
                wait.until.iter().filter(|target| can_be(target)).take(AWAITED).map(key).collect();
            let after = wait.after_ms.map(|after| Duration::from_millis(after).max(SOONEST));
            // Nothing would ever wake it.
            let after = if until.is_empty() { after.or(Some(SOONEST)) } else { after };
            Err(Hold::Wait(Box::new(Wait { problem: problem(&wait.problem), until, after })))
        }
    };
    let events = outcome.events.iter().take(REPORTED).map(|event| Event {
        by: By::Plugin(plugin.to_owned()),
        is_warning: matches!(event.severity, types::Severity::Warning),
        reason: reason(&event.reason),
        message: one_line(&event.message, MESSAGE),
    });
    let conditions = outcome.conditions.iter().take(REPORTED).map(|condition| Condition {
        kind: conditions::kind(plugin, &reason(&condition.name)),
        status: match condition.status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        },
        reason: reason(&condition.reason),
        message: one_line(&condition.message, MESSAGE),
    });
    Ok(Answer { verdict, events: events.collect(), conditions: Some(conditions.collect()) })
}

pub(super) fn problem(plugin: &str, problem: &types::Problem) -> Problem {
    Problem {
        by: By::Plugin(plugin.to_owned()),
        reason: reason(&problem.reason),
        why: one_line(&problem.message, MESSAGE),
        field: problem
            .field
            .as_deref()
            .filter(|pointer| !pointer.is_empty())
            .map(|pointer| one_line(&field_name(pointer), FIELD)),
    }
}

fn edit(edit: &types::Edit) -> Result<Edit, Failure> {
    let (types::Edit::Patch(text) | types::Edit::Merge(text) | types::Edit::Whole(text)) = edit else {
        return Ok(Edit::Unchanged);
    };
    edit::check_text(text).map_err(|error| Failure::new("PluginEditTooLarge", causes(&error)))?;
    let unreadable = |error: serde_json::Error| {
        Failure::new("PluginEditUnreadable", format!("its edit is not the JSON that it should be: {error}"))
    };
    Ok(match edit {
        types::Edit::Unchanged => Edit::Unchanged,
        types::Edit::Patch(text) => Edit::Patch(serde_json::from_str(text).map_err(unreadable)?),
        types::Edit::Merge(text) => Edit::Merge(serde_json::from_str::<Value>(text).map_err(unreadable)?),
        types::Edit::Whole(text) => Edit::Whole(serde_json::from_str(text).map_err(unreadable)?),
    })
}

/// A reason as the API takes it: letters and digits.
fn reason(text: &str) -> String {
    let kept: String = text.chars().filter(char::is_ascii_alphanumeric).take(REASON).collect();
    if kept.is_empty() { "PluginProblem".to_owned() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(reason: &str, message: &str, at: Option<&str>) -> types::Problem {
        types::Problem {
            reason: reason.to_owned(),
            message: message.to_owned(),
            field: at.map(ToOwned::to_owned),
        }
    }

    fn outcome(verdict: types::Verdict) -> types::Outcome {
        types::Outcome { verdict, events: Vec::new(), conditions: Vec::new(), extra: Vec::new() }
    }

    fn answered(verdict: types::Verdict) -> Result<Edit, Hold> {
        answer("p", &outcome(verdict)).unwrap().verdict
    }

    fn target(name: &str) -> types::ObjectRef {
        let kind = types::Kind { group: String::new(), version: "v1".to_owned(), kind: "Secret".to_owned() };
        types::ObjectRef { kind, namespace: Some("shop".to_owned()), name: name.to_owned() }
    }

    fn waited(until: Vec<types::ObjectRef>, after_ms: Option<u64>) -> Wait {
        let wait = types::Wait { problem: said("Waiting", "for it", None), until, after_ms };
        match answered(types::Verdict::Wait(wait)) {
            Err(Hold::Wait(wait)) => *wait,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_verdict_is_that_of_the_core() {
        let problem = || said("Reason", "why", None);
        let expected = || Problem {
            by: By::Plugin("p".to_owned()),
            reason: "Reason".to_owned(),
            why: "why".to_owned(),
            field: None,
        };
        assert_eq!(answered(types::Verdict::Skip(problem())), Err(Hold::Skip(expected())));
        assert_eq!(answered(types::Verdict::Absent(problem())), Err(Hold::Absent(expected())));
        assert_eq!(answered(types::Verdict::Reject(problem())), Err(Hold::Reject(expected())));
        assert_eq!(answered(types::Verdict::Fail(problem())), Err(Hold::Fail(expected())));
        assert_eq!(answered(types::Verdict::Apply(types::Edit::Unchanged)), Ok(Edit::Unchanged));
        let merge = types::Edit::Merge(r#"{"spec": {"a": 1}}"#.to_owned());
        assert_eq!(answered(types::Verdict::Apply(merge)), Ok(Edit::Merge(json!({"spec": {"a": 1}}))));
    }

    #[test]
    fn an_edit_that_cannot_be_read_or_is_too_large_is_a_failure_of_the_plugin() {
        let refused = |text: String| {
            let edit = types::Edit::Patch(text);
            answer("p", &outcome(types::Verdict::Apply(edit))).unwrap_err().reason
        };
        assert_eq!(refused("{".to_owned()), "PluginEditUnreadable");
        assert_eq!(refused(" ".repeat(3 * 1024 * 1024)), "PluginEditUnreadable");
        assert_eq!(refused(" ".repeat(3 * 1024 * 1024 + 1)), "PluginEditTooLarge");
    }

    #[test]
    fn what_waits_for_nothing_or_asks_too_soon_runs_again_after_a_second() {
        assert_eq!(waited(vec![], None).after, Some(SOONEST));
        assert_eq!(waited(vec![target("a")], None).after, None);
        assert_eq!(waited(vec![target("a")], Some(0)).after, Some(SOONEST));
        assert_eq!(waited(vec![], Some(5000)).after, Some(Duration::from_secs(5)));
    }

    #[test]
    fn objects_that_cannot_be_are_not_waited_for_and_neither_are_too_many() {
        let wait = waited(vec![target(&"x".repeat(NAME + 1)), target(&"x".repeat(NAME))], None);
        assert_eq!(wait.until.len(), 1);
        let many = (0..AWAITED + 10).map(|number| target(&number.to_string())).collect();
        assert_eq!(waited(many, None).until.len(), AWAITED);
        // Nothing is left to wait for.
        assert_eq!(waited(vec![target(&"x".repeat(NAME + 1))], None).after, Some(SOONEST));
    }

    #[test]
    fn what_a_plugin_says_is_cut_and_has_its_name() {
        let long = "é".repeat(MESSAGE);
        let event = types::Event {
            severity: types::Severity::Warning,
            reason: "not a Reason!".to_owned(),
            message: format!("two\nlines {long}"),
        };
        let condition = types::Condition {
            name: "Ready".to_owned(),
            status: None,
            reason: String::new(),
            message: String::new(),
        };
        let outcome = types::Outcome {
            verdict: types::Verdict::Apply(types::Edit::Unchanged),
            events: vec![event; REPORTED + 1],
            conditions: vec![condition; REPORTED + 1],
            extra: Vec::new(),
        };
        let answer = answer("p", &outcome).unwrap();
        let (event, conditions) = (&answer.events[0], answer.conditions.unwrap());
        assert_eq!((answer.events.len(), conditions.len()), (REPORTED, REPORTED));
        assert_eq!(
            (event.by.plugin(), event.is_warning, event.reason.as_str()),
            (Some("p"), true, "notaReason")
        );
        assert!(event.message.len() <= MESSAGE && !event.message.contains('\n'), "{}", event.message);
        assert_eq!((conditions[0].status, conditions[0].reason.as_str()), ("Unknown", "PluginProblem"));
        assert_eq!(conditions[0].kind, conditions::kind("p", "Ready"));
    }

    #[test]
    fn the_field_of_a_problem_is_in_kubernetes_notation() {
        let field = |at: Option<&str>| problem("p", &said("Reason", "why", at)).field;
        assert_eq!(field(Some("/spec/containers/0/image")).as_deref(), Some("spec.containers[0].image"));
        assert_eq!((field(Some("")), field(None)), (None, None));
        assert!(field(Some(&format!("/{}", "x".repeat(1000)))).is_some_and(|field| field.len() <= FIELD));
    }

    #[test]
    fn a_mapping_that_names_no_writes_may_write_the_content_of_its_own_kinds_only() {
        let mapping = |role: types::Role, host_writes: &[&str]| {
            super::mapping(types::Mapping {
                kind: target("a").kind,
                plural: "secrets".to_owned(),
                role,
                directions: types::Directions::TO_HOST,
                inputs: types::Inputs::VIRTUAL_OBJECT,
                selection: types::Selection::Used,
                references: Vec::new(),
                selectors: Vec::new(),
                host_writes: host_writes.iter().map(|&path| path.to_owned()).collect(),
                virtual_writes: Vec::new(),
                install_definition: false,
                extra: Vec::new(),
            })
        };
        for role in [types::Role::Add, types::Role::Override] {
            assert_eq!(mapping(role, &[]).host_writes, ["/spec", "/data"]);
        }
        let found = mapping(types::Role::Mutate(7), &[]);
        assert!(found.host_writes.is_empty(), "{:?}", found.host_writes);
        assert_eq!(found.virtual_writes, ["/status"]);
        assert_eq!(
            (found.to_host, found.to_virtual, found.wants_virtual, found.wants_host),
            (true, false, true, false)
        );
        assert_eq!((found.role, found.selection), (Role::Mutate(7), Selection::Used));
        assert_eq!(mapping(types::Role::Mutate(7), &["/spec/a"]).host_writes, ["/spec/a"]);
    }
}

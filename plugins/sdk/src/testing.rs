//! Replaces weft in unit tests of a plugin, which run natively as any Rust test.
//!
//! A test passes the draft as it is, so it does not depend on how weft makes drafts; recorded cases, which
//! `weft plugin test` runs, use the drafts that weft makes.
//!
//! ```
//! # use serde::Deserialize;
//! # use weft_plugin::{Call, Descriptor, Object, Plugin, Result, json};
//! # #[derive(Deserialize)] struct TeamLabel { team: String }
//! # impl Plugin for TeamLabel {
//! #     fn describe() -> Descriptor { Descriptor::new("team-label", "0.1.0", "") }
//! #     fn to_host(&self, _: &Call, draft: &mut Object) -> Result { draft.set_label("team", &self.team); Ok(()) }
//! # }
//! use weft_plugin::testing::Test;
//!
//! let plugin = TeamLabel { team: "web".into() };
//! let answer = Test::new("v1/Pod").draft(json!({"metadata": {"name": "a"}})).to_host(&plugin);
//! assert_eq!(answer.object(), &json!({"metadata": {"name": "a", "labels": {"team": "web"}}}));
//! ```

use std::cell::RefCell;
use std::fmt;

use serde_json::{Value, json};

use crate::bindings::exports::weft::mapping::mapper::Request;
use crate::bindings::weft::mapping::types::{self, Context, ObjectRef};
use crate::descriptor::{Side, kind};
use crate::log::Level;
use crate::lookup::Error;
use crate::{Call, Decision, Object, Plugin, Problem, Result, Verdict, glue};

/// Name of the virtual cluster in tests.
pub const CLUSTER: &str = "my-vcluster";
/// Host namespace in tests.
pub const HOST_NAMESPACE: &str = "team-a";

thread_local! {
    static WORLD: RefCell<World> = const { RefCell::new(World { objects: Vec::new(), lines: Vec::new() }) };
}

/// What lookups find, and what has been logged.
#[derive(Default)]
struct World {
    objects: Vec<(Side, Value)>,
    lines: Vec<(Level, String)>,
}

/// The request of one call.
#[derive(Debug)]
pub struct Test {
    request: Request,
    objects: Vec<(Side, Value)>,
}

impl Test {
    /// A call about an object of this kind, in the virtual cluster [`CLUSTER`].
    pub fn new(of_kind: &str) -> Self {
        let context = Context {
            cluster: CLUSTER.to_owned(),
            host_namespace: HOST_NAMESPACE.to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            dns: vec!["10.96.0.10".to_owned()],
            api_servers: vec!["10.96.0.1".to_owned()],
            host_version: "1.36".to_owned(),
            virtual_version: "1.36".to_owned(),
            now: 0,
            extra: Vec::new(),
        };
        let request = Request {
            context,
            kind: kind(of_kind),
            virtual_object: None,
            host_object: None,
            draft: json!({}).to_string(),
        };
        Self { request, objects: Vec::new() }
    }

    /// What weft would write without the rule.
    #[must_use]
    pub fn draft(mut self, object: Value) -> Self {
        self.request.draft = text(object);
        self
    }

    /// The tenant's object.
    #[must_use]
    pub fn virtual_object(mut self, object: Value) -> Self {
        self.request.virtual_object = Some(text(object));
        self
    }

    /// The current host object.
    #[must_use]
    pub fn host_object(mut self, object: Value) -> Self {
        self.request.host_object = Some(text(object));
        self
    }

    /// An object that lookups find. Names are always those of the virtual cluster.
    #[must_use]
    pub fn object(mut self, side: Side, object: Value) -> Self {
        self.objects.push((side, object));
        self
    }

    /// Calls [`Plugin::to_host`].
    pub fn to_host(self, plugin: &impl Plugin) -> Answer {
        self.call(|call, draft| plugin.to_host(call, draft))
    }

    /// Calls [`Plugin::to_virtual`].
    pub fn to_virtual(self, plugin: &impl Plugin) -> Answer {
        self.call(|call, draft| plugin.to_virtual(call, draft))
    }

    /// Calls any rule.
    pub fn call(self, rule: impl FnOnce(&Call, &mut Object) -> Result) -> Answer {
        WORLD.replace(World { objects: self.objects, lines: Vec::new() });
        let draft = self.request.draft.clone();
        let mut refused = None;
        let outcome = glue::decide(self.request, |call, draft| {
            rule(call, draft).inspect_err(|verdict| refused = Some(verdict.clone()))
        });
        let result = match (refused, &outcome.verdict) {
            (Some(verdict), _) => Err(verdict),
            (None, types::Verdict::Apply(edit)) => Ok(edited(&draft, edit)),
            (None, _) => Err(crate::fail("InvalidObject", "the draft is not a JSON object")),
        };
        let events = outcome.events.into_iter().map(|event| (event.reason, event.message)).collect();
        let conditions =
            outcome.conditions.into_iter().map(|condition| (condition.name, condition.status)).collect();
        let lines = WORLD.take().lines.into_iter().map(|(_, line)| line).collect();
        Answer { result, events, conditions, lines }
    }
}

/// The result of a call.
pub struct Answer {
    /// The object that weft would write, or the verdict in its place.
    pub result: Result<Value>,
    /// Reason and message of the events.
    pub events: Vec<(String, String)>,
    /// Name and status of the conditions.
    pub conditions: Vec<(String, Option<bool>)>,
    /// Log lines.
    pub lines: Vec<String>,
}

impl Answer {
    /// The object that weft would write.
    ///
    /// # Panics
    ///
    /// If the verdict is not to write it.
    #[expect(clippy::panic, reason = "a test that gets here has failed")]
    pub fn object(&self) -> &Value {
        match &self.result {
            Ok(object) => object,
            Err(verdict) => panic!("not applied: {:?} {:?}", verdict.decision(), verdict.problem()),
        }
    }

    /// The verdict in place of writing, and its problem.
    ///
    /// # Panics
    ///
    /// If the object would be written.
    #[expect(clippy::panic, reason = "a test that gets here has failed")]
    pub fn refusal(&self) -> (Decision, &Problem) {
        match &self.result {
            Ok(object) => panic!("applied: {object}"),
            Err(verdict) => (verdict.decision(), verdict.problem()),
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result: core::result::Result<&Value, &Verdict> = self.result.as_ref();
        f.debug_struct("Answer")
            .field("result", &result)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

#[expect(clippy::expect_used, reason = "a patch that does not fit is a failed test")]
fn edited(draft: &str, edit: &types::Edit) -> Value {
    let mut object: Value = serde_json::from_str(draft).expect("the draft is JSON");
    if let types::Edit::Patch(text) = edit {
        let patch: json_patch::Patch = serde_json::from_str(text).expect("the edit is a JSON Patch");
        json_patch::patch(&mut object, &patch).expect("the edit fits the draft");
    }
    object
}

#[expect(clippy::needless_pass_by_value, reason = "the callers give their value away")]
fn text(object: Value) -> String {
    object.to_string()
}

/// `<name>-x-<namespace>-x-<cluster>`, whatever its length.
pub(crate) fn host_name(namespace: &str, name: &str) -> String {
    format!("{name}-x-{namespace}-x-{CLUSTER}")
}

/// Readable, and different for each purpose.
pub(crate) fn derived_name(purpose: &str, namespace: &str, name: &str) -> String {
    format!("{name}-{purpose}-{namespace}-x-{CLUSTER}")
}

/// Removes the namespace and the cluster's name from every host name.
pub(crate) fn to_virtual_text(text: &str, namespace: &str) -> String {
    text.replace(&format!("-x-{namespace}-x-{CLUSTER}"), "").replace(HOST_NAMESPACE, namespace)
}

pub(crate) fn record_line(level: Level, message: &str, fields: &[(&str, &str)]) {
    let mut line = message.to_owned();
    for (name, value) in fields {
        line.extend([" ", name, "=", value]);
    }
    WORLD.with_borrow_mut(|world| world.lines.push((level, line)));
}

pub(crate) fn get_json(side: Side, target: &ObjectRef) -> core::result::Result<Option<String>, Error> {
    let is_it = |object: &Value| {
        is_of_kind(object, &target.kind)
            && text_at(object, "/metadata/name") == Some(&target.name)
            && text_at(object, "/metadata/namespace") == target.namespace.as_deref()
    };
    WORLD.with_borrow(|world| {
        let mut found = world.objects.iter().filter(|(on, object)| *on == side && is_it(object));
        Ok(found.next().map(|(_, object)| object.to_string()))
    })
}

pub(crate) fn find_json(
    of_kind: &str,
    namespace: Option<&str>,
    labels: &[(String, String)],
) -> core::result::Result<Vec<String>, Error> {
    let of_kind = kind(of_kind);
    let has_all = |object: &Value| {
        let found = object.pointer("/metadata/labels");
        labels
            .iter()
            .all(|(key, value)| found.and_then(|found| found.get(key)) == Some(&Value::from(value.as_str())))
    };
    WORLD.with_borrow(|world| {
        let found = world.objects.iter().filter(|(side, object)| {
            *side == Side::VirtualSide
                && is_of_kind(object, &of_kind)
                && namespace.is_none_or(|namespace| text_at(object, "/metadata/namespace") == Some(namespace))
                && has_all(object)
        });
        Ok(found.map(|(_, object)| object.to_string()).collect())
    })
}

fn is_of_kind(object: &Value, of_kind: &types::Kind) -> bool {
    let (Some(api_version), Some(name)) = (text_at(object, "/apiVersion"), text_at(object, "/kind")) else {
        return false;
    };
    let found = kind(&format!("{api_version}/{name}"));
    (found.group, found.version, found.kind)
        == (of_kind.group.clone(), of_kind.version.clone(), of_kind.kind.clone())
}

fn text_at<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str)
}

//! What a plugin can call: reads of the caches, names, and the log. Implemented once, for every version of
//! the interface.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tracing::{debug, error, info, warn};
use weft_core::context::Lookup;
use weft_core::names::Names;
use weft_core::object::{Fields, Kind, Object, VirtualName};
use weft_core::paths;
use weft_core::text::{one_line, truncate};

use crate::config::grants::Side;
use crate::plugin::bindings::weft::mapping::{log, lookup, names, types};
use crate::plugin::convert;
use crate::plugin::log_lines::Lines;
use crate::plugin::printed::Printed;
use crate::registry::descriptor::LookupPermission;

/// Bytes that one call may read in all.
const READ_BYTES: usize = 8 * 1024 * 1024;
/// Objects that one call may read in all, those that are not there included: each is remembered.
const READ_OBJECTS: usize = 1000;
/// Logged in place of what a call writes once it knows a Secret.
const WITHHELD: &str = "(withheld: the call knows the data of a Secret)";
/// Bytes that are kept of one line of the log.
const LINE: usize = 4096;
/// Fields that are kept of one line.
const LINE_FIELDS: usize = 16;

/// What one call can read and log.
pub(super) struct Imports {
    plugin: Arc<str>,
    /// For the log: what the call is about.
    about: String,
    lines: Lines,
    names: Option<Names>,
    source: Source,
    permissions: Arc<[LookupPermission]>,
    read_bytes: usize,
    read_objects: usize,
    reads: Vec<Read>,
    /// The last line that the plugin wrote as an error: a panic's message.
    last_words: Option<String>,
    printed: Printed,
    /// Whether the call has been given a Secret, whose data must not come into the log.
    knows_secrets: bool,
}

/// Where reads are answered from.
enum Source {
    Closed,
    Caches(Arc<dyn Lookup + Send + Sync>),
    /// What was answered to the same queries before.
    Record(BTreeMap<String, Option<String>>),
}

/// One answer that a plugin was given, for recordings.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Read {
    /// What was asked for.
    pub query: String,
    /// What was answered, as JSON; none where there was nothing.
    pub answer: Option<String>,
}

impl Imports {
    /// Imports that can read nothing: for descriptions and settings.
    pub(super) fn closed(plugin: Arc<str>, about: &str, lines: Lines) -> Self {
        Self {
            plugin,
            about: about.to_owned(),
            lines,
            names: None,
            source: Source::Closed,
            permissions: Arc::from([]),
            read_bytes: 0,
            read_objects: 0,
            reads: Vec::new(),
            last_words: None,
            printed: Printed::default(),
            knows_secrets: false,
        }
    }

    /// The same for a call about an object of `kind`.
    pub(super) fn about_kind(mut self, kind: &Kind) -> Self {
        self.knows_secrets = kind.is_secret();
        self
    }

    /// The same, with names and with reads of what `permissions` allow.
    pub(super) fn open(
        mut self,
        names: Names,
        lookup: Arc<dyn Lookup + Send + Sync>,
        permissions: Arc<[LookupPermission]>,
    ) -> Self {
        self.names = Some(names);
        self.source = Source::Caches(lookup);
        self.permissions = permissions;
        self
    }

    /// The same, with names and with the reads of an earlier call.
    pub(super) fn recorded(
        mut self,
        names: Names,
        reads: &[Read],
        permissions: Arc<[LookupPermission]>,
    ) -> Self {
        let reads = reads.iter().map(|read| (read.query.clone(), read.answer.clone()));
        self.names = Some(names);
        self.source = Source::Record(reads.collect());
        self.permissions = permissions;
        self
    }

    /// The plugin's last line of level error.
    pub(super) fn last_words(&self) -> Option<&str> {
        self.last_words.as_deref()
    }

    /// What a stubbed file was given: whole lines go to the log.
    pub(super) fn print(&mut self, bytes: &[u8]) {
        for line in self.printed.add(bytes) {
            // A panic's message comes this way, so it is kept like an error.
            log::Host::write(self, log::Level::Error, line, Vec::new());
        }
    }

    /// The call is over: what it has printed last need not end with a line break.
    pub(super) fn end_printing(&mut self) {
        if let Some(line) = self.printed.left() {
            log::Host::write(self, log::Level::Error, line, Vec::new());
        }
        if self.printed.has_left_out() {
            self.note_what_is_left_out();
        }
    }

    /// A reader of the log must not take what is there for all that was written.
    fn note_what_is_left_out(&self) {
        if let Some(note) = self.lines.note() {
            let (plugin, about) = (&*self.plugin, self.about.as_str());
            warn!(target: "weft::plugin::guest", plugin, about, "{note}");
        }
    }

    /// What the call has read.
    pub(super) fn into_reads(self) -> Vec<Read> {
        self.reads
    }

    fn permission(&self, side: Side, kind: &Kind) -> Result<LookupPermission, lookup::LookupError> {
        let found =
            self.permissions.iter().find(|found| found.side == side && found.resource.kind() == *kind);
        found.cloned().ok_or(lookup::LookupError::NotGranted)
    }

    /// Writes an object out for the plugin, as far as it may see it and as much as it may read.
    fn hand_out<S>(
        &mut self,
        object: &Object<S>,
        permission: &LookupPermission,
    ) -> Result<String, lookup::LookupError> {
        let shown = project(object.fields(), &permission.fields);
        let text = serde_json::to_string(&shown).unwrap_or_default();
        self.knows_secrets |= permission.kind().is_secret();
        self.count(text.len())?;
        Ok(text)
    }

    /// Counts one more thing that is read or asked for, of so many bytes.
    fn count(&mut self, bytes: usize) -> Result<(), lookup::LookupError> {
        self.read_bytes = self.read_bytes.saturating_add(bytes);
        self.read_objects += 1;
        if self.read_bytes > READ_BYTES || self.read_objects > READ_OBJECTS {
            return Err(lookup::LookupError::TooLarge);
        }
        Ok(())
    }
}

impl types::Host for Imports {}

impl lookup::Host for Imports {
    fn get(
        &mut self,
        side: types::Side,
        target: types::ObjectRef,
    ) -> Result<Option<String>, lookup::LookupError> {
        let key = convert::key(&target);
        let side = convert::side(side);
        let permission = self.permission(side, &key.kind)?;
        let query = format!("{side} {key}");
        let lookup = match &self.source {
            Source::Closed => return Err(lookup::LookupError::NotGranted),
            Source::Record(reads) => return reads.get(&query).cloned().ok_or(lookup::LookupError::NotSynced),
            Source::Caches(lookup) => lookup.clone(),
        };
        if !lookup.is_complete(&key.kind) {
            return Err(lookup::LookupError::NotSynced);
        }
        if !convert::can_be(&target) {
            return Ok(None);
        }
        let text = match side {
            Side::Virtual => {
                lookup.object(&key).map(|object| self.hand_out(&object, &permission)).transpose()?
            }
            Side::Host => {
                lookup.host_object(&key).map(|object| self.hand_out(&object, &permission)).transpose()?
            }
        };
        if text.is_none() {
            self.count(query.len())?;
        }
        self.reads.push(Read { query, answer: text.clone() });
        Ok(text)
    }

    fn find(
        &mut self,
        kind: types::Kind,
        namespace: Option<String>,
        labels: types::Pairs,
    ) -> Result<Vec<String>, lookup::LookupError> {
        let kind = convert::kind(&kind);
        let permission = self.permission(Side::Virtual, &kind)?;
        let query = format!("find {kind} in {namespace:?} with {labels:?}");
        let lookup = match &self.source {
            Source::Closed => return Err(lookup::LookupError::NotGranted),
            Source::Record(reads) => return found_before(reads.get(&query)),
            Source::Caches(lookup) => lookup.clone(),
        };
        if !lookup.is_complete(&kind) {
            return Err(lookup::LookupError::NotSynced);
        }
        self.count(query.len())?;
        let found = lookup.find(&kind, namespace.as_deref(), &labels);
        let texts: Vec<String> =
            found.iter().map(|object| self.hand_out(object, &permission)).collect::<Result<_, _>>()?;
        self.reads.push(Read { query, answer: Some(format!("[{}]", texts.join(","))) });
        Ok(texts)
    }
}

impl names::Host for Imports {
    fn host_name(&mut self, namespace: String, name: String) -> String {
        let host_name = |names: &Names| names.host_name(&VirtualName::new(namespace, name)).to_string();
        self.names.as_ref().map(host_name).unwrap_or_default()
    }

    fn derived_name(&mut self, purpose: String, namespace: String, name: String) -> String {
        // Names that weft derives for itself have other purposes.
        let purpose = format!("plugin {} {purpose}", self.plugin);
        let derived = |names: &Names| names.derived(&purpose, &VirtualName::new(namespace, name)).to_string();
        self.names.as_ref().map(derived).unwrap_or_default()
    }

    fn to_virtual_text(&mut self, text: String, namespace: String) -> String {
        match &self.names {
            Some(names) => names.to_virtual_text(&text, &namespace),
            None => text,
        }
    }
}

impl log::Host for Imports {
    fn write(&mut self, level: log::Level, message: String, fields: types::Pairs) {
        let mut line = truncate(&message, LINE).to_owned();
        for (name, value) in fields.iter().take(LINE_FIELDS) {
            if line.len() < LINE {
                let room = LINE - line.len();
                line.push_str(truncate(&format!(" {name}={value}"), room));
            }
        }
        let line = if self.knows_secrets { WITHHELD.to_owned() } else { one_line(&line, LINE) };
        if matches!(level, log::Level::Error) {
            self.last_words = Some(truncate(&line, 512).to_owned());
        }
        if !self.lines.has_room() {
            return self.note_what_is_left_out();
        }
        let (plugin, about) = (&*self.plugin, self.about.as_str());
        match level {
            log::Level::Debug => debug!(target: "weft::plugin::guest", plugin, about, "{line}"),
            log::Level::Info => info!(target: "weft::plugin::guest", plugin, about, "{line}"),
            log::Level::Warn => warn!(target: "weft::plugin::guest", plugin, about, "{line}"),
            log::Level::Error => error!(target: "weft::plugin::guest", plugin, about, "{line}"),
        }
    }
}

/// The objects of a recorded answer, each as JSON.
fn found_before(answer: Option<&Option<String>>) -> Result<Vec<String>, lookup::LookupError> {
    let list =
        answer.and_then(Option::as_deref).and_then(|text| serde_json::from_str::<Vec<Value>>(text).ok());
    let texts = list.map(|objects| objects.iter().map(Value::to_string).collect());
    texts.ok_or(lookup::LookupError::NotSynced)
}

/// The object's identity and these fields alone; all of it when there are none.
fn project(object: &Fields, fields: &[String]) -> Value {
    if fields.is_empty() {
        return Value::Object(object.clone());
    }
    let mut shown = Map::new();
    let always = ["/apiVersion", "/kind", "/metadata"].into_iter();
    for pointer in always.chain(fields.iter().map(String::as_str)) {
        copy(object, &mut shown, pointer.strip_prefix('/').unwrap_or(pointer));
    }
    Value::Object(shown)
}

fn copy(from: &Fields, to: &mut Fields, path: &str) {
    let (name, rest) = path.split_once('/').unwrap_or((path, ""));
    let name = paths::unescape(name).into_owned();
    let Some(value) = from.get(&name) else { return };
    match (value, rest) {
        (_, "") => {
            to.insert(name, value.clone());
        }
        (Value::Object(from), rest) => copy(from, weft_core::object::child_mut(to, &name), rest),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_printed_last_is_kept_as_the_last_words() {
        let mut imports = Imports::closed(Arc::from("p"), "a test", Lines::per_second(1));
        imports.print("again\n".repeat(1_000_000).as_bytes());
        imports.print(b"panicked: over\nand ");
        assert_eq!(imports.last_words(), Some("panicked: over"));
        imports.print(b"out");
        imports.end_printing();
        assert_eq!(imports.last_words(), Some("and out"));
    }

    #[test]
    fn only_what_is_granted_is_shown() {
        let object = json!({"kind": "Secret", "metadata": {"name": "a"}, "data": {"k": "v"}, "spec": {"a": 1, "b": 2}});
        let shown = project(object.as_object().unwrap(), &["/spec/a".to_owned()]);
        assert_eq!(shown, json!({"kind": "Secret", "metadata": {"name": "a"}, "spec": {"a": 1}}));
    }
}

//! Answers one request: the only place that knows all verbs.

use std::sync::Arc;

use serde_json::Value;

use super::call::{Call, Verb};
use super::clock::Clock;
use super::identifiers::Identifiers;
use super::kinds::Kind;
use super::list::project;
use super::namespaces;
use super::refusal::Refusal;
use super::rules::Subject;
use super::storage::{Key, Storage};
use super::watch::Watching;

/// What one server has.
pub(super) struct Server {
    pub(super) storage: Storage,
    pub(super) clock: Clock,
    pub(super) identifiers: Identifiers,
}

/// The answer to a request that is not refused.
pub(super) enum Answer {
    Whole(u16, Value),
    Watch(Watching),
}

impl Server {
    /// A server that has nothing but the namespaces that every server has.
    pub(super) fn new(seed: u64) -> Self {
        let mut server =
            Self { storage: Storage::new(), clock: Clock::start(), identifiers: Identifiers::new(seed) };
        namespaces::create_first(&mut server);
        server
    }

    /// Does what is asked for.
    pub(super) fn answer(&mut self, call: &Call) -> Result<Answer, Refusal> {
        let (code, object) = match call.verb {
            Verb::List => return self.list(call).map(|list| Answer::Whole(200, list)),
            Verb::Watch => return Watching::start(self, call).map(Answer::Watch),
            Verb::Get => (200, Value::clone(&*self.read(call)?)),
            Verb::Create if call.subresource == Some("binding") => (201, self.bind(call)?),
            Verb::Create if call.subresource == Some("token") => (201, self.issue(call)?),
            Verb::Create => (201, self.create(call)?),
            Verb::Replace | Verb::Patch(_) => (200, self.update(call)?),
            Verb::Delete => (200, self.delete(call)?),
        };
        let object = if call.is_for_metadata { project(&object) } else { object };
        Ok(Answer::Whole(code, object))
    }

    fn read(&self, call: &Call) -> Result<Arc<Value>, Refusal> {
        if let Some(wanted) = call.number("resourceVersion")? {
            self.check_not_ahead(wanted)?;
        }
        self.current(call)
    }

    /// The object that is named.
    pub(super) fn current(&self, call: &Call) -> Result<Arc<Value>, Refusal> {
        let key = Key::new(call.kind, &call.namespace, &call.name);
        self.storage.get(&key).cloned().ok_or_else(|| Refusal::not_found(call.kind, &call.name))
    }

    /// Refuses a revision that is still to come.
    pub(super) fn check_not_ahead(&self, wanted: u64) -> Result<(), Refusal> {
        let current = self.storage.revision();
        if wanted > current { Err(Refusal::too_large(wanted, current)) } else { Ok(()) }
    }

    /// What rules of the kind are given.
    pub(super) fn subject(&self, kind: &'static Kind, name: &str) -> Subject<'_> {
        Subject { kind, name: name.to_owned(), storage: &self.storage, now: self.clock.timestamp(0) }
    }

    /// Stores a new state of an object, unless it is a dry run; returns it as it is answered.
    pub(super) fn store(&mut self, call: &Call, key: Key, object: Value) -> Value {
        if call.is_dry_run() { object } else { Value::clone(&self.storage.put(key, object)) }
    }
}

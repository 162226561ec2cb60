//! Watches: what has changed since a revision, in order, then bookmarks, and an error once the past is forgotten.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::call::Call;
use super::kinds::Kind;
use super::list::project;
use super::object::metadata;
use super::refusal::Refusal;
use super::selector::Selector;
use super::server::Server;
use super::storage::Change;

/// How long a watch lasts that names no time.
const LIFETIME: u64 = 30 * 60;
/// How often a quiet watch is sent its place.
const BETWEEN_BOOKMARKS: Duration = Duration::from_mins(1);
/// How long before its end a watch is sent its place.
const BEFORE_END: Duration = Duration::from_secs(2);

/// One watch, and where it is.
pub(super) struct Watching {
    kind: &'static Kind,
    namespace: String,
    selector: Selector,
    is_for_metadata: bool,
    has_bookmarks: bool,
    /// What there is at the start.
    first: VecDeque<Value>,
    revision: u64,
    next_bookmark: Instant,
    end: Instant,
    is_over: bool,
}

/// What a watch does next.
pub(super) enum Step {
    /// Sends a frame.
    Frame(Value),
    /// Waits for a change of the storage, and not longer than this.
    Wait(Instant),
    End,
}

impl Watching {
    pub(super) fn start(server: &Server, call: &Call) -> Result<Self, Refusal> {
        let seconds = call.number("timeoutSeconds")?.filter(|seconds| *seconds > 0).unwrap_or(LIFETIME);
        let now = Instant::now();
        let mut watching = Self {
            kind: call.kind,
            namespace: call.namespace.clone(),
            selector: Selector::read(call)?,
            is_for_metadata: call.is_for_metadata,
            has_bookmarks: matches!(call.parameter("allowWatchBookmarks"), "1" | "true"),
            first: VecDeque::new(),
            revision: call.number("resourceVersion")?.unwrap_or_default(),
            next_bookmark: now,
            end: now + Duration::from_secs(seconds),
            is_over: false,
        };
        watching.next_bookmark = watching.bookmark_after(now);
        if watching.revision == 0 {
            watching.begin(server);
        }
        Ok(watching)
    }

    /// Without a revision, what there is comes first.
    fn begin(&mut self, server: &Server) {
        self.revision = server.storage.revision();
        let all = server.storage.all(self.kind, &self.namespace);
        let selected = all.filter(|(_, object)| self.selector.matches(object));
        self.first = selected.map(|(_, object)| self.frame("ADDED", object)).collect();
    }

    /// The next frame, if there is one by now.
    pub(super) fn step(&mut self, server: &Server) -> Step {
        let now = Instant::now();
        if self.is_over || now >= self.end {
            return Step::End;
        }
        if let Some(frame) = self.first.pop_front() {
            return Step::Frame(frame);
        }
        if server.storage.has_forgotten(self.revision) {
            self.is_over = true;
            let refusal = Refusal::expired(format!("too old resource version: {}", self.revision));
            return Step::Frame(json!({"type": "ERROR", "object": refusal.status()}));
        }
        if let Some(frame) = self.next_change(server) {
            return Step::Frame(frame);
        }
        self.revision = self.revision.max(server.storage.revision());
        if self.has_bookmarks && now >= self.next_bookmark {
            self.next_bookmark = self.bookmark_after(now);
            return Step::Frame(self.bookmark());
        }
        Step::Wait(if self.has_bookmarks { self.end.min(self.next_bookmark) } else { self.end })
    }

    fn next_change(&mut self, server: &Server) -> Option<Value> {
        for change in server.storage.since(self.revision) {
            if change.key.is_in(self.kind, &self.namespace)
                && let Some(frame) = self.event(change)
            {
                self.revision = change.revision;
                return Some(frame);
            }
        }
        None
    }

    /// An object that is selected no more is as good as deleted.
    fn event(&self, change: &Change) -> Option<Value> {
        let selected = |object: &Arc<Value>| self.selector.matches(object);
        let old = change.old.as_ref().filter(|old| selected(old));
        let new = change.new.as_ref().filter(|new| selected(new));
        match (old, new) {
            (None, None) => None,
            (None, Some(new)) => Some(self.frame("ADDED", new)),
            (Some(_), Some(new)) => Some(self.frame("MODIFIED", new)),
            (Some(old), None) => {
                let mut last = Value::clone(old);
                metadata(&mut last).insert("resourceVersion".into(), change.revision.to_string().into());
                Some(self.frame("DELETED", &last))
            }
        }
    }

    fn frame(&self, kind: &str, object: &Value) -> Value {
        let object = if self.is_for_metadata { project(object) } else { object.clone() };
        json!({"type": kind, "object": object})
    }

    fn bookmark(&self) -> Value {
        let object = json!({
            "kind": self.kind.name, "apiVersion": self.kind.api_version(),
            "metadata": {"resourceVersion": self.revision.to_string()},
        });
        self.frame("BOOKMARK", &object)
    }

    fn bookmark_after(&self, now: Instant) -> Instant {
        let before_end = self.end.checked_sub(BEFORE_END).filter(|then| *then > now);
        let regular = now + BETWEEN_BOOKMARKS;
        before_end.map_or(regular, |then| then.min(regular))
    }
}

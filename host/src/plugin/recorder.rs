//! Recent calls, without the data of Secrets: to try a new version of a plugin with, before it is used.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use weft_core::extension::{Answer, Direction};
use weft_core::object::Kind;

use crate::plugin::bindings::exports::weft::mapping::mapper;
use crate::plugin::imports::Read;

/// Calls that are kept of one plugin.
const KEPT: usize = 32;
/// Bytes that are kept of them in all.
const KEPT_BYTES: usize = 512 * 1024;
/// Every so many calls one is kept, so that the record is of different objects.
const EVERY: u64 = 7;

/// Recent calls.
#[derive(Default)]
pub struct Recorder {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seen: u64,
    calls: VecDeque<Recorded>,
    bytes: usize,
}

/// One call and what came of it.
#[derive(Clone)]
pub struct Recorded {
    /// Which function.
    pub direction: Direction,
    /// What was looked up.
    pub(super) reads: Vec<Read>,
    /// What was answered.
    pub answer: Answer,
    request: mapper::Request,
}

impl Recorded {
    pub(super) fn to_request(&self) -> mapper::Request {
        self.request.clone()
    }

    fn bytes(&self) -> usize {
        let request = &self.request;
        let parts = [request.virtual_object.as_deref(), request.host_object.as_deref(), Some(&request.draft)];
        let reads =
            self.reads.iter().map(|read| read.query.len() + read.answer.as_deref().map_or(0, str::len));
        parts.into_iter().flatten().map(str::len).chain(reads).sum()
    }
}

impl Recorder {
    pub(super) fn record(
        &self,
        direction: Direction,
        request: mapper::Request,
        reads: Vec<Read>,
        answer: &Answer,
    ) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.seen += 1;
        // Of Secrets nothing is kept: a record without data would not be the same question.
        if state.seen % EVERY != 1 || Kind::new(&request.kind.kind).is_secret() || holds_secrets(&reads) {
            return;
        }
        let call = Recorded { direction, reads, answer: answer.clone(), request };
        state.bytes += call.bytes();
        state.calls.push_back(call);
        while state.calls.len() > KEPT || state.bytes > KEPT_BYTES {
            let Some(oldest) = state.calls.pop_front() else { return };
            state.bytes -= oldest.bytes();
        }
    }

    /// The calls that are kept, oldest first.
    pub fn calls(&self) -> Vec<Recorded> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).calls.iter().cloned().collect()
    }
}

fn holds_secrets(reads: &[Read]) -> bool {
    let is_secret = |json: &str| {
        serde_json::from_str::<Value>(json).is_ok_and(|value| match value {
            Value::Array(items) => items.iter().any(is_kind_secret),
            value => is_kind_secret(&value),
        })
    };
    reads.iter().filter_map(|read| read.answer.as_deref()).any(is_secret)
}

fn is_kind_secret(value: &Value) -> bool {
    value.get("kind").and_then(Value::as_str).is_some_and(|kind| Kind::new(kind).is_secret())
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_core::edit::Edit;

    use crate::plugin::bindings::weft::mapping::types;

    fn request(kind: &str, draft: String) -> mapper::Request {
        let kind = types::Kind { group: String::new(), version: "v1".to_owned(), kind: kind.to_owned() };
        let context = types::Context {
            cluster: String::new(),
            host_namespace: String::new(),
            cluster_domain: String::new(),
            dns: Vec::new(),
            api_servers: Vec::new(),
            host_version: String::new(),
            virtual_version: String::new(),
            now: 0,
            extra: Vec::new(),
        };
        mapper::Request { context, kind, virtual_object: None, host_object: None, draft }
    }

    /// Records a call so often that it is kept.
    fn keep(recorder: &Recorder, kind: &str, draft: &str, reads: &[Read]) {
        let answer = Answer { verdict: Ok(Edit::Unchanged), events: Vec::new(), conditions: None };
        for _ in 0..EVERY {
            recorder.record(Direction::ToHost, request(kind, draft.to_owned()), reads.to_vec(), &answer);
        }
    }

    fn kept(recorder: &Recorder) -> Vec<String> {
        recorder.calls().iter().map(|call| call.to_request().draft).collect()
    }

    fn read(answer: &str) -> Read {
        Read { query: "virtual v1/X a/b".to_owned(), answer: Some(answer.to_owned()) }
    }

    #[test]
    fn one_of_so_many_calls_is_kept_and_the_oldest_go_first() {
        let recorder = Recorder::default();
        (0..40).for_each(|number| keep(&recorder, "Pod", &number.to_string(), &[]));
        let expected: Vec<String> = (40 - KEPT..40).map(|number| number.to_string()).collect();
        assert_eq!(kept(&recorder), expected);
    }

    #[test]
    fn no_more_than_so_many_bytes_are_kept() {
        let recorder = Recorder::default();
        let large = "x".repeat(KEPT_BYTES / 3);
        (0..5).for_each(|_| keep(&recorder, "Pod", &large, &[]));
        assert_eq!(kept(&recorder).len(), 3);
        keep(&recorder, "Pod", &"x".repeat(KEPT_BYTES + 1), &[]);
        assert!(kept(&recorder).is_empty(), "what is too large alone is not kept");
        keep(&recorder, "Pod", "small", &[read(&large)]);
        keep(&recorder, "Pod", "small", &[read(&large)]);
        keep(&recorder, "Pod", "small", &[read(&large)]);
        assert_eq!(kept(&recorder).len(), 2, "what was read counts as well");
    }

    #[test]
    fn nothing_is_kept_of_a_secret_or_of_a_call_that_read_one() {
        let recorder = Recorder::default();
        keep(&recorder, "Secret", "{}", &[]);
        keep(&recorder, "Pod", "{}", &[read(r#"{"kind": "Secret"}"#)]);
        keep(&recorder, "Pod", "{}", &[read(r#"[{"kind": "ConfigMap"}, {"kind": "Secret"}]"#)]);
        assert!(kept(&recorder).is_empty());
        keep(&recorder, "Pod", "{}", &[read(r#"{"kind": "ConfigMap"}"#)]);
        assert_eq!(kept(&recorder).len(), 1);
    }
}

//! Says which requests get which fault, and how often.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Result, ensure};
use http::{HeaderName, HeaderValue};
use tokio::sync::watch;

use super::request::{Request, Verb};
use crate::eventually::{SOON, eventually};

/// Which requests a rule is about.
#[derive(Debug, Clone)]
#[must_use = "it does nothing before it is a rule of a proxy"]
pub struct Matcher {
    verb: Option<Verb>,
    /// Plural and subresource; `*` for all.
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    skipped: usize,
    turns: usize,
}

/// Which requests get which fault, and how often.
#[derive(Debug, Clone)]
#[must_use = "it does nothing before a proxy has it"]
pub struct Rule {
    matcher: Matcher,
    pub(super) fault: Fault,
}

/// What is done to a request.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// Answered by the proxy; the API server does not see it.
    Answer { code: u16, reason: &'static str, retry_after: Option<u32> },
    /// Forwarded later.
    Delay(Duration),
    /// Never answered.
    Hang(Place),
    /// The connection is cut instead of an answer.
    Cut(Place),
    /// The connection is cut after so many bytes of the body of the answer.
    CutBody(usize),
    /// The body of the answer comes byte by byte, with so much time between them, until the rule is removed.
    Slow(Duration),
    /// A header of the answer is set.
    Header(HeaderName, HeaderValue),
    /// What becomes of each frame of a watch.
    Frames(FrameFault),
}

/// Whether the API server sees the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    BeforeEffect,
    AfterEffect,
}

/// What becomes of each frame of a watch.
#[derive(Debug, Clone, Copy)]
pub(super) enum FrameFault {
    /// It never arrives.
    Dropped,
    /// It arrives twice.
    Doubled,
    /// It arrives once the rule is removed.
    Held,
    /// An error frame with 410 arrives instead, and the watch ends.
    Expired,
}

/// Requests that create `resource`: `pods`, or `pods/binding`.
pub fn posts(resource: &str) -> Matcher {
    Matcher::new(Some(Verb::Post), resource)
}

/// Requests that patch it.
pub fn patches(resource: &str) -> Matcher {
    Matcher::new(Some(Verb::Patch), resource)
}

/// Requests that delete it.
pub fn deletes(resource: &str) -> Matcher {
    Matcher::new(Some(Verb::Delete), resource)
}

/// Requests that read one.
pub fn gets(resource: &str) -> Matcher {
    Matcher::new(Some(Verb::Get), resource)
}

/// Requests that read many.
pub fn lists(resource: &str) -> Matcher {
    Matcher::new(Some(Verb::List), resource)
}

/// Requests that follow changes.
pub fn watches(resource: &str) -> Matcher {
    Matcher::new(Some(Verb::Watch), resource)
}

/// Requests of every verb about it; `*` for all resources.
pub fn any(resource: &str) -> Matcher {
    Matcher::new(None, resource)
}

impl Matcher {
    fn new(verb: Option<Verb>, resource: &str) -> Self {
        let resource = resource.to_owned();
        Self { verb, resource, namespace: None, name: None, skipped: 0, turns: usize::MAX }
    }

    /// Only in this namespace.
    pub fn in_namespace(self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self }
    }

    /// Only an object whose name begins so. What is created has no name in its path.
    pub fn named(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// Only the first `turns`; without it, every one until the rule is removed.
    pub fn first(self, turns: usize) -> Self {
        Self { turns, ..self }
    }

    /// Only the `number`th, counted from one.
    pub fn nth(self, number: usize) -> Self {
        Self { skipped: number.saturating_sub(1), turns: 1, ..self }
    }

    /// Answers with a status, such as `(409, "Conflict")`, without asking the API server.
    pub fn answer(self, code: u16, reason: &'static str) -> Rule {
        self.does(Fault::Answer { code, reason, retry_after: None })
    }

    /// The same, with a header that says when to ask again, in seconds.
    pub fn answer_with_retry_after(self, code: u16, reason: &'static str, seconds: u32) -> Rule {
        self.does(Fault::Answer { code, reason, retry_after: Some(seconds) })
    }

    /// Forwards later.
    pub fn delay(self, by: Duration) -> Rule {
        self.does(Fault::Delay(by))
    }

    /// Neither forwards nor answers.
    pub fn hang_before_effect(self) -> Rule {
        self.does(Fault::Hang(Place::BeforeEffect))
    }

    /// Forwards, and does not answer.
    pub fn hang_after_effect(self) -> Rule {
        self.does(Fault::Hang(Place::AfterEffect))
    }

    /// Cuts the connection without forwarding.
    pub fn cut_before_effect(self) -> Rule {
        self.does(Fault::Cut(Place::BeforeEffect))
    }

    /// Forwards, and cuts the connection instead of answering.
    pub fn cut_after_effect(self) -> Rule {
        self.does(Fault::Cut(Place::AfterEffect))
    }

    /// Cuts the connection after so many bytes of the answer's body.
    pub fn cut_after_bytes(self, bytes: usize) -> Rule {
        self.does(Fault::CutBody(bytes))
    }

    /// The answer's body comes byte by byte, with so much time between them; once the rule is removed, as it is.
    pub fn slow_body(self, pause: Duration) -> Rule {
        self.does(Fault::Slow(pause))
    }

    /// Sets a header of the answer, such as `Date`.
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Rule {
        self.does(Fault::Header(name, value))
    }

    /// Frames of a watch never arrive.
    pub fn drop_frames(self) -> Rule {
        self.does(Fault::Frames(FrameFault::Dropped))
    }

    /// Frames of a watch arrive twice.
    pub fn double_frames(self) -> Rule {
        self.does(Fault::Frames(FrameFault::Doubled))
    }

    /// Frames of a watch arrive once the rule is removed.
    pub fn hold_frames(self) -> Rule {
        self.does(Fault::Frames(FrameFault::Held))
    }

    /// Instead of its first frame, a watch gets an error with 410 and ends.
    pub fn expire_at_first_frame(self) -> Rule {
        self.does(Fault::Frames(FrameFault::Expired))
    }

    fn does(self, fault: Fault) -> Rule {
        Rule { matcher: self, fault }
    }

    /// Whether it is about `request`, however often.
    pub(super) fn matches(&self, request: &Request) -> bool {
        self.verb.is_none_or(|verb| verb == request.verb)
            && (self.resource == "*" || self.resource == request.resource)
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == request.namespace)
            && self.name.as_ref().is_none_or(|name| request.name.starts_with(name.as_str()))
    }
}

/// The rules of a proxy.
#[derive(Debug, Default)]
pub(super) struct Rules(Mutex<Vec<Active>>);

#[derive(Debug)]
struct Active {
    rule: Rule,
    matched: usize,
    applied: watch::Sender<usize>,
    /// Closed when the rule is removed.
    removed: watch::Sender<()>,
    /// Shared with each request that hangs.
    hanging: Arc<()>,
}

/// How often a rule was applied, and how many requests hang by it.
#[derive(Debug, Clone)]
pub struct Applied {
    times: watch::Receiver<usize>,
    hanging: Weak<()>,
}

/// A fault for one request, and when its rule is removed.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) fault: Fault,
    removed: watch::Receiver<()>,
    hanging: Weak<()>,
}

impl Rules {
    pub(super) fn add(&self, rule: Rule) -> Applied {
        let (applied, times) = watch::channel(0);
        let hanging = Arc::new(());
        let handle = Applied { times, hanging: Arc::downgrade(&hanging) };
        self.active().push(Active { rule, matched: 0, applied, removed: watch::Sender::new(()), hanging });
        handle
    }

    pub(super) fn clear(&self) {
        self.active().clear();
    }

    /// The fault for a request, if one applies.
    pub(super) fn turn(&self, request: &Request) -> Option<Turn> {
        self.active().iter_mut().find_map(|active| active.turn(request))
    }

    fn active(&self) -> MutexGuard<'_, Vec<Active>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Active {
    fn turn(&mut self, request: &Request) -> Option<Turn> {
        let Rule { matcher, fault } = &self.rule;
        if !matcher.matches(request) {
            return None;
        }
        self.matched += 1;
        let turn = self.matched.checked_sub(matcher.skipped + 1)?;
        if turn >= matcher.turns {
            return None;
        }
        self.applied.send_modify(|applied| *applied += 1);
        let removed = self.removed.subscribe();
        Some(Turn { fault: fault.clone(), removed, hanging: Arc::downgrade(&self.hanging) })
    }
}

impl Turn {
    /// Whether the rule is removed.
    pub(super) fn is_removed(&self) -> bool {
        self.removed.has_changed().is_err()
    }

    /// Waits until the rule is removed.
    pub(super) async fn removed(&mut self) {
        let _hanging = self.hanging.upgrade();
        while self.removed.changed().await.is_ok() {}
    }

    #[cfg(test)]
    pub(super) fn of_removed_rule() -> Self {
        let (fault, removed) = (Fault::Hang(Place::BeforeEffect), watch::Sender::new(()).subscribe());
        Self { fault, removed, hanging: Weak::new() }
    }
}

impl Applied {
    /// How often so far.
    pub fn times(&self) -> usize {
        *self.times.borrow()
    }

    /// How many requests hang, after they took effect if they were to.
    pub fn hanging(&self) -> usize {
        self.hanging.strong_count().saturating_sub(1)
    }

    /// Waits until it was applied so often: a fault that never happened shows nothing.
    pub async fn at_least(&self, times: usize) -> Result<()> {
        eventually(&format!("the fault happens {times} times"), SOON, async || {
            ensure!(self.times() >= times, "{} times", self.times());
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn request(path: &str) -> Request {
        Request::read(&Method::POST, &path.parse().unwrap(), &http::HeaderMap::new())
    }

    #[test]
    fn a_rule_applies_as_often_as_it_says() {
        let rules = Rules::default();
        let first = rules.add(posts("pods").first(2).cut_before_effect());
        let fourth = rules.add(posts("pods").nth(2).cut_before_effect());
        let pods = request("/api/v1/namespaces/a/pods");
        let faults = (0..5).map(|_| rules.turn(&pods).is_some()).collect::<Vec<_>>();
        assert_eq!(
            faults,
            [true, true, false, true, false],
            "the second rule sees what the first one leaves"
        );
        assert_eq!((first.times(), fourth.times()), (2, 1));
        rules.clear();
        assert!(rules.turn(&pods).is_none());
    }

    #[test]
    fn a_rule_is_about_a_resource_a_namespace_and_a_name() {
        let binding = request("/api/v1/namespaces/a/pods/web-1/binding");
        for (matcher, is_about) in [
            (posts("pods/binding"), true),
            (posts("pods"), false),
            (patches("pods/binding"), false),
            (any("*").in_namespace("a").named("web"), true),
            (any("*").in_namespace("b"), false),
            (any("*").named("other"), false),
        ] {
            assert_eq!(matcher.matches(&binding), is_about, "{matcher:?}");
        }
    }
}

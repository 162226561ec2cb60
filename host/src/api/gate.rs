//! Holds requests back while a server is away, or has asked for rest.
//!
//! Keys back off one by one; but a thousand keys that each try once are a storm all the same. That a server is away is learnt
//! by one request and holds for all. A wish for rest holds for the kind and the namespace that it was said about: it may come
//! from an admission webhook, which a tenant can have for its own namespace.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use tokio::time::Instant;

/// First pause after a request found no server; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause: a server that is back is noticed within it.
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// So many rests are remembered; what finds no room asks again, and is answered again.
const MOST_RESTS: usize = 4096;

/// Closed while nothing should be sent.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed_until: Option<Instant>,
    failures: u32,
    outages: u64,
    rests: HashMap<Scope, Instant>,
}

/// Reads or writes of a kind, by the first segments of its path, in one namespace or in none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Scope(String);

impl Scope {
    /// What a request is about: `/api/v1/namespaces/shop/pods` for all pods there and their subresources. An admission webhook
    /// sees only writes, so what it wants is no reason not to read.
    pub(super) fn of(method: &Method, path: &str) -> Self {
        let mut segments = path.split('/').skip(1).peekable();
        let root = if segments.peek() == Some(&"apis") { 3 } else { 2 };
        let mut kept: Vec<&str> = segments.by_ref().take(root).collect();
        let kind: Vec<&str> = segments.take(3).collect();
        match kind.as_slice() {
            // Objects in a namespace, and the namespaces themselves.
            [_, _, _] if kind.first() == Some(&"namespaces") => kept.extend(&kind),
            [plural, ..] => kept.push(plural),
            [] => {}
        }
        let verb = if *method == Method::GET { "read" } else { "write" };
        Self(format!("{verb} {}", kept.join("/")))
    }
}

impl Gate {
    /// Waits until requests may be sent.
    pub(super) async fn pass(&self) {
        while let Some(time) = self.closed_until() {
            tokio::time::sleep_until(time).await;
        }
    }

    /// How long the server still wants to be left alone with requests of this scope, if it does.
    pub(super) fn rest(&self, scope: &Scope) -> Option<Duration> {
        let left = self.lock().rests.get(scope)?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// The server answered, whatever it said.
    pub(super) fn answered(&self) {
        self.lock().failures = 0;
    }

    /// The server wants to be left alone with requests of this scope.
    pub(super) fn asked_for_rest(&self, scope: Scope, rest: Duration) {
        let (mut state, now) = (self.lock(), Instant::now());
        if state.rests.len() >= MOST_RESTS {
            state.rests.retain(|_, until| *until > now);
        }
        if state.rests.len() < MOST_RESTS {
            state.rests.insert(scope, now + rest);
        }
    }

    /// The server could not be reached.
    pub(super) fn unreachable(&self) {
        let (mut state, now) = (self.lock(), Instant::now());
        // Requests that were under way together count once.
        if state.closed_until.is_some_and(|time| time > now) {
            return;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << state.failures.min(10)).min(LAST_PAUSE);
        state.failures += 1;
        state.outages += 1;
        state.closed_until = Some(now + pause);
    }

    /// A question of whether it answers did not reach the server.
    pub(super) fn missed(&self) {
        self.lock().outages += 1;
    }

    /// How often the server could not be reached so far.
    pub(super) fn outages(&self) -> u64 {
        self.lock().outages
    }

    fn closed_until(&self) -> Option<Instant> {
        self.lock().closed_until.filter(|time| *time > Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_kind_in_a_namespace() {
        let scope = |path: &str| Scope::of(&Method::PATCH, path).0.replacen("write ", "", 1);
        for (path, expected) in [
            ("/api/v1/namespaces/shop/pods", "api/v1/namespaces/shop/pods"),
            ("/api/v1/namespaces/shop/pods/web/status", "api/v1/namespaces/shop/pods"),
            ("/apis/apps/v1/namespaces/shop/deployments/web", "apis/apps/v1/namespaces/shop/deployments"),
            ("/api/v1/namespaces/shop", "api/v1/namespaces"),
            ("/api/v1/namespaces", "api/v1/namespaces"),
            ("/api/v1/nodes/one/status", "api/v1/nodes"),
            ("/apis/storage.k8s.io/v1/storageclasses", "apis/storage.k8s.io/v1/storageclasses"),
            ("/version", "version"),
            ("/", ""),
        ] {
            assert_eq!(scope(path), expected, "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_holds_for_its_scope_and_for_its_time() {
        let (gate, pods) = (Gate::default(), Scope::of(&Method::POST, "/api/v1/namespaces/shop/pods"));
        gate.asked_for_rest(pods.clone(), Duration::from_secs(5));
        assert_eq!(gate.rest(&pods), Some(Duration::from_secs(5)));
        for other in ["/api/v1/namespaces/shop/services", "/api/v1/namespaces/other/pods", "/version"] {
            assert_eq!(gate.rest(&Scope::of(&Method::POST, other)), None, "{other}");
        }
        let reads = Scope::of(&Method::GET, "/api/v1/namespaces/shop/pods");
        assert_eq!(gate.rest(&reads), None, "what a webhook wants is no reason not to watch");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(gate.rest(&pods), None);
    }

    #[tokio::test(start_paused = true)]
    async fn rests_that_are_over_are_not_remembered() {
        let gate = Gate::default();
        for number in 0..MOST_RESTS * 2 {
            gate.asked_for_rest(Scope(number.to_string()), Duration::from_secs(1));
        }
        assert_eq!(gate.lock().rests.len(), MOST_RESTS);
        tokio::time::advance(Duration::from_secs(1)).await;
        gate.asked_for_rest(Scope(String::new()), Duration::from_secs(1));
        assert_eq!(gate.lock().rests.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn many_requests_that_fail_together_are_one_failure() {
        let gate = Gate::default();
        (0..100).for_each(|_| gate.unreachable());
        let started = Instant::now();
        gate.pass().await;
        assert!(started.elapsed() <= FIRST_PAUSE * 2, "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stays_away_is_asked_ever_less_until_it_answers() {
        let gate = Gate::default();
        for _ in 0..20 {
            gate.unreachable();
            gate.pass().await;
        }
        gate.unreachable();
        let started = Instant::now();
        gate.pass().await;
        assert!(started.elapsed() >= LAST_PAUSE);
        gate.answered();
        gate.pass().await;
        gate.unreachable();
        let started = Instant::now();
        gate.pass().await;
        assert!(started.elapsed() <= FIRST_PAUSE * 2);
    }
}

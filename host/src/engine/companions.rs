//! What a kind needs beside its pair: nodes, tokens and variables of a pod, the volume of a claim, endpoints of a Service.
//!
//! The syncer names no kind: it calls the companions of the kind that it works on.

pub(crate) mod environments;
pub(crate) mod nodes;
pub(crate) mod stale_endpoints;
pub(crate) mod tokens;
pub(crate) mod volumes;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use weft_core::object::{HostObject, Key, Kind, VirtualName, VirtualObject};

use crate::engine::apply::Failed;
use crate::engine::queue::Outcome;

/// What a companion does with servers; boxed, because companions are trait objects.
pub(crate) type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failed>> + Send + 'a>>;

/// Keeps something in step that one kind needs beside its pairs.
pub(crate) trait Companion: Send + Sync {
    /// The kind whose pairs it accompanies, as `apiVersion/Kind`.
    fn kind(&self) -> &'static str;

    /// Called before the host object for `source` is created.
    fn before_create<'a>(&'a self, _source: &'a VirtualObject) -> Work<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Called when neither object of a pair is there: removes what was made for a host object that never came.
    fn after_end<'a>(&'a self, _name: &'a VirtualName) -> Work<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Called before the virtual object of a pair is bound to `node`.
    fn before_bind<'a>(&'a self, _node: &'a str) -> Work<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Called when both objects of a pair are there, after what was decided about them is written; `source` is as the
    /// decision saw it. Returns when to be called again.
    fn ensure<'a>(&'a self, _source: &'a VirtualObject, _host: &'a HostObject) -> Work<'a, Outcome> {
        Box::pin(std::future::ready(Ok(Outcome::Done)))
    }

    /// Whether `host`, which has the name of one of our objects and is not ours, was left behind by the
    /// host's controllers for an object of this virtual namespace: then it is deleted.
    fn is_stale(&self, _host: &HostObject, _namespace: &str) -> bool {
        false
    }

    /// The kind of keys that are of no pair, and that it reconciles by itself.
    fn own_kind(&self) -> Option<&'static str> {
        None
    }

    /// Reconciles one of its own keys.
    fn reconcile<'a>(&'a self, _key: &'a Key) -> Work<'a, Outcome> {
        Box::pin(std::future::ready(Ok(Outcome::Done)))
    }
}

/// All companions, by the kind that they accompany.
pub(crate) struct Companions {
    by_kind: HashMap<Kind, Vec<Arc<dyn Companion>>>,
}

impl Companions {
    /// Registers `companions`; those of one kind are called in this order.
    pub(crate) fn new(companions: Vec<Arc<dyn Companion>>) -> Self {
        let mut by_kind: HashMap<Kind, Vec<Arc<dyn Companion>>> = HashMap::new();
        for companion in companions {
            by_kind.entry(Kind::new(companion.kind())).or_default().push(companion);
        }
        Self { by_kind }
    }

    /// Calls [`Companion::before_create`] of every companion of `kind`.
    pub(crate) async fn before_create(&self, kind: &Kind, source: &VirtualObject) -> Result<(), Failed> {
        for companion in self.of(kind) {
            companion.before_create(source).await?;
        }
        Ok(())
    }

    /// Calls [`Companion::after_end`] of every companion of the key's kind.
    pub(crate) async fn after_end(&self, key: &Key) -> Result<(), Failed> {
        for companion in self.of(&key.kind) {
            companion.after_end(&key.name).await?;
        }
        Ok(())
    }

    /// Calls [`Companion::before_bind`] of every companion of `kind`.
    pub(crate) async fn before_bind(&self, kind: &Kind, node: &str) -> Result<(), Failed> {
        for companion in self.of(kind) {
            companion.before_bind(node).await?;
        }
        Ok(())
    }

    /// Calls [`Companion::ensure`] of every companion of `kind`; returns when the first wants to be called again.
    pub(crate) async fn ensure(
        &self,
        kind: &Kind,
        source: &VirtualObject,
        host: &HostObject,
    ) -> Result<Outcome, Failed> {
        let mut outcome = Outcome::Done;
        for companion in self.of(kind) {
            outcome = outcome.and(companion.ensure(source, host).await?);
        }
        Ok(outcome)
    }

    /// Whether any companion knows `host` for stale: see [`Companion::is_stale`].
    pub(crate) fn is_stale(&self, host: &HostObject, namespace: &str) -> bool {
        self.by_kind.values().flatten().any(|companion| companion.is_stale(host, namespace))
    }

    /// Calls [`Companion::reconcile`] of the companion whose own the key is, if it is anybody's.
    pub(crate) async fn reconcile(&self, key: &Key) -> Result<Outcome, Failed> {
        let mut all = self.by_kind.values().flatten();
        match all.find(|companion| companion.own_kind() == Some(key.kind.as_str())) {
            Some(companion) => companion.reconcile(key).await,
            None => Ok(Outcome::Done),
        }
    }

    fn of(&self, kind: &Kind) -> impl Iterator<Item = &Arc<dyn Companion>> {
        self.by_kind.get(kind).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::time::Duration;

    use serde_json::json;

    use crate::api;
    use crate::engine::apply::Side;

    type Answer = fn() -> Work<'static, Outcome>;

    /// Records what it is called for.
    struct Recorded {
        kind: &'static str,
        answer: Answer,
        calls: Arc<Mutex<Vec<String>>>,
    }

    impl Companion for Recorded {
        fn kind(&self) -> &'static str {
            self.kind
        }

        fn before_bind<'a>(&'a self, node: &'a str) -> Work<'a, ()> {
            self.calls.lock().unwrap().push(format!("{} before {node}", self.kind));
            Box::pin(std::future::ready(Ok(())))
        }

        fn ensure<'a>(&'a self, source: &'a VirtualObject, _: &'a HostObject) -> Work<'a, Outcome> {
            self.calls.lock().unwrap().push(format!("{} {}", self.kind, source.name()));
            (self.answer)()
        }

        fn is_stale(&self, host: &HostObject, namespace: &str) -> bool {
            host.name() == format!("{namespace}-stale")
        }
    }

    fn companions(list: &[(&'static str, Answer)]) -> (Companions, Arc<Mutex<Vec<String>>>) {
        let calls: Arc<Mutex<Vec<String>>> = Arc::default();
        let companion = |(kind, answer): &(&'static str, Answer)| {
            Arc::new(Recorded { kind, answer: *answer, calls: calls.clone() }) as Arc<dyn Companion>
        };
        (Companions::new(list.iter().map(companion).collect()), calls)
    }

    fn answer(result: Result<Outcome, Failed>) -> Work<'static, Outcome> {
        Box::pin(std::future::ready(result))
    }

    fn pair() -> (VirtualObject, HostObject) {
        let object = json!({"metadata": {"namespace": "shop", "name": "web"}});
        (VirtualObject::from_json(object.clone()).unwrap(), HostObject::from_json(object).unwrap())
    }

    #[tokio::test]
    async fn the_companions_of_a_kind_are_called_in_order_and_others_are_not() {
        let soon = || answer(Ok(Outcome::Again(Duration::from_secs(1))));
        let late = || answer(Ok(Outcome::Again(Duration::from_secs(9))));
        let (companions, calls) = companions(&[("v1/Pod", late), ("v1/Service", soon), ("v1/Pod", soon)]);
        let (source, host) = pair();
        companions.before_bind(&Kind::new("v1/Pod"), "node-1").await.unwrap();
        let outcome = companions.ensure(&Kind::new("v1/Pod"), &source, &host).await.unwrap();
        assert_eq!(outcome, Outcome::Again(Duration::from_secs(1)));
        assert_eq!(
            *calls.lock().unwrap(),
            ["v1/Pod before node-1", "v1/Pod before node-1", "v1/Pod web", "v1/Pod web"]
        );
        assert_eq!(companions.ensure(&Kind::new("v1/Secret"), &source, &host).await.unwrap(), Outcome::Done);
    }

    #[tokio::test]
    async fn a_companion_that_fails_says_for_which_object() {
        let failing = || {
            let error = api::Error::Timeout;
            answer(Err(Side::Virtual.failed_to("issue a token for", "shop/web")(error)))
        };
        let (companions, _) = companions(&[("v1/Pod", failing)]);
        let (source, host) = pair();
        let error = companions.ensure(&Kind::new("v1/Pod"), &source, &host).await.unwrap_err();
        assert_eq!(error.to_string(), "failed to issue a token for shop/web in the virtual cluster");
    }

    #[test]
    fn an_object_is_stale_if_any_companion_says_so() {
        let (companions, _) = companions(&[("v1/Service", || answer(Ok(Outcome::Done)))]);
        let object = |name: &str| HostObject::from_json(json!({"metadata": {"name": name}})).unwrap();
        assert!(companions.is_stale(&object("shop-stale"), "shop"));
        assert!(!companions.is_stale(&object("shop-stale"), "bank"));
    }
}

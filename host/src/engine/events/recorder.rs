//! Records events on tenants' own objects: why something is not in step, and what plugins report.
//!
//! A repeated event is written once a minute with its count, and why an object is refused once in five minutes, however the server
//! words it. Plugins may not record more than people can read.
//! Messages come without host names: see [`Names::to_virtual_text`](weft_core::names::Names::to_virtual_text).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, warn};
use weft_core::digest;
use weft_core::object::{Key, VirtualName, VirtualObject};
use weft_core::text::truncate;

use crate::bucket::Buckets;
use crate::engine::ambient::Ambient;
use crate::engine::apply::Writer;
use crate::engine::resources::events;

/// Events that wait to be written; more are dropped, for the cause will come again.
const WAITING: usize = 256;
/// The same event is not written again before this time.
const QUIET: Duration = Duration::from_mins(1);
/// The same for the engine's own reasons, which come again with each try and are worded anew with each count in them.
const QUIET_REASON: Duration = Duration::from_mins(5);
/// At so many events those that may be written again are forgotten.
const FEW: usize = 4096;
/// How many events one plugin may record at once, and how soon it may record one more.
const PLUGIN_EVENTS: (u32, Duration) = (10, Duration::from_secs(1));
/// How often the log warns that a plugin records too many events.
const DROP_WARNING: Duration = Duration::from_mins(1);
/// Bytes of a message that are kept: more than the API takes of the newer kind of events.
const LONGEST_MESSAGE: usize = 1024;

/// An event to be recorded on an object.
#[derive(Debug)]
pub(crate) struct ObjectEvent {
    pub(crate) object: Arc<VirtualObject>,
    pub(crate) key: Key,
    /// Name of the plugin that reports it; none for the engine itself.
    pub(crate) by: Option<String>,
    pub(crate) is_warning: bool,
    /// Shows up in `kubectl describe` as Reason: stable, in CamelCase.
    pub(crate) reason: String,
    pub(crate) message: String,
    /// Whether another message about the same object with the same reason is still the same event.
    pub(crate) is_known_by_reason: bool,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It will be written.
    New,
    /// The same was written not long ago.
    Known,
    /// There are too many.
    Dropped,
}

/// Takes events to be written; never waits.
#[derive(Clone)]
pub(crate) struct EventRecorder {
    sender: mpsc::Sender<Admitted>,
    recent: Arc<Mutex<Recent>>,
}

/// An event that is to be written.
#[derive(Debug)]
struct Admitted {
    event: ObjectEvent,
    /// The same for all events with the same object, reason and message.
    id: String,
    /// How often it was recorded, this time included.
    count: u32,
}

/// What was recorded lately.
struct Recent {
    /// Until when each is not written again, and how often it was recorded.
    events: HashMap<String, (Instant, u32)>,
    clear_at: usize,
    plugins: Buckets<String>,
    /// Events of plugins that were dropped since the log has last warned of it.
    dropped: HashMap<String, u64>,
    warnings: Buckets<String>,
}

impl EventRecorder {
    /// A recorder, and the task that writes what it takes.
    pub(crate) fn new(writer: Arc<Writer>, ambient: Ambient) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { sender, recent: Arc::new(Mutex::new(Recent::new())) }, write_all(writer, ambient, receiver))
    }

    /// Records it, unless the same was recorded not long ago.
    pub(crate) fn record(&self, event: ObjectEvent) -> Recorded {
        let Ok(place) = self.sender.try_reserve() else {
            debug!("too many events are waiting; one is dropped");
            return Recorded::Dropped;
        };
        let id = event.id();
        let now = Instant::now();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = recent.times(&id, now) else { return Recorded::Known };
        if !recent.allows(event.by.as_ref(), now) {
            return Recorded::Dropped;
        }
        recent.remember(&id, count, now, event.quiet());
        place.send(Admitted { event, id, count });
        Recorded::New
    }
}

impl ObjectEvent {
    /// The same for the same event. Who reports it is a part of it, so that no plugin can silence another, or the engine.
    fn id(&self) -> String {
        let message = if self.is_known_by_reason { "" } else { &self.message };
        digest::of_value(&json!([self.object.uid(), self.by, self.reason, message]))
    }

    fn quiet(&self) -> Duration {
        if self.is_known_by_reason { QUIET_REASON } else { QUIET }
    }
}

impl Recent {
    fn new() -> Self {
        let (burst, refill) = PLUGIN_EVENTS;
        Self {
            events: HashMap::new(),
            clear_at: FEW,
            plugins: Buckets::new(burst, refill),
            dropped: HashMap::new(),
            warnings: Buckets::new(1, DROP_WARNING),
        }
    }

    /// How often this will have been recorded when it is recorded now; none if it was recorded not long ago.
    fn times(&self, id: &str, now: Instant) -> Option<u32> {
        match self.events.get(id) {
            Some((until, _)) if *until > now => None,
            Some((_, count)) => Some(count + 1),
            None => Some(1),
        }
    }

    fn remember(&mut self, id: &str, count: u32, now: Instant, quiet: Duration) {
        if self.events.len() >= self.clear_at {
            self.events.retain(|_, (until, _)| *until > now);
            self.clear_at = FEW.max(self.events.len() * 2);
        }
        self.events.insert(id.to_owned(), (now + quiet, count));
    }

    /// Whether a plugin, or the engine itself, may record one more event.
    fn allows(&mut self, by: Option<&String>, now: Instant) -> bool {
        let Some(by) = by else { return true };
        if self.plugins.take(by, now) {
            return true;
        }
        let dropped = self.dropped.entry(by.clone()).or_default();
        *dropped += 1;
        if self.warnings.take(by, now) {
            warn!(
                plugin = by,
                dropped = *dropped,
                "the plugin records more events than people can read; some are dropped"
            );
            self.dropped.remove(by);
        }
        false
    }
}

async fn write_all(writer: Arc<Writer>, ambient: Ambient, mut receiver: mpsc::Receiver<Admitted>) {
    while let Some(admitted) = receiver.recv().await {
        if let Err(error) = write(&writer, &event(&admitted, ambient.now())).await {
            let key = &admitted.event.key;
            debug!(%key, error = &error as &dyn std::error::Error, "failed to write an event");
        }
    }
}

async fn write(writer: &Writer, event: &VirtualObject) -> Result<(), crate::api::Error> {
    match writer.create_virtual(&events(), event).await {
        Err(error) if error.is_already_exists() => {
            let name = VirtualName::new(event.namespace(), event.name());
            writer.count_event(&name, event).await
        }
        result => result.map(drop),
    }
}

fn event(admitted: &Admitted, now: Timestamp) -> VirtualObject {
    let Admitted { event, id, count } = admitted;
    let (object, now) = (&event.object, now.to_string());
    // Events about objects without a namespace live in `default`.
    let namespace = if object.namespace().is_empty() { "default" } else { object.namespace() };
    let short: String = id.chars().take(16).collect();
    let mut name: String = object.name().chars().take(230).collect();
    name.push('.');
    name.push_str(&short);
    // No plugin can pass its events off as the syncer's own.
    let component = event.by.as_ref().map_or_else(|| "weft".to_owned(), |plugin| format!("weft/{plugin}"));
    // Items of lists carry no apiVersion and kind.
    let (api_version, kind) = event.key.kind.as_str().rsplit_once('/').unwrap_or_default();
    let fields = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": api_version, "kind": kind,
            "namespace": object.namespace(), "name": object.name(), "uid": object.uid(),
        },
        "type": if event.is_warning { "Warning" } else { "Normal" },
        "reason": event.reason, "message": truncate(&event.message, LONGEST_MESSAGE),
        "source": {"component": component}, "reportingComponent": "weft",
        "firstTimestamp": now, "lastTimestamp": now, "count": count,
    });
    VirtualObject::new(fields.as_object().cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::api::scripted::Answer;
    use crate::engine::testing::{Bench, echo, key, settle};

    #[test]
    fn the_same_event_is_recorded_once_and_counted_when_it_comes_again_later() {
        let (mut recent, now) = (Recent::new(), Instant::now());
        assert_eq!(recent.times("a", now), Some(1));
        recent.remember("a", 1, now, QUIET);
        assert_eq!(recent.times("a", now + QUIET / 2), None);
        assert_eq!(recent.times("a", now + QUIET), Some(2));
    }

    #[test]
    fn a_plugin_that_records_too_many_events_silences_nobody_else() {
        let (mut recent, now) = (Recent::new(), Instant::now());
        let flood = String::from("flood");
        assert_eq!((0..1000).filter(|_| recent.allows(Some(&flood), now)).count(), 10);
        assert!(recent.allows(None, now) && recent.allows(Some(&"calm".to_owned()), now));
        assert!(recent.allows(Some(&flood), now + Duration::from_secs(1)));
    }

    fn object_event(namespace: &str, message: &str) -> ObjectEvent {
        let metadata = json!({"namespace": namespace, "name": "web", "uid": "uid-1"});
        ObjectEvent {
            object: Arc::new(VirtualObject::from_json(json!({"metadata": metadata})).unwrap()),
            key: key("example.org/v1/Widget", namespace, "web"),
            by: None,
            is_warning: true,
            reason: "Refused".to_owned(),
            message: message.to_owned(),
            is_known_by_reason: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_about_its_object_and_one_without_a_namespace_is_in_default() {
        let bench = Bench::echoing();
        let recorder = bench.recorder();
        for event in [object_event("shop", "why"), object_event("", "other")] {
            assert_eq!(recorder.record(event), Recorded::New);
        }
        assert_eq!(recorder.record(object_event("shop", "why")), Recorded::Known);
        let events = bench.events().await;
        let namespaces: Vec<_> = events.iter().map(|event| &event["metadata"]["namespace"]).collect();
        assert_eq!(namespaces, ["shop", "default"]);
        let about = json!({"apiVersion": "example.org/v1", "kind": "Widget", "namespace": "shop", "name": "web", "uid": "uid-1"});
        assert_eq!(events[0]["involvedObject"], about);
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_exists_in_the_virtual_cluster_is_counted_there() {
        let bench = Bench::new(echo, |asked| match asked.method {
            http::Method::POST => Answer::failure(409, "AlreadyExists"),
            _ => echo(asked),
        });
        let recorder = bench.recorder();
        recorder.record(object_event("shop", "why"));
        settle().await;
        tokio::time::advance(QUIET).await;
        recorder.record(object_event("shop", "why"));
        settle().await;
        let counts: Vec<_> = bench
            .virtual_requests
            .bodies(&http::Method::PATCH)
            .into_iter()
            .map(|patch| patch["count"].clone())
            .collect();
        assert_eq!(counts, [1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reason_of_the_engine_is_written_once_in_five_minutes_however_it_is_worded() {
        let bench = Bench::echoing();
        let recorder = bench.recorder();
        let refused = |used: u32| ObjectEvent {
            is_known_by_reason: true,
            ..object_event("shop", &format!("exceeded quota, used: {used}"))
        };
        assert_eq!(recorder.record(refused(1)), Recorded::New);
        tokio::time::advance(QUIET).await;
        assert_eq!(recorder.record(refused(2)), Recorded::Known);
        let by_plugin = || ObjectEvent { by: Some("other".to_owned()), ..refused(1) };
        assert_eq!(
            recorder.record(by_plugin()),
            Recorded::New,
            "no plugin can silence the engine, nor the reverse"
        );
        tokio::time::advance(QUIET_REASON).await;
        assert_eq!(recorder.record(refused(3)), Recorded::New);
    }

    #[tokio::test(start_paused = true)]
    async fn events_that_find_no_room_are_dropped_and_the_caller_learns_it() {
        let bench = Bench::new(echo, |_| Answer::Silence);
        let recorder = bench.recorder();
        let taken =
            (0..WAITING + 10).map(|number| recorder.record(object_event("shop", &number.to_string())));
        assert_eq!(taken.filter(|recorded| *recorded == Recorded::New).count(), WAITING);
    }
}

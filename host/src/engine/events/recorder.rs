//! Tells tenants, by events on their own objects, why something is not in step.
//!
//! The same thing is said once and counted afterwards; host names never appear in a text. Rules from outside
//! may not say more than people can read.

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
use crate::engine::apply::Writer;
use crate::engine::resources::events;

/// Reports that wait; more are dropped, for the cause will come again.
const WAITING: usize = 256;
/// The same is not said again before this time.
const QUIET: Duration = Duration::from_mins(1);
/// How many different reports are remembered.
const REMEMBERED: usize = 4096;
/// What one plugin may say at once, and how soon it may say one thing more.
const PLUGIN_EVENTS: (u32, Duration) = (10, Duration::from_secs(1));
/// The log tells no more often that a plugin says too much.
const COMPLAINT: Duration = Duration::from_mins(1);
/// Bytes of a message that are kept: more than the API takes of the newer kind of events.
const LONGEST_MESSAGE: usize = 1024;

/// A stable reason, for people and for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The host's API server does not take the object.
    HostRefused,
    /// The virtual API server does not take what flows back.
    VirtualRefused,
    /// Somebody else's object has the name that ours would have on the host.
    NameTaken,
    /// The mapper of the kind panicked.
    Panicked,
    /// A definition of a custom resource is somebody else's.
    DefinitionRespected,
    /// A definition of a custom resource is not brought up to the host's.
    DefinitionKept,
}

/// One thing to tell.
#[derive(Debug)]
pub(crate) struct ObjectEvent {
    pub(crate) object: Arc<VirtualObject>,
    pub(crate) key: Key,
    /// Name of the plugin that says it; none for the engine's own words.
    pub(crate) by: Option<String>,
    pub(crate) is_warning: bool,
    /// Stable, in CamelCase.
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// Takes reports; never waits.
#[derive(Clone)]
pub(crate) struct EventRecorder {
    sender: mpsc::Sender<Admitted>,
    said: Arc<Mutex<Said>>,
}

/// A report that is to be written.
#[derive(Debug)]
struct Admitted {
    report: ObjectEvent,
    /// The same for all reports that say the same.
    id: String,
    /// How often it was said, this time included.
    count: u32,
}

/// What was said.
struct Said {
    reports: HashMap<String, (Instant, u32)>,
    plugins: Buckets<String>,
    /// What plugins were not allowed to say since the log has told of it.
    dropped: HashMap<String, u64>,
    complaints: Buckets<String>,
}

impl EventRecorder {
    /// A recorder, and the task that writes what it takes.
    pub(crate) fn new(writer: Arc<Writer>) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { sender, said: Arc::new(Mutex::new(Said::new())) }, write_all(writer, receiver))
    }

    /// Tells it, unless it was told not long ago; false when too much is told at once.
    pub(crate) fn tell(&self, report: ObjectEvent) -> bool {
        let Ok(place) = self.sender.try_reserve() else {
            debug!("too many events are waiting; one is dropped");
            return false;
        };
        let id = digest::of_value(&json!([report.object.uid(), report.reason, report.message]));
        let now = Instant::now();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = said.times(&id, now) else { return true };
        if !said.allows(report.by.as_ref(), now) {
            return false;
        }
        said.remember(&id, count, now);
        place.send(Admitted { report, id, count });
        true
    }
}

impl Said {
    fn new() -> Self {
        let (burst, refill) = PLUGIN_EVENTS;
        Self {
            reports: HashMap::new(),
            plugins: Buckets::new(burst, refill),
            dropped: HashMap::new(),
            complaints: Buckets::new(1, COMPLAINT),
        }
    }

    /// How often this will have been said when it is said now; none if it was said not long ago.
    fn times(&self, id: &str, now: Instant) -> Option<u32> {
        match self.reports.get(id) {
            Some((time, _)) if now.duration_since(*time) < QUIET => None,
            Some((_, count)) => Some(count + 1),
            None => Some(1),
        }
    }

    fn remember(&mut self, id: &str, count: u32, now: Instant) {
        if self.reports.len() >= REMEMBERED {
            self.reports.retain(|_, (time, _)| now.duration_since(*time) < QUIET);
        }
        self.reports.insert(id.to_owned(), (now, count));
    }

    /// Whether one more thing may be said by a plugin, or by the engine itself.
    fn allows(&mut self, by: Option<&String>, now: Instant) -> bool {
        let Some(by) = by else { return true };
        if self.plugins.take(by, now) {
            return true;
        }
        let dropped = self.dropped.entry(by.clone()).or_default();
        *dropped += 1;
        if self.complaints.take(by, now) {
            warn!(plugin = by, dropped = *dropped, "the plugin tells more events than people can read");
            self.dropped.remove(by);
        }
        false
    }
}

impl Reason {
    /// As scripts and people know it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::HostRefused => "HostRefused",
            Self::VirtualRefused => "StatusRefused",
            Self::NameTaken => "HostNameTaken",
            Self::Panicked => "MapperPanicked",
            Self::DefinitionRespected => "DefinitionRespected",
            Self::DefinitionKept => "DefinitionNotUpdated",
        }
    }
}

async fn write_all(writer: Arc<Writer>, mut receiver: mpsc::Receiver<Admitted>) {
    while let Some(admitted) = receiver.recv().await {
        if let Err(error) = write(&writer, &event(&admitted)).await {
            let key = &admitted.report.key;
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

fn event(admitted: &Admitted) -> VirtualObject {
    let Admitted { report, id, count } = admitted;
    let (object, now) = (&report.object, Timestamp::now().to_string());
    // Events about objects without a namespace live in `default`.
    let namespace = if object.namespace().is_empty() { "default" } else { object.namespace() };
    let short: String = id.chars().take(16).collect();
    let mut name: String = object.name().chars().take(230).collect();
    name.push('.');
    name.push_str(&short);
    // No plugin can pass its words off as the syncer's own.
    let component = report.by.as_ref().map_or_else(|| "weft".to_owned(), |plugin| format!("weft/{plugin}"));
    // Items of lists do not say what they are.
    let (api_version, kind) = report.key.kind.as_str().rsplit_once('/').unwrap_or_default();
    let fields = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": api_version, "kind": kind,
            "namespace": object.namespace(), "name": object.name(), "uid": object.uid(),
        },
        "type": if report.is_warning { "Warning" } else { "Normal" },
        "reason": report.reason, "message": truncate(&report.message, LONGEST_MESSAGE),
        "source": {"component": component}, "reportingComponent": "weft",
        "firstTimestamp": now, "lastTimestamp": now, "count": count,
    });
    VirtualObject::new(fields.as_object().cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_and_counted_when_it_is_said_again() {
        let (mut said, now) = (Said::new(), Instant::now());
        assert_eq!(said.times("a", now), Some(1));
        said.remember("a", 1, now);
        assert_eq!(said.times("a", now + QUIET / 2), None);
        assert_eq!(said.times("a", now + QUIET), Some(2));
    }

    #[test]
    fn a_plugin_that_says_too_much_silences_nobody_else() {
        let (mut said, now) = (Said::new(), Instant::now());
        let flood = String::from("flood");
        assert_eq!((0..1000).filter(|_| said.allows(Some(&flood), now)).count(), 10);
        assert!(said.allows(None, now) && said.allows(Some(&"calm".to_owned()), now));
        assert!(said.allows(Some(&flood), now + Duration::from_secs(1)));
    }
}

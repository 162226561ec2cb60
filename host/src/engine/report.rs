//! Tells tenants, by events on their own objects, why something is not in step.
//!
//! The same thing is said once and counted afterwards; host names never appear in a text.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;
use weft_core::diff::digest;
use weft_core::object::{Key, VirtualName, VirtualObject};

use crate::engine::apply::Writer;
use crate::engine::events::events;

/// Reports that wait; more are dropped, for the cause will come again.
const WAITING: usize = 256;
/// The same is not said again before this time.
const QUIET: Duration = Duration::from_mins(1);
/// How many different reports are remembered.
const REMEMBERED: usize = 4096;

/// A stable reason, for people and for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The object asks for something that a tenant cannot have.
    Refused,
    /// The host's API server does not take the object.
    HostRefused,
    /// The virtual API server does not take what flows back.
    VirtualRefused,
    /// Somebody else's object has the name that ours would have on the host.
    NameTaken,
}

/// One thing to tell.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) object: Arc<VirtualObject>,
    pub(crate) key: Key,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// Takes reports; never waits.
#[derive(Clone)]
pub(crate) struct Reporter {
    sender: mpsc::Sender<Report>,
}

impl Reporter {
    /// A reporter, and the task that writes what it takes.
    pub(crate) fn new(writer: Arc<Writer>) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { sender }, write_all(writer, receiver))
    }

    /// Tells it, or drops it when too much is waiting.
    pub(crate) fn tell(&self, report: Report) {
        if self.sender.try_send(report).is_err() {
            debug!("too many events are waiting; one is dropped");
        }
    }
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "SyncRefused",
            Self::HostRefused => "HostRefused",
            Self::VirtualRefused => "StatusRefused",
            Self::NameTaken => "HostNameTaken",
        }
    }
}

async fn write_all(writer: Arc<Writer>, mut receiver: mpsc::Receiver<Report>) {
    let mut said: HashMap<String, (Instant, u32)> = HashMap::new();
    while let Some(report) = receiver.recv().await {
        let id = digest(&json!([report.object.uid(), report.reason.as_str(), report.message]));
        let now = Instant::now();
        if said.len() >= REMEMBERED {
            said.retain(|_, (time, _)| now.duration_since(*time) < QUIET);
        }
        let (time, count) = said.get(&id).copied().unwrap_or((now, 0));
        if count > 0 && now.duration_since(time) < QUIET {
            continue;
        }
        said.insert(id.clone(), (now, count + 1));
        let event = event(&report, &id, count + 1);
        if let Err(error) = write(&writer, &event).await {
            debug!(key = %report.key, error = &error as &dyn std::error::Error, "failed to write an event");
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

fn event(report: &Report, id: &str, count: u32) -> VirtualObject {
    let (object, now) = (&report.object, Timestamp::now().to_string());
    // Events about objects without a namespace live in `default`.
    let namespace = if object.namespace().is_empty() { "default" } else { object.namespace() };
    let short: String = id.chars().take(16).collect();
    let mut name: String = object.name().chars().take(230).collect();
    name.push('.');
    name.push_str(&short);
    let fields = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": object.text("/apiVersion"), "kind": object.text("/kind"),
            "namespace": object.namespace(), "name": object.name(), "uid": object.uid(),
        },
        "type": "Warning", "reason": report.reason.as_str(), "message": report.message,
        "source": {"component": "weft"}, "reportingComponent": "weft",
        "firstTimestamp": now, "lastTimestamp": now, "count": count,
    });
    VirtualObject::new(fields.as_object().cloned().unwrap_or_default())
}

//! Mirrors host events about our objects into the virtual cluster, under virtual names.
//!
//! Events are the least of what flows back: one at a time, and dropped when too many wait.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::debug;
use weft_core::keys::FROM_HOST_LABEL;
use weft_core::names::Identity;
use weft_core::object::{Fields, HostObject, Kind, VirtualObject};

use crate::api::{self, Api};
use crate::engine::apply::Writer;
use crate::engine::cache::state::State;
use crate::engine::resources::events;

/// Events that wait, as bytes because they may be many; more are dropped.
pub(crate) const WAITING: usize = 4096;
/// While pairs are being worked on, events wait this long between two.
const YIELD: Duration = Duration::from_millis(20);

/// Writes the virtual events.
pub(crate) struct Events {
    pub(crate) state: Arc<State>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) r#virtual: Api<weft_core::object::Virtual>,
}

/// Events a page.
const PAGE: usize = 500;

#[derive(Deserialize)]
struct Page {
    metadata: PageMetadata,
    #[serde(default)]
    items: Vec<Mirrored>,
}

#[derive(Deserialize)]
struct PageMetadata {
    #[serde(rename = "continue", default)]
    next: String,
}

/// What identifies an event that is in the virtual cluster already.
#[derive(Deserialize)]
struct Mirrored {
    metadata: VirtualMetadata,
    count: Option<i64>,
    series: Option<Series>,
}

#[derive(Deserialize)]
struct VirtualMetadata {
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct Series {
    count: Option<i64>,
}

impl Mirrored {
    fn id(&self) -> String {
        let count = self.count.or_else(|| self.series.as_ref()?.count);
        id(&self.metadata.namespace, &self.metadata.name, count)
    }
}

impl Events {
    /// Runs until the senders are gone.
    pub(crate) async fn run(self, mut receiver: mpsc::Receiver<Box<[u8]>>) {
        let mut known = self.known().await;
        while let Some(event) = receiver.recv().await {
            let Some(event) = api::decode(&event).ok().and_then(|event| self.translate(&event)) else {
                continue;
            };
            // What an earlier run has mirrored already.
            if known.remove(&id_of(&event)) {
                continue;
            }
            if !self.state.queue.is_idle() {
                tokio::time::sleep(YIELD).await;
            }
            if let Err(error) = self.write(&event).await {
                debug!(event = %event.name(), error = &error as &dyn std::error::Error, "failed to mirror a host event");
            }
        }
    }

    /// The events that are in the virtual cluster already, each with its count. They may be thousands, so
    /// they come in pages and only what is compared is read.
    async fn known(&self) -> HashSet<String> {
        let (mut known, mut next) = (HashSet::new(), String::new());
        loop {
            match self.known_page(&next).await {
                Ok(page) => {
                    known.extend(page.items.iter().map(Mirrored::id));
                    next = page.metadata.next;
                }
                // Some are written again: the server counts them as the same.
                Err(error) => {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        "failed to list the events that were mirrored before"
                    );
                    return known;
                }
            }
            if next.is_empty() {
                return known;
            }
        }
    }

    async fn known_page(&self, next: &str) -> Result<Page, api::Error> {
        let (path, label) = (api::list_path(&events(), ""), FROM_HOST_LABEL.replace('/', "%2F"));
        let path = format!("{path}?limit={PAGE}&labelSelector={label}&continue={next}");
        let body = self.r#virtual.send(api::get(&path)).await?;
        serde_json::from_slice(&body).map_err(api::Error::Decode)
    }

    async fn write(&self, event: &VirtualObject) -> Result<(), api::Error> {
        match self.writer.create_virtual(&events(), event).await {
            Err(error) if error.is_already_exists() => {
                self.writer.count_event(&event.virtual_name(), event).await
            }
            // The namespace is going, and the events with it.
            Err(error) if matches!(error.code(), Some(403 | 404)) => Ok(()),
            result => result.map(drop),
        }
    }

    /// The virtual event for a host event; none when it is about nothing of ours.
    fn translate(&self, event: &HostObject) -> Option<VirtualObject> {
        let names = &self.state.names;
        let (api_version, kind) =
            (event.text("/involvedObject/apiVersion")?, event.text("/involvedObject/kind")?);
        let host_name = event.text("/involvedObject/name")?;
        let kind = Kind::new(&format!("{api_version}/{kind}"));
        let about = self.state.synced(&kind)?.host.get(names.namespace(), host_name)?;
        let identity = names.identity(&about)?;
        let suffix = event.name().strip_prefix(host_name)?;

        let mut fields: Fields = event.fields().clone();
        fields.insert("metadata".into(), metadata(&identity, suffix));
        fields.insert("involvedObject".into(), involved(&identity, api_version, kind.short(), event));
        fields.remove("related");
        for field in ["message", "note"] {
            if let Some(Value::String(message)) = fields.get_mut(field) {
                *message = names.to_virtual_text(message, &identity.namespace);
            }
        }
        Some(VirtualObject::new(fields))
    }
}

fn metadata(identity: &Identity, suffix: &str) -> Value {
    serde_json::json!({
        "name": format!("{}{suffix}", identity.name), "namespace": identity.namespace,
        "labels": {FROM_HOST_LABEL: "true"},
    })
}

fn involved(identity: &Identity, api_version: &str, kind: &str, event: &HostObject) -> Value {
    let mut involved = serde_json::json!({
        "apiVersion": api_version, "kind": kind,
        "namespace": identity.namespace, "name": identity.name, "uid": identity.uid,
    });
    if let (Some(path), Some(involved)) = (event.text("/involvedObject/fieldPath"), involved.as_object_mut())
    {
        involved.insert("fieldPath".into(), path.into());
    }
    involved
}

/// The same of an event that is to be written.
fn id_of(event: &VirtualObject) -> String {
    let count =
        event.pointer("/count").and_then(Value::as_i64).or_else(|| event.pointer("/series/count")?.as_i64());
    id(event.namespace(), event.name(), count)
}

/// What makes an event the same as one mirrored before: its name and its count.
fn id(namespace: &str, name: &str, count: Option<i64>) -> String {
    format!("{namespace}/{name}#{}", count.unwrap_or_default())
}

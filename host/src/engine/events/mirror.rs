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
use weft_core::digest;
use weft_core::keys::{FROM_HOST_LABEL, HOSTS_FILE};
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
    message: Option<String>,
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
        id(&self.metadata.namespace, &self.metadata.name, count, self.message.as_deref())
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

    /// The virtual event for a host event; none when it is about nothing of ours, or says that all is well with what the
    /// tenant does not see.
    fn translate(&self, event: &HostObject) -> Option<VirtualObject> {
        if is_of_hosts_file(event) && event.text("/type") != Some("Warning") {
            return None;
        }
        let names = &self.state.names;
        let (api_version, kind) =
            (event.text("/involvedObject/apiVersion")?, event.text("/involvedObject/kind")?);
        let host_name = event.text("/involvedObject/name")?;
        let kind = Kind::new(&format!("{api_version}/{kind}"));
        let about = self.state.synced(&kind)?.host.get(names.namespace(), host_name)?;
        // One of the same name may have been there before, for another virtual object.
        if event.text("/involvedObject/uid").is_some_and(|uid| !uid.is_empty() && uid != about.uid()) {
            return None;
        }
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
    let path = event.text("/involvedObject/fieldPath").filter(|_| !is_of_hosts_file(event));
    if let (Some(path), Some(involved)) = (path, involved.as_object_mut()) {
        involved.insert("fieldPath".into(), path.into());
    }
    involved
}

/// Whether it is about the init container that completes a pod's hosts file, which the virtual pod does not have.
fn is_of_hosts_file(event: &HostObject) -> bool {
    let list = event.text("/involvedObject/fieldPath").and_then(|path| path.strip_suffix('}'));
    list.and_then(|path| path.strip_prefix("spec.initContainers{")) == Some(HOSTS_FILE)
}

/// The same of an event that is to be written.
fn id_of(event: &VirtualObject) -> String {
    let count =
        event.pointer("/count").and_then(Value::as_i64).or_else(|| event.pointer("/series/count")?.as_i64());
    id(event.namespace(), event.name(), count, event.text("/message"))
}

/// What makes an event the same as one mirrored before: its name, its count, and what it says.
fn id(namespace: &str, name: &str, count: Option<i64>, message: Option<&str>) -> String {
    let message = digest::of_bytes(message.unwrap_or_default().as_bytes());
    format!("{namespace}/{name}#{}#{message}", count.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::Method;
    use serde_json::json;

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::testing::{Bench, echo, host_object};

    const EVENTS: &str = "/api/v1/namespaces/shop/events";

    /// An event of the host about the host pod of `shop/web`.
    fn event(name: &str, count: i64) -> Value {
        json!({
            "metadata": {"name": name, "namespace": "team-a", "uid": "uid-event", "labels": {"host": "yes"}},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "namespace": "team-a", "name": "web-x-shop-x-vc",
                "uid": "uid-host", "fieldPath": "spec.containers{web}", "resourceVersion": "77",
            },
            "related": {"kind": "Node", "name": "host-node"},
            "type": "Warning", "reason": "BackOff", "count": count,
            "message": "Back-off of team-a/web-x-shop-x-vc", "note": "see db-x-shop-x-vc",
        })
    }

    /// Mirrors these events into a virtual cluster that answers so.
    async fn mirrored(
        events: &[Value],
        on_virtual: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Bench {
        let bench = Bench::new(echo, on_virtual);
        bench.put_host("v1/Pod", host_object("v1/Pod", "shop", "web", "uid-1"));
        let (sender, receiver) = mpsc::channel(WAITING);
        for event in events {
            sender.send(serde_json::to_vec(event).unwrap().into_boxed_slice()).await.unwrap();
        }
        drop(sender);
        let (state, writer, r#virtual) = (bench.state.clone(), bench.writer.clone(), bench.r#virtual.clone());
        Events { state, writer, r#virtual }.run(receiver).await;
        bench
    }

    fn written(bench: &Bench) -> Vec<Value> {
        bench.virtual_requests.bodies(&Method::POST)
    }

    #[tokio::test]
    async fn an_event_about_our_object_is_written_under_virtual_names_and_shows_nothing_of_the_host() {
        let bench = mirrored(&[event("web-x-shop-x-vc.17", 1)], echo).await;
        let written = written(&bench);
        assert_eq!(written.len(), 1, "{:?}", bench.virtual_requests.lines());
        let metadata = json!({"name": "web.17", "namespace": "shop", "labels": {FROM_HOST_LABEL: "true"}});
        assert_eq!(written[0]["metadata"], metadata);
        let about = json!({"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web", "uid": "uid-1",
                           "fieldPath": "spec.containers{web}"});
        assert_eq!(written[0]["involvedObject"], about);
        assert_eq!(written[0]["message"], "Back-off of shop/web");
        assert_eq!(written[0]["note"], "see db");
        assert_eq!(written[0]["reason"], "BackOff");
        let whole = written[0].to_string();
        for hidden in ["team-a", "-x-", "host-node", "uid-host", "related"] {
            assert!(!whole.contains(hidden), "{hidden} is in {whole}");
        }
        assert!(bench.host_requests.all().is_empty());
    }

    #[tokio::test]
    async fn of_the_making_of_a_hosts_file_only_warnings_are_written_and_name_no_container() {
        let of_init = |name: &str, kind: &str| {
            let mut event = event(name, 1);
            event["involvedObject"]["fieldPath"] = "spec.initContainers{weft-hosts}".into();
            event["type"] = kind.into();
            event
        };
        let events = [of_init("web-x-shop-x-vc.1", "Normal"), of_init("web-x-shop-x-vc.2", "Warning")];
        let written = written(&mirrored(&events, echo).await);
        assert_eq!(written.len(), 1, "{written:?}");
        assert_eq!(written[0]["metadata"]["name"], "web.2");
        assert_eq!(written[0]["involvedObject"].get("fieldPath"), None);
    }

    #[tokio::test]
    async fn an_event_about_an_object_of_others_is_dropped() {
        let mut of_another = event("nginx.1", 1);
        of_another["involvedObject"]["name"] = "nginx".into();
        let mut of_another_kind = event("web-x-shop-x-vc.2", 1);
        of_another_kind["involvedObject"]["kind"] = "Node".into();
        let named_otherwise = event("something-else.3", 1);
        let bench = mirrored(&[of_another, of_another_kind, named_otherwise, json!("no event")], echo).await;
        assert_eq!(written(&bench), Vec::<Value>::new());
    }

    #[tokio::test]
    async fn an_event_about_an_older_object_of_the_same_host_name_is_not_laid_at_the_new_ones_door() {
        let mut of_the_older = event("web-x-shop-x-vc.1", 1);
        of_the_older["involvedObject"]["uid"] = "uid-before".into();
        let mut of_anyone = event("web-x-shop-x-vc.2", 1);
        of_anyone["involvedObject"].as_object_mut().unwrap().remove("uid");
        let bench = mirrored(&[of_the_older, of_anyone], echo).await;
        let names: Vec<Value> =
            written(&bench).iter().map(|event| event["metadata"]["name"].clone()).collect();
        assert_eq!(names, ["web.2"]);
    }

    #[tokio::test]
    async fn what_an_earlier_run_has_written_is_not_repeated_unless_its_count_or_message_has_changed() {
        let known = |asked: &Asked| {
            if asked.method != Method::GET {
                return echo(asked);
            }
            assert!(asked.has("labelSelector=weft.dev%2Ffrom-host"), "{}", asked.query);
            let item = |name: &str| {
                let metadata = json!({"namespace": "shop", "name": name});
                json!({"metadata": metadata, "count": 2, "message": "Back-off of shop/web"})
            };
            // Two pages.
            let (next, name) = if asked.has("continue=") { ("more", "web.1") } else { ("", "web.2") };
            Answer::ok(json!({"metadata": {"continue": next}, "items": [item(name)]}))
        };
        let events = [
            event("web-x-shop-x-vc.1", 2),
            event("web-x-shop-x-vc.2", 2),
            event("web-x-shop-x-vc.2", 3),
            event("web-x-shop-x-vc.3", 2),
        ];
        let mut says_more = event("web-x-shop-x-vc.1", 2);
        says_more["message"] = "another".into();
        let events = [events.to_vec(), vec![says_more]].concat();
        let bench = mirrored(&events, known).await;
        let names: Vec<String> = written(&bench)
            .iter()
            .map(|event| format!("{} {}", event["metadata"]["name"], event["count"]))
            .collect();
        assert_eq!(names, [r#""web.2" 3"#, r#""web.3" 2"#, r#""web.1" 2"#]);
    }

    #[tokio::test]
    async fn an_event_that_exists_is_counted_and_a_namespace_that_is_going_stops_nothing() {
        let exists = |asked: &Asked| match asked.method {
            Method::POST if asked.body["metadata"]["name"] == "web.1" => {
                Answer::failure(409, "AlreadyExists")
            }
            Method::POST => Answer::failure(403, "Forbidden"),
            _ => echo(asked),
        };
        let mut series = event("web-x-shop-x-vc.1", 5);
        series["series"] = json!({"count": 9, "lastObservedTime": "2026-01-01T00:00:00.000000Z"});
        let bench = mirrored(&[event("web-x-shop-x-vc.0", 1), series], exists).await;
        let lines: Vec<String> = bench.virtual_requests.lines().into_iter().skip(1).collect();
        let post = format!("POST {EVENTS}");
        assert_eq!(lines, [post.clone(), post, format!("PATCH {EVENTS}/web.1")]);
        let patch = &bench.virtual_requests.bodies(&Method::PATCH)[0];
        assert_eq!(patch["count"], 5);
        assert_eq!(patch["series"]["count"], 9);
        assert_eq!(patch["message"], "Back-off of shop/web");
    }
}

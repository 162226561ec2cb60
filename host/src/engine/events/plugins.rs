//! Publishes what happens to plugins to operators: as events on the host, on the virtual cluster's Service.
//!
//! They are not for tenants, who do not see the host.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;
use weft_core::digest;
use weft_core::object::HostObject;

use crate::engine::apply::Writer;
use crate::engine::cache::state::State;
use crate::engine::events::operator;
use crate::engine::resources;
use crate::registry::plugin_event::PluginEvent;

/// The same event is not written again before this time.
const QUIET: Duration = Duration::from_mins(1);
/// Between two checks whether the virtual cluster's Service is known.
const SERVICE: Duration = Duration::from_millis(500);

/// Publishes what happens to plugins.
pub(crate) struct PluginEvents {
    pub(crate) state: Arc<State>,
    pub(crate) writer: Arc<Writer>,
}

impl PluginEvents {
    /// Writes every event that comes in, until the sender is gone.
    pub(crate) async fn run(self, mut events: mpsc::Receiver<PluginEvent>) {
        let mut recent: HashMap<String, Instant> = HashMap::new();
        while let Some(event) = events.recv().await {
            // What was loaded at the start is published once the object that it is about is known.
            while self.state.service().is_none() {
                tokio::time::sleep(SERVICE).await;
            }
            let now = Instant::now();
            recent.retain(|_, time| now.duration_since(*time) < QUIET);
            let id = digest::of_value(&json!([event.plugin, event.reason, event.message]));
            if recent.insert(id, now).is_some() {
                continue;
            }
            let Some(event) = compose(&self.state, &event) else { continue };
            if let Err(error) = self.writer.create_host(&resources::events(), &event).await {
                // The log has it as well.
                debug!(error = &error as &dyn std::error::Error, "failed to write an event on the host");
            }
        }
    }
}

fn compose(state: &State, event: &PluginEvent) -> Option<HostObject> {
    let about = if event.plugin.is_empty() { String::new() } else { format!("plugin {}: ", event.plugin) };
    operator::compose(state, event.is_warning, event.reason, &format!("{about}{}", event.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::Method;
    use serde_json::Value;

    use crate::engine::testing::{Bench, settle};

    fn run(bench: &Bench) -> mpsc::Sender<PluginEvent> {
        let (sender, receiver) = mpsc::channel(16);
        let events = PluginEvents { state: bench.state.clone(), writer: bench.writer.clone() };
        tokio::spawn(events.run(receiver));
        sender
    }

    async fn written(bench: &Bench) -> Vec<Value> {
        settle().await;
        bench.host_requests.bodies(&Method::POST)
    }

    fn loaded() -> PluginEvent {
        PluginEvent::normal("labels", "PluginLoaded", "version 1".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_of_a_plugin_is_on_the_virtual_clusters_service_on_the_host() {
        let bench = Bench::echoing();
        bench.know_service();
        let sender = run(&bench);
        sender.send(loaded()).await.unwrap();
        sender.send(PluginEvent::warning("", "FolderUnreadable", "no folder".to_owned())).await.unwrap();
        let events = written(&bench).await;
        assert_eq!(events.len(), 2, "{events:?}");
        let about = json!({"apiVersion": "v1", "kind": "Service", "namespace": "team-a", "name": "vc", "uid": "uid-service"});
        assert!(events.iter().all(|event| event["involvedObject"] == about), "{events:?}");
        let shown = |event: &Value| [&event["type"], &event["reason"], &event["message"]].map(Clone::clone);
        assert_eq!(shown(&events[0]), ["Normal", "PluginLoaded", "plugin labels: version 1"]);
        assert_eq!(shown(&events[1]), ["Warning", "FolderUnreadable", "no folder"]);
        assert_eq!(bench.host_requests.lines(), ["POST /api/v1/namespaces/team-a/events"; 2]);
        assert!(bench.virtual_requests.all().is_empty(), "tenants do not see them");
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_event_is_written_again_after_a_minute_without_it() {
        let bench = Bench::echoing();
        bench.know_service();
        let sender = run(&bench);
        for (pause, expected) in [(Duration::ZERO, 1), (QUIET / 2, 1), (QUIET, 2)] {
            tokio::time::advance(pause).await;
            sender.send(loaded()).await.unwrap();
            assert_eq!(written(&bench).await.len(), expected, "after {pause:?}");
        }
        sender.send(PluginEvent::warning("labels", "PluginLoaded", "version 2".to_owned())).await.unwrap();
        assert_eq!(written(&bench).await.len(), 3, "another message is another event");
    }

    #[tokio::test(start_paused = true)]
    async fn events_wait_until_the_service_is_known() {
        let bench = Bench::echoing();
        let sender = run(&bench);
        sender.send(loaded()).await.unwrap();
        tokio::time::sleep(SERVICE * 3).await;
        assert_eq!(written(&bench).await, Vec::<Value>::new());
        bench.know_service();
        tokio::time::sleep(SERVICE).await;
        assert_eq!(written(&bench).await.len(), 1);
    }
}

//! Watches the host's nodes, and what pods of others request on them, and says so where it may not.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;
use weft_core::object::{Host, Kind, ResourceType};

use super::{OnChange, Watches, lifetime};
use crate::engine::cache::changed::Changed;
use crate::engine::cache::store::Store;
use crate::engine::informer::watch::Watch;
use crate::engine::resources::{nodes, pods};
use crate::engine::supervisor::Tasks;

/// Of the pods of the host, those that take something of a node: `spec.nodeName!=,status.phase!=Succeeded,…`.
const RUNNING: &str =
    "&fieldSelector=spec.nodeName%21%3D%2Cstatus.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed";

/// Which nodes of the host are mirrored, and how.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// The labels that they have; every node where there are none.
    pub selector: BTreeMap<String, String>,
    /// Whether what pods of others request is left out of what they can give.
    pub is_net: bool,
}

/// Why readiness fails: the sentence names the rule that lacks.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unserved(String);

impl Watches {
    /// Starts the watches that mirrored nodes need.
    pub(crate) fn start_host_nodes(&self, mirror: &Mirror, tasks: &mut Tasks) {
        let state = self.state.clone();
        let changed = Arc::new(move |changed: Changed<Host>| state.host_nodes.compare(&changed.name));
        let watch = self.of_whole_host(&nodes(), &self.state.host_nodes.nodes, changed);
        tasks.spawn(Watch { selector: url(mirror), ..watch }.run());
        if mirror.is_net {
            let state = self.state.clone();
            let changed = Arc::new(move |changed: Changed<Host>| state.host_pod_changed(&changed));
            let watch = self.of_whole_host(&pods(), &self.state.host_nodes.pods, changed);
            tasks.spawn(Watch { selector: RUNNING.to_owned(), ..watch }.run());
        }
    }

    /// A watch beyond our namespace. Without the permission the rest goes on, and readiness says what is missing.
    fn of_whole_host(
        &self,
        resource: &ResourceType,
        store: &Arc<Store<Host>>,
        changed: OnChange<Host>,
    ) -> Watch<Host> {
        let of_whole = ResourceType { namespaced: false, ..resource.clone() };
        // Our own pods are watched as well, and that works.
        let of_all = if resource.namespaced { " of all namespaces" } else { "" };
        let subject = Kind::new(&format!("{}{of_all}", resource.kind().as_str()));
        let reporter = Arc::new(self.failures.reporter("host", Some(subject)));
        let (works, lacks) = (reporter.clone(), store.clone());
        let unserved = move || {
            let why = Unserved(lacks.unserved().unwrap_or_default());
            reporter.failed(Instant::now(), &why);
        };
        Watch {
            namespace: String::new(),
            lifetime: lifetime(&nodes()),
            may_lack: true,
            unserved: Arc::new(unserved),
            listed: Arc::new(move || {
                works.works();
            }),
            ..self.of_host(&of_whole, store.clone(), changed)
        }
    }
}

/// The selector of labels in URL form.
fn url(mirror: &Mirror) -> String {
    let label = |(key, value): (&String, &String)| format!("{}%3D{value}", key.replace('/', "%2F"));
    mirror.selector.iter().map(label).collect::<Vec<_>>().join("%2C")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::scripted::{Answer, Asked};
    use crate::engine::supervisor::Supervisor;
    use crate::engine::testing::{Bench, settle};

    fn mirror(is_net: bool) -> Mirror {
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        Mirror { selector: [label("example.com/pool", "a"), label("zone", "b")].into(), is_net }
    }

    #[tokio::test(start_paused = true)]
    async fn selected_nodes_are_read_and_pods_of_others_only_where_they_count() {
        for is_net in [false, true] {
            let bench = Bench::new(|_: &Asked| Answer::Silence, |_: &Asked| Answer::Silence);
            let mut tasks = Supervisor::default().tasks();
            bench.watches().start_host_nodes(&mirror(is_net), &mut tasks);
            settle().await;
            let asked = bench.host_requests.all();
            let of = |path: &str| asked.iter().find(|asked| asked.path == path);
            let nodes = of("/api/v1/nodes").unwrap();
            assert!(nodes.has("labelSelector=example.com%2Fpool%3Da%2Czone%3Db"), "{}", nodes.query);
            let pods = of("/api/v1/pods");
            assert_eq!(pods.is_some(), is_net);
            assert!(pods.is_none_or(|pods| pods.query.contains("spec.nodeName%21%3D%2Cstatus.phase")));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_permission_readiness_names_the_rule_until_it_is_given() {
        let is_given = Arc::new(std::sync::atomic::AtomicBool::default());
        let given = is_given.clone();
        let on_host = move |asked: &Asked| {
            let list = json!({"metadata": {"resourceVersion": "7"}, "items": []});
            match asked.path.as_str() {
                _ if asked.has("watch=1") => Answer::Silence,
                "/api/v1/nodes" if !given.load(std::sync::atomic::Ordering::Relaxed) => {
                    Answer::failure(403, "Forbidden")
                }
                _ => Answer::ok(list),
            }
        };
        let bench = Bench::new(on_host, |_: &Asked| Answer::Silence);
        let (watches, mut tasks) = (bench.watches(), Supervisor::default().tasks());
        watches.start_host_nodes(&mirror(false), &mut tasks);
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        let problem = watches.failures.of_kinds().unwrap_or_default();
        assert!(
            problem.contains("its ClusterRole needs the rule") && problem.contains("v1/Node"),
            "{problem}"
        );
        assert!(!bench.state.host_nodes.nodes.is_synced());
        is_given.store(true, std::sync::atomic::Ordering::Relaxed);
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        assert_eq!(watches.failures.of_kinds(), None);
        assert!(bench.state.host_nodes.nodes.is_synced());
    }
}

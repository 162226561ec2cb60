//! Reads from the host's metrics API what the pods of this virtual cluster use.
//!
//! That is a permission in one namespace, and names no pod of others. It is asked once for all nodes, however many read.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::debug;
use weft_core::keys::CLUSTER_LABEL;
use weft_core::kinds::pod::quantity;
use weft_core::object::{Host, ResourceType};

use super::counters::{Counters, Sample, Series};
use crate::api::{self, Api, list_path};
use crate::engine::{PodOfNode, Pods};
use crate::kubelet::host_refusal::NOT_ALLOWED;
use crate::kubelet::refusal::Refusal;

/// The host measures every ten seconds at most, and readers ask for all nodes at once.
const FRESH: Duration = Duration::from_secs(5);
/// After that time without a reader the counter of a node begins anew.
const FORGOTTEN: i64 = 10 * 60 * 1000;

/// Where usage comes from.
pub(super) struct Source {
    host: Api<Host>,
    /// Path and query of the metrics of our pods.
    path: String,
    /// Who finds it locked waits for an answer of the host that is for both.
    measured: Mutex<Measured>,
}

/// What one node is used for.
#[derive(Debug)]
pub(super) struct Usage {
    /// The sum of its pods.
    pub(super) node: Series,
    /// Those that were measured, in the order of their names.
    pub(super) pods: Vec<PodUsage>,
}

/// What a pod uses.
#[derive(Debug)]
pub(super) struct PodUsage {
    pub(super) of: PodOfNode,
    /// Its containers, without those that the host has added.
    pub(super) containers: Vec<(String, Series)>,
}

/// What the host has said last.
#[derive(Default)]
struct Measured {
    /// When it has said so.
    asked: Option<Instant>,
    /// The same, in milliseconds since 1970.
    at: i64,
    refusal: Option<Refusal>,
    containers: Counters,
    nodes: HashMap<String, Series>,
}

impl Source {
    pub(super) fn new(host: Api<Host>, pods: &Pods) -> Self {
        let metrics = ResourceType {
            group: "metrics.k8s.io".into(),
            version: "v1beta1".into(),
            ..ResourceType::core("PodMetrics", "pods")
        };
        let path = list_path(&metrics, pods.host_namespace());
        // A cluster's name and the key are plain but for the slash.
        let selector = format!("{CLUSTER_LABEL}={}", pods.cluster()).replace('/', "%2F").replace('=', "%3D");
        Self { host, path: format!("{path}?labelSelector={selector}"), measured: Mutex::default() }
    }

    /// What these pods, which are all of a node, use now.
    ///
    /// # Errors
    /// The host has no figures for us.
    pub(super) async fn usage(&self, node: &str, pods: Vec<PodOfNode>) -> Result<Usage, Refusal> {
        let mut measured = self.measured.lock().await;
        if measured.asked.is_none_or(|asked| asked.elapsed() >= FRESH) {
            let answer = self.ask().await;
            measured.take(answer, jiff::Timestamp::now().as_millisecond());
        }
        measured.refusal.clone().map_or(Ok(()), Err)?;
        Ok(measured.usage(node, pods))
    }

    /// As if something had been measured before, so that what is measured next is shown.
    #[cfg(test)]
    pub(super) async fn begin(&self) {
        self.measured.lock().await.containers.advance(HashMap::new());
    }

    async fn ask(&self) -> Result<HashMap<String, Vec<(String, Sample)>>, Refusal> {
        let answer = self.host.send(api::get(&self.path)).await.map_err(|error| refused(&error))?;
        let list: List =
            serde_json::from_slice(&answer).map_err(|error| refused(&api::Error::Decode(error)))?;
        Ok(list.items.into_iter().map(|pod| (pod.metadata.name.clone(), pod.samples())).collect())
    }
}

impl Measured {
    fn take(&mut self, answer: Result<HashMap<String, Vec<(String, Sample)>>, Refusal>, now: i64) {
        self.asked = Some(Instant::now());
        match answer {
            Ok(samples) => {
                self.at = now;
                self.refusal = None;
                self.containers.advance(samples);
                self.nodes.retain(|_, series| series.last.at >= now - FORGOTTEN);
            }
            Err(refusal) => self.refusal = Some(refusal),
        }
    }

    fn usage(&mut self, node: &str, pods: Vec<PodOfNode>) -> Usage {
        let pods: Vec<PodUsage> = pods.into_iter().filter_map(|pod| self.of_pod(pod)).collect();
        let all = pods.iter().flat_map(|pod| &pod.containers).map(|(_, series)| series.last);
        let sum = all.fold(Sample { at: self.at, cores: 0.0, bytes: 0 }, |sum, sample| Sample {
            at: sum.at,
            cores: sum.cores + sample.cores,
            bytes: sum.bytes.saturating_add(sample.bytes),
        });
        let series = self.nodes.entry(node.to_owned()).or_insert_with(|| Series::new(sum));
        series.advance(sum);
        Usage { node: *series, pods }
    }

    fn of_pod(&self, of: PodOfNode) -> Option<PodUsage> {
        let measured = self.containers.of_pod(&of.host_name).into_iter();
        let of_tenant = measured.filter(|(name, _)| of.containers.iter().any(|of_tenant| of_tenant == name));
        let containers: Vec<_> = of_tenant.map(|(name, series)| (name.to_owned(), series)).collect();
        (!containers.is_empty()).then_some(PodUsage { of, containers })
    }
}

fn refused(error: &api::Error) -> Refusal {
    debug!(error = error as &dyn std::error::Error, "the host's metrics API gives no figures");
    Refusal::unavailable(match error.code() {
        Some(404) => {
            "the host has no metrics API (metrics.k8s.io/v1beta1): the operator of the host has to install one, such as metrics-server"
        }
        Some(401 | 403) => NOT_ALLOWED,
        _ => "the host's metrics API does not answer; try again",
    })
}

/// A `PodMetricsList`, as far as it is read.
#[derive(Deserialize)]
struct List {
    items: Vec<PodMetrics>,
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: Metadata,
    timestamp: String,
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    name: String,
    usage: Amounts,
}

#[derive(Deserialize)]
struct Amounts {
    cpu: String,
    memory: String,
}

impl PodMetrics {
    /// What was measured of each container; nothing of one whose figures cannot be read.
    fn samples(self) -> Vec<(String, Sample)> {
        let Ok(at) = self.timestamp.parse::<jiff::Timestamp>() else { return Vec::new() };
        let at = at.as_millisecond();
        let sample = |container: ContainerMetrics| Some((container.name, container.usage.sample(at)?));
        self.containers.into_iter().filter_map(sample).collect()
    }
}

impl Amounts {
    #[expect(clippy::cast_precision_loss, reason = "billionths of a core are finer than any use of the sum")]
    fn sample(&self, at: i64) -> Option<Sample> {
        const BILLION: i128 = 1_000_000_000;
        let (cpu, memory) = (quantity::nanos(&self.cpu)?, quantity::nanos(&self.memory)?);
        let bytes = u64::try_from(memory / BILLION).ok()?;
        (cpu >= 0).then_some(Sample { at, cores: cpu as f64 / BILLION as f64, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::atomic::{AtomicU32, Ordering};

    use serde_json::{Value, json};
    use weft_core::object::VirtualName;

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::testing::Bench;

    fn metrics(name: &str, at: &str, cpu: &str) -> Value {
        let of = |name: &str| json!({"name": name, "usage": {"cpu": cpu, "memory": "2Mi"}});
        json!({"metadata": {"name": name}, "timestamp": at, "window": "15s", "containers": [of("web"), of("istio-proxy")]})
    }

    /// The virtual pod `shop/web` on a node.
    fn pods() -> Vec<PodOfNode> {
        vec![PodOfNode {
            name: VirtualName::new("shop", "web"),
            uid: "uid-1".to_owned(),
            host_name: "web-x-shop-x-vc".to_owned(),
            containers: vec!["web".to_owned()],
        }]
    }

    fn source(answer: impl Fn() -> Answer + Send + Sync + 'static) -> (Source, Bench) {
        let bench = Bench::new(move |_: &Asked| answer(), |_| Answer::Away);
        (Source::new(bench.host.clone(), &bench.pods()), bench)
    }

    #[tokio::test]
    async fn our_pods_are_asked_for_once_and_only_the_tenants_containers_are_counted() {
        let list = json!({"items": [
            metrics("web-x-shop-x-vc", "2026-01-01T00:00:00Z", "250m"),
            metrics("of-somebody-else", "2026-01-01T00:00:00Z", "7"),
        ]});
        let (source, bench) = source(move || Answer::ok(list.clone()));
        source.begin().await;
        for _ in 0..3 {
            let usage = source.usage("node-1", pods()).await.unwrap();
            let [pod] = &usage.pods[..] else { panic!("{usage:?}") };
            let [(name, series)] = &pod.containers[..] else { panic!("{pod:?}") };
            assert_eq!((name.as_str(), series.last.cores, series.last.bytes), ("web", 0.25, 2 << 20));
            assert_eq!((usage.node.last.cores, usage.node.last.bytes), (0.25, 2 << 20));
        }
        let [asked] = &bench.host_requests.all()[..] else { panic!("{:?}", bench.host_requests.lines()) };
        assert_eq!(asked.line(), "GET /apis/metrics.k8s.io/v1beta1/namespaces/team-a/pods");
        assert_eq!(asked.query, "labelSelector=weft.dev%2Fcluster%3Dvc");
    }

    #[tokio::test(start_paused = true)]
    async fn figures_are_asked_for_again_after_a_while_and_counters_go_on() {
        let second = AtomicU32::new(0);
        let (source, bench) = source(move || {
            let second = second.fetch_add(10, Ordering::Relaxed);
            let at = format!("2026-01-01T00:00:{second:02}Z");
            Answer::ok(json!({"items": [metrics("web-x-shop-x-vc", &at, "500m")]}))
        });
        let mut counted = Vec::new();
        for _ in 0..4 {
            let usage = source.usage("node-1", pods()).await.unwrap();
            let series = usage.pods.first().map(|pod| pod.containers[0].1);
            counted.push(series.map(|series| series.core_seconds.round()));
            tokio::time::advance(FRESH).await;
        }
        assert_eq!(counted, [None, Some(5.0), Some(10.0), Some(15.0)]);
        assert_eq!(bench.host_requests.all().len(), 4);
    }

    #[tokio::test]
    async fn why_there_are_no_figures_is_said_and_the_host_is_not_asked_for_each_reader() {
        for (code, words) in [(404, "has no metrics API"), (403, "weft rbac"), (503, "does not answer")] {
            let (source, bench) = source(move || Answer::failure(code, "Reason"));
            for _ in 0..3 {
                let refusal = source.usage("node-1", pods()).await.unwrap_err();
                assert_eq!(refusal.code(), 503);
                assert!(format!("{refusal:?}").contains(words), "{refusal:?}");
            }
            assert_eq!(bench.host_requests.all().len(), 1);
        }
    }

    #[tokio::test]
    async fn figures_that_cannot_be_read_are_left_out() {
        for wrong in [
            metrics("web-x-shop-x-vc", "yesterday", "1"),
            metrics("web-x-shop-x-vc", "2026-01-01T00:00:00Z", "-1"),
        ] {
            let (source, _bench) = source(move || Answer::ok(json!({"items": [wrong]})));
            source.begin().await;
            assert!(source.usage("node-1", pods()).await.unwrap().pods.is_empty());
        }
    }
}

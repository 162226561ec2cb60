//! Writes figures as a kubelet does: as metrics of Prometheus, as a summary, as a list of pods.
//!
//! Names, help and stability are those of `pkg/kubelet/metrics/collectors/resource_metrics.go` of Kubernetes.

use std::fmt::Write as _;
use std::iter;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use weft_core::object::VirtualName;

use super::Body;
use super::counters::{Sample, Series};
use super::source::{PodUsage, Usage};
use crate::engine::{PodOfNode, Pods};

/// The content type of [`resource`].
pub(super) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The content type of the others.
pub(super) const JSON: &str = "application/json";

const CPU: (&str, &str) = ("cpu_usage_seconds_total", "counter");
const MEMORY: (&str, &str) = ("memory_working_set_bytes", "gauge");

/// What metrics-server reads of a node.
pub(super) fn resource(usage: &Usage) -> String {
    let containers: Vec<(String, Series)> = usage.pods.iter().flat_map(of_containers).collect();
    let pods: Vec<(String, Series)> = usage.pods.iter().map(|pod| (labels(pod, None), sum(pod))).collect();
    let node = [(String::new(), usage.node)];
    let mut text = String::new();
    for (of, series) in [("container", &containers[..]), ("node", &node), ("pod", &pods)] {
        let help = format!("Cumulative cpu time consumed by the {of} in core-seconds");
        family(&mut text, of, CPU, &help, series, |series| series.core_seconds.to_string());
        let help = format!("Current working set of the {of} in bytes");
        family(&mut text, of, MEMORY, &help, series, |series| series.last.bytes.to_string());
    }
    head(
        &mut text,
        "container_start_time_seconds",
        "gauge",
        "Start time of the container's counter since unix epoch in seconds",
    );
    for (labels, series) in &containers {
        let (seconds, millis) = (series.began.div_euclid(1000), series.began.rem_euclid(1000));
        let _ = writeln!(text, "container_start_time_seconds{labels} {seconds}.{millis:03}");
    }
    head(
        &mut text,
        "resource_scrape_error",
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
    );
    text.push_str("resource_scrape_error 0\n");
    text
}

/// The summary of a node, `pkg/kubelet/apis/stats/v1alpha1/types.go`, as far as there are figures for it.
pub(super) fn summary(node: &str, usage: &Usage) -> String {
    let pods: Vec<Value> = usage.pods.iter().map(summary_of_pod).collect();
    let node = with_figures(json!({"nodeName": node}), &usage.node);
    json!({"node": node, "pods": pods}).to_string()
}

/// The pods of a node, each written when the reader has taken the one before: all of them may be large.
pub(super) fn pods(pods: Pods, of_node: Vec<PodOfNode>) -> Body {
    const HEAD: &str = r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":["#;
    let mut separator = "";
    let items = of_node.into_iter().filter_map(move |pod| {
        let object = pods.object(&pod.name)?;
        let item = format!("{separator}{}", serde_json::to_string(object.fields()).ok()?);
        separator = ",";
        Some(item)
    });
    let parts = iter::once(HEAD.to_owned()).chain(items).chain(iter::once("]}".to_owned()));
    let frames = parts.map(|part| Ok(Frame::data(Bytes::from(part))));
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

fn of_containers(pod: &PodUsage) -> impl Iterator<Item = (String, Series)> {
    pod.containers.iter().map(|(name, series)| (labels(pod, Some(name)), *series))
}

/// No name has anything to escape.
fn labels(pod: &PodUsage, container: Option<&str>) -> String {
    let VirtualName { namespace, name } = &pod.of.name;
    let container = container.map(|name| format!("container=\"{name}\",")).unwrap_or_default();
    format!("{{{container}namespace=\"{namespace}\",pod=\"{name}\"}}")
}

fn family(
    text: &mut String,
    of: &str,
    (name, kind): (&str, &str),
    help: &str,
    all: &[(String, Series)],
    value: impl Fn(&Series) -> String,
) {
    let name = format!("{of}_{name}");
    head(text, &name, kind, help);
    for (labels, series) in all {
        let _ = writeln!(text, "{name}{labels} {} {}", value(series), series.last.at);
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
}

/// What all containers of a pod use; there is at least one.
fn sum(pod: &PodUsage) -> Series {
    let mut all = pod.containers.iter().map(|(_, series)| *series);
    let first = all.next().unwrap_or(Series::new(Sample { at: 0, cores: 0.0, bytes: 0 }));
    all.fold(first, |sum, series| Series {
        began: sum.began.max(series.began),
        last: Sample {
            at: sum.last.at.max(series.last.at),
            cores: sum.last.cores + series.last.cores,
            bytes: sum.last.bytes.saturating_add(series.last.bytes),
        },
        core_seconds: sum.core_seconds + series.core_seconds,
    })
}

fn summary_of_pod(pod: &PodUsage) -> Value {
    let containers = pod.containers.iter();
    let containers: Vec<Value> =
        containers.map(|(name, series)| with_figures(json!({"name": name}), series)).collect();
    let reference = json!({"name": pod.of.name.name, "namespace": pod.of.name.namespace, "uid": pod.of.uid});
    with_figures(json!({"podRef": reference, "containers": containers}), &sum(pod))
}

fn with_figures(mut of: Value, series: &Series) -> Value {
    let time = |millis: i64| {
        let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let at = time(series.last.at);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "neither negative nor beyond 500 years"
    )]
    let nanos = |number: f64| (number * 1e9) as u64;
    let (cores, total) = (nanos(series.last.cores), nanos(series.core_seconds));
    let figures = json!({
        "startTime": time(series.began),
        "cpu": {"time": at, "usageNanoCores": cores, "usageCoreNanoSeconds": total},
        "memory": {"time": at, "workingSetBytes": series.last.bytes},
    });
    if let (Value::Object(of), Value::Object(figures)) = (&mut of, figures) {
        of.extend(figures);
    }
    of
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::engine::testing::{Bench, pod};

    fn usage() -> Usage {
        let of = PodOfNode {
            name: VirtualName::new("shop", "web"),
            uid: "uid-1".to_owned(),
            host_name: "web-x-shop-x-vc".to_owned(),
            containers: vec!["setup".to_owned(), "web".to_owned()],
        };
        let series = |cores: f64| {
            let mut series = Series::new(Sample { at: 1_800_000_000_000, cores, bytes: 100 });
            series.advance(Sample { at: 1_800_000_010_000, cores, bytes: 200 });
            series
        };
        let containers = vec![("setup".to_owned(), series(0.0)), ("web".to_owned(), series(0.5))];
        Usage { node: series(0.5), pods: vec![PodUsage { of, containers }] }
    }

    #[test]
    fn metrics_are_those_that_metrics_server_reads() {
        let text = resource(&usage());
        for line in [
            "# TYPE container_cpu_usage_seconds_total counter",
            r#"container_cpu_usage_seconds_total{container="web",namespace="shop",pod="web"} 5.000001 1800000010000"#,
            r#"container_cpu_usage_seconds_total{container="setup",namespace="shop",pod="web"} 0.000001 1800000010000"#,
            r#"container_memory_working_set_bytes{container="web",namespace="shop",pod="web"} 200 1800000010000"#,
            r#"container_start_time_seconds{container="web",namespace="shop",pod="web"} 1799999999.999"#,
            "node_cpu_usage_seconds_total 5.000001 1800000010000",
            "node_memory_working_set_bytes 200 1800000010000",
            r#"pod_memory_working_set_bytes{namespace="shop",pod="web"} 400 1800000010000"#,
            "resource_scrape_error 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("-x-"), "{text}");
    }

    #[test]
    fn a_summary_has_the_same_figures() {
        let summary: Value = serde_json::from_str(&summary("node-1", &usage())).unwrap();
        assert_eq!(summary["node"]["nodeName"], "node-1");
        assert_eq!(summary["node"]["cpu"]["usageNanoCores"], 500_000_000);
        let pod = &summary["pods"][0];
        assert_eq!(pod["podRef"], json!({"name": "web", "namespace": "shop", "uid": "uid-1"}));
        assert_eq!(pod["memory"]["workingSetBytes"], 400);
        assert_eq!(pod["containers"][1]["name"], "web");
        assert_eq!(pod["containers"][1]["cpu"]["time"], "2027-01-15T08:00:10Z");
    }

    #[tokio::test]
    async fn pods_are_whole_and_those_that_have_gone_meanwhile_are_left_out() {
        let bench = Bench::echoing();
        let mut other = pod();
        other["metadata"]["name"] = "other".into();
        bench.put_virtual("v1/Pod", pod());
        bench.put_virtual("v1/Pod", other);
        let of = |name: &str| PodOfNode { name: VirtualName::new("shop", name), ..usage().pods.remove(0).of };
        let body = pods(bench.pods(), ["gone", "other", "gone", "web"].map(of).into());
        let list = body.collect().await.unwrap().to_bytes();
        let list: Value = serde_json::from_slice(&list).unwrap();
        assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("PodList"), 2));
        assert_eq!(list["items"][1]["spec"], pod()["spec"]);
    }
}

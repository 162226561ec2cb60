//! What is counted of plugins.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// What is counted of plugins.
#[derive(Debug)]
pub struct Metrics {
    calls: Family<Call, Counter>,
    seconds: Family<Plugin, Histogram, fn() -> Histogram>,
    refusals: Family<Refusal, Counter>,
    reloads: Family<Reload, Counter>,
    loaded: Family<Build, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    plugin: String,
    kind: String,
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Plugin {
    plugin: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    plugin: String,
    field: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reload {
    plugin: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    plugin: String,
    version: String,
    digest: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            refusals: Family::default(),
            reloads: Family::default(),
            loaded: Family::default(),
        }
    }
}

impl Metrics {
    /// Counters that can be read through `registry`.
    pub fn registered(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("plugin_calls", "Calls of rules, by verdict or failure", metrics.calls.clone());
        registry.register(
            "plugin_call_seconds",
            "Time of a call, instantiation included",
            metrics.seconds.clone(),
        );
        registry.register("plugin_refusals", "Answers that the guard refused", metrics.refusals.clone());
        registry.register("plugin_reloads", "Versions and settings that were tried", metrics.reloads.clone());
        registry.register("plugin_loaded", "The versions that are called", metrics.loaded.clone());
        metrics
    }

    pub(super) fn called(&self, plugin: &str, kind: &str, verdict: &'static str, took: Duration) {
        let call = Call { plugin: plugin.to_owned(), kind: kind.to_owned(), verdict };
        self.calls.get_or_create(&call).inc();
        self.seconds.get_or_create(&Plugin { plugin: plugin.to_owned() }).observe(took.as_secs_f64());
    }

    /// Counts an answer that the guard refused. `field` is one of a few: a plugin must not make a series for
    /// each name that it makes up.
    pub(super) fn refused(&self, plugin: &str, field: &'static str) {
        self.refusals.get_or_create(&Refusal { plugin: plugin.to_owned(), field }).inc();
    }

    /// Counts a version that was tried, with what came of it: `loaded`, `refused`, `removed`, `rolled back`.
    pub fn reloaded(&self, plugin: &str, result: &'static str) {
        self.reloads.get_or_create(&Reload { plugin: plugin.to_owned(), result }).inc();
    }

    /// Shows a version as the one that is called, or as one that is not called any more.
    pub fn set_loaded(&self, plugin: &str, version: &str, digest: &str, is_loaded: bool) {
        let build =
            Build { plugin: plugin.to_owned(), version: version.to_owned(), digest: digest.to_owned() };
        if is_loaded {
            self.loaded.get_or_create(&build).set(1);
        } else {
            self.loaded.remove(&build);
        }
    }
}

/// From 20 µs, a call of a small Rust plugin, to 1.3 s.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(20e-6, 2.0, 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What collectors read after `count`, without the help texts.
    fn encoded(count: impl FnOnce(&Metrics)) -> Vec<String> {
        let mut registry = Registry::default();
        let metrics = Metrics::registered(&mut registry);
        count(&metrics);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(ToOwned::to_owned).collect()
    }

    #[test]
    fn a_call_is_counted_by_its_verdict_and_measured() {
        let lines = encoded(|metrics| {
            let took = Duration::from_micros(30);
            metrics.called("a", "v1/Pod", "apply", took);
            metrics.called("a", "v1/Pod", "apply", took);
            metrics.called("a", "v1/Pod", "PluginTrapped", took);
        });
        for line in [
            r#"plugin_calls_total{plugin="a",kind="v1/Pod",verdict="apply"} 2"#,
            r#"plugin_calls_total{plugin="a",kind="v1/Pod",verdict="PluginTrapped"} 1"#,
            r#"plugin_call_seconds_count{plugin="a"} 3"#,
            r#"plugin_call_seconds_bucket{le="0.00004",plugin="a"} 3"#,
        ] {
            assert!(lines.iter().any(|found| found == line), "{line} is not in {lines:#?}");
        }
    }

    #[test]
    fn only_the_version_that_is_called_is_shown_as_loaded() {
        let lines = encoded(|metrics| {
            metrics.set_loaded("a", "0.1.0", "d1", true);
            metrics.set_loaded("a", "0.1.0", "d1", false);
            metrics.set_loaded("a", "0.2.0", "d2", true);
        });
        assert_eq!(lines, [r#"plugin_loaded{plugin="a",version="0.2.0",digest="d2"} 1"#]);
    }

    #[test]
    fn attempts_and_refusals_are_counted_by_what_came_of_them() {
        let lines = encoded(|metrics| {
            metrics.reloaded("a", "rolled back");
            metrics.refused("a", "spec");
        });
        let expected = [
            r#"plugin_refusals_total{plugin="a",field="spec"} 1"#,
            r#"plugin_reloads_total{plugin="a",result="rolled back"} 1"#,
        ];
        assert_eq!(lines, expected);
    }
}

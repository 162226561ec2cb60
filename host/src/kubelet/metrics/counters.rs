//! Makes counters of usage: the host's metrics API says how many cores were in use lately, and readers of a kubelet take the
//! difference of two counters.
//!
//! A counter grows by usage × time between two measurements, so that whoever divides the difference by that time has the
//! usage again. It begins with the syncer. Readers know that by the start time, and metrics-server compares nothing with what
//! it has measured by then: so the first measurement of a syncer is only where its counters begin, as the syncer before it
//! may have shown the same one with another counter.

use std::collections::HashMap;

/// metrics-server takes a counter of zero for one that is missing.
const FIRST: f64 = 0.000_001;
/// It also wants a measurement after the start time, in milliseconds.
const BEFORE_FIRST: i64 = 1;

/// What was used when it was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// Milliseconds since 1970.
    pub(super) at: i64,
    pub(super) cores: f64,
    pub(super) bytes: u64,
}

/// Usage with a counter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Series {
    /// When the counter began, in milliseconds since 1970.
    pub(super) began: i64,
    /// The last measurement.
    pub(super) last: Sample,
    /// Cores × seconds since the beginning.
    pub(super) core_seconds: f64,
}

/// The counters of containers, by host pod and container.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Whether anything was measured before.
    has_begun: bool,
    pods: HashMap<String, HashMap<String, Series>>,
}

impl Series {
    /// A counter of what nobody has measured before.
    pub(super) fn new(sample: Sample) -> Self {
        Self { began: sample.at - BEFORE_FIRST, ..Self::since(sample) }
    }

    /// A counter that begins with a measurement, and shows none before the next.
    fn since(sample: Sample) -> Self {
        Self { began: sample.at, last: sample, core_seconds: FIRST }
    }

    fn is_shown(&self) -> bool {
        self.last.at > self.began
    }

    /// Goes on to a later measurement; one that is no later changes nothing.
    #[expect(clippy::cast_precision_loss, reason = "times between measurements are small")]
    pub(super) fn advance(&mut self, sample: Sample) {
        let elapsed = sample.at - self.last.at;
        if elapsed > 0 {
            self.core_seconds += sample.cores * (elapsed as f64 / 1000.0);
            self.last = sample;
        }
    }
}

impl Counters {
    /// Goes on to what was measured last; pods and containers that are not measured any more are forgotten.
    pub(super) fn advance(&mut self, measured: HashMap<String, Vec<(String, Sample)>>) {
        let begin = if self.has_begun { Series::new } else { Series::since };
        self.has_begun = true;
        let mut before = std::mem::take(&mut self.pods);
        for (pod, containers) in measured {
            let mut known = before.remove(&pod).unwrap_or_default();
            let advanced = containers.into_iter().map(|(name, sample)| {
                let mut series = known.remove(&name).unwrap_or_else(|| begin(sample));
                series.advance(sample);
                (name, series)
            });
            self.pods.insert(pod, advanced.collect());
        }
    }

    /// The containers of a host pod that can be shown, in the order of their names.
    pub(super) fn of_pod(&self, pod: &str) -> Vec<(&str, Series)> {
        let containers = self.pods.get(pod).into_iter().flatten().filter(|(_, series)| series.is_shown());
        let mut containers: Vec<_> = containers.map(|(name, series)| (name.as_str(), *series)).collect();
        containers.sort_by_key(|(name, _)| *name);
        containers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: i64, cores: f64) -> Sample {
        Sample { at, cores, bytes: 1024 }
    }

    /// The usage that a reader finds between two moments.
    fn rate(before: Series, after: Series) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let seconds = (after.last.at - before.last.at) as f64 / 1000.0;
        (after.core_seconds - before.core_seconds) / seconds
    }

    #[test]
    fn a_reader_finds_the_usage_again_whatever_it_was_before() {
        let mut series = Series::new(sample(0, 5.0));
        assert!(series.core_seconds > 0.0 && series.began < series.last.at);
        for (at, cores) in [(15_000, 0.25), (30_000, 2.0), (90_000, 0.0), (91_000, 0.5)] {
            let before = series;
            series.advance(sample(at, cores));
            assert!((rate(before, series) - cores).abs() < 1e-9, "{cores} at {at}: {series:?}");
        }
    }

    #[test]
    fn the_same_measurement_counts_once_and_an_older_one_never() {
        let mut series = Series::new(sample(0, 1.0));
        series.advance(sample(10_000, 1.0));
        let once = series;
        series.advance(sample(10_000, 1.0));
        series.advance(sample(5_000, 9.0));
        assert_eq!(series, once);
    }

    #[test]
    fn the_first_measurement_of_a_syncer_is_not_shown_and_that_of_a_later_pod_is() {
        let mut counters = Counters::default();
        let pod = |at| vec![("main".to_owned(), sample(at, 0.5))];
        counters.advance([("old".to_owned(), pod(10_000))].into());
        assert!(counters.of_pod("old").is_empty());
        counters.advance([("old".to_owned(), pod(10_000)), ("new".to_owned(), pod(12_000))].into());
        assert!(counters.of_pod("old").is_empty(), "it is the same measurement");
        assert_eq!(counters.of_pod("new")[0].1.began, 12_000 - BEFORE_FIRST);
        counters.advance([("old".to_owned(), pod(20_000))].into());
        let (_, series) = counters.of_pod("old")[0];
        assert_eq!(series.began, 10_000, "no reader compares it with what the syncer before has shown");
        assert!((series.core_seconds - FIRST - 5.0).abs() < 1e-9);
    }

    #[test]
    fn containers_that_are_gone_are_forgotten() {
        let mut counters = Counters::default();
        let both = |at| vec![("b".to_owned(), sample(at, 1.0)), ("a".to_owned(), sample(at, 1.0))];
        counters.advance(HashMap::new());
        counters.advance([("one".to_owned(), both(0)), ("two".to_owned(), both(0))].into());
        counters.advance([("one".to_owned(), both(1_000))].into());
        let names: Vec<&str> = counters.of_pod("one").iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["a", "b"]);
        assert!((counters.of_pod("one")[0].1.core_seconds - FIRST - 1.0).abs() < 1e-9);
        assert!(counters.of_pod("two").is_empty());
        counters.advance([("two".to_owned(), both(2_000))].into());
        assert_eq!(counters.of_pod("two")[0].1.began, 2_000 - BEFORE_FIRST, "another counter, which says so");
    }
}

//! Medians and quantiles.

use std::time::Duration;

/// The middle of some numbers.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let sorted = sorted(numbers);
    let middle = |index: usize| sorted.get(index).copied().unwrap_or_default();
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => middle(count / 2),
        count => f64::midpoint(middle(count / 2 - 1), middle(count / 2)),
    }
}

/// The smallest number that so many percent of them do not exceed.
pub(crate) fn quantile(numbers: &[f64], percent: usize) -> f64 {
    let rank = (numbers.len() * percent).div_ceil(100);
    sorted(numbers).get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// A duration in milliseconds.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A duration in milliseconds for each pod.
pub(crate) fn per_pod_ms(duration: Duration, pods: u32) -> f64 {
    ms(duration) / f64::from(pods)
}

/// The slope of the line through the logarithms of some points, by least squares: 0 is flat, 1 is proportional.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| {
        let sum: f64 = logs.iter().map(of).sum();
        sum / logs.iter().map(|_| 1.0).sum::<f64>()
    };
    let (x, y) = (mean(|log| log.0), mean(|log| log.1));
    let covariance: f64 = logs.iter().map(|log| (log.0 - x) * (log.1 - y)).sum();
    let variance: f64 = logs.iter().map(|log| (log.0 - x).powi(2)).sum();
    covariance / variance
}

fn sorted(numbers: &[f64]) -> Vec<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

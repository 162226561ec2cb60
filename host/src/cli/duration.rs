//! Durations on the command line, as kubectl and Helm take them: `90s`, `5m`, `1h30m`.

use std::time::Duration;

/// The longest, a year: more than anybody waits, and no clock runs over.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// The duration that `text` names.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; give one such as 90s, 5m or 1h30m");
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (unit, after) = unit.split_at_checked(1).ok_or_else(wrong)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    if total.is_zero() || total > LONGEST { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_kubectl_reads_them() {
        assert_eq!(parse("1h30m5s"), Ok(Duration::from_secs(5405)));
        for wrong in ["", "5", "m", "0s", "5d", "99999999999999999999h", "9999999h", "5ö"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

//! Ages, as kubectl shows them.

use k8s_openapi::jiff::Timestamp;

/// The time since `then`, in its largest unit; `-` if that is not known.
pub(super) fn since(then: Option<Timestamp>) -> String {
    then.map_or_else(|| "-".to_owned(), |then| of_seconds(Timestamp::now().as_second() - then.as_second()))
}

fn of_seconds(seconds: i64) -> String {
    match seconds {
        i64::MIN..120 => format!("{}s", seconds.max(0)),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_one_unit() {
        let ages = [-5, 0, 119, 120, 7199, 7200, 172_800].map(of_seconds);
        assert_eq!(ages, ["0s", "0s", "119s", "2m", "119m", "2h", "2d"]);
        assert_eq!(since(None), "-");
    }
}

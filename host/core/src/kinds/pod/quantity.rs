//! Reads resource quantities by what they mean: `1000m` is `1`, `1Gi` is `1024Mi`.

use serde_json::Value;

/// Powers of ten by which a suffix multiplies, and of two.
const SUFFIXES: &[(&str, i32, u32)] = &[
    ("n", -9, 0),
    ("u", -6, 0),
    ("m", -3, 0),
    ("", 0, 0),
    ("k", 3, 0),
    ("M", 6, 0),
    ("G", 9, 0),
    ("T", 12, 0),
    ("P", 15, 0),
    ("E", 18, 0),
    ("Ki", 0, 10),
    ("Mi", 0, 20),
    ("Gi", 0, 30),
    ("Ti", 0, 40),
    ("Pi", 0, 50),
    ("Ei", 0, 60),
];
/// The API counts no finer than this power of ten.
const FINEST: i32 = 9;

/// Whether two quantities are the same amount; what is no quantity is compared as it stands.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    let amount = |value: &Value| match value {
        Value::String(text) => nanos(text),
        Value::Number(number) => nanos(&number.to_string()),
        _ => None,
    };
    match (amount(one), amount(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// The amount in billionths; none where it is no quantity.
pub fn nanos(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (tens, twos) = scale(suffix)?;
    let amount = digits.checked_mul(1_i128.checked_shl(twos)?)?;
    let exponent = FINEST + tens - i32::try_from(fraction.len()).ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    if exponent < 0 { Some(amount / power) } else { amount.checked_mul(power) }
}

/// The amount as the API writes it: the largest suffix without a fraction, of powers of two where `is_binary` and there is one.
pub fn text(nanos: i128, is_binary: bool) -> String {
    let whole = 10_i128.pow(FINEST.unsigned_abs());
    let (mut number, of_two) = match nanos / whole {
        whole_units if is_binary && nanos % whole == 0 && whole_units >= 1024 => (whole_units, true),
        _ => (nanos, false),
    };
    let step = if of_two { 1024 } else { 1000 };
    let mut exponents = SUFFIXES.iter().filter(|(_, tens, twos)| (*twos > 0 && *tens == 0) == of_two);
    let mut suffix = if of_two { "" } else { exponents.next().map_or("", |(name, ..)| *name) };
    if number == 0 {
        return "0".to_owned();
    }
    for (next, ..) in exponents {
        if number % step != 0 {
            break;
        }
        (number, suffix) = (number / step, *next);
    }
    format!("{number}{suffix}")
}

fn scale(suffix: &str) -> Option<(i32, u32)> {
    if let Some(&(_, tens, twos)) = SUFFIXES.iter().find(|(name, ..)| *name == suffix) {
        return Some((tens, twos));
    }
    let exponent =
        suffix.strip_prefix(['e', 'E'])?.parse().ok().filter(|exponent| (-30..=30).contains(exponent))?;
    Some((exponent, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_same_amount_is_the_same_however_it_is_written() {
        let pairs = [
            ("1000m", "1"),
            ("1Gi", "1024Mi"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1k"),
            ("2E", "2e18"),
        ];
        for (one, other) in pairs {
            assert!(same(&json!(one), &json!(other)), "{one} {other}");
        }
        assert!(same(&json!(2), &json!("2")));
    }

    #[test]
    fn an_amount_is_written_as_the_api_writes_it() {
        for (amount, is_binary, text) in [
            ("3.5", false, "3500m"),
            ("4000m", false, "4"),
            ("1000", false, "1k"),
            ("0", true, "0"),
            ("1n", false, "1n"),
            ("110", false, "110"),
            ("16384Ki", true, "16Mi"),
            ("16385Ki", true, "16385Ki"),
            ("1000", true, "1k"),
            ("2049", true, "2049"),
            ("1Ei", true, "1Ei"),
        ] {
            assert_eq!(super::text(nanos(amount).unwrap(), is_binary), text, "{amount}");
        }
    }

    #[test]
    fn other_amounts_differ() {
        for (one, other) in [("1", "1m"), ("1G", "1Gi"), ("100m", "200m"), ("-1", "1")] {
            assert!(!same(&json!(one), &json!(other)), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_compared_as_text() {
        assert!(same(&json!("many"), &json!("many")) && !same(&json!("many"), &json!("more")));
        assert!(!same(&json!("1e99"), &json!("1e98")));
    }
}

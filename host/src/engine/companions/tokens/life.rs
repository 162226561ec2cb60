//! How long a token lives, by what it says of itself.
//!
//! Its own `iat` and `exp` are of one clock, that of the server; how far it is from ours does not count.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

#[derive(Deserialize)]
struct Claims {
    iat: i64,
    exp: i64,
    #[serde(rename = "kubernetes.io", default)]
    kubernetes: Kubernetes,
}

#[derive(Deserialize, Default)]
struct Kubernetes {
    /// When a token whose life the server has extended should have been renewed.
    warnafter: Option<i64>,
}

/// The time between the issue of a token and its end. None if it does not say.
pub(super) fn life(token: &str) -> Option<Duration> {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let Claims { iat, exp, kubernetes } = serde_json::from_slice(&claims).ok()?;
    let end = kubernetes.warnafter.map_or(exp, |warnafter| warnafter.min(exp));
    u64::try_from(end.checked_sub(iat)?).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn token(claims: &Value) -> String {
        format!("e30.{}.c2lnbmVk", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn the_life_is_from_issue_to_end_or_to_the_servers_warning() {
        let seconds = |claims: Value| life(&token(&claims)).map(|life| life.as_secs());
        assert_eq!(seconds(json!({"iat": 1000, "exp": 4600})), Some(3600));
        let extended = json!({"iat": 1000, "exp": 31_537_000, "kubernetes.io": {"warnafter": 4607, "namespace": "shop"}});
        assert_eq!(seconds(extended), Some(3607), "tokens of 3607 s are extended to a year");
        assert_eq!(seconds(json!({"iat": 1000, "exp": 400})), None, "it ends before it begins");
        assert_eq!(seconds(json!({"exp": 400})), None);
        assert_eq!(life("no-token"), None);
        assert_eq!(life("a.b.c"), None);
    }
}

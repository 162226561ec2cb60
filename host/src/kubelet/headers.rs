//! Which headers pass, and in which direction: those that open a stream, and none that says who somebody is.

use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Which protocol the streams of a container speak; it may repeat.
const STREAM_PROTOCOL: &str = "x-stream-protocol-version";
/// Which of them a server knows that refuses one.
const ACCEPTED_STREAM_PROTOCOLS: &str = "x-accepted-stream-protocol-versions";
/// Every header of a WebSocket begins so.
const WEBSOCKET: &str = "sec-websocket-";
/// A client without another way to send its token sends it as a subprotocol
/// (`apiserver/pkg/authentication/request/websocket`). It is for the virtual API server, and the host must not see it.
const BEARER: &str = "base64url.bearer.authorization.k8s.io.";

/// The headers of a request that go to the host.
pub(super) fn to_host(headers: &HeaderMap) -> HeaderMap {
    let passed = headers.iter().filter(|(name, _)| opens_stream(name));
    let passed = passed.filter_map(|(name, value)| {
        let value = if *name == SEC_WEBSOCKET_PROTOCOL { without_token(value)? } else { value.clone() };
        Some((name.clone(), value))
    });
    appended(passed)
}

/// The headers of the host's answer that go to the API server.
pub(super) fn to_client(headers: &HeaderMap) -> HeaderMap {
    let passed = |name: &HeaderName| {
        opens_stream(name)
            || [CONTENT_TYPE, RETRY_AFTER].contains(name)
            || name.as_str() == ACCEPTED_STREAM_PROTOCOLS
    };
    appended(
        headers.iter().filter(|(name, _)| passed(name)).map(|(name, value)| (name.clone(), value.clone())),
    )
}

/// Whether the client asks for another protocol.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    let is_wanted = |value: &HeaderValue| {
        value
            .to_str()
            .is_ok_and(|value| value.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade")))
    };
    headers.contains_key(UPGRADE) && headers.get_all(CONNECTION).iter().any(is_wanted)
}

fn opens_stream(name: &HeaderName) -> bool {
    [CONNECTION, UPGRADE].contains(name)
        || name.as_str() == STREAM_PROTOCOL
        || name.as_str().starts_with(WEBSOCKET)
}

/// The subprotocols that are no token; none where nothing is left.
fn without_token(protocols: &HeaderValue) -> Option<HeaderValue> {
    let Ok(text) = protocols.to_str() else { return Some(protocols.clone()) };
    let kept: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.starts_with(BEARER)).collect();
    HeaderValue::from_str(&kept.join(", ")).ok().filter(|value| !value.is_empty())
}

fn appended(headers: impl Iterator<Item = (HeaderName, HeaderValue)>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name, value);
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        appended(of.iter().map(pair))
    }

    #[test]
    fn what_opens_a_stream_passes_and_who_somebody_is_does_not() {
        let opening = [
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v5.channel.k8s.io"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("sec-websocket-key", "a"),
            ("sec-websocket-version", "13"),
        ];
        let others = [
            ("authorization", "Bearer secret"),
            ("impersonate-user", "admin"),
            ("x-remote-user", "admin"),
            ("cookie", "a=b"),
            ("host", "localhost"),
        ];
        assert_eq!(to_host(&headers(&[&opening[..], &others[..]].concat())), headers(&opening));
    }

    #[test]
    fn a_token_among_the_subprotocols_stays_here() {
        let token = "base64url.bearer.authorization.k8s.io.c2VjcmV0";
        let mut asked = HeaderMap::new();
        let value = format!("v5.channel.k8s.io,{token}, v4.channel.k8s.io");
        asked.append(SEC_WEBSOCKET_PROTOCOL, value.parse().unwrap());
        asked.append(SEC_WEBSOCKET_PROTOCOL, token.parse().unwrap());
        let passed = to_host(&asked);
        let passed: Vec<_> = passed.get_all(SEC_WEBSOCKET_PROTOCOL).iter().collect();
        assert_eq!(passed, ["v5.channel.k8s.io, v4.channel.k8s.io"]);
    }

    #[test]
    fn a_refusal_keeps_what_a_client_needs_to_fall_back() {
        let answer = [
            ("content-type", "application/json"),
            ("retry-after", "1"),
            ("x-accepted-stream-protocol-versions", "v4.channel.k8s.io"),
        ];
        let others = [("set-cookie", "a=b"), ("audit-id", "1"), ("transfer-encoding", "chunked")];
        assert_eq!(to_client(&headers(&[&answer[..], &others[..]].concat())), headers(&answer));
    }

    #[test]
    fn an_upgrade_says_so_twice() {
        assert!(is_upgrade(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")])));
        assert!(!is_upgrade(&headers(&[("connection", "keep-alive"), ("upgrade", "websocket")])));
        assert!(!is_upgrade(&headers(&[("connection", "Upgrade")])));
    }
}

//! Passes one request on to the host, its answer back, and both directions of a stream.

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tracing::debug;
use weft_core::object::Host;

use crate::api::Api;
use crate::engine::{NoHostPod, Pods};
use crate::kubelet::asked::Asked;
use crate::kubelet::headers;
use crate::kubelet::host_refusal;
use crate::kubelet::refusal::Refusal;

/// What a direction of a stream holds: with the buffers of both TLS connections, less than 256 KiB a stream in all.
const BUFFER: usize = 32 * 1024;

/// Where requests go.
pub(super) struct Relay {
    pods: Pods,
    host: Api<Host>,
}

/// The host's end of a stream that it has agreed to.
pub(super) struct Stream(OnUpgrade);

impl Relay {
    pub(super) fn new(pods: Pods, host: Api<Host>) -> Self {
        Self { pods, host }
    }

    /// Answers a request as the host answers it, and returns the stream that it opens.
    pub(super) async fn answer(&self, request: &Request<Incoming>) -> (Response<Body>, Option<Stream>) {
        let answered = self.pass(request).await;
        answered.unwrap_or_else(|refusal| (refusal.into_response(), None))
    }

    async fn pass(&self, request: &Request<Incoming>) -> Result<(Response<Body>, Option<Stream>), Refusal> {
        let asked = Asked::read(request.method(), request.uri())?;
        let is_stream = asked.is_stream();
        if is_stream && !headers::is_upgrade(request.headers()) {
            return Err(Refusal::bad_request(
                "this path is for streams: ask for an upgrade of the connection",
            ));
        }
        debug!(namespace = asked.namespace, pod = asked.pod, path = %request.uri().path(), "relaying");
        let host = self.pods.find(&asked.namespace, &asked.pod).await;
        let host = host.map_err(|reason| refused(reason, &asked))?;
        let namespace = asked.namespace.clone();
        let mut passed = Request::new(Body::empty());
        *passed.method_mut() = request.method().clone();
        *passed.uri_mut() =
            asked.on_host(&host)?.parse().map_err(|_| Refusal::bad_request("the query is no URL"))?;
        if is_stream {
            *passed.headers_mut() = headers::to_host(request.headers());
        }
        let mut answer = self.host.relay(passed).await.map_err(|error| {
            debug!(error = &error as &dyn std::error::Error, "the host does not answer");
            Refusal::unavailable("the host's API server does not answer; try again")
        })?;
        let is_open = is_stream && answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        if !is_open && !answer.status().is_success() {
            return Ok((host_refusal::for_tenant(answer, &self.pods, &namespace).await, None));
        }
        let stream = is_open.then(|| Stream(hyper::upgrade::on(&mut answer)));
        let (head, body) = answer.into_parts();
        let mut response = Response::new(if is_open { Body::empty() } else { body });
        *response.status_mut() = head.status;
        *response.headers_mut() = headers::to_client(&head.headers);
        Ok((response, stream))
    }
}

impl Stream {
    /// Passes bytes both ways until both directions have ended, or one breaks. What ends one direction ends only that: the
    /// other is drained first. Nobody is cut off for silence.
    pub(super) async fn run(self, client: Upgraded) {
        let Ok(host) = self.0.await else { return };
        let (mut client, mut host) = (TokioIo::new(client), TokioIo::new(host));
        let passed = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut host, BUFFER, BUFFER).await;
        debug!(?passed, "a stream has ended");
    }
}

fn refused(reason: NoHostPod, asked: &Asked) -> Refusal {
    let Asked { namespace, pod, .. } = asked;
    match reason {
        NoHostPod::Unknown => Refusal::unavailable("the syncer is starting; try again"),
        NoHostPod::NotConfirmed => Refusal::unavailable(
            "it is not sure now that the host and the virtual cluster are the expected ones; try again",
        ),
        NoHostPod::NoVirtualPod => Refusal::not_found(format!("there is no pod {namespace}/{pod}")),
        NoHostPod::NotThere => {
            Refusal::not_found(format!("pod {namespace}/{pod} is not on the host yet, or no longer"))
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use crate::kubelet::testing::{Client, Endpoint, ON_HOST, read, read_head, soon};

    const SPDY: &str = "POST /exec/shop/web/web?command=cat&input=1&output=1|Connection: Upgrade|Upgrade: SPDY/3.1|X-Stream-Protocol-Version: v5.channel.k8s.io|X-Stream-Protocol-Version: v4.channel.k8s.io|Authorization: Bearer of-a-tenant";
    const OPENED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v5.channel.k8s.io\r\n\r\n";

    /// Both ends of an open stream.
    async fn opened(endpoint: &Endpoint) -> (Client, tokio::net::TcpStream) {
        let mut client = endpoint.send(Some(endpoint.api_server()), SPDY).await.unwrap();
        let (mut host, _) = endpoint.on_host().await;
        host.write_all(OPENED.as_bytes()).await.unwrap();
        read_head(&mut client).await;
        (client, host)
    }

    #[tokio::test]
    async fn a_log_comes_line_by_line_as_the_host_sends_it() {
        let endpoint = Endpoint::start().await;
        let head =
            "GET /containerLogs/shop/web/web?follow=true&tailLines=1|Authorization: Bearer of-a-tenant";
        let mut client = endpoint.send(Some(endpoint.api_server()), head).await.unwrap();
        let (mut host, asked) = endpoint.on_host().await;
        assert!(
            asked.starts_with(&format!("get {ON_HOST}/log?follow=true&taillines=1&container=web ")),
            "{asked}"
        );
        assert!(asked.contains("bearer of-the-syncer") && !asked.contains("of-a-tenant"), "{asked}");
        host.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await
            .unwrap();
        assert!(read_head(&mut client).await.contains("content-type: text/plain"));
        for line in ["one\n", "two\n"] {
            host.write_all(format!("4\r\n{line}\r\n").as_bytes()).await.unwrap();
            assert_eq!(read(&mut client, 9).await, format!("4\r\n{line}\r\n"), "before the next one");
        }
        drop(client);
        assert_eq!(soon(host.read(&mut [0; 1])).await.unwrap_or(0), 0, "nobody reads it any more");
    }

    #[tokio::test]
    async fn a_stream_is_opened_as_the_client_asked_and_passes_bytes_both_ways() {
        let endpoint = Endpoint::start().await;
        let mut client = endpoint.send(Some(endpoint.api_server()), SPDY).await.unwrap();
        let (mut host, asked) = endpoint.on_host().await;
        let line = format!("post {ON_HOST}/exec?command=cat&stdin=true&stdout=true&container=web http/1.1");
        assert!(asked.starts_with(&line), "{asked}");
        for header in [
            "connection: upgrade",
            "upgrade: spdy/3.1",
            "version: v5.channel.k8s.io",
            "version: v4.channel.k8s.io",
            "bearer of-the-syncer",
        ] {
            assert!(asked.contains(header), "{header} is not in {asked}");
        }
        host.write_all(format!("{OPENED}early").as_bytes()).await.unwrap();
        let answer = read_head(&mut client).await;
        assert!(
            answer.starts_with("http/1.1 101 ") && answer.contains("x-stream-protocol-version: v5"),
            "{answer}"
        );
        assert_eq!(answer.matches("connection:").count(), 1, "{answer}");
        assert_eq!(read(&mut client, 5).await, "early");
        client.write_all(b"ping").await.unwrap();
        assert_eq!(read(&mut host, 4).await, "ping");
        host.write_all(b"pong").await.unwrap();
        assert_eq!(read(&mut client, 4).await, "pong");
    }

    #[tokio::test]
    async fn a_websocket_keeps_its_headers_and_loses_a_token() {
        let endpoint = Endpoint::start().await;
        let head = "GET /attach/shop/web/web?output=1|Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Version: 13|Sec-WebSocket-Key: a2V5|Sec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.dG9rZW4";
        let mut client = endpoint.send(Some(endpoint.api_server()), head).await.unwrap();
        let (mut host, asked) = endpoint.on_host().await;
        assert!(
            asked.starts_with(&format!("get {ON_HOST}/attach?stdout=true&container=web http/1.1")),
            "{asked}"
        );
        assert!(
            asked.contains("sec-websocket-key: a2v5") && asked.contains("sec-websocket-version: 13"),
            "{asked}"
        );
        assert!(asked.contains("protocol: v5.channel.k8s.io\r\n") && !asked.contains("dg9rzw4"), "{asked}");
        let opened = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: YQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n";
        host.write_all(opened.as_bytes()).await.unwrap();
        let answer = read_head(&mut client).await;
        assert!(
            answer.contains("sec-websocket-accept: yq==") && answer.contains("protocol: v5.channel"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn the_end_of_one_direction_leaves_the_other_its_tail() {
        let endpoint = Endpoint::start().await;
        let (mut client, mut host) = opened(&endpoint).await;
        client.write_all(b"last").await.unwrap();
        client.shutdown().await.unwrap();
        let mut read = String::new();
        soon(host.read_to_string(&mut read)).await.unwrap();
        assert_eq!(read, "last");
        let tail = "x".repeat(1_000_000);
        let writing = async {
            host.write_all(tail.as_bytes()).await.unwrap();
            host.shutdown().await.unwrap();
        };
        let mut read = String::new();
        let ((), got) = tokio::join!(writing, soon(client.read_to_string(&mut read)));
        got.unwrap();
        assert_eq!(read.len(), tail.len());
    }

    #[tokio::test]
    async fn a_cut_on_either_side_ends_both() {
        let endpoint = Endpoint::start().await;
        let (client, mut host) = opened(&endpoint).await;
        // Without the alert that ends a TLS connection.
        drop(client);
        assert_eq!(soon(host.read(&mut [0; 1])).await.unwrap_or(0), 0);
        let (mut client, host) = opened(&endpoint).await;
        host.set_zero_linger().unwrap();
        drop(host);
        let cut = soon(client.read(&mut [0; 1])).await;
        assert!(cut.is_err(), "a reset is no end: {cut:?}");
    }

    #[tokio::test]
    async fn the_hosts_refusal_keeps_what_a_client_falls_back_by() {
        let endpoint = Endpoint::start().await;
        let mut client = endpoint.send(Some(endpoint.api_server()), SPDY).await.unwrap();
        let (mut host, _) = endpoint.on_host().await;
        let body = r#"{"kind":"Status","message":"no protocol in common"}"#;
        let refusal = format!(
            "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nX-Accepted-Stream-Protocol-Versions: v4.channel.k8s.io\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        host.write_all(refusal.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(client.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n") && answer.ends_with(body), "{answer}");
        assert!(answer.contains("x-accepted-stream-protocol-versions: v4.channel.k8s.io"), "{answer}");
    }

    #[tokio::test]
    async fn what_is_not_the_tenants_never_reaches_the_host() {
        let endpoint = Endpoint::start().await;
        let upgrade = "|Connection: Upgrade|Upgrade: SPDY/3.1";
        for (head, code) in [
            ("GET /containerLogs/shop/other/web".to_owned(), 404),
            ("GET /containerLogs/shop/web/istio-proxy".to_owned(), 404),
            (format!("POST /exec/team-a/web/web?command=id{upgrade}"), 404),
            (format!("POST /exec/shop/..%2f..%2fkube-system/web{upgrade}"), 400),
            (format!("POST /portForward/shop/web/uid-2{upgrade}"), 404),
            ("POST /exec/shop/web/web?command=id".to_owned(), 400),
            ("GET /runningpods/".to_owned(), 400),
            ("GET /pods".to_owned(), 403),
            ("DELETE /exec/shop/web/web".to_owned(), 405),
        ] {
            let answer = endpoint.ask(&head).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{head}: {answer}");
            assert!(answer.contains(r#""kind":"Status""#), "{head}: {answer}");
        }
        assert!(!endpoint.has_asked_host().await);
    }

    #[tokio::test]
    async fn a_host_that_does_not_answer_is_no_refusal() {
        let endpoint = Endpoint::start().await;
        let mut client = endpoint.send(Some(endpoint.api_server()), SPDY).await.unwrap();
        drop(endpoint.on_host().await);
        let answer = read_head(&mut client).await;
        assert!(answer.starts_with("http/1.1 503 "), "{answer}");
    }
}

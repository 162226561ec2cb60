//! What metrics-server and others read of a node: usage and pods of this virtual cluster alone, under their virtual names.
//!
//! ```text
//! metrics-server in the virtual cluster ─► here ─► TokenReview, SubjectAccessReview of the virtual API server
//!                                           └────► metrics API of the host, in one namespace
//! ```

mod counters;
mod port;
mod reading;
mod recent;
mod render;
mod reviews;
mod source;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tracing::debug;
use weft_core::object::{Host, Virtual};

use crate::api::Api;
use crate::engine::{NoNode, Pods};
use crate::kubelet::refusal::Refusal;
use port::Port;
use reading::{Figures, Reading};
use reviews::Reviews;
use source::Source;

/// Readers give up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(9);

/// An answer, whole or as it is written.
type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The endpoint of readers, with its port.
pub(super) struct Metrics(Port);

/// Answers readers.
struct Answers {
    reviews: Reviews,
    pods: Pods,
    source: Source,
}

impl Metrics {
    pub(super) fn new(socket: TcpListener, tls: Arc<ServerConfig>) -> Self {
        Self(Port::new(socket, tls))
    }

    /// Answers for ever.
    pub(super) async fn serve(self, pods: Pods, host: Api<Host>, r#virtual: Api<Virtual>) {
        self.0.serve(Arc::new(Answers::new(pods, host, r#virtual))).await;
    }
}

impl Answers {
    fn new(pods: Pods, host: Api<Host>, r#virtual: Api<Virtual>) -> Self {
        Self { reviews: Reviews::new(r#virtual), source: Source::new(host, &pods), pods }
    }

    async fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        let answer = timeout(PATIENCE, self.read(request)).await;
        let answer = answer
            .unwrap_or_else(|_| Err(Refusal::unavailable("a server does not answer in time; try again")));
        answer.unwrap_or_else(|refusal| {
            refusal.into_response().map(|body| body.map_err(Into::into).boxed_unsync())
        })
    }

    /// What costs nothing is checked first, and nobody is asked anything for a stranger.
    async fn read<B>(&self, request: &Request<B>) -> Result<Response<Body>, Refusal> {
        let token = token(request.headers()).ok_or_else(|| {
            Refusal::unauthorized("send the bearer token of a user of this virtual cluster")
        })?;
        let Reading { node, figures } = Reading::read(request.method(), request.uri())?;
        self.reviews.check(token, &node, figures.subresources()).await?;
        debug!(node, ?figures, "answering a reader");
        let pods = self.pods.on_node(&node).await.map_err(|reason| match reason {
            NoNode::Unknown => Refusal::unavailable("the syncer does not know the nodes yet; try again"),
            NoNode::NotThere => Refusal::not_found(format!("the kubelet is not that of a node {node:?}")),
        })?;
        let (kind, body) = match figures {
            Figures::Pods => (render::JSON, render::pods(self.pods.clone(), pods)),
            Figures::Resource => {
                (render::TEXT, whole(render::resource(&self.source.usage(&node, pods).await?)))
            }
            Figures::Summary => {
                let usage = self.source.usage(&node, pods).await?;
                (render::JSON, whole(render::summary(&node, &usage)))
            }
            Figures::Cadvisor => {
                return Err(Refusal::forbidden(
                    "the host's metrics API has no figures of cAdvisor; read /metrics/resource or /stats/summary",
                ));
            }
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Ok(response)
    }
}

fn whole(text: String) -> Body {
    Full::from(text).map_err(|never| match never {}).boxed_unsync()
}

/// The bearer token of a request.
fn token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::SocketAddr;

    use serde_json::{Value, json};
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;
    use tokio_rustls::TlsConnector;
    use weft_core::keys::FAKE_NODE_LABEL;
    use weft_core::object::VirtualObject;

    use super::port::{LIMITS, Limits};
    use crate::api::scripted::{Answer, Asked};
    use crate::engine::testing::{Bench, pod};
    use crate::kubelet::testing::{Authority, client_config, keys, soon};
    use crate::kubelet::tls;

    const RESOURCE: &str = "GET /nodes/node-1/metrics/resource";

    /// A served endpoint for the pod `shop/web` on `node-1`, whose readers have tokens of the names of what they may read.
    struct Endpoint {
        folder: TempDir,
        address: SocketAddr,
        bench: Bench,
        serving: JoinHandle<()>,
    }

    impl Endpoint {
        async fn start(limits: Limits) -> Self {
            let bench = Bench::new(host, r#virtual);
            let node = |name: &str, labels: Value| {
                let metadata = json!({"name": name, "uid": name, "resourceVersion": "1", "labels": labels});
                bench
                    .state
                    .nodes
                    .put(Arc::new(VirtualObject::from_json(json!({"metadata": metadata})).unwrap()));
            };
            node("node-1", json!({FAKE_NODE_LABEL: "true"}));
            node("node-2", json!({FAKE_NODE_LABEL: "true"}));
            node("of-the-tenant", json!({}));
            let mut web = pod();
            web["spec"]["nodeName"] = "node-1".into();
            bench.watch_virtual("v1/Pod", web);
            let folder = tempfile::tempdir().unwrap();
            let tls = tls::for_readers(&keys(&folder, &Authority::new("weft-ca"))).unwrap();
            let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = socket.local_addr().unwrap();
            let answers = Answers::new(bench.pods(), bench.host.clone(), bench.r#virtual.clone());
            answers.source.begin().await;
            let serving = tokio::spawn(Port::with(limits, socket, tls).serve(Arc::new(answers)));
            Self { folder, address, bench, serving }
        }

        /// The whole answer to a request with this head, its lines parted by `|`.
        async fn ask(&self, head: &str) -> std::io::Result<String> {
            let connector = TlsConnector::from(Arc::new(client_config(&self.folder, None)));
            let socket = TcpStream::connect(self.address).await?;
            let mut client = connector.connect("localhost".try_into().unwrap(), socket).await?;
            let (line, headers) = head.split_once('|').unwrap_or((head, ""));
            let head = format!("{line} HTTP/1.1\r\nHost: node\r\n{}\r\n\r\n", headers.replace('|', "\r\n"));
            client.write_all(head.replace("\r\n\r\n\r\n", "\r\n\r\n").as_bytes()).await?;
            let mut answer = String::new();
            soon(client.read_to_string(&mut answer)).await?;
            Ok(answer)
        }

        async fn read(&self, token: &str, path: &str) -> String {
            self.ask(&format!("GET {path}|Authorization: Bearer {token}")).await.unwrap()
        }
    }

    impl Drop for Endpoint {
        fn drop(&mut self) {
            self.serving.abort();
        }
    }

    fn host(_: &Asked) -> Answer {
        let usage = json!({"cpu": "250m", "memory": "2Mi"});
        let container = |name: &str| json!({"name": name, "usage": usage});
        let of_web = json!({
            "metadata": {"name": "web-x-shop-x-vc"}, "timestamp": "2026-01-01T00:00:00Z",
            "containers": [container("web"), container("istio-proxy")],
        });
        Answer::ok(json!({"items": [of_web]}))
    }

    fn r#virtual(asked: &Asked) -> Answer {
        let spec = &asked.body["spec"];
        let status = match spec["token"].as_str() {
            Some(token @ ("metrics" | "stats" | "pods" | "proxy")) => {
                json!({"authenticated": true, "user": {"username": token}})
            }
            Some(_) => json!({"authenticated": false}),
            None => json!({"allowed": spec["user"] == spec["resourceAttributes"]["subresource"]}),
        };
        Answer::ok(json!({"status": status}))
    }

    #[tokio::test]
    async fn a_reader_gets_what_they_may_read_of_the_pods_of_a_node() {
        let endpoint = Endpoint::start(LIMITS).await;
        let answer = endpoint.read("metrics", "/nodes/node-1/metrics/resource").await;
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains("text/plain; version=0.0.4"),
            "{answer}"
        );
        let line = r#"container_memory_working_set_bytes{container="web",namespace="shop",pod="web"} 2097152 1767225600000"#;
        assert!(answer.contains(line) && !answer.contains("istio-proxy"), "{answer}");
        let answer = endpoint.read("stats", "/nodes/node-1/stats/summary").await;
        assert!(answer.contains(r#""podRef":{"name":"web","namespace":"shop","uid":"uid-1"}"#), "{answer}");
        for token in ["pods", "proxy"] {
            let answer = endpoint.read(token, "/nodes/node-1/pods").await;
            assert!(
                answer.contains(r#""kind":"PodList""#) && answer.contains(r#""uid":"uid-1""#),
                "{answer}"
            );
        }
        let other = endpoint.read("pods", "/nodes/node-2/pods").await;
        assert!(other.contains(r#""kind":"PodList""#) && !other.contains("uid-1"), "{other}");
        let other = endpoint.read("metrics", "/nodes/node-2/metrics/resource").await;
        assert!(!other.contains("web") && other.contains("node_memory_working_set_bytes 0 "), "{other}");
    }

    #[tokio::test]
    async fn everybody_else_and_everything_else_is_refused_and_costs_the_host_nothing() {
        let endpoint = Endpoint::start(LIMITS).await;
        let bearer = |token: &str, path: &str| format!("GET {path}|Authorization: Bearer {token}");
        let resource = "/nodes/node-1/metrics/resource";
        for (head, code) in [
            (RESOURCE.to_owned(), 401),
            (format!("{RESOURCE}|Authorization: Basic bWV0cmljczo="), 401),
            (format!("{RESOURCE}|Authorization: Bearer "), 401),
            (bearer("of-the-host", resource), 401),
            (bearer("stats", resource), 403),
            (bearer("metrics", "/nodes/node-1/stats/summary"), 403),
            (bearer("metrics", "/nodes/node-1/pods"), 403),
            (bearer("metrics", "/nodes/of-another-cluster/metrics/resource"), 404),
            (bearer("metrics", "/nodes/of-the-tenant/metrics/resource"), 404),
            (bearer("metrics", "/metrics/resource"), 404),
            (bearer("metrics", "/nodes/node-1/metrics/cadvisor"), 403),
            (bearer("metrics", "/containerLogs/shop/web/web"), 403),
            (bearer("metrics", "/nodes/node-1/exec/shop/web/web"), 403),
            (bearer("metrics", "/nodes/node-1/..%2f/pods"), 400),
            (bearer("metrics", resource).replace("GET", "POST"), 405),
        ] {
            let answer = endpoint.ask(&head).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{head}: {answer}");
            assert!(answer.contains(r#""kind":"Status""#), "{head}: {answer}");
        }
        assert!(endpoint.bench.host_requests.all().is_empty());
    }

    #[tokio::test]
    async fn strangers_cost_the_virtual_api_server_nothing() {
        let endpoint = Endpoint::start(LIMITS).await;
        for head in [RESOURCE.to_owned(), "GET /exec/a/b/c|Authorization: Bearer metrics".to_owned()] {
            endpoint.ask(&head).await.unwrap();
        }
        assert!(endpoint.bench.virtual_requests.all().is_empty());
        let answer = endpoint.ask(&format!("{RESOURCE}|X-Filler: {}", "a".repeat(40_000))).await;
        assert!(answer.as_ref().map_or(true, |answer| answer.starts_with("HTTP/1.1 431 ")), "{answer:?}");
    }

    #[tokio::test]
    async fn who_holds_connections_open_loses_them_and_gets_no_more_than_a_share() {
        let short = Duration::from_millis(200);
        let endpoint = Endpoint::start(Limits { of_one_address: 4, handshake: short, ..LIMITS }).await;
        let mut silent = Vec::new();
        for _ in 0..8 {
            silent.push(TcpStream::connect(endpoint.address).await.unwrap());
        }
        for mut silent in silent {
            let mut rest = Vec::new();
            let cut = soon(silent.read_to_end(&mut rest)).await;
            assert!(cut.is_err() || rest.is_empty(), "it was cut: {cut:?}");
        }
        let answered = async {
            while endpoint.ask(&format!("{RESOURCE}|Authorization: Bearer metrics")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon(answered).await;
    }

    #[tokio::test]
    async fn a_reader_that_is_slow_at_any_time_ends() {
        let short = Duration::from_millis(200);
        let endpoint = Endpoint::start(Limits { head: Duration::from_mins(1), whole: short, ..LIMITS }).await;
        let answer = endpoint.ask("GET /nodes").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        let connector = TlsConnector::from(Arc::new(client_config(&endpoint.folder, None)));
        let socket = TcpStream::connect(endpoint.address).await.unwrap();
        let mut client = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();
        client.write_all(b"GET /nodes/node-1/pods HTTP/1.1\r\n").await.unwrap();
        let mut rest = Vec::new();
        let ended = soon(client.read_to_end(&mut rest)).await;
        assert!(ended.is_err() || rest.is_empty(), "{ended:?}");
    }
}

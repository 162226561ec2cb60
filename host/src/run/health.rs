//! Serves the state of the syncer over HTTP: `/livez` and `/readyz` for probes, `/metrics` for collectors and
//! `/plugins` for people. Tenants' pods reach the port, so the latter two, and why it is not ready, have readers of their own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;

use crate::config::Readers;
use crate::engine::Health;
use crate::kubelet::Taken;
use crate::plugin::status::Status;

/// The content type of `OpenMetrics`.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is served.
#[derive(Clone, Default)]
pub(super) struct Shared {
    /// The engine's health, once there is an engine.
    pub(super) health: Arc<OnceLock<Health>>,
    /// The API servers that have not answered yet; there is no engine before both have.
    pub(super) unanswered: Unanswered,
    /// The ports of the kubelet's endpoint that another program has.
    pub(super) taken: Taken,
    /// What is counted.
    pub(super) metrics: Arc<Mutex<Registry>>,
    /// Which plugins are loaded.
    pub(super) plugins: Arc<Status>,
}

/// The API servers that have not answered since the start.
#[derive(Clone)]
pub(super) struct Unanswered(Arc<Mutex<Vec<&'static str>>>);

impl Default for Unanswered {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(vec!["host", "virtual"])))
    }
}

impl Unanswered {
    /// The server of this side has answered.
    pub(super) fn answered(&self, side: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|waiting| *waiting != side);
    }

    fn problem(&self) -> String {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let servers: Vec<String> = waiting.iter().map(|side| format!("the {side} API server")).collect();
        match servers.as_slice() {
            [] => "the plugins are being loaded".to_owned(),
            servers => format!("no answer yet of {}; see the log", servers.join(" and ")),
        }
    }
}

/// Why it is not ready, to who may not read more: the reason may name objects of the host.
const NOT_READY: &str = "not ready; the log says why, and so does this page through a forwarded port\n";

/// Serves until it is dropped: metrics, plugins and reasons to `readers`, health to everybody.
pub(super) async fn serve(
    listener: tokio::net::TcpListener,
    shared: Shared,
    readers: Readers,
) -> std::io::Result<()> {
    let service = router(shared, readers).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await
}

fn router(shared: Shared, readers: Readers) -> Router {
    let for_readers = Router::new()
        .route("/metrics", get(metrics))
        .route("/plugins", get(plugins))
        .route_layer(from_fn_with_state(readers, only_readers));
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(async move |client, shared| ready(readers, client, shared)))
        .merge(for_readers)
        .with_state(shared)
}

async fn only_readers(
    State(readers): State<Readers>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if readers.has(client) {
        return next.run(request).await;
    }
    let why = "only loopback may read this; forward the port, or set `metrics.readers` to `anyone`\n";
    (StatusCode::FORBIDDEN, why).into_response()
}

/// Opens the port, before anything else is begun: a port in use is reported at once.
pub(super) async fn listen(address: SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::bind(address).await
}

fn ready(
    readers: Readers,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    State(shared): State<Shared>,
) -> (StatusCode, String) {
    let problem = match shared.health.get() {
        None => Some(shared.unanswered.problem()),
        Some(health) => {
            health.problem().or_else(|| shared.taken.problem()).or_else(|| shared.plugins.awaited())
        }
    };
    match problem {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(_) if !readers.has(client) => (StatusCode::SERVICE_UNAVAILABLE, NOT_READY.to_owned()),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {problem}\n")),
    }
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let mut text = String::new();
    let registry = shared.metrics.lock().unwrap_or_else(PoisonError::into_inner);
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], text),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string())
        }
    }
}

async fn plugins(State(shared): State<Shared>) -> impl IntoResponse {
    let unserved = shared.health.get().map(Health::unserved).unwrap_or_default();
    let shown: Vec<_> =
        shared.plugins.shown().into_iter().map(|plugin| plugin.with_unserved(&unserved)).collect();
    let text = serde_json::to_string_pretty(&shown).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text)
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt as _;

    use super::*;

    #[test]
    fn the_servers_that_have_not_answered_are_named() {
        let unanswered = Unanswered::default();
        let both = "no answer yet of the host API server and the virtual API server; see the log";
        assert_eq!(unanswered.problem(), both);
        unanswered.answered("host");
        assert_eq!(unanswered.problem(), "no answer yet of the virtual API server; see the log");
        unanswered.answered("virtual");
        assert_eq!(unanswered.problem(), "the plugins are being loaded");
    }

    /// The status and the body that a client at `address` gets.
    async fn answer(readers: Readers, path: &str, address: [u8; 4]) -> (StatusCode, String) {
        let mut request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((address, 40_000))));
        let answer = router(Shared::default(), readers).oneshot(request).await.unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 4096).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_pod_of_a_tenant_does_not_learn_why_the_syncer_is_not_ready() {
        let said = answer(Readers::Loopback, "/readyz", [10, 1, 2, 3]).await;
        assert_eq!(said, (StatusCode::SERVICE_UNAVAILABLE, NOT_READY.to_owned()));
        for (readers, client) in [(Readers::Loopback, [127, 0, 0, 1]), (Readers::Anyone, [10, 1, 2, 3])] {
            let (status, body) = answer(readers, "/readyz", client).await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(body.starts_with("not ready: no answer yet of the host API server"), "{body}");
        }
    }

    #[tokio::test]
    async fn a_pod_of_a_tenant_reads_health_and_neither_metrics_nor_plugins() {
        const POD: [u8; 4] = [10, 1, 2, 3];
        for (readers, client, expected) in [
            (Readers::Loopback, POD, StatusCode::FORBIDDEN),
            (Readers::Loopback, [127, 0, 0, 1], StatusCode::OK),
            (Readers::Anyone, POD, StatusCode::OK),
        ] {
            for (path, expected) in
                [("/metrics", expected), ("/plugins", expected), ("/livez", StatusCode::OK)]
            {
                assert_eq!(answer(readers, path, client).await.0, expected, "{path} for {client:?}");
            }
        }
    }
}

//! Serves the state of the syncer over HTTP: `/livez` and `/readyz` for probes, `/metrics` for collectors and
//! `/plugins` for people.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;

use crate::engine::Health;
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

/// Serves until it is dropped.
pub(super) async fn serve(listener: tokio::net::TcpListener, shared: Shared) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/plugins", get(plugins))
        .with_state(shared);
    axum::serve(listener, router).await
}

/// Opens the port, before anything else is begun: a port in use is reported at once.
pub(super) async fn listen(address: SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::bind(address).await
}

async fn ready(State(shared): State<Shared>) -> impl IntoResponse {
    let problem = match shared.health.get() {
        None => Some(shared.unanswered.problem()),
        Some(health) => health.problem().or_else(|| shared.plugins.awaited()),
    };
    match problem {
        None => (StatusCode::OK, "ok\n".to_owned()),
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
    let text = serde_json::to_string_pretty(&shared.plugins.shown()).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text)
}

#[cfg(test)]
mod tests {
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
}

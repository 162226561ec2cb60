//! `/livez` and `/readyz`, for probes and for people.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use crate::engine::Health;

/// The engine's health, once there is an engine.
pub type Shared = Arc<OnceLock<Health>>;

/// Serves health until it is dropped.
pub async fn serve(listener: tokio::net::TcpListener, health: Shared) -> std::io::Result<()> {
    let ready = move || {
        let health = health.clone();
        async move {
            // Until both servers have said who they are there is no engine to ask.
            let unanswered = Some("an API server has not answered yet; see the log");
            match health.get().map_or(unanswered, Health::problem) {
                None => (StatusCode::OK, "ok\n".to_owned()),
                Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {problem}\n")),
            }
        }
    };
    let router = Router::new().route("/livez", get(|| async { "ok\n" })).route("/readyz", get(ready));
    axum::serve(listener, router).await
}

/// Opens the port, before anything else is begun: a port in use is said at once.
pub async fn listen(address: SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::bind(address).await
}

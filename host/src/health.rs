//! `/livez` and `/readyz`, for probes and for people.

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use crate::engine::Health;

/// Serves health until it is dropped.
pub async fn serve(listener: tokio::net::TcpListener, health: Health) -> std::io::Result<()> {
    let ready = move || {
        let health = health.clone();
        async move {
            match health.problem() {
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

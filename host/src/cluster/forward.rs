//! Forwards connections to a local port to the virtual API server's pod, through the host's API server.
//!
//! Each connection has a WebSocket of its own, to the pod that serves at that moment: a pod that is replaced ends the
//! connections to it, and the next ones find the new pod.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::cluster::host::Host;
use crate::cluster::{API_SERVER_PORT, Place};

/// How long a connection waits for a pod that serves: the restart of an API server.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two tries.
const RETRY: Duration = Duration::from_millis(500);
/// kubectl and its like open a handful; a client that leaks them must not take all file descriptors.
const MAX_CONNECTIONS: usize = 256;

/// The virtual API server that is forwarded to.
pub struct Target {
    client: Client,
    streams: Client,
    place: Place,
}

impl Target {
    /// The API server of the virtual cluster at `place`.
    pub fn new(host: &Host, place: Place) -> Self {
        Self { client: host.client.clone(), streams: host.streams.clone(), place }
    }
}

/// Listens on a loopback port: `wanted`, or one that is free.
pub async fn listen(wanted: Option<u16>) -> Result<TcpListener> {
    let port = wanted.unwrap_or_default();
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await;
    listener.with_context(|| {
        format!("failed to listen on 127.0.0.1:{port}; choose another one with `--local-port`")
    })
}

/// Forwards until the virtual cluster is deleted.
pub async fn serve(listener: TcpListener, target: Target) -> Result<()> {
    let target = Arc::new(target);
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections: JoinSet<Result<Outcome>> = JoinSet::new();
    loop {
        tokio::select! {
            accepted = accept(&listener, &room) => {
                let (stream, place) = accepted?;
                let target = Arc::clone(&target);
                connections.spawn(async move {
                    let outcome = carry(stream, &target).await;
                    drop(place);
                    outcome
                });
            }
            Some(ended) = connections.join_next() => match ended? {
                Ok(Outcome::Closed) => {}
                Ok(Outcome::ClusterIsGone) => {
                    info!(cluster = target.place.name, namespace = target.place.namespace, "the virtual cluster was deleted");
                    return Ok(());
                }
                Err(error) => warn!(error = format!("{error:#}"), "connection failed"),
            },
        }
    }
}

/// How a connection ended.
enum Outcome {
    Closed,
    ClusterIsGone,
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok((stream, place)),
            // Such as a client that has gone already, or too many open files.
            Err(error) => {
                warn!(error = error.to_string(), "failed to accept a connection");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn carry(mut local: TcpStream, target: &Target) -> Result<Outcome> {
    let started = Instant::now();
    let mut remote = loop {
        match open(target).await {
            Ok(remote) => break remote,
            Err(error) if started.elapsed() > PATIENCE || is_refused(&error) => return Err(error),
            Err(_) if is_gone(target).await => return Ok(Outcome::ClusterIsGone),
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    };
    // That either side closes, at whatever moment, is how connections end.
    let _ = tokio::io::copy_bidirectional(&mut local, &mut remote).await;
    Ok(Outcome::Closed)
}

async fn open(target: &Target) -> Result<impl AsyncRead + AsyncWrite + Unpin> {
    let pods: Api<Pod> = Api::namespaced(target.client.clone(), &target.place.namespace);
    let list = pods.list(&ListParams::default().labels(&target.place.selector())).await;
    let list = list.with_context(|| format!("failed to list the pods of {}", target.place))?;
    let Some(pod) = list.items.iter().find(|pod| is_serving(pod)) else {
        bail!("{} has no pod whose API server is ready", target.place);
    };
    let name = pod.name_any();
    let streams: Api<Pod> = Api::namespaced(target.streams.clone(), &target.place.namespace);
    let forwarded = streams.portforward(&name, &[API_SERVER_PORT]).await;
    let mut forwarded = forwarded.with_context(|| format!("failed to forward to pod {name}"))?;
    forwarded.take_stream(API_SERVER_PORT).with_context(|| format!("pod {name} gave no stream"))
}

/// Whether the host says no, which waiting does not change. That a pod is gone or busy is no refusal.
fn is_refused(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        Some(kube::Error::Api(status)) => matches!(status.code, 401 | 403 | 405),
        _ => false,
    }
}

/// Whether the API server in this pod answers.
fn is_serving(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let mut api = statuses.into_iter().flatten().filter(|container| container.name == "api");
    pod.metadata.deletion_timestamp.is_none() && api.any(|container| container.ready)
}

async fn is_gone(target: &Target) -> bool {
    let sets: Api<StatefulSet> = Api::namespaced(target.client.clone(), &target.place.namespace);
    matches!(sets.get_metadata_opt(&target.place.name).await, Ok(None))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(containers: &serde_json::Value, deleted: Option<&str>) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"deletionTimestamp": deleted},
            "status": {"containerStatuses": containers},
        }))
        .unwrap()
    }

    #[test]
    fn only_a_pod_whose_api_server_is_ready_is_forwarded_to() {
        let status = |name: &str, ready: bool| json!([{"name": name, "ready": ready, "image": "", "imageID": "", "restartCount": 0}]);
        assert!(is_serving(&pod(&status("api", true), None)));
        assert!(!is_serving(&pod(&status("api", false), None)));
        assert!(!is_serving(&pod(&status("syncer", true), None)));
        assert!(!is_serving(&pod(&status("api", true), Some("2026-01-01T00:00:00Z"))));
        assert!(!is_serving(&Pod::default()));
    }

    #[test]
    fn a_refusal_is_not_waited_out() {
        let error = |code: u16| {
            let status = kube::core::Status { code, ..kube::core::Status::default() };
            anyhow::Error::from(kube::Error::Api(Box::new(status))).context("failed to forward")
        };
        assert!(is_refused(&error(403)) && !is_refused(&error(404)) && !is_refused(&error(503)));
    }

    #[tokio::test]
    async fn only_loopback_is_listened_on() {
        let listener = listen(None).await.unwrap();
        let address = listener.local_addr().unwrap();
        assert!(address.ip().is_loopback() && address.port() != 0);
        let error = listen(Some(address.port())).await.unwrap_err();
        assert!(error.to_string().contains("--local-port"), "{error}");
    }
}

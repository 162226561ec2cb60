//! Passes one request on to the host, its answer back, and both directions of a stream.

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tracing::debug;
use weft_core::object::Host;

use crate::api::Api;
use crate::engine::{NoHostPod, Pods};
use crate::kubelet::asked::Asked;
use crate::kubelet::headers;
use crate::kubelet::refusal::Refusal;

/// What a direction of a stream holds: with the buffers of both TLS connections, less than 256 KiB a stream in all.
const BUFFER: usize = 32 * 1024;

/// Where requests go.
pub(super) struct Relay {
    pods: Pods,
    host: Api<Host>,
}

/// A stream that both sides have agreed to.
pub(super) struct Stream {
    client: OnUpgrade,
    host: OnUpgrade,
}

impl Relay {
    pub(super) fn new(pods: Pods, host: Api<Host>) -> Self {
        Self { pods, host }
    }

    /// Answers a request as the host answers it, and returns the stream that it opens.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> (Response<Body>, Option<Stream>) {
        let answered = self.pass(request).await;
        answered.unwrap_or_else(|refusal| (refusal.into_response(), None))
    }

    async fn pass(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<(Response<Body>, Option<Stream>), Refusal> {
        let asked = Asked::read(request.method(), request.uri())?;
        let is_stream = asked.is_stream();
        if is_stream && !headers::is_upgrade(request.headers()) {
            return Err(Refusal::bad_request(
                "this path is for streams: ask for an upgrade of the connection",
            ));
        }
        debug!(namespace = asked.namespace, pod = asked.pod, path = %request.uri().path(), "relaying");
        let host = self.pods.find(&asked.namespace, &asked.pod);
        let host = host.map_err(|reason| refused(reason, &asked))?;
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
        let stream = is_open.then(|| Stream {
            client: hyper::upgrade::on(&mut request),
            host: hyper::upgrade::on(&mut answer),
        });
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
    pub(super) async fn run(self) {
        let Ok((client, host)) = tokio::try_join!(self.client, self.host) else { return };
        let (mut client, mut host) = (TokioIo::new(client), TokioIo::new(host));
        let passed = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut host, BUFFER, BUFFER).await;
        debug!(?passed, "a stream has ended");
    }
}

fn refused(reason: NoHostPod, asked: &Asked) -> Refusal {
    let Asked { namespace, pod, .. } = asked;
    match reason {
        NoHostPod::Unknown => Refusal::unavailable("the syncer is starting; try again"),
        NoHostPod::NoVirtualPod => Refusal::not_found(format!("there is no pod {namespace}/{pod}")),
        NoHostPod::NotThere => {
            Refusal::not_found(format!("pod {namespace}/{pod} is not on the host yet, or no longer"))
        }
    }
}

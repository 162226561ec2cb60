//! Answers one request: forwards it, and does to it what a rule says.

use std::sync::Arc;

use anyhow::{Result, bail};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use kube::client::Body;
use serde_json::json;

use super::Shared;
use super::frames;
use super::request::Request;
use super::rule::{Fault, Place, Turn};

pub(super) type ReplyBody = UnsyncBoxBody<Bytes, anyhow::Error>;
type Reply = Response<ReplyBody>;

/// Answers a request; an error cuts its connection.
pub(super) async fn exchange(shared: Arc<Shared>, request: http::Request<Incoming>) -> Result<Reply> {
    let seen = Request::read(request.method(), request.uri(), request.headers());
    let turn = shared.rules.turn(&seen);
    let number = shared.record(seen);
    let forward = forward(&shared, request);
    let reply = match turn {
        Some(turn) => with_fault(turn, forward).await?,
        None => forward.await?,
    };
    shared.record_status(number, reply.status().as_u16());
    Ok(reply)
}

async fn forward(shared: &Shared, request: http::Request<Incoming>) -> Result<Reply> {
    let (mut head, body) = request.into_parts();
    // Of the connection to the proxy; the one to the API server has its own.
    for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        head.headers.remove(name);
    }
    let body = body.collect().await?.to_bytes().to_vec();
    let reply = shared.upstream().send(http::Request::from_parts(head, Body::from(body))).await?;
    Ok(reply.map(|body| body.map_err(anyhow::Error::from).boxed_unsync()))
}

async fn with_fault(mut turn: Turn, forward: impl Future<Output = Result<Reply>>) -> Result<Reply> {
    match turn.fault.clone() {
        Fault::Answer { code, reason, retry_after } => status(code, reason, retry_after),
        Fault::Delay(by) => {
            tokio::time::sleep(by).await;
            forward.await
        }
        Fault::Hang(place) => {
            take_effect(place, forward).await?;
            turn.removed().await;
            bail!("the reply is held back no longer, and lost")
        }
        Fault::Cut(place) => {
            take_effect(place, forward).await?;
            bail!("the connection is cut")
        }
        Fault::CutBody(bytes) => Ok(forward.await?.map(|body| frames::cut_after(body, bytes))),
        Fault::Slow(pause) => Ok(forward.await?.map(|body| frames::slowed(body, pause, turn))),
        Fault::Header(name, value) => {
            let mut reply = forward.await?;
            reply.headers_mut().insert(name, value);
            Ok(reply)
        }
        Fault::Frames(fault) => Ok(forward.await?.map(|body| frames::with_fault(body, fault, turn))),
    }
}

/// The whole reply is read: then the API server has done what it was asked for.
async fn take_effect(place: Place, forward: impl Future<Output = Result<Reply>>) -> Result<()> {
    if place == Place::AfterEffect {
        forward.await?.into_body().collect().await?;
    }
    Ok(())
}

fn status(code: u16, reason: &str, retry_after: Option<u32>) -> Result<Reply> {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": format!("the fault proxy says {reason}"),
    });
    let body = Full::new(Bytes::from(status.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut reply = Response::new(body);
    *reply.status_mut() = StatusCode::from_u16(code)?;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        reply.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    Ok(reply)
}

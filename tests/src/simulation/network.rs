//! The way between the syncer and the two servers: it takes time, loses and repeats, and writes down what passed.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use kube::client::Body;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::{BoxError, Service};

use super::invariants::{Watchman, is_renewal};
use crate::model::Model;

/// What a connection that breaks fails with.
const RESET: &str = "connection reset by the simulation";
/// The longest that a request or an answer is under way.
const LONGEST_WAY: Duration = Duration::from_millis(20);

/// Which of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The host's.
    Host,
    /// That of the virtual cluster.
    Virtual,
}

/// One of something for each side.
#[derive(Default)]
struct Sides<T> {
    host: T,
    r#virtual: T,
}

impl<T> Sides<T> {
    fn of(&self, side: Side) -> &T {
        match side {
            Side::Host => &self.host,
            Side::Virtual => &self.r#virtual,
        }
    }

    fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Host => &mut self.host,
            Side::Virtual => &mut self.r#virtual,
        }
    }
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks before the server sees it.
    LostBefore,
    /// The connection breaks after the server has done it.
    LostAfter,
    /// The server never sees it, and nobody says so.
    HangsBefore,
    /// The server does it, and the answer never comes.
    HangsAfter,
    /// It is under way for so long.
    Late(Duration),
    /// The server refuses it with this status.
    Refused(u16),
    /// The server does it, and answers with this status.
    RefusedAfter(u16),
    /// The answer ends in the middle.
    Cut,
    /// The syncer that sends it dies before the server sees it.
    DiesBefore,
    /// The syncer that sends it dies once the server has done it.
    DiesAfter,
}

/// What goes wrong with the watches that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// They end, as at the end of their time.
    End,
    /// Their connections break.
    Reset,
    /// Nothing comes any more, and nobody says so.
    Freeze,
}

/// What one request of the syncer was, for the story of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// How long after the start of the run.
    pub at: Duration,
    /// Who was asked.
    pub side: Side,
    /// Method and path, with the query of watches and lists.
    pub line: String,
    /// What was written; empty for the rest.
    pub body: String,
    /// What it came to.
    pub end: String,
}

/// The network of one run.
#[derive(Clone)]
pub struct Network {
    state: Arc<Mutex<State>>,
    /// How the watches of each side were broken last; each time is a change.
    breaks: Arc<Sides<watch::Sender<Break>>>,
    /// Which syncer has died last, by its number.
    dead: Arc<watch::Sender<u64>>,
    started: Instant,
}

struct State {
    chance: StdRng,
    /// What comes over each side's next requests, and how many pass before.
    faults: Sides<VecDeque<(u32, Fault)>>,
    /// The same of the next writes to either side.
    write_faults: VecDeque<(u32, Fault)>,
    exchanges: Vec<Exchange>,
    writes: u64,
    watchman: Watchman,
}

/// The way to one server; clones are the same way.
#[derive(Clone)]
pub struct Link {
    side: Side,
    model: Model,
    network: Network,
    /// Number of the syncer that uses it.
    syncer: u64,
}

type Reply = UnsyncBoxBody<Bytes, BoxError>;

impl Network {
    /// A network on which nothing goes wrong yet. `watchman` sees each write before it is done.
    pub fn new(seed: u64, watchman: Watchman) -> Self {
        let state = State {
            chance: StdRng::seed_from_u64(seed),
            faults: Sides::default(),
            write_faults: VecDeque::new(),
            exchanges: Vec::new(),
            writes: 0,
            watchman,
        };
        let none = || watch::Sender::new(Break::End);
        let breaks = Sides { host: none(), r#virtual: none() };
        let (state, breaks, dead) = (Arc::new(Mutex::new(state)), Arc::new(breaks), Arc::default());
        Self { state, breaks, dead, started: Instant::now() }
    }

    /// The way of a syncer to a server.
    pub fn link(&self, side: Side, model: &Model, syncer: u64) -> Link {
        Link { side, model: model.clone(), network: self.clone(), syncer }
    }

    /// Has a fault come over a request to this side, once `skip` others have passed.
    pub fn plan(&self, side: Side, skip: u32, fault: Fault) {
        self.lock().faults.of_mut(side).push_back((skip, fault));
    }

    /// Has a fault come over a write to either side, once `skip` others have passed.
    pub fn plan_write(&self, skip: u32, fault: Fault) {
        self.lock().write_faults.push_back((skip, fault));
    }

    /// Nothing goes wrong from now on.
    pub fn heal(&self) {
        let mut state = self.lock();
        (state.faults, state.write_faults) = (Sides::default(), VecDeque::new());
    }

    /// The number of a syncer that dies of a fault.
    pub async fn death(&self) -> u64 {
        let mut dead = self.dead.subscribe();
        // The channel is ours, and stays open.
        drop(dead.changed().await);
        *dead.borrow()
    }

    /// Breaks the watches that are open on a side.
    pub fn break_watches(&self, side: Side, how: Break) {
        self.breaks.of(side).send_replace(how);
    }

    /// How many writes have been sent so far, without those that renew tokens.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// What has passed so far.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.lock().exchanges.clone()
    }

    /// Has the watchman look at the servers.
    pub(super) fn look(&self) {
        let now = self.started.elapsed();
        self.lock().watchman.look(now);
    }

    /// What the watchman has to say.
    pub fn violations(&self) -> Vec<String> {
        self.lock().watchman.violations().to_vec()
    }

    /// The states that writes have met, as digests.
    pub(super) fn states(&self) -> BTreeSet<u64> {
        self.lock().watchman.states().clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn way(&mut self) -> Duration {
        self.chance.random_range(Duration::ZERO..LONGEST_WAY)
    }

    fn fault(&mut self, side: Side, is_write: bool) -> Option<Fault> {
        let of_write = if is_write { due(&mut self.write_faults) } else { None };
        due(self.faults.of_mut(side)).or(of_write)
    }
}

/// The first fault, if no other request is to pass before.
fn due(faults: &mut VecDeque<(u32, Fault)>) -> Option<Fault> {
    let (skip, _) = faults.front_mut()?;
    if *skip > 0 {
        *skip -= 1;
        return None;
    }
    faults.pop_front().map(|(_, fault)| fault)
}

impl Service<Request<Body>> for Link {
    type Response = Response<Reply>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let link = self.clone();
        Box::pin(async move { link.pass(request).await })
    }
}

impl Link {
    async fn pass(self, request: Request<Body>) -> Result<Response<Reply>, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let is_write = head.method != Method::GET;
        let line = format!("{} {}", head.method, head.uri);
        let sent = self.network.started.elapsed();
        let (to, back, fault) = {
            let mut state = self.network.lock();
            (state.way(), state.way(), state.fault(self.side, is_write))
        };
        tokio::time::sleep(to).await;
        let end = |end: String| self.note(&line, is_write.then_some(&body), end);
        match fault {
            Some(Fault::LostBefore) => {
                end("lost before".to_owned());
                return Err(RESET.into());
            }
            Some(Fault::HangsBefore) => {
                end("hangs before".to_owned());
                return std::future::pending().await;
            }
            Some(Fault::Refused(code)) => {
                end(format!("refused with {code}"));
                tokio::time::sleep(back).await;
                return Ok(refusal(code));
            }
            Some(Fault::DiesBefore) => {
                end("dies before".to_owned());
                return self.die().await;
            }
            Some(Fault::Late(time)) => tokio::time::sleep(time).await,
            _ => {}
        }
        if is_write {
            let mut state = self.network.lock();
            state.writes += u64::from(!is_renewal(head.uri.path(), &body));
            state.watchman.see(self.side, &head.method, head.uri.path(), &body, sent);
        }
        let is_watch = head.uri.query().is_some_and(|query| query.contains("watch=1"));
        let response = self.model.clone().call(Request::from_parts(head, Body::from(body.to_vec()))).await?;
        end(response.status().as_u16().to_string());
        tokio::time::sleep(back).await;
        match fault {
            Some(Fault::LostAfter) => Err(RESET.into()),
            Some(Fault::HangsAfter) => std::future::pending().await,
            Some(Fault::DiesAfter) => self.die().await,
            Some(Fault::RefusedAfter(code)) => Ok(refusal(code)),
            Some(Fault::Cut) if !is_watch => Ok(self.cut(response).await?),
            _ if is_watch => Ok(self.breakable(response)),
            _ => Ok(response.map(|body| body.map_err(|never| match never {}).boxed_unsync())),
        }
    }

    /// No syncer sees what comes after its death.
    async fn die<T>(&self) -> T {
        self.network.dead.send_replace(self.syncer);
        std::future::pending().await
    }

    fn note(&self, line: &str, body: Option<&Bytes>, end: String) {
        let body = body.map(|body| String::from_utf8_lossy(body).into_owned()).unwrap_or_default();
        let at = self.network.started.elapsed();
        let exchange = Exchange { at, side: self.side, line: line.to_owned(), body, end };
        self.network.lock().exchanges.push(exchange);
    }

    /// Half of an answer, and then an error.
    async fn cut<B>(&self, response: Response<B>) -> Result<Response<Reply>, BoxError>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (head, body) = response.into_parts();
        let whole = body.collect().await.map_err(Into::into)?.to_bytes();
        let half = whole.slice(..whole.len() / 2);
        let frames: [Result<Frame<Bytes>, BoxError>; 2] = [Ok(Frame::data(half)), Err(RESET.into())];
        Ok(Response::from_parts(head, StreamBody::new(futures::stream::iter(frames)).boxed_unsync()))
    }

    /// A watch, until it is broken.
    fn breakable<B>(&self, response: Response<B>) -> Response<Reply>
    where
        B: http_body::Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static,
    {
        let broken = self.network.breaks.of(self.side).subscribe();
        response.map(|body| {
            let frames = body.into_data_stream();
            let stream =
                futures::stream::unfold((Box::pin(frames), broken), async |(mut frames, mut broken)| {
                    tokio::select! {
                        biased;
                        _ = broken.changed() => {
                            let how = *broken.borrow();
                            match how {
                                Break::End => None,
                                Break::Reset => Some((Err(RESET.into()), (frames, broken))),
                                Break::Freeze => std::future::pending().await,
                            }
                        }
                        frame = frames.next() => {
                            let frame = frame?.map(Frame::data).map_err(|never| match never {});
                            Some((frame, (frames, broken)))
                        }
                    }
                });
            StreamBody::new(stream).boxed_unsync()
        })
    }
}

fn refusal(code: u16) -> Response<Reply> {
    let reason = match code {
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let status: Value = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": "the simulation refuses it",
    });
    let mut response =
        Response::new(Full::from(status.to_string()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

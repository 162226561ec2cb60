//! Holds the client of one API server, and replaces it with all its connections once they are dead.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::sync::watch;

use crate::api::connect::ConnectError;
use crate::api::error::Error;

/// Makes a client anew: from the files of today, with connections of its own.
pub(super) type Source =
    Box<dyn Fn() -> BoxFuture<'static, Result<kube::Client, ConnectError>> + Send + Sync>;

/// The client of one API server.
pub(super) struct Pool {
    source: Source,
    current: watch::Sender<kube::Client>,
    /// Whether the client has failed to get an answer, and must not be used to find out whether there is one again.
    is_doubted: AtomicBool,
}

/// A client, for as long as it is not replaced.
pub(super) struct Lease {
    client: kube::Client,
    pool: watch::Receiver<kube::Client>,
}

/// The body of an answer, chunk by chunk as it comes.
pub struct Chunks {
    body: Body,
    lease: Lease,
}

impl Pool {
    /// A pool with a first client.
    pub(super) async fn new(source: Source) -> Result<Self, ConnectError> {
        let current = watch::Sender::new(source().await?);
        Ok(Self { source, current, is_doubted: AtomicBool::new(false) })
    }

    /// A pool that always has this client.
    pub(super) fn of(client: kube::Client) -> Self {
        let current = watch::Sender::new(client.clone());
        let source: Source = Box::new(move || Box::pin(std::future::ready(Ok(client.clone()))));
        Self { source, current, is_doubted: AtomicBool::new(false) }
    }

    /// The client of now, for what may outlive it.
    pub(super) fn client(&self) -> kube::Client {
        self.current.borrow().clone()
    }

    /// The client of now.
    pub(super) fn lease(&self) -> Lease {
        let mut pool = self.current.subscribe();
        let client = pool.borrow_and_update().clone();
        Lease { client, pool }
    }

    /// Gets the answer to a question. A client that gets none gives way to a new one that does, and what is under way with
    /// the old one fails.
    pub(super) async fn check<T, F>(&self, question: impl Fn(kube::Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        if !self.is_doubted.load(Ordering::Relaxed) {
            let answer = question(self.lease().client).await;
            if !calls_for_new_client(&answer) {
                return answer;
            }
            self.is_doubted.store(true, Ordering::Relaxed);
        }
        let client = (self.source)().await.map_err(|error| Error::Transport(error.into()))?;
        let answer = question(client.clone()).await;
        if !calls_for_new_client(&answer) {
            self.is_doubted.store(false, Ordering::Relaxed);
            self.current.send_replace(client);
        }
        answer
    }
}

/// Whether the connections may be dead, or the credentials outdated.
fn calls_for_new_client<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Timeout | Error::Transport(_) | Error::Status { code: 401, .. }))
}

impl Lease {
    /// Uses the client; fails as soon as it is replaced.
    pub(super) async fn with<T, F>(&mut self, work: impl FnOnce(kube::Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        tokio::select! {
            biased;
            () = replaced(&mut self.pool) => Err(Error::Replaced),
            done = work(self.client.clone()) => done,
        }
    }

    /// The chunks of a body that comes for as long as the client is not replaced.
    pub(super) fn chunks(self, body: Body) -> Chunks {
        Chunks { body, lease: self }
    }
}

impl Chunks {
    /// The next chunk; none at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        let Self { body, lease } = self;
        loop {
            let frame = tokio::select! {
                biased;
                () = replaced(&mut lease.pool) => return Some(Err(Error::Replaced)),
                frame = body.frame() => frame?,
            };
            match frame {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(Error::Transport(error.into()))),
            }
        }
    }
}

async fn replaced(pool: &mut watch::Receiver<kube::Client>) {
    if pool.changed().await.is_err() {
        // The pool is gone, and nobody replaces its client.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU16;

    use serde_json::json;
    use weft_core::object::Host;

    use super::*;
    use crate::api::scripted::{Answer, scripted};
    use crate::api::{self, Api};

    /// A client whose server answers with the status in the number, or is silent for 0.
    fn client(status: u16) -> (kube::Client, Arc<AtomicU16>) {
        let status = Arc::new(AtomicU16::new(status));
        let answered = status.clone();
        let (api, _) = scripted::<Host>(move |asked| match answered.load(Ordering::Relaxed) {
            0 => Answer::Silence,
            200 if asked.path == "/watch" => {
                // Its sender is forgotten, not dropped: the stream stays open.
                let (sender, stream) = Answer::stream();
                std::mem::forget(sender);
                stream
            }
            200 => Answer::ok(json!({})),
            code => Answer::failure(code, "Refused"),
        });
        (api.pool.lease().client, status)
    }

    /// A pool that has `first` now and gets `second`.
    fn pool(first: &kube::Client, second: &kube::Client) -> Api<Host> {
        let second = second.clone();
        let source: Source = Box::new(move || Box::pin(std::future::ready(Ok(second.clone()))));
        Api::of(Pool { source, ..Pool::of(first.clone()) })
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_are_dead_are_replaced_and_what_waits_for_them_fails() {
        let ((old, status), (new, _)) = (client(200), client(200));
        let api = pool(&old, &new);
        let mut watch = api.start(api::get("/watch")).await.unwrap();
        status.store(0, Ordering::Relaxed);
        let asked = api.clone();
        let hanging = tokio::spawn(async move { asked.send(api::get("/hanging")).await });
        tokio::task::yield_now().await;
        api.check("/").await.unwrap();
        assert!(matches!(watch.next().await, Some(Err(Error::Replaced))));
        assert!(matches!(hanging.await.unwrap(), Err(Error::Replaced)));
        api.send(api::get("/")).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_replaced_before_the_server_answers_on_a_new_connection() {
        let ((old, of_old), (new, of_new)) = (client(0), client(0));
        let api = pool(&old, &new);
        let lease = api.pool.lease();
        assert!(matches!(api.check("/").await, Err(Error::Timeout)));
        of_old.store(200, Ordering::Relaxed);
        assert!(matches!(api.check("/").await, Err(Error::Timeout)), "the old client is not asked any more");
        assert!(!lease.pool.has_changed().unwrap());
        assert_eq!(api.outages(), 2, "a server that was away may be at an older state");
        of_new.store(200, Ordering::Relaxed);
        api.check("/").await.unwrap();
        assert_eq!(api.outages(), 2);
        assert!(lease.pool.has_changed().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_that_are_refused_are_read_again_and_other_refusals_are_answers() {
        for (code, is_replaced) in [(401, true), (403, false), (500, false), (503, false)] {
            let ((old, _), (new, _)) = (client(code), client(200));
            let api = pool(&old, &new);
            let lease = api.pool.lease();
            assert_eq!(api.check("/").await.is_ok(), is_replaced, "{code}");
            assert_eq!(lease.pool.has_changed().unwrap(), is_replaced, "{code}");
        }
    }
}

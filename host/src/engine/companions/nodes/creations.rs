//! Creates each node once at a time, in a task of its own, so that a server that does not answer stops nobody else.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::api::Error;

/// How long pods wait together for a node, which takes milliseconds: a burst of them all want the same one. After that
/// they give their workers back and are requeued.
const PATIENCE: Duration = Duration::from_millis(250);

/// The creations that are in flight. They end with it.
#[derive(Default)]
pub(super) struct Creations {
    in_flight: Mutex<InFlight>,
}

#[derive(Default)]
struct InFlight {
    by_node: HashMap<String, Creation>,
    tasks: JoinSet<()>,
}

struct Creation {
    begun: Instant,
    /// Whether the node is there; closed when the creation is over.
    made: watch::Receiver<bool>,
}

/// A creation that somebody waits for.
enum Joined {
    /// Begun by the one who waits, who gets its result.
    Own(Instant, oneshot::Receiver<Result<(), Error>>),
    /// Begun by another.
    Other(Instant, watch::Receiver<bool>),
}

impl Creations {
    /// Waits a little for the creation of `node` that is in flight, or begins one by `create`. Returns whether the
    /// node is there, and an error to the one who began it.
    pub(super) async fn join<C>(&self, node: &str, create: impl FnOnce() -> C) -> Result<bool, Error>
    where
        C: Future<Output = Result<(), Error>> + Send + 'static,
    {
        match self.begin_or_join(node, create) {
            Joined::Own(begun, result) => match timeout_at(begun + PATIENCE, result).await {
                Ok(Ok(result)) => result.map(|()| true),
                Ok(Err(_)) | Err(_) => Ok(false),
            },
            Joined::Other(begun, mut made) => {
                // Until it is made, or is over, or takes too long.
                let waited = timeout_at(begun + PATIENCE, made.wait_for(|made| *made)).await;
                Ok(matches!(waited, Ok(Ok(_))))
            }
        }
    }

    fn begin_or_join<C>(&self, node: &str, create: impl FnOnce() -> C) -> Joined
    where
        C: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        in_flight.by_node.retain(|_, creation| creation.made.has_changed().is_ok());
        while in_flight.tasks.try_join_next().is_some() {}
        if let Some(creation) = in_flight.by_node.get(node) {
            return Joined::Other(creation.begun, creation.made.clone());
        }
        let (begun, (result_sender, result)) = (Instant::now(), oneshot::channel());
        let (made_sender, made) = watch::channel(false);
        in_flight.by_node.insert(node.to_owned(), Creation { begun, made });
        let (creation, node) = (create(), node.to_owned());
        in_flight.tasks.spawn(async move {
            let result = creation.await;
            made_sender.send_replace(result.is_ok());
            if let Err(Err(error)) = result_sender.send(result) {
                warn!(%node, error = &error as &dyn std::error::Error, "failed to create a node; trying again");
            }
        });
        Joined::Own(begun, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::engine::testing::settle;

    /// Creations of which `begun` counts how many were begun.
    #[derive(Default)]
    struct Counted {
        creations: Creations,
        begun: AtomicUsize,
    }

    impl Counted {
        async fn join(
            &self,
            node: &str,
            end: impl Future<Output = Result<(), Error>> + Send + 'static,
        ) -> Result<bool, Error> {
            let create = || {
                self.begun.fetch_add(1, Ordering::Relaxed);
                end
            };
            self.creations.join(node, create).await
        }

        fn begun(&self) -> usize {
            self.begun.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_want_a_node_share_one_creation() {
        let counted = Counted::default();
        let (release, released) = oneshot::channel::<()>();
        let slow = async {
            let _ = released.await;
            Ok(())
        };
        let (first, second, other, ()) = tokio::join!(
            counted.join("node-1", slow),
            counted.join("node-1", async { Ok(()) }),
            counted.join("node-2", async { Ok(()) }),
            async {
                settle().await;
                assert_eq!(counted.begun(), 2, "one for each node");
                release.send(()).unwrap();
            },
        );
        assert!([first, second, other].into_iter().all(|joined| joined.unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_creation_that_fails_has_no_node() {
        let counted = Counted::default();
        let failing = async {
            settle().await;
            Err(Error::Timeout)
        };
        let (own, other) =
            tokio::join!(counted.join("node-1", failing), counted.join("node-1", async { Ok(()) }));
        assert!(matches!(own, Err(Error::Timeout)));
        assert!(!other.unwrap(), "a pod would be bound to a node that is not there");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_creation_that_hangs_gives_up_soon_and_who_comes_later_at_once() {
        let counted = Counted::default();
        let start = Instant::now();
        assert!(!counted.join("node-1", std::future::pending()).await.unwrap());
        assert_eq!(start.elapsed(), PATIENCE, "on the paused clock");
        assert!(!counted.join("node-1", std::future::pending()).await.unwrap());
        assert_eq!((start.elapsed(), counted.begun()), (PATIENCE, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_creation_that_failed_is_begun_again_by_the_next() {
        let counted = Counted::default();
        assert!(matches!(counted.join("node-1", async { Err(Error::Timeout) }).await, Err(Error::Timeout)));
        let late = async {
            tokio::time::sleep(PATIENCE * 2).await;
            Err(Error::Timeout)
        };
        assert!(!counted.join("node-1", late).await.unwrap());
        tokio::time::sleep(PATIENCE * 2).await;
        assert!(counted.join("node-1", async { Ok(()) }).await.unwrap());
        assert_eq!(counted.begun(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn creations_end_with_their_owner() {
        let counted = Counted::default();
        let alive = Arc::new(());
        let held = alive.clone();
        let hanging = async move {
            std::future::pending::<()>().await;
            drop(held);
            Ok(())
        };
        assert!(!counted.join("node-1", hanging).await.unwrap());
        drop(counted);
        settle().await;
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}

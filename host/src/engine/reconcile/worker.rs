//! What a worker does from one key to the next.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::engine::queue::Outcome;
use crate::engine::reconcile::syncer::Syncer;

/// How often it is checked whether the caches are complete.
const SYNCED: Duration = Duration::from_millis(20);
/// A key that was taken when nothing could be written any more comes back after this time.
const NOT_READY: Duration = Duration::from_secs(2);

/// Reconciles one key after the other, once every cache is complete and while anything may be written.
pub(crate) async fn work(syncer: Arc<Syncer>, mut ready: watch::Receiver<bool>) {
    while !syncer.state.is_synced() {
        tokio::time::sleep(SYNCED).await;
    }
    while ready.wait_for(|ready| *ready).await.is_ok() {
        let Some(key) = syncer.state.queue.next().await else { return };
        let outcome = if *ready.borrow() { syncer.reconcile(&key).await } else { Outcome::Again(NOT_READY) };
        syncer.state.queue.done(&key, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{Bench, key, service, settle};

    #[tokio::test(start_paused = true)]
    async fn keys_are_reconciled_only_while_ready_and_until_the_queue_is_closed() {
        let bench = Bench::echoing();
        let (sender, ready) = watch::channel(false);
        let worker = tokio::spawn(work(Arc::new(bench.syncer(Vec::new())), ready));
        bench.put_virtual("v1/Service", service("web", "5"));
        bench.state.queue.add(key("v1/Service", "shop", "web"));
        settle().await;
        assert!(bench.host_requests.all().is_empty(), "not ready: {:?}", bench.host_requests.lines());
        sender.send_replace(true);
        settle().await;
        assert_eq!(bench.host_requests.lines(), ["POST /api/v1/namespaces/team-a/services"]);
        bench.state.queue.close();
        settle().await;
        assert!(worker.is_finished(), "a closed queue ends its workers");
    }
}

//! Notices a task that has panicked: what it did is done no longer, so the syncer has to start again.
//!
//! A panic while one pair is reconciled is that pair's failure, and no business of this file: see `reconcile/syncer.rs`.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use tokio::sync::watch;

/// Knows whether one of its tasks has panicked; cheap to clone.
#[derive(Clone)]
pub(crate) struct Supervisor(watch::Sender<bool>);

impl Default for Supervisor {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Supervisor {
    /// `task`, to be spawned, with its panic noticed.
    pub(crate) fn over(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let panicked = self.0.clone();
        async move {
            // Nothing is used afterwards that the panic may have left half done.
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                panicked.send_replace(true);
            }
        }
    }

    /// Returns once a task has panicked.
    pub(crate) async fn panicked(&self) {
        // The sender is here, so this is no error.
        let _ = self.0.subscribe().wait_for(|panicked| *panicked).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::poll;

    #[tokio::test]
    async fn a_task_that_panics_is_noticed_and_one_that_ends_is_not() {
        let supervisor = Supervisor::default();
        let mut panicked = std::pin::pin!(supervisor.panicked());
        supervisor.over(async {}).await;
        assert!(poll!(&mut panicked).is_pending());
        supervisor.over(async { panic!("a bug, on purpose") }).await;
        panicked.await;
    }
}

//! Notices a task that has panicked: what it did is done no longer, so the syncer has to start again.
//!
//! A panic while one pair is reconciled is that pair's failure, and no business of this file: see `reconcile/syncer.rs`.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Knows whether one of its tasks has panicked; cheap to clone.
#[derive(Clone)]
pub(crate) struct Supervisor(watch::Sender<bool>);

/// Tasks of one supervisor; they end when this is dropped.
pub(crate) struct Tasks {
    set: JoinSet<()>,
    supervisor: Supervisor,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Supervisor {
    /// Room for tasks.
    pub(crate) fn tasks(&self) -> Tasks {
        Tasks { set: JoinSet::new(), supervisor: self.clone() }
    }

    /// Returns once a task has panicked.
    pub(crate) async fn panicked(&self) {
        // The sender is here, so this is no error.
        let _ = self.0.subscribe().wait_for(|panicked| *panicked).await;
    }
}

impl Tasks {
    /// Starts a task, and notices if it panics.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let panicked = self.supervisor.0.clone();
        self.set.spawn(async move {
            // Nothing is used afterwards that the panic may have left half done.
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                panicked.send_replace(true);
            }
        });
    }

    /// Returns once every task has ended by itself.
    pub(crate) async fn ended(&mut self) {
        while self.set.join_next().await.is_some() {}
    }

    /// Ends every task.
    pub(crate) async fn shutdown(&mut self) {
        self.set.shutdown().await;
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
        let mut tasks = supervisor.tasks();
        tasks.spawn(async {});
        tasks.ended().await;
        assert!(poll!(&mut panicked).is_pending());
        tasks.spawn(async { panic!("a bug, on purpose") });
        panicked.await;
    }
}

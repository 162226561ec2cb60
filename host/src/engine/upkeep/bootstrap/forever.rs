//! The first bootstrap, tried until it succeeds, and all that follow.

use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::Bootstrap;

/// Between the first two tries: a new API server makes its own Service a little after it is ready.
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// The longest time between two tries.
const LONGEST_RETRY: Duration = Duration::from_secs(2);

impl Bootstrap {
    /// Bootstraps until it succeeds, then keeps it so; `ready` is whether it is.
    pub(crate) async fn run_forever(self, ready: watch::Sender<bool>) {
        let mut pause = FIRST_RETRY;
        while let Err(error) = self.run().await {
            warn!(
                error = &error as &dyn std::error::Error,
                "cannot bootstrap the virtual cluster; trying again"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_RETRY);
        }
        info!("the virtual cluster is bootstrapped; syncing begins");
        ready.send_replace(true);
        self.keep(ready).await;
    }
}

//! The ceiling: the measuring client itself makes the writes that no syncer can avoid.
//!
//! For each pod that it has created in the virtual cluster it creates the host pod; when the host has
//! chosen a node, it binds the virtual pod; when the host pod is ready, it patches the virtual status.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::bench::Bench;
use crate::ledger::Ledger;
use crate::load::IN_FLIGHT;
use crate::pods::Template;
use crate::server::Server;

/// The client in the syncer's place; dropping it ends its work.
#[derive(Debug)]
pub(crate) struct ByHand {
    pods: JoinSet<Result<()>>,
}

struct Hands {
    host: Server,
    r#virtual: Server,
    template: Template,
    /// Beside the creations in the virtual cluster, as a syncer's writes are.
    room: Semaphore,
}

impl ByHand {
    /// Waits for each pod of the ledger to be created and does a syncer's work for it.
    pub(crate) fn start(bench: &Bench, ledger: &Arc<Ledger>, template: &Template) -> Self {
        let hands = Arc::new(Hands {
            host: bench.host.clone(),
            r#virtual: bench.r#virtual.clone(),
            template: template.clone(),
            room: Semaphore::new(IN_FLIGHT),
        });
        let mut pods = JoinSet::new();
        for name in ledger.names() {
            pods.spawn(sync(Arc::clone(&hands), Arc::clone(ledger), Arc::clone(name)));
        }
        Self { pods }
    }

    /// Waits until the last write is answered.
    pub(crate) async fn done(mut self) -> Result<()> {
        while let Some(done) = self.pods.join_next().await {
            done?.context("the client failed to sync by hand")?;
        }
        Ok(())
    }
}

async fn sync(hands: Arc<Hands>, ledger: Arc<Ledger>, name: Arc<str>) -> Result<()> {
    let uid = ledger.when(&name, |life| life.replied.map(|_| life.uid.clone())).await?;
    let pod = hands.template.host_pod(&name, &uid);
    hands.write(hands.host.create(pod)).await?;
    let node = ledger.when(&name, |life| life.host.node.clone()).await?;
    hands.write(hands.r#virtual.bind(&name, &node)).await?;
    let status = ledger.when(&name, |life| life.host.status.clone()).await?;
    hands.write(hands.r#virtual.patch_status(&name, &status)).await
}

impl Hands {
    async fn write<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let _place = self.room.acquire().await?;
        request.await
    }
}

//! Mirrors of host volumes: a virtual PersistentVolume for each bound claim.
//!
//! Host PersistentVolumes are never read (that would need cluster-wide permissions): the mirror shows what the
//! host claim shows.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tracing::warn;
use weft_core::change::Change;
use weft_core::kinds::persistent_volume_claim::volume::mirror;
use weft_core::object::{HostObject, Kind, VirtualObject};

use crate::api;
use crate::engine::apply::{Failed, Side, Writer};
use crate::engine::cache::state::State;
use crate::engine::companions::{Companion, Work};
use crate::engine::queue::Outcome;
use crate::engine::resources::persistent_volumes;

/// How often stale mirrors, whose claim is gone, are deleted.
const SWEEP: Duration = Duration::from_secs(5);

/// Creates and deletes mirrors.
pub(crate) struct Volumes {
    state: Arc<State>,
    writer: Arc<Writer>,
}

impl Volumes {
    pub(crate) fn new(state: Arc<State>, writer: Arc<Writer>) -> Self {
        Self { state, writer }
    }

    /// Shows the volume of a bound claim.
    async fn mirror(&self, claim: &VirtualObject, host_claim: &HostObject) -> Result<Outcome, Failed> {
        let Some(volume) = mirror(claim, host_claim) else { return Ok(Outcome::Done) };
        let written = match self.state.volumes.get("", volume.name()) {
            None => self.create(&volume).await,
            Some(shown) => self.grow(&volume, &shown).await,
        };
        written.map_err(Side::Virtual.failed_to("mirror the volume of", claim.virtual_name().to_string()))?;
        Ok(Outcome::Done)
    }

    async fn create(&self, volume: &VirtualObject) -> Result<(), api::Error> {
        let created = match self.writer.create_virtual(&persistent_volumes(), volume).await {
            Err(error) if error.is_already_exists() => return Ok(()),
            result => result?,
        };
        let bound = Change::merge_in("status", json!({"status": {"phase": "Bound"}}));
        let bound = self
            .writer
            .patch_virtual(&persistent_volumes(), &created.virtual_name(), created.uid(), &bound)
            .await?;
        self.state.volumes.put(bound);
        Ok(())
    }

    /// Updates the capacity; nothing else of a volume changes.
    async fn grow(&self, volume: &VirtualObject, shown: &VirtualObject) -> Result<(), api::Error> {
        let capacity = |volume: &VirtualObject| volume.pointer("/spec/capacity").cloned();
        if capacity(volume) == capacity(shown) || shown.is_terminating() {
            return Ok(());
        }
        let change = Change::merge(json!({"spec": {"capacity": capacity(volume)}}));
        let name = shown.virtual_name();
        let grown = self.writer.patch_virtual(&persistent_volumes(), &name, shown.uid(), &change).await?;
        self.state.volumes.put(grown);
        Ok(())
    }

    /// Deletes mirrors whose claim is gone, for ever.
    pub(crate) async fn sweep_forever(state: Arc<State>, writer: Arc<Writer>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            for (_, name) in state.volumes.names() {
                if let Err(error) = sweep(&state, &writer, &name).await {
                    warn!(volume = %name, error = &error as &dyn std::error::Error, "failed to delete a stale mirrored volume");
                }
            }
        }
    }
}

impl Companion for Volumes {
    fn kind(&self) -> &'static str {
        "v1/PersistentVolumeClaim"
    }

    fn ensure<'a>(&'a self, claim: &'a VirtualObject, host_claim: &'a HostObject) -> Work<'a, Outcome> {
        Box::pin(self.mirror(claim, host_claim))
    }
}

async fn sweep(state: &State, writer: &Writer, name: &str) -> Result<(), api::Error> {
    let Some(volume) = state.volumes.get("", name) else { return Ok(()) };
    if volume.is_terminating() || is_claimed(state, &volume) {
        return Ok(());
    }
    // A bound volume is protected from deletion.
    let released = Change::merge_in("status", json!({"status": {"phase": "Released"}}));
    writer.patch_virtual(&persistent_volumes(), &volume.virtual_name(), volume.uid(), &released).await?;
    writer.delete_virtual(&persistent_volumes(), &volume.virtual_name(), volume.uid(), 0).await.map(drop)
}

fn is_claimed(state: &State, volume: &VirtualObject) -> bool {
    let text = |field: &str| volume.text(&format!("/spec/claimRef/{field}")).unwrap_or_default();
    let Some(synced) = state.synced(&Kind::new("v1/PersistentVolumeClaim")) else { return true };
    let claim = synced.r#virtual.get(text("namespace"), text("name"));
    claim.is_some_and(|claim| claim.uid() == text("uid"))
}

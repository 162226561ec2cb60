//! Mirrors of host volumes: a virtual PersistentVolume for each bound claim.
//!
//! Host PersistentVolumes are never read (that would need cluster-wide rights): the mirror shows what the
//! host claim shows.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tracing::warn;
use weft_core::change::Change;
use weft_core::kinds::persistent_volume_claim::volume::mirror;
use weft_core::object::{HostObject, Kind, ResourceType, VirtualObject};

use crate::api;
use crate::engine::apply::Writer;
use crate::engine::queue::Outcome;
use crate::engine::state::State;
use crate::engine::syncer::Error;

/// How often mirrors whose claim is gone are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// Makes and removes mirrors.
pub(crate) struct Volumes {
    state: Arc<State>,
    writer: Arc<Writer>,
}

impl Volumes {
    pub(crate) fn new(state: Arc<State>, writer: Arc<Writer>) -> Self {
        Self { state, writer }
    }

    /// Sees to it that a bound claim's volume can be looked at.
    pub(crate) async fn ensure(
        &self,
        claim: &VirtualObject,
        host_claim: &HostObject,
    ) -> Result<Outcome, Error> {
        let Some(volume) = mirror(claim, host_claim) else { return Ok(Outcome::Done) };
        let written = match self.state.volumes.get("", volume.name()) {
            None => self.create(&volume).await,
            Some(shown) => self.grow(&volume, &shown).await,
        };
        written.map_err(|source| Error::Virtual {
            action: "mirror the volume of",
            name: claim.virtual_name().to_string(),
            source,
        })?;
        Ok(Outcome::Done)
    }

    async fn create(&self, volume: &VirtualObject) -> Result<(), api::Error> {
        let created = match self.writer.create_virtual(&volumes(), volume).await {
            Err(error) if error.is_already_exists() => return Ok(()),
            result => result?,
        };
        let bound = Change::merge_in("status", json!({"status": {"phase": "Bound"}}));
        let bound =
            self.writer.patch_virtual(&volumes(), &created.virtual_name(), created.uid(), &bound).await?;
        self.state.volumes.put(bound);
        Ok(())
    }

    /// Shows what the volume holds by now; nothing else of it changes.
    async fn grow(&self, volume: &VirtualObject, shown: &VirtualObject) -> Result<(), api::Error> {
        let capacity = |volume: &VirtualObject| volume.pointer("/spec/capacity").cloned();
        if capacity(volume) == capacity(shown) || shown.is_terminating() {
            return Ok(());
        }
        let change = Change::merge(json!({"spec": {"capacity": capacity(volume)}}));
        let name = shown.virtual_name();
        let grown = self.writer.patch_virtual(&volumes(), &name, shown.uid(), &change).await?;
        self.state.volumes.put(grown);
        Ok(())
    }

    /// Removes mirrors whose claim is gone, for ever.
    pub(crate) async fn sweep_forever(state: Arc<State>, writer: Arc<Writer>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            for (_, name) in state.volumes.names() {
                if let Err(error) = sweep(&state, &writer, &name).await {
                    warn!(volume = %name, error = &error as &dyn std::error::Error, "failed to remove a mirrored volume");
                }
            }
        }
    }
}

async fn sweep(state: &State, writer: &Writer, name: &str) -> Result<(), api::Error> {
    let Some(volume) = state.volumes.get("", name) else { return Ok(()) };
    if volume.is_terminating() || is_claimed(state, &volume) {
        return Ok(());
    }
    // A bound volume is protected from deletion.
    let released = Change::merge_in("status", json!({"status": {"phase": "Released"}}));
    writer.patch_virtual(&volumes(), &volume.virtual_name(), volume.uid(), &released).await?;
    writer.delete_virtual(&volumes(), &volume.virtual_name(), volume.uid(), 0).await.map(drop)
}

fn is_claimed(state: &State, volume: &VirtualObject) -> bool {
    let text = |field: &str| volume.text(&format!("/spec/claimRef/{field}")).unwrap_or_default();
    let Some(pair) = state.pair(&Kind::new("v1/PersistentVolumeClaim")) else { return true };
    let claim = pair.r#virtual.get(text("namespace"), text("name"));
    claim.is_some_and(|claim| claim.uid() == text("uid"))
}

/// The kind.
pub(crate) fn volumes() -> ResourceType {
    ResourceType::core_cluster("PersistentVolume", "persistentvolumes")
}

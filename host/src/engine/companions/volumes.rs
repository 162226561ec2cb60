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
            Some(shown) => self.update(&volume, shown).await,
        };
        written.map_err(Side::Virtual.failed_to("mirror the volume of", claim.virtual_name()))?;
        Ok(Outcome::Done)
    }

    async fn create(&self, volume: &VirtualObject) -> Result<(), api::Error> {
        match self.writer.create_virtual(&persistent_volumes(), volume).await {
            // By an earlier request whose reply was lost: the watch shows it, which requeues the claim.
            Err(error) if error.is_already_exists() => Ok(()),
            created => self.mark_bound(volume, created?).await.map(drop),
        }
    }

    /// Brings a mirror up to date, whatever was written of it before.
    async fn update(&self, volume: &VirtualObject, shown: Arc<VirtualObject>) -> Result<(), api::Error> {
        let shown = self.mark_bound(volume, shown).await?;
        self.grow(volume, &shown).await
    }

    /// Writes the status, which a creation cannot: a syncer that ended between the two has left none.
    async fn mark_bound(
        &self,
        volume: &VirtualObject,
        shown: Arc<VirtualObject>,
    ) -> Result<Arc<VirtualObject>, api::Error> {
        let claim = |volume: &VirtualObject| volume.pointer("/spec/claimRef/uid").cloned();
        let has_status = !matches!(shown.text("/status/phase"), None | Some("" | "Pending"));
        if has_status || claim(volume) != claim(&shown) || shown.is_terminating() {
            return Ok(shown);
        }
        let bound = Change::merge_in("status", json!({"status": {"phase": "Bound"}}));
        let name = shown.virtual_name();
        let bound = self.writer.patch_virtual(&persistent_volumes(), &name, shown.uid(), &bound).await?;
        self.state.volumes.put_answer(bound.clone());
        Ok(bound)
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
        self.state.volumes.put_answer(grown);
        Ok(())
    }

    /// Deletes mirrors whose claim is gone, for ever.
    pub(crate) async fn sweep_forever(state: Arc<State>, writer: Arc<Writer>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            if !writer.is_open() {
                continue;
            }
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
    if !synced.is_synced() {
        return true;
    }
    let claim = synced.r#virtual.get(text("namespace"), text("name"));
    claim.is_some_and(|claim| claim.uid() == text("uid"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    use http::Method;
    use weft_core::keys::MIRRORED_LABEL;

    use crate::api::scripted::Answer;
    use crate::engine::testing::{Bench, echo, host_object};

    const CLAIMS: &str = "v1/PersistentVolumeClaim";
    const VOLUMES: &str = "/api/v1/persistentvolumes";

    fn claim() -> Value {
        json!({"metadata": {"namespace": "shop", "name": "data", "uid": "uid-1", "resourceVersion": "3"}, "spec": {}})
    }

    fn host_claim(capacity: &str) -> HostObject {
        let mut claim = host_object(CLAIMS, "shop", "data", "uid-1");
        claim["spec"] = json!({"volumeName": "pvc-1"});
        claim["status"] = json!({"phase": "Bound", "capacity": {"storage": capacity}});
        HostObject::from_json(claim).unwrap()
    }

    async fn ensure(bench: &Bench, host_claim: &HostObject) {
        let volumes = Volumes::new(bench.state.clone(), bench.writer.clone());
        let claim = VirtualObject::from_json(claim()).unwrap();
        assert_eq!(volumes.ensure(&claim, host_claim).await.unwrap(), Outcome::Done);
    }

    /// A mirror in the cache, for the claim of this UID.
    fn mirrored(bench: &Bench, claim_uid: &str, terminating: bool) {
        let mut metadata = json!({"name": "pvc-1", "uid": "uid-volume", "resourceVersion": "8",
                                  "labels": {MIRRORED_LABEL: "true"}});
        if terminating {
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        let claim = json!({"namespace": "shop", "name": "data", "uid": claim_uid});
        let spec = json!({"capacity": {"storage": "1Gi"}, "claimRef": claim});
        let volume = json!({"metadata": metadata, "spec": spec, "status": {"phase": "Bound"}});
        bench.state.volumes.put(Arc::new(VirtualObject::from_json(volume).unwrap()));
    }

    #[tokio::test]
    async fn the_volume_of_a_bound_claim_is_mirrored_once_and_marked_bound() {
        let bench = Bench::echoing();
        let mut pending = host_claim("1Gi");
        pending.fields_mut().insert("status".to_owned(), json!({"phase": "Pending"}));
        ensure(&bench, &pending).await;
        assert!(bench.virtual_requests.all().is_empty(), "an unbound claim has none");
        ensure(&bench, &host_claim("1Gi")).await;
        assert_eq!(
            bench.virtual_requests.lines(),
            [format!("POST {VOLUMES}"), format!("PATCH {VOLUMES}/pvc-1/status")]
        );
        let created = &bench.virtual_requests.bodies(&Method::POST)[0];
        assert_eq!(created["spec"]["claimRef"]["uid"], "uid-1", "{created}");
        assert_eq!(bench.virtual_requests.bodies(&Method::PATCH)[0]["status"], json!({"phase": "Bound"}));
        assert!(bench.state.volumes.contains("", "pvc-1"));
        assert!(bench.host_requests.all().is_empty(), "the host's volumes are never read");
    }

    #[tokio::test]
    async fn a_volume_of_that_name_that_is_there_already_is_no_failure() {
        let bench = Bench::new(echo, |_| Answer::failure(409, "AlreadyExists"));
        ensure(&bench, &host_claim("1Gi")).await;
        assert_eq!(bench.virtual_requests.lines(), [format!("POST {VOLUMES}")]);
    }

    #[tokio::test]
    async fn a_mirror_whose_status_was_never_written_gets_it() {
        let of_claim = async |uid: &str, phase: Option<&str>| {
            let bench = Bench::new(echo, |asked| {
                let capacity = json!({"capacity": {"storage": "1Gi"}});
                let metadata = json!({"name": "pvc-1", "resourceVersion": "10"});
                Answer::ok(json!({"metadata": metadata, "spec": capacity, "status": asked.body["status"]}))
            });
            mirrored(&bench, uid, false);
            let mut volume = bench.state.volumes.get("", "pvc-1").unwrap().as_ref().clone();
            volume.metadata_mut().insert("resourceVersion".into(), "9".into());
            volume.fields_mut().insert("status".into(), json!({"phase": phase}));
            bench.state.volumes.put(Arc::new(volume));
            ensure(&bench, &host_claim("1Gi")).await;
            bench.virtual_requests.lines()
        };
        let written = [format!("PATCH {VOLUMES}/pvc-1/status")];
        assert_eq!(of_claim("uid-1", None).await, written);
        assert_eq!(of_claim("uid-1", Some("Pending")).await, written, "what the server sets first");
        assert_eq!(of_claim("uid-1", Some("Released")).await, Vec::<String>::new(), "it has a status");
        assert_eq!(of_claim("uid-before", None).await, Vec::<String>::new(), "that of another claim goes");
    }

    #[tokio::test]
    async fn a_mirror_grows_with_its_volume_and_changes_in_nothing_else() {
        for (capacity, terminating, patches) in [("1Gi", false, 0), ("2Gi", false, 1), ("2Gi", true, 0)] {
            let bench = Bench::echoing();
            mirrored(&bench, "uid-1", terminating);
            ensure(&bench, &host_claim(capacity)).await;
            let sent = bench.virtual_requests.bodies(&Method::PATCH);
            assert_eq!((sent.len(), bench.virtual_requests.all().len()), (patches, patches), "{capacity}");
            if let Some(patch) = sent.first() {
                assert_eq!(patch["spec"], json!({"capacity": {"storage": "2Gi"}}));
            }
        }
    }

    #[tokio::test]
    async fn a_mirror_is_released_and_deleted_when_its_claim_is_gone_and_not_before() {
        let swept = async |prepare: fn(&Bench)| {
            let bench = Bench::echoing();
            prepare(&bench);
            sweep(&bench.state, &bench.writer, "pvc-1").await.unwrap();
            bench
        };
        let released = [format!("PATCH {VOLUMES}/pvc-1/status"), format!("DELETE {VOLUMES}/pvc-1")];
        let gone = swept(|bench| mirrored(bench, "uid-1", false)).await;
        assert_eq!(gone.virtual_requests.lines(), released);
        assert_eq!(gone.virtual_requests.bodies(&Method::PATCH)[0]["status"], json!({"phase": "Released"}));
        let recreated = swept(|bench| {
            mirrored(bench, "uid-before", false);
            bench.put_virtual(CLAIMS, claim());
        });
        assert_eq!(recreated.await.virtual_requests.lines(), released, "a new claim of the same name");
        let claimed = swept(|bench| {
            mirrored(bench, "uid-1", false);
            bench.put_virtual(CLAIMS, claim());
        });
        assert_eq!(claimed.await.virtual_requests.lines(), Vec::<String>::new(), "claimed");
        let terminating = swept(|bench| mirrored(bench, "uid-1", true)).await;
        assert_eq!(terminating.virtual_requests.lines(), Vec::<String>::new(), "it is deleted already");
        let unknown = swept(|bench| {
            mirrored(bench, "uid-1", false);
            bench.state.set_kinds(crate::engine::cache::kinds::Kinds::default());
        });
        assert_eq!(unknown.await.virtual_requests.lines(), Vec::<String>::new(), "claims are not synced");
    }
}

//! Renews the virtual cluster's certificates while the syncer runs.
//!
//! The API server and the clients among the control plane's programs read their files again by themselves. The syncer
//! does not: it ends, and its container starts again.

use std::time::Duration;

use time::OffsetDateTime;
use tracing::{info, warn};
use weft_core::object::Host;

use crate::api::Api;
use crate::config::Config;
use crate::config::control_plane::ControlPlane;
use crate::control::credentials::Credentials;
use crate::control::init::{Error, own_service, owner, ranges};

/// Between two looks: a new address of the Service gets into the certificate within that time.
const PERIOD: Duration = Duration::from_mins(1);
/// The syncer's own certificates, in the shared folder: as a client, and as the kubelet.
const OWN: [&str; 2] = ["pki/syncer.crt", "pki/kubelet.crt"];

/// Keeps the certificates up to date; returns when those of the syncer itself were renewed, or when there is no
/// control plane to look after, never.
pub async fn keep(config: &Config, host: Api<Host>) {
    let Some(control_plane) = &config.control_plane else { return std::future::pending().await };
    let own = || OWN.map(|file| std::fs::read(config.folders.shared.join(file)).ok());
    let started_with = own();
    loop {
        tokio::time::sleep(PERIOD).await;
        if let Err(error) = renew(config, control_plane, &host).await {
            let error = &error as &dyn std::error::Error;
            warn!(error, "failed to renew certificates; trying again");
        }
        // Whoever renewed it, and whatever failed afterwards.
        if own() != started_with {
            return;
        }
    }
}

async fn renew(config: &Config, control_plane: &ControlPlane, host: &Api<Host>) -> Result<(), Error> {
    let service = own_service(host, config).await?;
    let ranges = ranges(host, config, control_plane, &service).await?;
    let owner = owner(host, config).await?;
    let credentials = Credentials::new(config, control_plane, host, &service, &owner, &ranges);
    let pki = credentials.refresh(OffsetDateTime::now_utc()).await?;
    if !pki.renewed().is_empty() {
        info!(files = pki.renewed().join(","), "renewed certificates");
    }
    Ok(())
}

//! `weft init`: prepares the control plane of a virtual cluster, before any of its containers starts.

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use time::OffsetDateTime;
use tracing::info;
use weft_core::context::Owner;
use weft_core::object::{Host, HostObject, ResourceType};

use crate::api::{self, Api, ConnectError};
use crate::config::control_plane::ControlPlane;
use crate::config::{self, Config};
use crate::control::credentials::{self, Credentials};
use crate::control::files::{copy_program, write_private};
use crate::control::launch::{AUTHENTICATION, Launch, authentication};
use crate::control::service_range;
use crate::control::writer::ensure_owner;

/// Why the control plane cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration describes no control plane.
    #[error("the configuration has no `controlPlane`: nothing to prepare")]
    NoControlPlane,
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The host cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Its own Service is missing.
    #[error(
        "failed to read the Service {service} on the host: it exposes the virtual API server and must exist first"
    )]
    Service {
        /// `namespace/name`.
        service: String,
        /// What the host says.
        source: api::Error,
    },
    /// The owner of its host objects is missing, and cannot be made.
    #[error(
        "failed to read or make the ConfigMap {config_map} on the host, which owns the virtual cluster's objects there"
    )]
    Owner {
        /// `namespace/name`.
        config_map: String,
        /// What the host says.
        source: api::Error,
    },
    /// The host's range of Service addresses is not known.
    #[error(transparent)]
    Range(#[from] service_range::Error),
    /// The keys cannot be made or stored.
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    /// The shared folder cannot be written.
    #[error("failed to write {path}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Makes or loads the keys, finds the host's Service range, and writes what `weft launch` reads. With `copy_to`, this
/// program is copied there, so that containers of other images can be started through it.
///
/// # Errors
/// Each names the object or the setting, and what to do.
pub async fn init(config: &Config, copy_to: Option<&Path>) -> Result<(), Error> {
    let control_plane = config.control_plane.as_ref().ok_or(Error::NoControlPlane)?;
    if let Some(path) = copy_to {
        copy_program(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    }
    let host: Api<Host> = Api::connect(&config.host, "host").await?;
    prepare(&host, config, control_plane).await
}

async fn prepare(host: &Api<Host>, config: &Config, control_plane: &ControlPlane) -> Result<(), Error> {
    let service = own_service(host, config).await?;
    let ranges = ranges(host, config, control_plane, &service).await?;
    let shown: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    info!(ranges = shown.join(","), "the range of Service addresses is known");

    let owner = owner(host, config).await?;
    let credentials = Credentials::new(config, control_plane, host, &service, &owner, &ranges);
    let pki = credentials.refresh(OffsetDateTime::now_utc()).await?;
    info!(renewed = pki.renewed().len(), "the keys are complete");
    write_launch(config, control_plane, ranges)
}

/// The virtual cluster's Service on the host.
pub(super) async fn own_service(host: &Api<Host>, config: &Config) -> Result<HostObject, Error> {
    let (namespace, name) = (&config.cluster.namespace, config.service());
    let found = host.get(&ResourceType::core("Service", "services"), namespace, name).await;
    found.map_err(|source| Error::Service { service: format!("{namespace}/{name}"), source })
}

/// The owner of what the virtual cluster has on the host.
pub(super) async fn owner(host: &Api<Host>, config: &Config) -> Result<Owner, Error> {
    let (namespace, name) = (&config.cluster.namespace, &config.cluster.name);
    let found = ensure_owner(host, namespace, name).await;
    found.map_err(|source| Error::Owner { config_map: format!("{namespace}/{name}"), source })
}

/// The ranges that are set, or were found at the first start, or are found now.
pub(super) async fn ranges(
    host: &Api<Host>,
    config: &Config,
    control_plane: &ControlPlane,
    service: &HostObject,
) -> Result<Vec<IpNet>, Error> {
    let set = control_plane.ranges()?;
    if !set.is_empty() {
        return Ok(set);
    }
    let known = credentials::stored_ranges(host, &config.cluster).await?;
    let addresses = weft_core::context::cluster_ips(service);
    let covers = |range: &IpNet| addresses.iter().any(|address| range.contains(address));
    if !known.is_empty() && known.len() == addresses.len() && known.iter().all(covers) {
        return Ok(known);
    }
    Ok(service_range::find(host, &config.cluster.namespace, service).await?)
}

fn write_launch(config: &Config, control_plane: &ControlPlane, ranges: Vec<IpNet>) -> Result<(), Error> {
    let launch = Launch {
        domain: config.cluster.domain.clone(),
        service_ranges: ranges,
        control_plane: control_plane.clone(),
        folders: config.folders.clone(),
    };
    let folder = &config.folders.shared;
    for (name, text) in [("launch.json", launch.to_json()), (AUTHENTICATION, authentication())] {
        let path = folder.join(name);
        write_private(&path, &text).map_err(|source| Error::File { path, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::Method;
    use serde_json::{Value, json};
    use weft_core::keys::SERVICE_RANGES;

    use crate::api::scripted::{Answer, scripted};

    fn config(folder: &Path) -> Config {
        let config = json!({
            "cluster": {"name": "vc", "namespace": "team-a"}, "controlPlane": {}, "folders": {"shared": folder},
        });
        serde_json::from_value(config).unwrap()
    }

    /// What is prepared on a host with these objects, by the last part of their path, and its requests.
    async fn prepared(folder: &Path, objects: Value) -> (Result<(), Error>, Vec<String>) {
        let (host, requests) = scripted(move |asked| {
            let name = asked.path.rsplit('/').next().unwrap_or_default();
            match (objects.get(name), asked.method == Method::GET) {
                (Some(found), true) => Answer::ok(found.clone()),
                (None, true) => Answer::failure(404, "NotFound"),
                (_, false) => Answer::ok(asked.body.clone()),
            }
        });
        let config = config(folder);
        let result = prepare(&host, &config, config.control_plane.as_ref().unwrap()).await;
        (result, requests.lines())
    }

    fn service(address: &str) -> Value {
        json!({"metadata": {"name": "vc", "uid": "uid-service"}, "spec": {"clusterIPs": [address]}})
    }

    /// The Secret of an earlier start that found this range.
    fn secret(range: &str) -> Value {
        let labels = json!({"app.kubernetes.io/instance": "vc", "app.kubernetes.io/managed-by": "weft"});
        json!({"metadata": {"name": "vc-pki", "labels": labels, "annotations": {SERVICE_RANGES: range}}})
    }

    #[tokio::test]
    async fn the_range_that_an_earlier_start_found_is_not_asked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let secret = secret("10.96.0.0/20");
        let objects = json!({"vc": service("10.96.1.1"), "vc-pki": secret});
        let (result, requests) = prepared(folder.path(), objects).await;
        result.unwrap();
        assert!(!requests.iter().any(|line| line.ends_with("/services")), "{requests:?}");
        let launch = Launch::read(&folder.path().join("launch.json")).unwrap();
        assert_eq!(launch.service_ranges[0].to_string(), "10.96.0.0/20");
    }

    #[tokio::test]
    async fn a_range_that_no_longer_holds_the_service_is_found_anew() {
        let folder = tempfile::tempdir().unwrap();
        let secret = secret("10.96.0.0/20");
        let declared = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["172.20.0.0/16"]}});
        let objects = json!({"vc": service("172.20.1.1"), "vc-pki": secret, "kubernetes": declared});
        prepared(folder.path(), objects).await.0.unwrap();
        let launch = Launch::read(&folder.path().join("launch.json")).unwrap();
        assert_eq!(launch.service_ranges[0].to_string(), "172.20.0.0/16");
    }

    #[tokio::test]
    async fn without_its_service_nothing_is_made_and_the_error_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let (result, requests) = prepared(folder.path(), json!({})).await;
        let text = result.unwrap_err().to_string();
        assert!(text.contains("the Service team-a/vc") && text.contains("must exist first"), "{text}");
        assert_eq!(requests.len(), 1);
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}

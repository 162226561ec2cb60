//! Gives a node a default StorageClass, whose volumes are folders of the node.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::images::BUSYBOX;
use crate::pki::MASTERS;
use crate::planes::Plane;
use crate::process::{Launch, Process};

const NAMESPACE: &str = "local-path-storage";

/// The namespace of the provisioner's pods, their scripts, and the class.
const OBJECTS: &str = include_str!("storage.yaml");

/// Starts the provisioner outside of the machine: it only talks to the API server.
pub(super) async fn start(plane: &Plane, provisioner: &Path, folder: &Path) -> Result<Process> {
    plane.kubectl(&["create", "-f", "-"], OBJECTS).await?;
    let kubeconfig = plane.identity("local-path-provisioner", &[MASTERS])?;
    let config = folder.join("provisioner.json");
    let paths =
        r#"{"nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": ["/var/lib/volumes"]}]}"#;
    fs::write(&config, paths).with_context(|| format!("failed to write {}", config.display()))?;
    let pod = folder.join("helper.json");
    let helper = json!({"metadata": {"name": "volume"}, "spec": {"containers": [{"name": "helper", "image": BUSYBOX}]}});
    fs::write(&pod, helper.to_string()).with_context(|| format!("failed to write {}", pod.display()))?;
    Process::start(&Launch {
        name: "local-path-provisioner".to_owned(),
        planes: plane.programs().planes.clone(),
        args: vec![
            "run".into(),
            provisioner.into(),
            "start".into(),
            format!("--config={}", config.display()).into(),
            format!("--helper-pod-file={}", pod.display()).into(),
            format!("--kubeconfig={}", kubeconfig.display()).into(),
            format!("--namespace={NAMESPACE}").into(),
            "--service-account-name=provisioner".into(),
            "--configmap-name=provisioner".into(),
        ],
        env: Vec::new(),
        log: folder.join("logs/local-path-provisioner.log"),
    })
}

//! `weft launch`: becomes one of the programs of a control plane, with the flags that its launch file stands for.

mod flags;
mod storage;
mod wait;

use std::convert::Infallible;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::info;

use crate::config::control_plane::{ControlPlane, Folders, StorageType};

/// Name of the file, in the shared folder, that says who may ask the API server without credentials.
pub(super) const AUTHENTICATION: &str = "authentication.json";
/// The program that holds every component, at the top of its image.
const BUNDLE: &str = "/kubernetes";

/// What the flags of a control plane's programs follow from; `weft init` writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Launch {
    /// DNS domain inside the virtual cluster.
    pub domain: String,
    /// Address ranges of Services; the first is the one of `default/kubernetes`.
    pub service_ranges: Vec<IpNet>,
    /// The settings.
    pub control_plane: ControlPlane,
    /// Where files are.
    pub folders: Folders,
}

/// A program of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// The store: kine or etcd.
    Store,
    /// The API server.
    Api,
    /// The controller manager.
    Controllers,
}

/// Why a program cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The launch file is missing or damaged.
    #[error("failed to read {path}; `weft init` writes it", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The storage cannot be used.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// What the program needs cannot be waited for.
    #[error(transparent)]
    Wait(#[from] wait::Error),
    /// The program is not in the image.
    #[error("failed to start {program}; is it in the image of this container?")]
    Exec {
        /// Which.
        program: String,
        /// What the system says.
        source: io::Error,
    },
}

impl Launch {
    /// Reads the launch file at `path`.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path);
        let launch = text.and_then(|text| serde_json::from_str(&text).map_err(io::Error::other));
        launch.map_err(|source| Error::File { path: path.to_owned(), source })
    }

    /// The launch file's content.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The command line of a program; `address` is that of the pod.
    pub fn command(&self, program: Program, address: Option<&str>) -> Vec<String> {
        let name = self.executable(program);
        let bundled = Path::new(BUNDLE).is_file();
        let executable =
            if bundled { vec![BUNDLE.to_owned(), name.to_owned()] } else { vec![name.to_owned()] };
        [executable, flags::of(self, program, address)].concat()
    }

    /// Waits for what the program needs, and becomes it.
    ///
    /// # Errors
    /// Returns only where the program cannot be started.
    pub async fn become_program(&self, program: Program, address: Option<&str>) -> Result<Infallible, Error> {
        match program {
            Program::Store => {
                let settings = &self.control_plane;
                storage::check(&self.folders.data, settings.storage.r#type, &settings.version)?;
            }
            Program::Api => wait::for_store(&self.folders.store).await,
            Program::Controllers => wait::for_api(&self.folders.shared).await?,
        }
        let command = self.command(program, address);
        let Some((executable, flags)) = command.split_first() else { return Err(missing(String::new())) };
        info!(command = command.join(" "), "starting");
        let source = Command::new(executable).args(flags).exec();
        Err(Error::Exec { program: executable.clone(), source })
    }

    fn executable(&self, program: Program) -> &'static str {
        match (program, self.control_plane.storage.r#type) {
            (Program::Store, StorageType::Sqlite) => "kine",
            (Program::Store, StorageType::Etcd) => "etcd",
            (Program::Api, _) => "kube-apiserver",
            (Program::Controllers, _) => "kube-controller-manager",
        }
    }
}

/// Who may ask the API server without credentials: the kubelet's probes, and for their paths alone
/// (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#anonymous-authenticator-configuration>).
pub(super) fn authentication() -> String {
    let paths = ["/livez", "/readyz", "/healthz"].map(|path| json!({"path": path}));
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": true, "conditions": paths},
    });
    configuration.to_string()
}

fn missing(program: String) -> Error {
    Error::Exec { program, source: io::ErrorKind::NotFound.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch() -> Launch {
        Launch {
            domain: "cluster.local".to_owned(),
            service_ranges: vec!["10.96.0.0/16".parse().unwrap()],
            control_plane: ControlPlane::default(),
            folders: Folders::default(),
        }
    }

    #[test]
    fn a_launch_file_is_read_as_it_was_written_and_a_missing_one_names_who_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("launch.json");
        let error = Launch::read(&path).unwrap_err().to_string();
        assert!(error.contains("launch.json") && error.contains("weft init"), "{error}");
        std::fs::write(&path, launch().to_json()).unwrap();
        assert_eq!(Launch::read(&path).unwrap(), launch());
    }

    #[test]
    fn the_store_is_the_program_of_the_storage() {
        let mut launch = launch();
        assert_eq!(launch.command(Program::Store, None)[0], "kine");
        launch.control_plane.storage.r#type = StorageType::Etcd;
        assert_eq!(launch.command(Program::Store, None)[0], "etcd");
    }
}

//! Brings a virtual cluster's keys up to date, in the host Secret and in the shared folder, and hands a kubeconfig out.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use time::OffsetDateTime;
use weft_core::context::Owner;
use weft_core::keys::SERVICE_RANGES;
use weft_core::object::{Host, HostObject, ResourceType};

use crate::api::{self, Api};
use crate::config::control_plane::ControlPlane;
use crate::config::{Cluster, Config};
use crate::control::addresses::Addresses;
use crate::control::files::write_private;
use crate::control::pki::{self, Pki};
use crate::control::writer::{Content, Secrets, Stored};
use crate::control::{API_PORT, kubeconfig};

/// Two starts at once may write at the same time.
const TRIES: usize = 3;
/// Programs of the control plane that are clients of its API server.
const CLIENTS: [&str; 3] = ["controllers", "scheduler", "syncer"];

/// What the keys of a virtual cluster depend on.
pub(super) struct Credentials<'a> {
    pub(super) host: &'a Api<Host>,
    pub(super) cluster: &'a Cluster,
    pub(super) control_plane: &'a ControlPlane,
    /// Where the API server, and readers of metrics, reach the kubelet's endpoint.
    pub(super) kubelet: Vec<String>,
    /// The folder that the containers share.
    pub(super) folder: &'a Path,
    /// The virtual cluster's Service on the host.
    pub(super) service: &'a HostObject,
    /// The owner of what the virtual cluster has on the host.
    pub(super) owner: &'a Owner,
    /// The address ranges of Services.
    pub(super) ranges: &'a [IpNet],
}

/// Why the keys are not up to date.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host cannot be read or written.
    #[error("failed to {action} the Secret {secret}")]
    Host {
        /// What was tried.
        action: &'static str,
        /// `namespace/name`.
        secret: String,
        /// What the host says; boxed, as it is large.
        source: Box<api::Error>,
    },
    /// Its content cannot be used.
    #[error("the Secret {secret} cannot be used")]
    Keys {
        /// `namespace/name`.
        secret: String,
        /// What is wrong.
        source: pki::Error,
    },
    /// Somebody else's Secret has the name.
    #[error(
        "there is a Secret {secret} that is not of this virtual cluster: choose another name, or remove it"
    )]
    Foreign {
        /// `namespace/name`.
        secret: String,
    },
    /// The shared folder cannot be written.
    #[error("failed to write {path}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl<'a> Credentials<'a> {
    pub(super) fn new(
        config: &'a Config,
        control_plane: &'a ControlPlane,
        host: &'a Api<Host>,
        service: &'a HostObject,
        owner: &'a Owner,
        ranges: &'a [IpNet],
    ) -> Self {
        let folder = &config.folders.shared;
        let readers = config.kubelet.metrics.address().map(|address| address.to_string());
        let kubelet = std::iter::once(config.kubelet.address.clone()).chain(readers).collect();
        Self { host, cluster: &config.cluster, control_plane, kubelet, folder, service, owner, ranges }
    }

    /// Completes the keys and writes what changed: the Secret first, so that nothing is used that is not kept.
    pub(super) async fn refresh(&self, now: OffsetDateTime) -> Result<Pki, Error> {
        let name = format!("{}-pki", self.cluster.name);
        let pki = self.complete(&name, now).await?;
        self.write_files(&pki)?;
        self.hand_out(&pki).await?;
        Ok(pki)
    }

    async fn complete(&self, name: &str, now: OffsetDateTime) -> Result<Pki, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let before = self.read(name).await?;
            let mut content = before.as_ref().map(|before| before.content.clone()).unwrap_or_default();
            if before.is_none() {
                // Lost under a running pod: its programs have the keys still.
                content.data = kept(&self.folder.join("pki"));
            }
            let pki =
                Pki::complete(content.data, &self.addresses().server_names(), now).map_err(|source| {
                    Error::Keys { secret: format!("{}/{name}", self.cluster.namespace), source }
                })?;
            content.data = pki.files().clone();
            content.annotations.insert(SERVICE_RANGES.to_owned(), self.ranges_text());
            match self.secrets().write(name, before.as_ref(), &content).await {
                Ok(()) => return Ok(pki),
                Err(error) if tries < TRIES && (error.is_conflict() || error.is_already_exists()) => {}
                Err(error) => return Err(self.failed("write", name)(error)),
            }
        }
    }

    /// A Secret of this virtual cluster.
    async fn read(&self, name: &str) -> Result<Option<Stored>, Error> {
        let found = self.secrets().read(name).await.map_err(self.failed("read", name))?;
        match found {
            Some(found) if !found.is_of(&self.cluster.name) => {
                Err(Error::Foreign { secret: format!("{}/{name}", self.cluster.namespace) })
            }
            found => Ok(found),
        }
    }

    fn ranges_text(&self) -> String {
        self.ranges.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",")
    }

    fn write_files(&self, pki: &Pki) -> Result<(), Error> {
        let folder = self.folder;
        let write = |path: PathBuf, text: &str| {
            // Not what is there already: clients read a file again when it changes.
            if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
                return Ok(());
            }
            write_private(&path, text).map_err(|source| Error::File { path, source })
        };
        for (name, text) in pki.files() {
            write(folder.join("pki").join(name), text)?;
        }
        let server = format!("https://localhost:{API_PORT}");
        for user in CLIENTS {
            let text = kubeconfig::of_program(&folder.join("pki"), user, &server);
            write(kubeconfig_of(folder, user), &text)?;
        }
        Ok(())
    }

    /// Writes the Secret `vc-<name>`, with which people and tools reach the virtual cluster.
    async fn hand_out(&self, pki: &Pki) -> Result<(), Error> {
        let Cluster { name, namespace, .. } = self.cluster;
        let secret = format!("vc-{name}");
        let inside = format!("https://{}.{namespace}.svc:443", self.service.name());
        let mut data = BTreeMap::from([
            ("config".to_owned(), kubeconfig::of_admin(pki, &inside)),
            ("certificate-authority".to_owned(), pki.file("ca.crt").to_owned()),
            ("client-certificate".to_owned(), pki.file("admin.crt").to_owned()),
            ("client-key".to_owned(), pki.file("admin.key").to_owned()),
        ]);
        if let Some(outside) = self.addresses().outside() {
            let config = kubeconfig::of_admin(pki, &format!("https://{outside}"));
            data.insert("config-outside".to_owned(), config);
        }
        let before = self.read(&secret).await?;
        let annotations =
            before.as_ref().map(|before| before.content.annotations.clone()).unwrap_or_default();
        let content = Content { data, annotations };
        self.secrets().write(&secret, before.as_ref(), &content).await.map_err(self.failed("write", &secret))
    }

    fn addresses(&self) -> Addresses<'_> {
        let Self { cluster, control_plane, kubelet, service, ranges, .. } = self;
        Addresses { cluster, control_plane, kubelet, service, ranges }
    }

    fn secrets(&self) -> Secrets<'a> {
        let Cluster { name, namespace, .. } = self.cluster;
        Secrets { host: self.host, namespace, cluster: name, owner: self.owner }
    }

    fn failed(&self, action: &'static str, name: &str) -> impl FnOnce(api::Error) -> Error {
        let secret = format!("{}/{name}", self.cluster.namespace);
        move |source| Error::Host { action, secret, source: Box::new(source) }
    }
}

/// The files of keys in a folder.
fn kept(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let file = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        Some((name, std::fs::read_to_string(entry.path()).ok()?))
    };
    entries.filter_map(file).collect()
}

/// The ranges of Services that were found at an earlier start.
pub(super) async fn stored_ranges(host: &Api<Host>, cluster: &Cluster) -> Result<Vec<IpNet>, Error> {
    let (namespace, name) = (&cluster.namespace, format!("{}-pki", cluster.name));
    match host.get(&ResourceType::core("Secret", "secrets"), namespace, &name).await {
        Ok(secret) => {
            let text = secret.annotation(SERVICE_RANGES).unwrap_or_default();
            Ok(text.split(',').filter_map(|range| range.parse().ok()).collect())
        }
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => {
            let secret = format!("{namespace}/{name}");
            Err(Error::Host { action: "read", secret, source: Box::new(error) })
        }
    }
}

/// Where the kubeconfig of a program is in the shared folder.
pub(super) fn kubeconfig_of(folder: &Path, user: &str) -> PathBuf {
    folder.join("kubeconfig").join(format!("{user}.kubeconfig"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use http::Method;
    use serde_json::{Value, json};

    use crate::api::scripted::{Answer, Asked, scripted};

    type Shelf = Arc<Mutex<BTreeMap<String, Value>>>;

    /// A host that keeps Secrets; a patch of them is a merge, as far as data and annotations go.
    fn keep(shelf: &Shelf, asked: &Asked) -> Answer {
        let mut shelf = shelf.lock().unwrap();
        let name = asked.path.rsplit('/').next().unwrap_or_default().to_owned();
        match asked.method {
            Method::POST => {
                let name = asked.body["metadata"]["name"].as_str().unwrap().to_owned();
                shelf.insert(name, asked.body.clone());
                Answer::ok(asked.body.clone())
            }
            Method::PATCH => {
                for section in ["data", "metadata"] {
                    let new = asked.body[section].as_object().unwrap().clone();
                    shelf.get_mut(&name).unwrap()[section].as_object_mut().unwrap().extend(new);
                }
                Answer::ok(asked.body.clone())
            }
            _ => shelf.get(&name).map_or(Answer::failure(404, "NotFound"), |found| Answer::ok(found.clone())),
        }
    }

    fn config(folder: &Path) -> Config {
        let config = json!({
            "cluster": {"name": "vc", "namespace": "team-a"},
            "controlPlane": {"externalAddress": "vc.example.com:8443"},
            "folders": {"shared": folder},
        });
        serde_json::from_value(config).unwrap()
    }

    fn service() -> HostObject {
        let service = json!({
            "metadata": {"name": "vc", "namespace": "team-a", "uid": "uid-service"},
            "spec": {"clusterIPs": ["10.96.7.7"]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}},
        });
        HostObject::from_json(service).unwrap()
    }

    async fn refresh(shelf: &Shelf, config: &Config, now: i64) -> Result<Pki, Error> {
        let shelf = shelf.clone();
        let (host, _) = scripted(move |asked| keep(&shelf, asked));
        let (service, ranges) = (service(), ["10.96.0.0/16".parse().unwrap()]);
        let control_plane = config.control_plane.as_ref().unwrap();
        let owner = Owner { name: "vc".to_owned(), uid: "uid-owner".to_owned() };
        let credentials = Credentials::new(config, control_plane, &host, &service, &owner, &ranges);
        credentials.refresh(OffsetDateTime::from_unix_timestamp(now).unwrap()).await
    }

    #[tokio::test]
    async fn a_second_start_and_a_lost_folder_find_the_same_keys() {
        let (shelf, folder) = (Shelf::default(), tempfile::tempdir().unwrap());
        let config = config(folder.path());
        let first = refresh(&shelf, &config, 1_800_000_000).await.unwrap();
        let second = refresh(&shelf, &config, 1_800_000_100).await.unwrap();
        assert!(second.renewed().is_empty());
        shelf.lock().unwrap().remove("vc-pki");
        let refilled = refresh(&shelf, &config, 1_800_000_150).await.unwrap();
        assert!(refilled.renewed().is_empty(), "a lost Secret is filled from the folder");
        std::fs::remove_dir_all(folder.path().join("pki")).unwrap();
        let third = refresh(&shelf, &config, 1_800_000_200).await.unwrap();
        assert_eq!(first.files(), third.files());
        let found = std::fs::read_to_string(folder.path().join("pki/syncer.crt")).unwrap();
        assert_eq!(found, third.file("syncer.crt"));
    }

    #[tokio::test]
    async fn the_kubeconfig_is_handed_out_for_use_inside_and_outside() {
        let (shelf, folder) = (Shelf::default(), tempfile::tempdir().unwrap());
        refresh(&shelf, &config(folder.path()), 1_800_000_000).await.unwrap();
        let shelf = shelf.lock().unwrap();
        let text = |key: &str| {
            use base64::Engine as _;
            let data = shelf["vc-vc"]["data"][key].as_str().unwrap();
            String::from_utf8(base64::prelude::BASE64_STANDARD.decode(data).unwrap()).unwrap()
        };
        assert!(text("config").contains("https://vc.team-a.svc:443"));
        assert!(text("config-outside").contains("https://vc.example.com:8443"));
        assert!(
            text("client-key").contains("PRIVATE KEY")
                && text("certificate-authority").contains("CERTIFICATE")
        );
    }

    #[tokio::test]
    async fn a_secret_of_somebody_else_is_left_alone() {
        let (shelf, folder) = (Shelf::default(), tempfile::tempdir().unwrap());
        let foreign = json!({"metadata": {"name": "vc-pki"}, "data": {"ca.crt": "QQ=="}});
        shelf.lock().unwrap().insert("vc-pki".to_owned(), foreign.clone());
        let text = refresh(&shelf, &config(folder.path()), 1_800_000_000).await.unwrap_err().to_string();
        assert!(text.contains("team-a/vc-pki that is not of this virtual cluster"), "{text}");
        assert_eq!(shelf.lock().unwrap()["vc-pki"], foreign);
    }

    #[tokio::test]
    async fn an_authority_in_halves_names_the_secret() {
        let (shelf, folder) = (Shelf::default(), tempfile::tempdir().unwrap());
        let config = config(folder.path());
        refresh(&shelf, &config, 1_800_000_000).await.unwrap();
        shelf.lock().unwrap().get_mut("vc-pki").unwrap()["data"].as_object_mut().unwrap().remove("ca.key");
        let error = refresh(&shelf, &config, 1_800_000_000).await.unwrap_err();
        let line = weft_core::causes::causes(&error);
        assert!(line.contains("Secret team-a/vc-pki") && line.contains("no ca.key"), "{line}");
    }
}

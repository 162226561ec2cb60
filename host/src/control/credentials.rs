//! Brings a virtual cluster's keys up to date, in the host Secret and in the shared folder, and hands a kubeconfig out.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde_json::Value;
use time::OffsetDateTime;
use weft_core::keys::{KUBERNETES_VERSION, SERVICE_RANGES};
use weft_core::object::{Host, HostObject, ResourceType};

use crate::api::{self, Api};
use crate::config::control_plane::{ControlPlane, host_of};
use crate::config::{Cluster, Config};
use crate::control::files::write_private;
use crate::control::pki::{self, Pki};
use crate::control::version::{self, step};
use crate::control::writer::{Content, Secrets};
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
    /// The folder that the containers share.
    pub(super) folder: &'a Path,
    /// The virtual cluster's Service on the host.
    pub(super) service: &'a HostObject,
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
    /// The storage is of a version that this one cannot take over.
    #[error(transparent)]
    Version(#[from] version::Error),
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
        ranges: &'a [IpNet],
    ) -> Self {
        let folder = &config.folders.shared;
        Self { host, cluster: &config.cluster, control_plane, folder, service, ranges }
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
            let before = self.secrets().read(name).await.map_err(self.failed("read", name))?;
            let mut content = before.as_ref().map(|before| before.content.clone()).unwrap_or_default();
            step(content.annotations.get(KUBERNETES_VERSION), &self.control_plane.version)?;
            let pki = Pki::complete(content.data, &self.server_names(), now).map_err(|source| {
                Error::Keys { secret: format!("{}/{name}", self.cluster.namespace), source }
            })?;
            content.data = pki.files().clone();
            content.annotations.insert(KUBERNETES_VERSION.to_owned(), self.control_plane.version.clone());
            content.annotations.insert(SERVICE_RANGES.to_owned(), self.ranges_text());
            match self.secrets().write(name, before.as_ref(), &content).await {
                Ok(()) => return Ok(pki),
                Err(error) if tries < TRIES && (error.is_conflict() || error.is_already_exists()) => {}
                Err(error) => return Err(self.failed("write", name)(error)),
            }
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
        if let Some(outside) = self.outside() {
            let config = kubeconfig::of_admin(pki, &format!("https://{outside}"));
            data.insert("config-outside".to_owned(), config);
        }
        let before = self.secrets().read(&secret).await.map_err(self.failed("read", &secret))?;
        let annotations =
            before.as_ref().map(|before| before.content.annotations.clone()).unwrap_or_default();
        let content = Content { data, annotations };
        self.secrets().write(&secret, before.as_ref(), &content).await.map_err(self.failed("write", &secret))
    }

    /// Where clients outside of the host reach the API server, if that is known.
    fn outside(&self) -> Option<String> {
        let balancer = || {
            let address = balancer_addresses(self.service).into_iter().next()?;
            Some(if address.contains(':') { format!("[{address}]:443") } else { format!("{address}:443") })
        };
        self.control_plane.external_address.clone().or_else(balancer)
    }

    /// Every name and address at which clients reach the API server.
    fn server_names(&self) -> Vec<String> {
        let Cluster { namespace, domain, .. } = self.cluster;
        let service = self.service.name();
        let kubernetes = "kubernetes.default.svc";
        let mut names = ["localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", kubernetes]
            .map(str::to_owned)
            .to_vec();
        names.extend([
            format!("{kubernetes}.{domain}"),
            service.to_owned(),
            format!("{service}.{namespace}"),
            format!("{service}.{namespace}.svc"),
        ]);
        names.extend(weft_core::context::cluster_ips(self.service).iter().map(IpAddr::to_string));
        names.extend(
            self.ranges.iter().filter_map(|range| range.hosts().next()).map(|first| first.to_string()),
        );
        names.extend(balancer_addresses(self.service));
        names.extend(self.control_plane.server_names.iter().cloned());
        names.extend(self.control_plane.external_address.as_deref().and_then(host_of).map(str::to_owned));
        // As certificates spell them.
        let mut names: Vec<String> = names
            .into_iter()
            .map(|name| name.parse::<IpAddr>().map_or(name, |address| address.to_string()))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn secrets(&self) -> Secrets<'a> {
        let Cluster { name, namespace, .. } = self.cluster;
        Secrets { host: self.host, namespace, cluster: name, owner: self.service }
    }

    fn failed(&self, action: &'static str, name: &str) -> impl FnOnce(api::Error) -> Error {
        let secret = format!("{}/{name}", self.cluster.namespace);
        move |source| Error::Host { action, secret, source: Box::new(source) }
    }
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

fn balancer_addresses(service: &HostObject) -> Vec<String> {
    let ingress = service.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
    let address = |ingress: &Value| {
        let of = |key: &str| ingress.get(key).and_then(Value::as_str).map(str::to_owned);
        of("hostname").or_else(|| of("ip"))
    };
    ingress.into_iter().flatten().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use http::Method;
    use serde_json::json;

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
        let credentials = Credentials::new(config, control_plane, &host, &service, &ranges);
        credentials.refresh(OffsetDateTime::from_unix_timestamp(now).unwrap()).await
    }

    #[tokio::test]
    async fn a_second_start_and_a_lost_folder_find_the_same_keys() {
        let (shelf, folder) = (Shelf::default(), tempfile::tempdir().unwrap());
        let config = config(folder.path());
        let first = refresh(&shelf, &config, 1_800_000_000).await.unwrap();
        let second = refresh(&shelf, &config, 1_800_000_100).await.unwrap();
        assert!(second.renewed().is_empty());
        std::fs::remove_dir_all(folder.path().join("pki")).unwrap();
        let third = refresh(&shelf, &config, 1_800_000_200).await.unwrap();
        assert_eq!(first.files(), third.files());
        let found = std::fs::read_to_string(folder.path().join("pki/syncer.crt")).unwrap();
        assert_eq!(found, third.file("syncer.crt"));
    }

    #[tokio::test]
    async fn the_certificate_has_every_name_at_which_the_server_is_reached() {
        let (shelf, folder) = (Shelf::default(), tempfile::tempdir().unwrap());
        let config = config(folder.path());
        let (host, _) = scripted(move |asked| keep(&shelf, asked));
        let (service, ranges) = (service(), ["10.96.0.0/16".parse().unwrap()]);
        let control_plane = config.control_plane.as_ref().unwrap();
        let names = Credentials::new(&config, control_plane, &host, &service, &ranges).server_names();
        for name in
            ["10.96.7.7", "10.96.0.1", "192.0.2.7", "vc.example.com", "vc.team-a.svc", "127.0.0.1", "::1"]
        {
            assert!(names.iter().any(|found| found == name), "{name} is not in {names:?}");
        }
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

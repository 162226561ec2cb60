//! What has to be true before the first pod: whose cluster this is, where its API server and its DNS are.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tracing::{info, warn};
use weft_core::change::Change;
use weft_core::context::Owner;
use weft_core::context::cluster_ips;
use weft_core::keys::VIRTUAL_CLUSTER_UID;
use weft_core::kinds::service;
use weft_core::names::HostName;
use weft_core::object::{Host, HostObject, Virtual, VirtualName, VirtualObject};

use crate::api::{self, Api};
use crate::engine::apply::Writer;
use crate::engine::cache::state::{State, dns_service};
use crate::engine::informer::identity::{self, IdentityGuard};
use crate::engine::resources::services;

/// How often all this is checked again.
const PERIOD: Duration = Duration::from_secs(30);

/// Bootstraps the virtual cluster, and checks that it stays so.
pub(crate) struct Bootstrap {
    pub(crate) state: Arc<State>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) host: Api<Host>,
    pub(crate) r#virtual: Api<Virtual>,
    pub(crate) guard: Arc<IdentityGuard>,
    /// Name of the host Service of the virtual API server.
    pub(crate) service: String,
}

/// Why the virtual cluster is not ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "the host has no Service {namespace}/{name}; create it (it exposes the virtual API server) or set `cluster.service`"
    )]
    NoService { namespace: String, name: String },
    #[error("the host Service {0} has no cluster IP; it must not be headless")]
    NoAddress(String),
    #[error(
        "the virtual cluster is not the one whose objects are on the host: its kube-system has the UID {found}, expected \
         {expected}. Nothing is written. If its storage was replaced on purpose, remove the annotation {VIRTUAL_CLUSTER_UID} \
         from the host Service {service}"
    )]
    OtherCluster { found: String, expected: String, service: String },
    #[error("failed to {action}")]
    Api { action: &'static str, source: api::Error },
}

impl Bootstrap {
    /// Bootstraps once; to be repeated until it succeeds.
    pub(crate) async fn run(&self) -> Result<(), Error> {
        let service = self.host_service().await?;
        let addresses = cluster_ips(&service);
        if addresses.is_empty() {
            return Err(Error::NoAddress(self.service.clone()));
        }
        self.check_identity(&service).await?;
        let owner = Owner { name: service.name().to_owned(), uid: service.uid().to_owned() };
        self.state.update_facts(|facts| {
            facts.owner = Some(owner);
            facts.kubernetes.clone_from(&addresses);
        });
        self.move_kubernetes(&addresses).await?;
        self.ensure_dns().await
    }

    /// Repeats the bootstrap for ever; sets `ready` to whether it succeeded.
    pub(crate) async fn keep(self, ready: tokio::sync::watch::Sender<bool>) {
        loop {
            tokio::time::sleep(PERIOD).await;
            let result = self.run().await;
            match &result {
                Ok(()) => {}
                // A server that is away is not another server.
                Err(Error::Api { .. }) => continue,
                Err(error) => warn!(error = error as &dyn std::error::Error, "syncing is stopped"),
            }
            ready.send_if_modified(|ready| std::mem::replace(ready, result.is_ok()) != result.is_ok());
        }
    }

    async fn host_service(&self) -> Result<HostObject, Error> {
        let namespace = self.state.names.namespace();
        self.host.get(&services(), namespace, &self.service).await.map_err(|source| {
            if source.is_not_found() {
                Error::NoService { namespace: namespace.to_owned(), name: self.service.clone() }
            } else {
                Error::Api { action: "read the virtual cluster's Service on the host", source }
            }
        })
    }

    /// Sets the identity that the guard expects: that of the virtual cluster recorded on the host.
    async fn check_identity(&self, service: &HostObject) -> Result<(), Error> {
        let found = self.guard.identity().await.map_err(|error| match error {
            identity::Error::Api(source) => {
                Error::Api { action: "read the virtual namespace kube-system", source }
            }
            identity::Error::OtherCluster { found, expected } => self.other_cluster(found, expected),
        })?;
        match service.annotation(VIRTUAL_CLUSTER_UID) {
            Some(expected) if expected == found => {
                self.guard.expect(&found);
                Ok(())
            }
            Some(expected) => Err(self.other_cluster(found, expected.to_owned())),
            None => {
                info!(uid = found, "recording the virtual cluster's identity on the host");
                let change =
                    Change::merge(json!({"metadata": {"annotations": {VIRTUAL_CLUSTER_UID: found}}}));
                let (services, name) = (services(), HostName::of(service));
                let patched = self.writer.patch_host(&services, &name, service.uid(), &change);
                let failed = |source| Error::Api {
                    action: "record the virtual cluster's identity on the host",
                    source,
                };
                patched.await.map_err(failed)?;
                self.guard.expect(&found);
                Ok(())
            }
        }
    }

    fn other_cluster(&self, found: String, expected: String) -> Error {
        Error::OtherCluster { found, expected, service: self.service.clone() }
    }

    /// Moves the virtual Service `default/kubernetes` to the address at which host pods reach the virtual
    /// API server.
    async fn move_kubernetes(&self, addresses: &[IpAddr]) -> Result<(), Error> {
        let failed = |source| Error::Api { action: "move the virtual Service default/kubernetes", source };
        let current = self.r#virtual.get(&services(), "default", "kubernetes").await.map_err(failed)?;
        let addresses: Vec<String> = addresses.iter().take(1).map(ToString::to_string).collect();
        if current.text("/spec/clusterIP") == addresses.first().map(String::as_str) {
            return Ok(());
        }
        for change in service::move_to(&current, &addresses) {
            let name = current.virtual_name();
            self.writer.patch_virtual(&services(), &name, current.uid(), &change).await.map_err(failed)?;
        }
        info!(address = ?addresses.first(), "moved the virtual Service default/kubernetes");
        Ok(())
    }

    /// Creates the virtual DNS Service where there is none, so that its address is known before the first
    /// pod; whoever installs the DNS finds it and keeps it.
    async fn ensure_dns(&self) -> Result<(), Error> {
        let VirtualName { namespace, name } = dns_service().name;
        let failed = |source| Error::Api { action: "make the virtual Service kube-system/kube-dns", source };
        match self.r#virtual.get(&services(), &namespace, &name).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(failed(error)),
        }
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "labels": {
                "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
            }},
            "spec": {"selector": {"k8s-app": "kube-dns"}, "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
                {"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153},
            ]},
        });
        let service = VirtualObject::new(service.as_object().cloned().unwrap_or_default());
        match self.writer.create_virtual(&services(), &service).await {
            Err(error) if error.is_already_exists() => Ok(()),
            result => result.map(drop).map_err(failed),
        }
    }
}

//! What is measured on: a host, a virtual cluster, a syncer that is its own process, and the client.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use weft_tests::binaries::Programs;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::planes::{Options, Plane, Role, Store};
use weft_tests::scratch::Scratch;
use weft_tests::tenant::{self, Tenant};

use crate::audit;
use crate::ledger::{Ledger, Observation, Watched};
use crate::load::{self, Pace};
use crate::pods::{self, Template};
use crate::server::{Pod, Server};

/// As the documentation's examples have it.
const CLUSTER: &str = "my-vcluster";
pub(crate) const HOST_NAMESPACE: &str = "team-a";
pub(crate) const NAMESPACE: &str = "bench";
const NODES: usize = 3;

/// How long both sides may take to become empty.
const EMPTY: Duration = Duration::from_mins(5);
/// After a start or a round, so that nothing of it is measured with what follows.
const QUIET: Duration = Duration::from_secs(2);

/// What is built before anything starts.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    pub(crate) programs: Programs,
    pub(crate) weft: std::path::PathBuf,
}

/// Two planes, a tenant without a running syncer, and connections to both servers.
pub(crate) struct Bench {
    pub(crate) host: Server,
    pub(crate) r#virtual: Server,
    pub(crate) host_plane: Arc<Plane>,
    pub(crate) tenant: Tenant,
    // Last, so that the folder goes after those who write to it.
    scratch: Scratch,
}

impl Bench {
    /// Starts the planes; with `audited` both servers log the syncer's requests, which costs time.
    pub(crate) async fn start(binaries: &Binaries, audited: bool) -> Result<Self> {
        let scratch = Scratch::new()?;
        let options = tenant::Options {
            cluster: CLUSTER.to_owned(),
            namespace: HOST_NAMESPACE.to_owned(),
            weft: binaries.weft.clone(),
            programs: binaries.programs.clone(),
            dir: scratch.path().join("tenant"),
            config: json!({}),
            has_proxies: false,
        };
        let host = plane(binaries, Role::Host { nodes: NODES }, scratch.path(), "host", audited)?;
        let virtual_plane = plane(binaries, Role::Virtual, scratch.path(), "virtual", audited)?;
        let (host, plane) = tokio::try_join!(Plane::start(host), Plane::start(virtual_plane))?;
        std::fs::create_dir_all(&options.dir)?;
        let host_plane = Arc::new(host);
        let tenant = Tenant::join(options, Arc::clone(&host_plane), plane).await?;
        let bench = Self {
            host: Server::connect(&host_plane, HOST_NAMESPACE).await?,
            r#virtual: Server::connect(tenant.virtual_plane(), NAMESPACE).await?,
            host_plane,
            tenant,
            scratch,
        };
        bench.prepare().await?;
        Ok(bench)
    }

    /// The folder of this run.
    pub(crate) fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// Starts the syncer and lets it come to rest.
    pub(crate) async fn start_syncer(&self) -> Result<()> {
        self.tenant.start_syncer().await?;
        tokio::time::sleep(QUIET).await;
        Ok(())
    }

    /// The syncer's process id.
    pub(crate) fn syncer(&self) -> Result<i32> {
        Ok(self.tenant.syncer()?.pid())
    }

    /// Watches the pods of a new round.
    pub(crate) async fn observe(&self, round: &str, pods: u32, watched: Watched) -> Result<Observation> {
        Observation::start(Ledger::new(round, pods), &self.host, &self.r#virtual, watched).await
    }

    /// Creates the pods of a round in the virtual cluster.
    pub(crate) async fn create(&self, ledger: &Arc<Ledger>, pace: Pace) -> Result<()> {
        load::run(pace, ledger.names(), |name, due| {
            create(self.r#virtual.clone(), Arc::clone(ledger), Arc::clone(name), due)
        })
        .await
    }

    /// Deletes the pods of a round from the virtual cluster.
    pub(crate) async fn delete(&self, ledger: &Arc<Ledger>, pace: Pace) -> Result<()> {
        load::run(pace, ledger.names(), |name, _| {
            let (server, name) = (self.r#virtual.clone(), Arc::clone(name));
            async move { server.delete(&name, None).await }
        })
        .await
    }

    /// Deletes the pods of a round that was synced by hand from both sides.
    pub(crate) async fn delete_by_hand(&self, ledger: &Arc<Ledger>) -> Result<()> {
        let names = ledger.each(|life| Some((life.host.name.clone(), life.r#virtual.name.clone())));
        load::run(Pace::Burst, &names, |(on_host, in_virtual), _| {
            let (host, r#virtual) = (self.host.clone(), self.r#virtual.clone());
            let (on_host, in_virtual) = (on_host.clone(), in_virtual.clone());
            async move {
                r#virtual.delete(&in_virtual, Some(0)).await?;
                host.delete(&on_host, Some(0)).await
            }
        })
        .await
    }

    /// Creates pods that stay, through the syncer, and waits until all are ready.
    pub(crate) async fn settle(&self, round: &str, pods: u32) -> Result<()> {
        let mut observation = self.observe(round, pods, Watched::Virtual).await?;
        self.create(&Arc::clone(&observation.ledger), Pace::Burst).await?;
        observation.until("the pods are ready", |life| life.r#virtual.ready.is_some()).await
    }

    /// The gate of correctness: as many pods on either side as there should be, in the same state.
    pub(crate) async fn agree(&self, expected: u32) -> Result<()> {
        eventually("both sides have the same pods", SOON, async || {
            let (host, r#virtual) = tokio::try_join!(self.states(&self.host), self.states(&self.r#virtual))?;
            let (on_host, in_virtual) = (host.len(), r#virtual.len());
            ensure!(
                u32::try_from(on_host)? == expected && on_host == in_virtual,
                "{on_host} host pods and {in_virtual} virtual pods instead of {expected}"
            );
            let differing: Vec<_> = host.symmetric_difference(&r#virtual).take(4).collect();
            ensure!(differing.is_empty(), "the pods' states differ: {differing:?}");
            Ok(())
        })
        .await
        .map_err(|error| error.context("VOID: the two sides differ at the end of the round"))
    }

    /// Waits until no pod is left on either side.
    pub(crate) async fn empty(&self) -> Result<()> {
        eventually("both sides are empty", EMPTY, async || {
            let (host, r#virtual) = tokio::try_join!(self.host.names(), self.r#virtual.names())?;
            ensure!(
                host.is_empty() && r#virtual.is_empty(),
                "{} host, {} virtual",
                host.len(),
                r#virtual.len()
            );
            Ok(())
        })
        .await
    }

    /// Has the syncer translate one pod, to be copied by the ceiling.
    pub(crate) async fn template(&self) -> Result<Template> {
        self.start_syncer().await?;
        let mut observation = self.observe("template", 1, Watched::Both).await?;
        let ledger = Arc::clone(&observation.ledger);
        self.create(&ledger, Pace::Burst).await?;
        observation.until("the pod is ready", |life| life.r#virtual.ready.is_some()).await?;
        let seen = ledger.each(|life| Some((life.host.name.clone(), life.uid.clone())));
        let template = match (seen.first(), ledger.names().first()) {
            (Some((host, uid)), Some(name)) => {
                let path = format!("/api/v1/namespaces/{HOST_NAMESPACE}/pods/{host}");
                Template::of(self.host.get(&path).await?, name, uid)
            }
            _ => anyhow::bail!("the ledger is empty"),
        };
        self.delete(&ledger, Pace::Burst).await?;
        self.empty().await?;
        self.tenant.stop_syncer().await?;
        template
    }

    /// What both sides must agree on.
    async fn states(&self, server: &Server) -> Result<BTreeSet<String>> {
        let pods = server.pods().await?;
        let state = |pod: &Pod| format!("{} {}", pod.tag().unwrap_or_default(), pod.status().summary());
        Ok(pods.iter().map(state).collect())
    }

    /// The namespace the client works in, and the nodes its bindings name.
    async fn prepare(&self) -> Result<()> {
        self.r#virtual.ensure("namespaces", &json!({"metadata": {"name": NAMESPACE}})).await?;
        for number in 0..NODES {
            self.r#virtual.ensure("nodes", &pods::node(&format!("node-{number}"))).await?;
        }
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default");
        eventually("pods can be created", SOON, async || self.r#virtual.get(&path).await.map(drop)).await
    }
}

async fn create(
    server: Server,
    ledger: Arc<Ledger>,
    name: Arc<str>,
    due: Option<std::time::Instant>,
) -> Result<()> {
    let pod = pods::plain(&name);
    let sent = std::time::Instant::now();
    ledger.note(&name, |life| (life.due, life.sent) = (due, Some(sent)));
    let created = server.create(pod).await?;
    let replied = std::time::Instant::now();
    ledger.note(&name, |life| {
        life.replied = Some(replied);
        life.uid = created.metadata.uid;
    });
    Ok(())
}

fn plane(binaries: &Binaries, role: Role, run: &Path, name: &str, audited: bool) -> Result<Options> {
    let extra = if audited { audit::flags(run, name)? } else { Vec::new() };
    Ok(Options {
        role,
        programs: binaries.programs.clone(),
        store: Store::default(),
        dir: run.join(name),
        extra,
    })
}

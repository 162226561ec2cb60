//! A real Kubernetes node on this machine: kubelet, containerd, CNI and kube-proxy, with the control plane they belong to.
//!
//! Everything runs in a machine of its own (see `machine.rs`); its address is reached from outside, so that clients and
//! commands under test need not be inside. It needs root, and installs its Debian packages itself.

mod cgroups;
mod config;
pub mod images;
mod machine;
mod network;
mod packages;
mod storage;

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Node as NodeObject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use kube::api::Api;

use crate::binaries::Programs;
use crate::binaries::modules::{self, Program};
use crate::eventually::eventually;
use crate::image::{self, Image, Layers};
use crate::nodes::ensure_ready;
use crate::planes::{self, Plane, Role, Site, Store};
use crate::process::{Process, tail};
use crate::scratch::{self, Scratch};

use self::machine::Machine;
use self::network::Network;

pub use self::packages::obstacle;

/// The name of the Node.
pub const NAME: &str = "node";

/// The resolver that the kubelet gives pods. Nothing answers there.
pub const CLUSTER_DNS: &str = "10.96.0.10";

/// The folder of its data and logs, in that of the run.
const MACHINE: &str = "machine";

/// How long the kubelet may take on a busy machine; alone it takes two seconds.
const READY: Duration = Duration::from_mins(1);

/// What [`Node::start`] needs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The control plane, and the kubelet with kube-proxy.
    pub programs: Programs,
    /// The provisioner of the default StorageClass.
    pub provisioner: PathBuf,
    /// What it has from the start; [`images::basic`] has those without which no pod runs.
    pub images: Vec<Image>,
}

impl Options {
    /// Builds what is needed; the images are the basic ones.
    pub async fn build() -> Result<Self> {
        Ok(Self {
            programs: Programs::build().await?,
            provisioner: modules::program(Program::LocalPathProvisioner).await?,
            images: images::basic().await?,
        })
    }
}

/// A running node; dropping it ends everything.
#[derive(Debug)]
pub struct Node {
    options: Options,
    daemons: Mutex<Vec<Process>>,
    provisioner: Process,
    plane: Plane,
    machine: Machine,
    network: Network,
    scratch: Scratch,
}

impl Node {
    /// Installs what it needs, starts it and waits until it is ready for pods.
    pub async fn start(options: Options) -> Result<Self> {
        if let Some(reason) = obstacle().await {
            bail!(reason);
        }
        sweep()?;
        let (scratch, network) = (Scratch::new()?, Network::reserve()?);
        let dir = scratch.path().join(MACHINE);
        let machine = Machine::start(&options.programs.planes, &dir, NAME, &network).await?;
        let site = Site { process: machine.init().as_raw(), address: network.address() };
        let plane = Plane::start(planes::Options {
            role: Role::Machine(site),
            programs: options.programs.clone(),
            store: Store::default(),
            dir: scratch.path().join("host"),
            extra: Vec::new(),
        });
        let (plane, containerd) = tokio::try_join!(plane, containerd(&machine, &dir, &options.images))?;
        cgroups::create(&network.id())?;
        config::write(&dir, &plane, &network)?;
        let provisioner = storage::start(&plane, &options.provisioner, &dir).await?;
        let daemons = Mutex::new(vec![containerd]);
        let node = Self { options, daemons, provisioner, plane, machine, network, scratch };
        node.start_kubelet().await.with_context(|| node.log_tails())?;
        Ok(node)
    }

    /// Its control plane: clients, kubectl, identities.
    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    /// A client of its API server that may do everything.
    pub async fn client(&self) -> Result<Client> {
        self.plane.client().await
    }

    /// The kubeconfig file of its administrator, valid inside and outside of the machine.
    pub fn kubeconfig(&self) -> PathBuf {
        self.plane.kubeconfig("admin")
    }

    /// Its address, which answers on node ports and host ports.
    pub fn address(&self) -> Ipv4Addr {
        self.network.address()
    }

    /// The folder of this run: data, keys and logs.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// Runs kubectl as administrator, outside of the machine, and returns its output.
    pub async fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        self.plane.kubectl(arguments, input).await
    }

    /// What it was started with, to start another one.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Runs a program inside, as root, and returns its output.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.machine.run(arguments, b"").await
    }

    /// Makes an image available to pods.
    pub async fn import(&self, image: &Image) -> Result<()> {
        import(&self.machine, &self.folder(), image).await
    }

    /// Kills kubelet, containerd and kube-proxy and starts them again; containers go on meanwhile.
    pub async fn restart_daemons(&self) -> Result<()> {
        self.daemons().clear();
        self.start_daemons().await
    }

    /// Ends everything that runs on the node, containers included, and starts it again, as a power failure does.
    pub async fn reboot(&self) -> Result<()> {
        self.machine.kill_all().await?;
        self.daemons().clear();
        self.machine.shell(config::AFTER_POWER_FAILURE).await?;
        // Those of containers that are gone would keep the kubelet busy for seconds each.
        cgroups::create(&self.network.id())?;
        self.start_daemons().await
    }

    /// Paths on this side that are there while it runs, and not afterwards: control groups, interface, processes, data.
    pub fn traces(&self) -> Result<Vec<PathBuf>> {
        let mut traces = cgroups::of(&self.network.id())?;
        traces.push(self.network.interface());
        traces.extend(self.plane.pids().values().map(|pid| PathBuf::from(format!("/proc/{pid}"))));
        traces.push(format!("/proc/{}", self.machine.init()).into());
        if !scratch::keep() {
            traces.push(self.folder().join("containerd"));
        }
        Ok(traces)
    }

    /// Ends everything, and fails if something stays behind.
    pub async fn stop(self) -> Result<()> {
        tokio::task::spawn_blocking(move || self.end()).await?
    }

    /// The ends of the logs, for a failure.
    pub fn log_tails(&self) -> String {
        let node: String = self.daemons().iter().map(|daemon| tail(daemon.log()) + "\n").collect();
        node + &self.plane.log_tails() + &tail(self.provisioner.log())
    }

    async fn start_daemons(&self) -> Result<()> {
        let containerd = containerd(&self.machine, &self.folder(), &[]).await?;
        self.daemons().push(containerd);
        self.start_kubelet().await.with_context(|| self.log_tails())
    }

    async fn start_kubelet(&self) -> Result<()> {
        let nodes = Api::all(self.client().await?);
        let before = nodes.get_opt(NAME).await?.as_ref().and_then(heartbeat);
        let folder = self.folder();
        let kubelet = self.machine.daemon("kubelet", &config::kubelet_flags(&folder, self.address()))?;
        let proxy = self.machine.daemon("kube-proxy", &config::proxy_flags(&folder))?;
        self.daemons().extend([kubelet, proxy]);
        eventually("the node is ready", READY, async || {
            if let Err(ended) = self.ended() {
                return Ok(Err(ended));
            }
            let node = nodes.get(NAME).await?;
            // What the kubelet before it has reported says nothing about this one.
            ensure!(heartbeat(&node) != before, "the kubelet has not reported since it was started");
            ensure_ready(&node).map(Ok)
        })
        .await?
    }

    fn ended(&self) -> Result<()> {
        self.daemons().iter().try_for_each(Process::check)
    }

    fn end(&self) -> Result<()> {
        self.machine.end()?;
        self.plane.end();
        self.daemons().clear();
        cgroups::remove(&self.network.id())?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let folder = self.folder();
        ensure!(!mounts.contains(&folder.display().to_string()), "a mount is left of {}", folder.display());
        if !scratch::keep() {
            config::remove_data(&folder)?;
        }
        Ok(())
    }

    fn folder(&self) -> PathBuf {
        self.scratch.path().join(MACHINE)
    }

    fn daemons(&self) -> MutexGuard<'_, Vec<Process>> {
        self.daemons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Removes what is left of nodes whose process has ended: the kernel has ended all but their control groups.
///
/// # Errors
/// A group is still in use.
pub fn sweep() -> Result<()> {
    Network::unused()?.iter().try_for_each(|network| cgroups::remove(&network.id()))
}

/// Starts containerd, with these images.
async fn containerd(machine: &Machine, folder: &Path, images: &[Image]) -> Result<Process> {
    config::write_containerd(folder)?;
    let daemon = machine.daemon("containerd", &config::containerd_flags(folder))?;
    eventually("containerd answers", READY, async || {
        daemon.check()?;
        machine.run(&["ctr", "version"], b"").await
    })
    .await?;
    for image in images {
        import(machine, folder, image).await?;
    }
    Ok(daemon)
}

async fn import(machine: &Machine, folder: &Path, image: &Image) -> Result<()> {
    // Several tests import at the same time.
    let archive = tempfile::Builder::new().prefix("image-").suffix(".tar").tempfile_in(folder)?;
    image::write(image, Layers::Plain, archive.path())?;
    let import = ["ctr", "--namespace", "k8s.io", "images", "import"].map(OsStr::new);
    machine.run(&[&import[..], &[archive.path().as_os_str()]].concat(), b"").await.map(drop)
}

/// When the kubelet has reported last.
fn heartbeat(node: &NodeObject) -> Option<Time> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .filter(|condition| condition.type_ == "Ready")
        .find_map(|ready| ready.last_heartbeat_time.clone())
}

//! Runs one real control plane: store, API server, controller manager, and what a host needs besides.

mod component;
mod flags;
mod store;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt as _;

pub use self::component::{Component, Role, Site};
pub use self::store::Store;
use crate::binaries::Programs;
use crate::eventually::eventually;
use crate::pki::{MASTERS, Pki};
use crate::ports::Port;
use crate::process::{Launch, Process, tail};
use crate::{kubeconfig, nodes, scratch};

/// The range of both planes: the virtual one must be able to use the addresses the host gave.
pub const SERVICE_CIDR: &str = "10.96.0.0/16";

/// How long a plane may take on a busy machine; alone it takes five seconds.
const START: Duration = Duration::from_secs(90);
/// How long a component may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// What [`Plane::start`] needs.
#[derive(Debug, Clone)]
pub struct Options {
    /// What it is for.
    pub role: Role,
    /// What it runs.
    pub programs: Programs,
    /// Where it keeps its objects.
    pub store: Store,
    /// Its folder; it is created.
    pub dir: PathBuf,
    /// More flags for one component or another.
    pub extra: Vec<(Component, String)>,
}

/// A running control plane; dropping it ends it.
#[derive(Debug)]
pub struct Plane {
    options: Options,
    ports: Ports,
    pki: Pki,
    processes: Mutex<BTreeMap<Component, Arc<Process>>>,
}

/// Where its components listen.
#[derive(Debug)]
struct Ports {
    api_server: Port,
    controller_manager: Port,
    scheduler: Port,
    kwok: Port,
}

impl Plane {
    /// Starts it and waits until pods can be created.
    pub async fn start(options: Options) -> Result<Self> {
        let plane = Self::prepare(options)?;
        plane.run().await.with_context(|| format!("failed to start {}", plane.options.dir.display()))?;
        Ok(plane)
    }

    fn prepare(options: Options) -> Result<Self> {
        store::check(&options.dir)?;
        for folder in ["logs", "kubeconfig"] {
            fs::create_dir_all(options.dir.join(folder))?;
        }
        let pki = Pki::create(&options.dir.join("pki"), options.role.address())?;
        let plane = Self { options, ports: Ports::reserve()?, pki, processes: Mutex::default() };
        plane.identity("admin", &[MASTERS])?;
        plane.identity("bench", &[MASTERS])?;
        plane.identity("kwok", &[MASTERS])?;
        plane.identity("system:kube-controller-manager", &[])?;
        plane.identity("system:kube-scheduler", &[])?;
        fs::write(plane.file("kwok.yaml"), flags::stages()?)?;
        Ok(plane)
    }

    async fn run(&self) -> Result<()> {
        self.start_component(Component::Store).await?;
        self.start_component(Component::ApiServer).await?;
        for &component in self.options.role.followers() {
            self.start_component(component).await?;
        }
        self.usable().await?;
        if let Role::Host { nodes } = self.options.role {
            self.apply_storage_classes().await?;
            nodes::create(&self.client().await?, nodes).await?;
        }
        Ok(())
    }

    /// Its folder: data, keys, kubeconfig files, logs.
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// The URL of its API server.
    pub fn server(&self) -> String {
        format!("https://{}:{}", self.options.role.address(), self.ports.api_server)
    }

    /// Its keys and certificates.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// What it runs.
    pub fn programs(&self) -> &Programs {
        &self.options.programs
    }

    /// The folder of its store.
    pub fn data(&self) -> PathBuf {
        store::data(self.dir())
    }

    /// Has its store, which must be etcd, forget what was before a revision: lists of then get 410.
    pub async fn compact(&self, revision: u64) -> Result<()> {
        store::compact(self.dir(), revision).await
    }

    /// Makes a client certificate and returns the kubeconfig file that holds it.
    pub fn identity(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let path = self.kubeconfig(user);
        let client = self.pki.client(user, groups)?;
        kubeconfig::write(&path, &self.server(), &self.pki.authority(), &client)?;
        Ok(path)
    }

    /// The kubeconfig file of a user: `admin`, `bench`, or one made by [`Plane::identity`].
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        let user = user.trim_start_matches("system:");
        self.file("kubeconfig").join(format!("{user}.kubeconfig"))
    }

    /// A client that may do everything and never retries by itself.
    pub async fn client(&self) -> Result<Client> {
        self.client_as("admin").await
    }

    /// A client with another identity.
    pub async fn client_as(&self, user: &str) -> Result<Client> {
        let file = Kubeconfig::read_from(self.kubeconfig(user))?;
        let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        config.default_retry = false;
        Ok(Client::try_from(config)?)
    }

    /// Runs kubectl as admin with `input` on its standard input and returns its output.
    pub async fn kubectl(&self, args: &[&str], input: &str) -> Result<String> {
        let mut child = tokio::process::Command::new(&self.options.programs.planes)
            .arg("kubectl")
            .arg("--kubeconfig")
            .arg(self.kubeconfig("admin"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdin = child.stdin.take().context("kubectl has no input")?;
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        let output = child.wait_with_output().await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {} failed: {}", args.join(" "), errors.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The process ids of what runs.
    pub fn pids(&self) -> BTreeMap<Component, i32> {
        self.processes().iter().map(|(component, process)| (*component, process.pid())).collect()
    }

    /// Starts a component and waits until it can be used by the others.
    pub async fn start_component(&self, component: Component) -> Result<()> {
        if component == Component::Store {
            fs::create_dir_all(self.data())?;
        }
        let process = Arc::new(Process::start(&self.launch(component))?);
        self.processes().insert(component, process);
        match component {
            Component::Store => self.store_listens().await,
            Component::ApiServer => self.ready().await,
            Component::ControllerManager | Component::Scheduler | Component::Kwok => Ok(()),
        }
    }

    /// Terminates a component, and kills it after the grace period.
    pub async fn stop_component(&self, component: Component) -> Result<()> {
        self.take(component)?.stop(GRACE).await?;
        Ok(())
    }

    /// Kills a component.
    pub fn kill_component(&self, component: Component) -> Result<()> {
        self.take(component)?.kill()?;
        Ok(())
    }

    /// Kills all of its components.
    pub fn end(&self) {
        self.processes().clear();
    }

    /// Freezes a component: its connections stay open and silent.
    pub fn pause(&self, component: Component) -> Result<()> {
        self.process(component)?.freeze()
    }

    /// Lets a frozen component go on.
    pub fn resume(&self, component: Component) -> Result<()> {
        self.process(component)?.signal(Signal::SIGCONT)
    }

    /// Waits until the API server says it is ready.
    pub async fn ready(&self) -> Result<()> {
        let client = self.client().await?;
        self.reaches("the API server is ready", async || {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            client.request_text(request).await?;
            Ok(())
        })
        .await
    }

    /// The ends of the logs of its components, for a failure.
    pub fn log_tails(&self) -> String {
        self.processes().values().map(|process| tail(process.log()) + "\n").collect()
    }

    /// The file with the output of a component.
    pub fn log(&self, component: Component) -> PathBuf {
        self.file("logs").join(format!("{}.log", component.name()))
    }

    /// Pods can be created once their namespace has its service account.
    async fn usable(&self) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, "default");
        self.reaches("the service account default/default exists", async || {
            accounts.get("default").await?;
            Ok(())
        })
        .await
    }

    async fn store_listens(&self) -> Result<()> {
        let socket = store::socket(self.dir());
        self.reaches("the store accepts connections", async || {
            tokio::net::UnixStream::connect(&socket).await?;
            Ok(())
        })
        .await
    }

    /// Storage is played by kwok too; see the stages.
    async fn apply_storage_classes(&self) -> Result<()> {
        let classes = fs::read_to_string(flags::storage_classes())?;
        self.kubectl(&["create", "--validate=false", "-f", "-"], &classes).await?;
        Ok(())
    }

    /// Waits for a state, but not for one that cannot come because a component has ended.
    async fn reaches(&self, sentence: &str, mut probe: impl AsyncFnMut() -> Result<()>) -> Result<()> {
        let outcome = eventually(sentence, START, async || {
            match self.ended() {
                Err(ended) => return Ok(Err(ended)),
                Ok(()) => probe().await?,
            }
            Ok(Ok(()))
        });
        outcome.await.with_context(|| self.log_tails())?
    }

    fn ended(&self) -> Result<()> {
        self.processes().values().try_for_each(|process| process.check())
    }

    fn launch(&self, component: Component) -> Launch {
        let mut args = self.program(component);
        args.extend(flags::of(self, component).into_iter().map(Into::into));
        let extra = self.options.extra.iter().filter(|(of, _)| *of == component);
        args.extend(extra.map(|(_, flag)| flag.into()));
        Launch {
            name: format!("{} of {}", component.name(), self.dir().display()),
            planes: self.options.programs.planes.clone(),
            args,
            env: Vec::new(),
            log: self.log(component),
        }
    }

    /// The arguments of `planes` that come before a component's flags.
    fn program(&self, component: Component) -> Vec<OsString> {
        let kubernetes = &self.options.programs.kubernetes;
        let program = match component {
            Component::Kwok => return vec![component.name().into()],
            Component::Store => self.options.store.program(kubernetes),
            Component::ApiServer | Component::ControllerManager | Component::Scheduler => {
                vec![kubernetes.into(), component.name().into()]
            }
        };
        [vec!["run".into()], self.enter(), program].concat()
    }

    /// What comes before a program that is to run in the network of a machine.
    fn enter(&self) -> Vec<OsString> {
        let Role::Machine(site) = self.options.role else { return Vec::new() };
        vec!["nsenter".into(), format!("--net=/proc/{}/ns/net", site.process).into()]
    }

    fn file(&self, name: &str) -> PathBuf {
        self.options.dir.join(name)
    }

    fn process(&self, component: Component) -> Result<Arc<Process>> {
        self.processes().get(&component).cloned().with_context(|| not_running(component))
    }

    fn take(&self, component: Component) -> Result<Arc<Process>> {
        self.processes().remove(&component).with_context(|| not_running(component))
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<Component, Arc<Process>>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.end();
        // The logs stay until the next run; the data is what is big.
        if !scratch::keep() {
            let _ = fs::remove_dir_all(self.data());
        }
    }
}

fn not_running(component: Component) -> String {
    format!("{} does not run", component.name())
}

impl Ports {
    fn reserve() -> Result<Self> {
        Ok(Self {
            api_server: Port::reserve()?,
            controller_manager: Port::reserve()?,
            scheduler: Port::reserve()?,
            kwok: Port::reserve()?,
        })
    }
}

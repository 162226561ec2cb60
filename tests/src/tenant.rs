//! One virtual cluster on a host: its own plane, its place on the host, and its syncer.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use kube::api::{Api, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::binaries::Programs;
use crate::eventually::eventually;
use crate::fault_proxy::FaultProxy;
use crate::permissions::{self, Permissions};
use crate::planes::{self, Plane};
use crate::ports::Port;
use crate::process::{Launch, Process, tail};

/// How long a syncer may take until its caches are filled.
const READY: Duration = Duration::from_secs(30);
/// How long it may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);
/// The syncer's user in the virtual cluster.
const VIRTUAL_USER: &str = "weft-syncer";
/// The file of a syncer's output.
const LOG: &str = "weft.log";

/// The output of every syncer in the folder of a world.
pub(crate) fn syncer_logs(world: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(world).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().join(LOG)).filter(|log| log.exists()).collect()
}

/// What a [`Tenant`] is made from.
#[derive(Debug, Clone)]
pub struct Options {
    /// The virtual cluster's name.
    pub cluster: String,
    /// Its namespace on the host.
    pub namespace: String,
    /// The syncer's executable.
    pub weft: PathBuf,
    /// What its plane runs.
    pub programs: Programs,
    /// Its folder; it is created.
    pub dir: PathBuf,
    /// Top-level keys added to the syncer's configuration.
    pub config: Value,
    /// Whether its syncer reaches both API servers through fault proxies.
    pub has_proxies: bool,
}

/// A virtual cluster, with or without a running syncer; dropping it ends both.
#[derive(Debug)]
pub struct Tenant {
    options: Options,
    host: Arc<Plane>,
    plane: Plane,
    proxies: Option<Proxies>,
    health: Port,
    syncer: Mutex<Option<Arc<Process>>>,
}

/// What the syncer's requests pass on their way.
#[derive(Debug)]
struct Proxies {
    host: FaultProxy,
    r#virtual: FaultProxy,
}

impl Tenant {
    /// Starts its plane; [`Tenant::join`] prepares it on a host.
    pub async fn plane(options: &Options) -> Result<Plane> {
        Plane::start(planes::Options {
            role: planes::Role::Virtual,
            programs: options.programs.clone(),
            store: planes::Store::default(),
            dir: options.dir.join("virtual"),
            extra: Vec::new(),
        })
        .await
    }

    /// Creates what the syncer needs to start: namespace, permissions, identities, configuration.
    pub async fn join(options: Options, host: Arc<Plane>, plane: Plane) -> Result<Self> {
        let (health, syncer) = (Port::reserve()?, Mutex::new(None));
        let mut tenant = Self { options, host, plane, proxies: None, health, syncer };
        tenant.prepare_host().await.context("failed to prepare the host for the tenant")?;
        tenant.prepare_virtual().await.context("failed to prepare the virtual plane")?;
        if tenant.options.has_proxies {
            tenant.proxies = Some(tenant.start_proxies().await.context("failed to start the fault proxies")?);
        }
        tenant.configure(&tenant.options.config)?;
        tenant.grant().await?;
        Ok(tenant)
    }

    async fn start_proxies(&self) -> Result<Proxies> {
        let kubeconfig = |side: &str| self.options.dir.join(format!("{side}-proxy.kubeconfig"));
        Ok(Proxies {
            host: FaultProxy::start(&self.host, &self.host_user(), &kubeconfig("host")).await?,
            r#virtual: FaultProxy::start(&self.plane, VIRTUAL_USER, &kubeconfig("virtual")).await?,
        })
    }

    /// The proxy between the syncer and the host; see [`Options::has_proxies`].
    pub fn host_proxy(&self) -> Result<&FaultProxy> {
        self.proxies.as_ref().map(|proxies| &proxies.host).context("the tenant has no proxies")
    }

    /// The proxy between the syncer and the virtual API server.
    pub fn virtual_proxy(&self) -> Result<&FaultProxy> {
        self.proxies.as_ref().map(|proxies| &proxies.r#virtual).context("the tenant has no proxies")
    }

    /// The virtual cluster's name.
    pub fn cluster(&self) -> &str {
        &self.options.cluster
    }

    /// Its namespace on the host.
    pub fn namespace(&self) -> &str {
        &self.options.namespace
    }

    /// The plane tenants see.
    pub fn virtual_plane(&self) -> &Plane {
        &self.plane
    }

    /// The plane that runs the pods.
    pub fn host_plane(&self) -> &Plane {
        &self.host
    }

    /// The program that is run as the syncer.
    pub fn weft(&self) -> &Path {
        &self.options.weft
    }

    /// The syncer's configuration file.
    pub fn config(&self) -> PathBuf {
        self.options.dir.join("weft.yaml")
    }

    /// The syncer's output.
    pub fn syncer_log(&self) -> PathBuf {
        self.options.dir.join(LOG)
    }

    /// The syncer's user on the host.
    pub fn host_user(&self) -> String {
        format!("weft-syncer-{}", self.cluster())
    }

    /// Writes the syncer's configuration; the keys of `more` are added at the top.
    pub fn configure(&self, more: &Value) -> Result<()> {
        fs::write(self.config(), serde_json::to_string_pretty(&self.configuration(more))?)?;
        Ok(())
    }

    fn configuration(&self, more: &Value) -> Value {
        let (host, r#virtual) = match &self.proxies {
            Some(Proxies { host, r#virtual }) => (host.kubeconfig().into(), r#virtual.kubeconfig().into()),
            None => (self.host.kubeconfig(&self.host_user()), self.plane.kubeconfig(VIRTUAL_USER)),
        };
        let mut config = json!({
            "cluster": {"name": self.cluster(), "namespace": self.namespace()},
            "host": {"kubeconfig": host},
            "virtual": {"kubeconfig": r#virtual},
            "health": {"listen": self.health_address()},
            // Nothing runs in the pods of a fake node, and most tests count objects.
            "dns": {"enabled": false},
        });
        if let (Some(config), Some(more)) = (config.as_object_mut(), more.as_object()) {
            config.extend(more.clone());
        }
        config
    }

    /// Starts the syncer and waits until it is ready.
    pub async fn start_syncer(&self) -> Result<()> {
        self.launch_syncer()?;
        self.syncer_ready().await
    }

    /// Starts the syncer without waiting.
    pub fn launch_syncer(&self) -> Result<()> {
        let process = Process::start(&Launch {
            name: format!("the syncer of {}", self.cluster()),
            planes: self.options.programs.planes.clone(),
            args: vec![
                "run".into(),
                self.options.weft.clone().into(),
                "syncer".into(),
                "--config".into(),
                self.config().into(),
            ],
            env: Vec::new(),
            log: self.syncer_log(),
        })?;
        *self.syncer_slot() = Some(Arc::new(process));
        Ok(())
    }

    /// Waits until the syncer is ready.
    pub async fn syncer_ready(&self) -> Result<()> {
        let process = self.syncer()?;
        let outcome = eventually("the syncer is ready", READY, async || {
            match process.check() {
                Err(ended) => return Ok(Err(ended)),
                Ok(()) => drop(self.probe("/readyz").await?),
            }
            Ok(Ok(()))
        });
        outcome.await.with_context(|| tail(&self.syncer_log()))?
    }

    /// The running syncer, to signal or measure it.
    pub fn syncer(&self) -> Result<Arc<Process>> {
        self.syncer_slot().clone().context("the syncer does not run")
    }

    /// Stops the syncer gracefully.
    pub async fn stop_syncer(&self) -> Result<()> {
        let process = self.syncer_slot().take().context("the syncer does not run")?;
        let status = process.stop(GRACE).await?;
        ensure!(status.success(), "the syncer ended badly: {status}\n{}", tail(&self.syncer_log()));
        Ok(())
    }

    /// Kills the syncer as a crash would.
    pub fn kill_syncer(&self) -> Result<()> {
        self.syncer_slot().take().context("the syncer does not run")?.kill()?;
        Ok(())
    }

    /// Where the syncer serves its health and metrics.
    pub fn health_address(&self) -> String {
        format!("127.0.0.1:{}", self.health)
    }

    /// Requests a path of the syncer's health server; a response other than 200 is an error with its body.
    pub async fn probe(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.health_address()).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let status = answer.lines().next().unwrap_or_default();
        ensure!(status.contains(" 200 "), "{path} answers {answer:?}");
        Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    async fn prepare_host(&self) -> Result<()> {
        let user = self.host_user();
        self.host.identity(&user, &[])?;
        let client = self.host.client().await?;
        let namespaces = Api::<Namespace>::all(client.clone());
        // Two tenants may share a host namespace.
        if namespaces.get_opt(self.namespace()).await?.is_none() {
            create(&namespaces, json!({"metadata": {"name": self.namespace()}})).await?;
        }
        let account = json!({"metadata": {"name": format!("weft-workload-{}", self.cluster())}});
        self.create_on_host::<ServiceAccount>(&client, account).await?;
        self.create_on_host::<Service>(&client, service(self.cluster())).await?;
        Ok(())
    }

    /// Lets the syncer do on the host what `weft rbac` prints now, beside what it may; returns the rules that are new.
    pub async fn grant(&self) -> Result<Vec<PolicyRule>> {
        let printed = Permissions::printed(self.weft(), &self.config()).await?;
        let (client, user) = (self.host.client().await?, self.host_user());
        let roles = Api::<Role>::namespaced(client.clone(), self.namespace());
        let bindings = Api::<RoleBinding>::namespaced(client.clone(), self.namespace());
        let mut added = permissions::grant((&roles, &bindings), &user, &user, printed.namespaced).await?;
        if !printed.cluster.is_empty() {
            let roles = Api::<ClusterRole>::all(client.clone());
            let bindings = Api::<ClusterRoleBinding>::all(client);
            let both = (&roles, &bindings);
            added.extend(permissions::grant(both, &self.cluster_role(), &user, printed.cluster).await?);
        }
        Ok(added)
    }

    /// The name of its role on the whole host, where it has one, and of the binding.
    pub fn cluster_role(&self) -> String {
        format!("weft-syncer:{}:{}", self.namespace(), self.cluster())
    }

    /// Gives the syncer its permissions in the virtual cluster; its storage may be a new one.
    pub async fn prepare_virtual(&self) -> Result<()> {
        self.plane.identity(VIRTUAL_USER, &[])?;
        let binding = json!({
            "metadata": {"name": VIRTUAL_USER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": VIRTUAL_USER}],
        });
        create(&Api::<ClusterRoleBinding>::all(self.plane.client().await?), binding).await
    }

    async fn create_on_host<K>(&self, client: &Client, object: Value) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    {
        create(&Api::<K>::namespaced(client.clone(), self.namespace()), object).await
    }

    fn syncer_slot(&self) -> MutexGuard<'_, Option<Arc<Process>>> {
        self.syncer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its folder, with the logs.
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }
}

/// Creates one object given as JSON.
async fn create<K>(api: &Api<K>, object: Value) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let object = serde_json::from_value(object)?;
    let created = api.create(&PostParams::default(), &object).await;
    created.with_context(|| format!("failed to create {} {name}", K::kind(&())))?;
    Ok(())
}

/// The way into the virtual cluster; its address is what pods find under `kubernetes.default`.
fn service(cluster: &str) -> Value {
    json!({
        "metadata": {"name": cluster},
        "spec": {"ports": [{"name": "https", "port": 443, "targetPort": 6443}]},
    })
}

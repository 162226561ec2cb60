//! A host plane and a tenant on it: what most tests, and the demo, run in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};

use crate::binaries::Programs;
use crate::planes::{self, Component, Plane, Store};
use crate::scratch::Scratch;
use crate::tenant::{self, Tenant};
use crate::{binaries, planes::Role};

/// Enough to see pods spread over nodes and zones.
const NODES: usize = 3;

/// What a world runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the planes run.
    pub programs: Programs,
    /// The syncer's executable.
    pub weft: PathBuf,
    /// How many fake nodes the host has.
    pub nodes: usize,
    /// The first tenant's cluster name.
    pub cluster: String,
    /// The first tenant's namespace on the host.
    pub namespace: String,
    /// Top-level keys added to the first tenant's configuration.
    pub config: Value,
    /// More flags for components of the host.
    pub host_flags: Vec<(Component, String)>,
    /// Whether the syncers reach both API servers through fault proxies.
    pub has_proxies: bool,
}

impl Options {
    /// Builds what is needed; the rest is as in the documentation's examples. What tests of Services use is allowed.
    pub async fn build() -> Result<Self> {
        Ok(Self {
            programs: Programs::build().await?,
            weft: binaries::weft().await?,
            nodes: NODES,
            cluster: "my-vcluster".to_owned(),
            namespace: "team-a".to_owned(),
            config: opened(),
            host_flags: Vec::new(),
            has_proxies: false,
        })
    }

    /// The same with a fault proxy between each syncer and each API server. The tests' own clients pass none.
    #[must_use]
    pub fn through_proxies(self) -> Self {
        Self { has_proxies: true, ..self }
    }
}

/// A running host with its first tenant; dropping it ends everything.
#[derive(Debug)]
pub struct World {
    options: Options,
    host: Arc<Plane>,
    tenant: Tenant,
    // Last, so that the folder goes after those who write to it.
    scratch: Scratch,
}

impl World {
    /// Builds what is needed, starts both planes and the syncer, and waits until it is ready.
    pub async fn start() -> Result<Self> {
        let world = Self::without_syncer(Options::build().await?).await?;
        world.tenant.start_syncer().await?;
        Ok(world)
    }

    /// Starts both planes and prepares the tenant; its syncer is left to the caller.
    pub async fn without_syncer(options: Options) -> Result<Self> {
        let scratch = Scratch::new()?;
        let tenant =
            tenant_options(&options, &scratch, &options.cluster, &options.namespace, &options.config);
        let host = planes::Options {
            role: Role::Host { nodes: options.nodes },
            programs: options.programs.clone(),
            store: Store::default(),
            dir: scratch.path().join("host"),
            extra: options.host_flags.clone(),
        };
        let (host, plane) = tokio::try_join!(Plane::start(host), Tenant::plane(&tenant))?;
        let host = Arc::new(host);
        let tenant = Tenant::join(tenant, Arc::clone(&host), plane).await?;
        Ok(Self { options, host, tenant, scratch })
    }

    /// The plane that runs the pods.
    pub fn host(&self) -> &Plane {
        &self.host
    }

    /// The first tenant.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Starts one more tenant, with its own virtual plane and syncer, on the same host.
    pub async fn another_tenant(&self, cluster: &str, namespace: &str, config: &Value) -> Result<Tenant> {
        let tenant = self.another_tenant_without_syncer(cluster, namespace, config).await?;
        tenant.start_syncer().await?;
        Ok(tenant)
    }

    /// The same, but its syncer is left to the caller.
    pub async fn another_tenant_without_syncer(
        &self,
        cluster: &str,
        namespace: &str,
        config: &Value,
    ) -> Result<Tenant> {
        let options = tenant_options(&self.options, &self.scratch, cluster, namespace, config);
        let plane = Tenant::plane(&options).await?;
        Tenant::join(options, Arc::clone(&self.host), plane).await
    }

    /// The folder of this run: data, keys and logs.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }
}

/// What the operator allows where a test says nothing else: the powers whose working the tests show.
fn opened() -> Value {
    // The addresses of TEST-NET-1 (RFC 5737), and the classes that every plane has.
    json!({
        "services": {"nodePorts": true, "loadBalancers": true, "endpoints": ["192.0.2.0/24"]},
        "claims": {"storageClasses": ["standard", "wait", "fixed"]},
    })
}

fn tenant_options(
    options: &Options,
    scratch: &Scratch,
    cluster: &str,
    namespace: &str,
    config: &Value,
) -> tenant::Options {
    tenant::Options {
        cluster: cluster.to_owned(),
        namespace: namespace.to_owned(),
        weft: options.weft.clone(),
        programs: options.programs.clone(),
        dir: scratch.path().join(format!("{namespace}.{cluster}")),
        config: config.clone(),
        has_proxies: options.has_proxies,
    }
}

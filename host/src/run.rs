//! Puts the syncer together and runs it until it is asked to stop. This module alone knows all parts.

mod health;
mod reload;
mod resolver;
mod rules;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::info;
use weft_core::context::Facts;
use weft_core::object::{Host, Virtual};

use crate::addons;
use crate::api::Api;
use crate::config::{Config, HostsFile, Nodes};
use crate::control::renew;
use crate::engine::{Ambient, Engine, Mirror, Parts};
use crate::kubelet::{Kubelet, Taken};
use crate::telemetry::LogFilter;
use health::Unanswered;
use reload::Targets;

/// Why it ends by itself.
const RENEWED: &str = "the syncer's own certificate was renewed; its container starts it again";

/// Why it ends when it goes on no longer.
const PANICKED: &str = "a part of the syncer has panicked, see above; its container starts it again";

/// Runs until SIGTERM or SIGINT. `config` was read from `file`, which is read again when it changes.
///
/// # Errors
/// A configuration or credentials that cannot be used, or the port of `health.listen` in use. Servers that cannot be reached
/// are no error: they are tried again for ever.
pub async fn run(file: &Path, config: Config, log: LogFilter) -> anyhow::Result<()> {
    let connection = config.virtual_connection()?;
    let listener = health::listen(config.health.listen).await;
    let listener =
        listener.with_context(|| format!("failed to listen on `health.listen` {}", config.health.listen))?;
    // Health is served and signals are heard from here on, whatever takes its time.
    let mut asked = Asked::listen()?;
    let shared = health::Shared::default();
    let mut serving = std::pin::pin!(health::serve(listener, shared.clone(), config.metrics.readers));
    let connecting = async {
        let kubelet = kubelet(&config, &shared.taken).await?;
        let host: Api<Host> = Api::connect(&config.host, "host").await?;
        anyhow::Ok((kubelet, host, Api::<Virtual>::connect(&connection, "virtual").await?))
    };
    let (kubelet, host, r#virtual) = tokio::select! {
        connected = connecting => connected?,
        served = &mut serving => return served.context("failed to serve health"),
        () = asked.end() => return Ok(()),
    };
    // From the start: with a certificate that has expired, the virtual API server is not reached before it is renewed.
    let mut renewing = std::pin::pin!(renew::keep(&config, host.clone()));
    let starting = async {
        let facts = facts(&config, &host, &r#virtual, &shared.unanswered).await;
        // Plugins may take long to compile.
        rules::start(&config, &shared).await.map(|source| (facts, source))
    };
    let (facts, mut source) = tokio::select! {
        started = starting => started?,
        () = &mut renewing => {
            info!("{RENEWED}");
            return Ok(());
        }
        served = &mut serving => return served.context("failed to serve health"),
        () = asked.end() => return Ok(()),
    };
    let authority = authority(&config);
    let (addons, current_addons) = watch::channel(Arc::new(addons::of(&config, authority.as_deref())));
    let targets = Targets { rules: source.wanted, addons, log, authority };
    source.tasks.spawn(reload::follow(file.to_owned(), config.clone(), targets));
    info!(cluster = config.cluster.name, namespace = config.cluster.namespace, host = ?facts.host_version, "syncing");
    let engine = Engine::start(Parts {
        host: host.clone(),
        r#virtual: r#virtual.clone(),
        names: config.names()?,
        rules: source.rules,
        plugin_events: source.plugin_events,
        addons: current_addons,
        facts,
        service: config.service().to_owned(),
        workers: config.engine.workers,
        kubelet: kubelet.as_ref().map(Kubelet::published),
        ambient: Ambient::default(),
        mirror: mirror(&config.nodes),
    });
    shared.health.get_or_init(|| engine.health());
    let relaying = async {
        match kubelet {
            Some(kubelet) => kubelet.serve(engine.pods(), host, r#virtual).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        served = serving => served.context("failed to serve health")?,
        () = engine.panicked() => anyhow::bail!("{PANICKED}"),
        () = relaying => {}
        Some(Err(_)) = source.tasks.join_next() => anyhow::bail!("{PANICKED}"),
        () = renewing => info!("{RENEWED}"),
        () = asked.end() => {}
    }
    info!("stopping");
    drop(source.tasks);
    engine.stop().await;
    Ok(())
}

/// SIGTERM and SIGINT, from when this is made.
struct Asked {
    terminate: Signal,
    interrupt: Signal,
}

impl Asked {
    fn listen() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
        Ok(Self { terminate, interrupt })
    }

    /// Waits until the syncer is asked to end.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The kubelet's endpoint, where the configuration has one. Its port is open from the start, so that who connects waits; if
/// another program has it, all else goes on without.
async fn kubelet(config: &Config, taken: &Taken) -> anyhow::Result<Option<Kubelet>> {
    match config.kubelet_tls() {
        Some(keys) => Ok(Some(Kubelet::bind(&config.kubelet, &keys, taken).await?)),
        None => Ok(None),
    }
}

/// Which nodes of the host are mirrored.
fn mirror(nodes: &Nodes) -> Option<Mirror> {
    let mirror = || Mirror { selector: nodes.selector.clone(), is_net: nodes.net_allocatable };
    nodes.are_mirrored().then(mirror)
}

/// Who signs the virtual API server's certificate, where there is a control plane of ours. Another authority comes with
/// another certificate of the syncer, which starts again then.
fn authority(config: &Config) -> Option<String> {
    config.control_plane.as_ref()?;
    std::fs::read_to_string(config.folders.shared.join("pki/ca.crt")).ok()
}

/// What is known before the first reconciliation: both servers' versions, requested until they answer.
async fn facts(
    config: &Config,
    host: &Api<Host>,
    r#virtual: &Api<Virtual>,
    unanswered: &Unanswered,
) -> Facts {
    let (host_version, virtual_version) =
        tokio::join!(version(host, "host", unanswered), version(r#virtual, "virtual", unanswered));
    Facts {
        cluster_domain: config.cluster.domain.clone(),
        workload_service_account: config.workload_service_account(),
        node_searches: resolver::node_searches(&config.cluster.namespace),
        hosts_file_image: hosts_file_image(&config.pods.hosts_file),
        host_version,
        virtual_version,
        policy: config.policy(),
        ..Facts::default()
    }
}

/// The image that completes hosts files; says so where one is wanted and none is known.
fn hosts_file_image(settings: &HostsFile) -> Option<String> {
    let image = settings.used_image();
    if settings.enabled && image.is_none() {
        tracing::warn!(
            "in pods with a subdomain `hostname -f` will show the short name; set `pods.hostsFile.image` to an image of \
             weft, or `pods.hostsFile.enabled` to false"
        );
    }
    image.map(str::to_owned)
}

async fn version<S>(
    api: &Api<S>,
    side: &'static str,
    unanswered: &Unanswered,
) -> weft_core::context::Version {
    /// Between two tries, in the end.
    const RETRY: Duration = Duration::from_secs(2);
    // A control plane that starts beside the syncer is ready within seconds.
    let mut pause = Duration::from_millis(200);
    loop {
        match api.version().await {
            Ok(version) => {
                unanswered.answered(side);
                return version;
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(side, error, "cannot reach the API server; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY);
            }
        }
    }
}

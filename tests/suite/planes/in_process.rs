//! The syncer's engine in this process, with rules that a test makes up.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use weft::api::Api;
use weft::config::Connection;
use weft::engine::{Ambient, Engine, Parts};
use weft::registry::Rules;
use weft_core::chain::Chain;
use weft_core::context::{Ctx, Facts, Version};
use weft_core::edit::Edit;
use weft_core::extension::{Answer, Extension, Failure, OnFailure, Request, Terms};
use weft_core::kinds;
use weft_core::mapper::Mapper;
use weft_core::names::Names;
use weft_core::object::{Kind, ResourceType};
use weft_core::verdict::{By, Problem, Verdict};
use weft_tests::world::World;

/// A user of the host who may do everything: what these tests are about is not what the syncer may do.
const USER: &str = "rules-syncer";
/// Few, so that rules that take long are soon too many.
const WORKERS: usize = 8;

/// The running engine; dropping it ends it.
pub(super) struct Running {
    builtin: Vec<Arc<dyn Mapper>>,
    rules: watch::Sender<Arc<Rules>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// What the engine's thread takes with it.
struct Place {
    host: PathBuf,
    r#virtual: PathBuf,
    cluster: String,
    namespace: String,
    rules: watch::Receiver<Arc<Rules>>,
}

impl Running {
    /// Starts it for the world's tenant, with the built-in rules, and waits until it is ready.
    pub(super) async fn start(world: &World) -> Result<Self> {
        let tenant = world.tenant();
        let builtin = kinds::builtin();
        let (rules, receiver) =
            watch::channel(Arc::new(Rules { mappers: builtin.clone(), ..Rules::default() }));
        let place = Place {
            host: tenant.host_plane().identity(USER, &["system:masters"])?,
            r#virtual: tenant.virtual_plane().kubeconfig("weft-syncer"),
            cluster: tenant.cluster().to_owned(),
            namespace: tenant.namespace().to_owned(),
            rules: receiver,
        };
        let (ready, is_ready) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        // On a thread of its own, as in the program.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(run(place, ready, ended))
        });
        let running = Self { builtin, rules, end: Some(end), thread: Some(thread) };
        is_ready.await.context("the engine ended before it was ready")?;
        Ok(running)
    }

    /// Applies these rules beside the built-in ones.
    pub(super) fn set(&self, more: &[Arc<dyn Mapper>], clean_up: BTreeSet<Kind>) {
        let mappers = self.builtin.iter().chain(more).cloned().collect();
        self.rules.send_replace(Arc::new(Rules { mappers, clean_up }));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // What it has to say was said when it did not become ready.
            let _ = thread.join();
        }
    }
}

async fn run(place: Place, ready: oneshot::Sender<()>, ended: oneshot::Receiver<()>) -> Result<()> {
    let Place { host, r#virtual, cluster, namespace, rules } = place;
    let connection = |kubeconfig| Connection { kubeconfig: Some(kubeconfig), context: None };
    let (host, r#virtual) = (
        Api::connect(&connection(host), "host").await?,
        Api::connect(&connection(r#virtual), "virtual").await?,
    );
    let version = Version { major: 1, minor: 36 };
    let facts = Facts {
        cluster_domain: "cluster.local".to_owned(),
        workload_service_account: format!("weft-workload-{cluster}"),
        host_version: version,
        virtual_version: version,
        ..Facts::default()
    };
    let names = Names::new(&cluster, &namespace)?;
    // No plugin has events.
    let (_, plugin_events) = mpsc::channel(1);
    let (_addons, addons) = watch::channel(Arc::default());
    let parts = Parts {
        host,
        r#virtual,
        names,
        rules,
        plugin_events,
        addons,
        facts,
        service: cluster,
        workers: WORKERS,
        kubelet: None,
        mirror: None,
        ambient: Ambient::default(),
    };
    let engine = Engine::start(parts);
    while engine.health().problem().is_some() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A test that has failed meanwhile does not listen.
    let _ = ready.send(());
    let _ = ended.await;
    engine.stop().await;
    Ok(())
}

/// A rule as a plugin would bring it.
struct Outside<R> {
    terms: Terms,
    rule: R,
}

impl<R> Extension for Outside<R>
where
    R: Fn(&Ctx<'_>, &Request<'_>) -> Answer + Send + Sync,
{
    fn name(&self) -> &'static str {
        "outside"
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn call(&self, ctx: &Ctx<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
        Ok((self.rule)(ctx, request))
    }

    fn refused(&self, _: &Failure) {}
}

/// `base` followed by a rule for the way to the host.
pub(super) fn followed_by<R>(base: Arc<dyn Mapper>, looks_up: &[ResourceType], rule: R) -> Arc<dyn Mapper>
where
    R: Fn(&Ctx<'_>, &Request<'_>) -> Answer + Send + Sync + 'static,
{
    let terms = Terms {
        to_host: true,
        to_virtual: false,
        host_writes: vec!["/spec".to_owned()],
        virtual_writes: vec!["/status".to_owned()],
        on_failure: OnFailure::Hold,
    };
    let mut chain = Chain::new(base);
    chain.followed_by(Arc::new(Outside { terms, rule }));
    chain.add_declared(&[], looks_up);
    Arc::new(chain)
}

/// An answer without events and conditions.
pub(super) fn answer(verdict: Verdict<Edit>) -> Answer {
    Answer { verdict, events: Vec::new(), conditions: None }
}

/// The answer that merges this into the draft.
pub(super) fn merged(patch: Value) -> Answer {
    answer(Ok(Edit::Merge(patch)))
}

/// A problem with this reason.
pub(super) fn problem(reason: &str) -> Problem {
    Problem::of(By::Plugin("outside".to_owned()), reason, format!("because of {reason}"))
}

//! When what happened to each pod, all by one clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::server::{Event, Server};

/// Ample for a busy machine that runs ten pods a second.
const PATIENCE: Duration = Duration::from_mins(1);
const PATIENCE_PER_POD: Duration = Duration::from_millis(100);

/// What has happened to one pod so far.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// When it was due; only an open loop has a plan.
    pub(crate) due: Option<Instant>,
    /// When its creation was sent.
    pub(crate) sent: Option<Instant>,
    /// When the server said that it was created.
    pub(crate) replied: Option<Instant>,
    /// Its UID in the virtual cluster.
    pub(crate) uid: String,
    /// What the watch of the virtual server showed.
    pub(crate) r#virtual: Sightings,
    /// What the watch of the host showed.
    pub(crate) host: Sightings,
}

/// What a watch has shown of a pod.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    pub(crate) name: String,
    pub(crate) added: Option<Instant>,
    pub(crate) node: Option<String>,
    pub(crate) ready: Option<Instant>,
    pub(crate) gone: Option<Instant>,
    /// The status when it was first ready.
    pub(crate) status: Option<Box<RawValue>>,
}

/// The lives of the pods of one round, by name.
#[derive(Debug)]
pub(crate) struct Ledger {
    names: Vec<Arc<str>>,
    lives: HashMap<Arc<str>, watch::Sender<Life>>,
}

/// Which servers a round watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// Only the virtual one: all that is needed to see that a syncer has done its work.
    Virtual,
    /// Both.
    Both,
}

/// A round that is being watched; dropping it ends the watches.
#[derive(Debug)]
pub(crate) struct Observation {
    pub(crate) ledger: Arc<Ledger>,
    tasks: JoinSet<Result<()>>,
}

impl Ledger {
    /// For pods `<round>-0` and so on.
    pub(crate) fn new(round: &str, pods: u32) -> Self {
        let names: Vec<Arc<str>> = (0..pods).map(|number| format!("{round}-{number:05}").into()).collect();
        let lives = names.iter().map(|name| (Arc::clone(name), watch::Sender::default())).collect();
        Self { names, lives }
    }

    /// The pods, in order of creation.
    pub(crate) fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Notes something of a pod; pods of others are ignored.
    pub(crate) fn note(&self, name: &str, change: impl FnOnce(&mut Life)) {
        if let Some(life) = self.lives.get(name) {
            life.send_modify(change);
        }
    }

    /// Waits until something is true of a pod and takes what it gives.
    pub(crate) async fn when<T>(&self, name: &str, mut look: impl FnMut(&Life) -> Option<T>) -> Result<T> {
        let mut life = self.lives.get(name).with_context(|| format!("{name} is in no ledger"))?.subscribe();
        let seen = life.wait_for(|life| look(life).is_some()).await?;
        look(&seen).context("what was seen is gone")
    }

    /// What `look` gives for each pod that it gives something for.
    pub(crate) fn each<T>(&self, look: impl Fn(&Life) -> Option<T>) -> Vec<T> {
        self.names.iter().filter_map(|name| look(&self.lives.get(name)?.borrow())).collect()
    }

    /// From the first pod sent to the last one ready in the virtual cluster.
    pub(crate) fn first_sent_to_last_ready(&self) -> Result<Duration> {
        let sent = self.each(|life| life.sent).into_iter().min().context("no pod was sent")?;
        let ready = self.each(|life| life.r#virtual.ready).into_iter().max().context("no pod was ready")?;
        Ok(ready - sent)
    }

    /// How far the pods are, for a failure.
    fn summary(&self) -> String {
        let count = |look: fn(&Life) -> Option<Instant>| self.each(look).len();
        format!(
            "of {} pods {} were created, {} were seen on the host, {} ready there, {} ready in the virtual \
             cluster, {} gone",
            self.names.len(),
            count(|life| life.replied),
            count(|life| life.host.added),
            count(|life| life.host.ready),
            count(|life| life.r#virtual.ready),
            count(|life| life.r#virtual.gone),
        )
    }
}

impl Sightings {
    /// Takes note of an event of the watch.
    fn see(&mut self, event: Event, now: Instant) {
        let pod = event.object;
        if event.r#type == "DELETED" {
            self.gone.get_or_insert(now);
        }
        if self.added.is_none() {
            self.added = Some(now);
            self.name.clone_from(&pod.metadata.name);
        }
        if self.node.is_none() && !pod.spec.node_name.is_empty() {
            self.node = Some(pod.spec.node_name.clone());
        }
        if self.ready.is_none() && pod.status().ready() {
            self.ready = Some(now);
            self.status = pod.status;
        }
    }
}

impl Observation {
    /// Watches what will happen to the pods of a ledger.
    pub(crate) async fn start(
        ledger: Ledger,
        host: &Server,
        r#virtual: &Server,
        watched: Watched,
    ) -> Result<Self> {
        let ledger = Arc::new(ledger);
        let mut tasks = JoinSet::new();
        let virtual_side = |life: &mut Life, event, now| life.r#virtual.see(event, now);
        tasks.spawn(follow(r#virtual.clone(), r#virtual.version().await?, Arc::clone(&ledger), virtual_side));
        if watched == Watched::Both {
            let host_side = |life: &mut Life, event, now| life.host.see(event, now);
            tasks.spawn(follow(host.clone(), host.version().await?, Arc::clone(&ledger), host_side));
        }
        Ok(Self { ledger, tasks })
    }

    /// Waits until something is true of every pod.
    pub(crate) async fn until(&mut self, sentence: &str, look: impl Fn(&Life) -> bool) -> Result<()> {
        let patience = PATIENCE + PATIENCE_PER_POD * u32::try_from(self.ledger.names.len())?;
        let ledger = Arc::clone(&self.ledger);
        let all = async {
            for name in ledger.names() {
                ledger.when(name, |life| look(life).then_some(())).await?;
            }
            Ok(())
        };
        tokio::select! {
            outcome = tokio::time::timeout(patience, all) => match outcome {
                Ok(outcome) => outcome,
                Err(_) => bail!("not true within {patience:?}: {sentence}; {}", ledger.summary()),
            },
            Some(ended) = self.tasks.join_next() => match ended? {
                Ok(()) => bail!("a watch of the measuring client ended"),
                Err(error) => Err(error),
            },
        }
    }
}

async fn follow(
    server: Server,
    version: String,
    ledger: Arc<Ledger>,
    side: fn(&mut Life, Event, Instant),
) -> Result<()> {
    let sink = move |event: Event| {
        let now = Instant::now();
        let Some(name) = event.object.tag().map(str::to_owned) else { return };
        ledger.note(&name, |life| side(life, event, now));
    };
    server.watch(version, sink).await
}

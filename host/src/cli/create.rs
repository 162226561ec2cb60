//! `weft create`: installs a virtual cluster with Helm, and shows how far it is.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use serde_json::Value;
use weft_core::causes::chain;

use crate::cli::connect;
use crate::cli::host::{self, HostFlags, Interrupts};
use crate::cli::output;
use crate::cli::steps::Steps;
use crate::cluster::chart::{self, Chart};
use crate::cluster::claims;
use crate::cluster::helm::{Helm, NameInUse};
use crate::cluster::host::Host;
use crate::cluster::preflight::{self, Findings, admission};
use crate::cluster::progress::{Seen, Step};
use crate::cluster::removal::{self, Removal};
use crate::cluster::rendered;
use crate::cluster::values::Values;
use crate::cluster::{Place, cause};
use crate::config::Config;

/// Between two looks at the pod.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long it may take to remove what was begun.
const UNDO: Duration = Duration::from_mins(2);

#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Args)]
pub(super) struct Create {
    /// Name of the virtual cluster: at most 24 lower-case letters, digits and `-`.
    name: String,
    /// Host namespace; created if it is missing [default: weft-NAME].
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    host: HostFlags,
    /// File with values for the chart, `-` for standard input; later ones override earlier ones.
    #[arg(short = 'f', long, value_name = "FILE")]
    values: Vec<PathBuf>,
    /// Value for the chart, such as `dns.replicas=2`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Apply the values, and the version of this program, to a virtual cluster that is there already.
    #[arg(long)]
    upgrade: bool,
    /// Connect to it when it is ready, as `weft connect` does.
    #[arg(long)]
    connect: bool,
    /// Print the manifests and install nothing, for `kubectl apply -f -`.
    ///
    /// Without -n, the Namespace is the first of them. Every other object names its namespace.
    #[arg(long, conflicts_with_all = ["connect", "upgrade"])]
    print: bool,
    /// How long to wait until it is ready.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = super::duration::parse)]
    timeout: Duration,
    /// Keep what was installed if it does not become ready, or if you press Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Folder of another chart than the one in this program.
    #[arg(long, value_name = "FOLDER")]
    chart: Option<PathBuf>,
}

pub(super) fn create(arguments: &Create) -> Result<ExitCode> {
    let namespace = arguments.namespace.clone();
    let namespace = namespace.unwrap_or_else(|| Place::default_namespace(&arguments.name));
    let place = Place { namespace, name: arguments.name.clone() };
    preflight::check_name(&place)?;
    let values = Values::new(arguments.values.clone(), arguments.set.clone())?;
    let chart = Chart::open(arguments.chart.as_deref())?;
    if arguments.chart.is_none() {
        values.check()?;
    }
    host::run(async {
        if arguments.print {
            return print(arguments, &place, &chart, &values).await;
        }
        let host = arguments.host.open().await?;
        let creation = Creation { arguments, host, helm: None, place, chart, values };
        Box::pin(creation.run()).await
    })
}

async fn print(arguments: &Create, place: &Place, chart: &Chart, values: &Values) -> Result<ExitCode> {
    let manifests = Helm::find(None).await?.template(place, chart.folder(), values).await?;
    configuration(arguments, &chart::objects(&manifests)?)?;
    if arguments.namespace.is_none() {
        output::print(&format!("---\n{}", serde_saphyr::to_string(&preflight::namespace(place))?));
    }
    output::print(&chart::with_namespace(&manifests, &place.namespace)?);
    Ok(ExitCode::SUCCESS)
}

/// One installation.
struct Creation<'a> {
    arguments: &'a Create,
    host: Host,
    helm: Option<Helm>,
    place: Place,
    chart: Chart,
    values: Values,
}

/// What an installation that fails has to undo.
#[derive(Debug)]
enum Begun {
    /// Nothing: an upgrade, or only looks so far.
    Nothing,
    /// The namespace.
    Namespace,
    /// The release, beside volume claims with these UIDs, which were kept from an earlier one.
    Release(BTreeSet<String>),
}

impl Creation<'_> {
    async fn run(mut self) -> Result<ExitCode> {
        let started = Instant::now();
        let mut interrupts = Interrupts::listen()?;
        let mut steps = Steps::start();
        let helm = Helm::find(Some(&self.host)).await?;
        let mut begun = Begun::Nothing;
        let done = Box::pin(self.install(&helm, &mut steps, &mut interrupts, &mut begun, started)).await;
        steps.clear();
        self.helm = Some(helm);
        if let Err(error) = done {
            return Err(self.undo(begun, error).await);
        }
        let (name, seconds) = (&self.place.name, started.elapsed().as_secs_f64());
        output::note(&format!("virtual cluster {} is ready after {seconds:.1} s", self.place));
        if self.arguments.connect {
            return connect::to(&self.host, &self.place).await;
        }
        output::note(&format!("connect to it with `weft connect {name} -n {}`", self.place.namespace));
        Ok(ExitCode::SUCCESS)
    }

    async fn install(
        &self,
        helm: &Helm,
        steps: &mut Steps,
        interrupts: &mut Interrupts,
        begun: &mut Begun,
        started: Instant,
    ) -> Result<()> {
        steps.waiting("checks", None);
        let objects = self.objects(helm).await?;
        let config = configuration(self.arguments, &objects)?;
        let findings = tokio::select! {
            findings = preflight::check(&self.host, &self.place, &objects, helm.release(&self.place)) => findings?,
            _ = interrupts.next() => bail!("interrupted"),
        };
        let is_fresh = self.compare(&findings)?;
        if findings.namespace_is_missing {
            preflight::create_namespace(&self.host, &self.place).await?;
            *begun = Begun::Namespace;
        }
        let refused = admission::refused(&self.host, &self.place, &objects, !is_fresh).await?;
        preflight::refuse(&self.place, &refused)?;
        steps.done(&format!("checks (Kubernetes {}, Helm {})", findings.version, helm.version()));
        if is_fresh {
            self.create_release(helm, steps, begun).await?;
        } else {
            Box::pin(self.refuse_loss(helm, &objects, config.as_ref())).await?;
            steps.waiting("Helm release", None);
            helm.upgrade(&self.place, self.chart.folder(), &self.values).await?;
        }
        steps.done("Helm release");
        let deadline = started + self.arguments.timeout;
        tokio::select! {
            ready = self.wait(steps, rendered::has_dns(&objects), deadline) => ready,
            _ = interrupts.next() => bail!("interrupted"),
        }
    }

    /// Fails if an upgrade would take the storage away, with all that is in it, or not find it.
    async fn refuse_loss(&self, helm: &Helm, objects: &[Value], config: Option<&Config>) -> Result<()> {
        let before = claims::of(&self.host, &self.place).await?;
        let Some(claim) = before.first() else { return Ok(()) };
        Box::pin(self.refuse_other_store(helm, config)).await?;
        if objects.iter().any(claims::is_claim) {
            return Ok(());
        }
        bail!(
            "{} has its storage in the volume claim {}, which `persistence.enabled=false` would delete; create another virtual cluster without persistence instead",
            self.place,
            claim.name_any()
        )
    }

    /// Fails if a store that works would be replaced by another one. One that does not work may be what this mends.
    async fn refuse_other_store(&self, helm: &Helm, config: Option<&Config>) -> Result<()> {
        let seen = Seen::read(&self.host, &self.place).await;
        if !seen.is_ready("store") {
            return Ok(());
        }
        // What an older version has written may not be understood any more.
        let installed = chart::objects(&helm.manifest(&self.place).await?).ok();
        let installed = installed.and_then(|objects| rendered::configuration(&objects).ok().flatten());
        let Some([from, to]) = rendered::storage_change(installed.as_ref(), config) else { return Ok(()) };
        let (from, to) = (from.name(), to.name());
        bail!(
            "{} keeps its objects in {from}; with `controlPlane.storage.type={to}` it would not find them: leave the type as it is, or create another virtual cluster",
            self.place
        )
    }

    /// What the chart renders: for an upgrade, with the values of before.
    async fn objects(&self, helm: &Helm) -> Result<Vec<Value>> {
        // Without a release, the checks say so.
        let is_upgrade = self.arguments.upgrade && helm.release(&self.place).await?.is_some();
        let below = if is_upgrade { helm.values(&self.place).await? } else { String::new() };
        let values = self.values.over(&below)?;
        let manifests = helm.template(&self.place, self.chart.folder(), &values).await?;
        chart::objects(&manifests).context("the chart renders no YAML")
    }

    async fn create_release(&self, helm: &Helm, steps: &mut Steps, begun: &mut Begun) -> Result<()> {
        let before = claims::of(&self.host, &self.place).await?;
        let kept = self.keeping(&before);
        let values = kept.as_ref().unwrap_or(&self.values);
        steps.waiting("Helm release", None);
        let created_namespace = std::mem::replace(begun, Begun::Release(claims::uids(&before)));
        let installed = helm.install(&self.place, self.chart.folder(), values).await;
        if installed.as_ref().is_err_and(anyhow::Error::is::<NameInUse>) {
            *begun = created_namespace;
        }
        installed
    }

    /// Other values, where an earlier virtual cluster of the name left its storage: that goes on being kept, whatever the
    /// values say, for Helm owns it now, and would delete it when a creation that fails is undone.
    fn keeping(&self, before: &[PersistentVolumeClaim]) -> Option<Values> {
        let claim = before.first()?;
        output::note(&format!(
            "the volume claim {} of an earlier virtual cluster {} is used again, and goes on being kept",
            claim.name_any(),
            self.place.name
        ));
        Some(self.values.and("persistence.keep=true"))
    }

    /// Whether this is a new virtual cluster; fails if it may not replace what is there.
    fn compare(&self, findings: &Findings) -> Result<bool> {
        let (name, place) = (&self.place.name, &self.place);
        let Some(release) = &findings.release else {
            if self.arguments.upgrade {
                bail!("there is no virtual cluster {place} to upgrade; leave out `--upgrade` to create it");
            }
            return Ok(true);
        };
        let Some(there) = release.version() else {
            bail!("{place} is a Helm release of the chart {} already; choose another name", release.chart());
        };
        if release.is_half_made() {
            bail!("{place} is half made (Helm says {}); `weft delete {name}` removes it", release.status);
        }
        let version = self.chart.version();
        if !self.arguments.upgrade {
            bail!(
                "there is a virtual cluster {place} already, of version {there}; connect to it with `weft connect {name}`, or apply these values and version {version} with `--upgrade`"
            );
        }
        if numbers(there) > numbers(version) {
            bail!(
                "{place} has version {there}, and this program {version}, which is older; use weft {there}"
            );
        }
        Ok(false)
    }

    async fn wait(&self, steps: &mut Steps, with_dns: bool, deadline: Instant) -> Result<()> {
        let mut remaining = Step::all(with_dns).iter().copied().peekable();
        loop {
            let seen = Seen::read(&self.host, &self.place).await;
            while let Some(step) = remaining.next_if(|step| seen.is_current() && seen.has(*step)) {
                steps.done(step.name());
            }
            let Some(step) = remaining.peek() else { return Ok(()) };
            let why = seen.waiting_for(*step);
            steps.waiting(step.name(), why.as_deref());
            if Instant::now() > deadline {
                let cause = cause::of(&self.host, &self.place, &seen, *step).await;
                bail!(
                    "not ready within {} s, waiting for {}: {}; if it only needs more time, give a longer `--timeout`",
                    self.arguments.timeout.as_secs(),
                    step.name(),
                    cause.as_deref().unwrap_or("nothing says why")
                );
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Removes what a failed installation began, unless it is to be kept; the error with what is left to do.
    async fn undo(&self, begun: Begun, error: anyhow::Error) -> anyhow::Error {
        let name = &self.place.name;
        let (Some(helm), false) = (&self.helm, matches!(begun, Begun::Nothing)) else { return error };
        if self.arguments.keep && matches!(begun, Begun::Release(_)) {
            return error.context(format!(
                "kept the unfinished virtual cluster; `weft status {name}` shows it, `weft delete {name}` removes it"
            ));
        }
        output::note("removing what was begun; `--keep` keeps it");
        if let Err(failed) = self.remove(helm, begun).await {
            output::note(&format!(
                "failed to remove it: {}; try `weft delete {name}`",
                chain(failed.as_ref())
            ));
        }
        error
    }

    async fn remove(&self, helm: &Helm, begun: Begun) -> Result<()> {
        if let Begun::Release(keep) = begun {
            let removal = Removal { place: self.place.clone(), keep, timeout: UNDO };
            removal.run(&self.host, helm, |_| {}).await?;
        }
        removal::delete_namespace(&self.host, &self.place, UNDO).await.map(drop)
    }
}

/// The configuration that the chart renders. Of another chart it is what we understand of it.
fn configuration(arguments: &Create, objects: &[Value]) -> Result<Option<Config>> {
    match rendered::configuration(objects) {
        Err(_) if arguments.chart.is_some() => Ok(None),
        rendered => rendered.context("the values make a configuration that cannot be used"),
    }
}

/// A version as numbers, for comparison.
fn numbers(version: &str) -> Vec<u64> {
    version.split(['.', '-', '+']).take(3).map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(numbers("0.10.0") > numbers("0.9.3") && numbers("1.0.0-rc.1") == numbers("1.0.0"));
    }
}

//! `weft delete`: removes a virtual cluster, and waits until nothing of it is left on the host.

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::cli::host::{self, HostFlags, Interrupts};
use crate::cli::output;
use crate::cli::steps::Steps;
use crate::cluster::forwarder::Forwarder;
use crate::cluster::helm::Helm;
use crate::cluster::host::Host;
use crate::cluster::removal::{self, Removal};
use crate::cluster::{Place, find};
use crate::cluster::{chart, claims};

#[derive(Debug, Args)]
pub(super) struct Delete {
    /// Name of the virtual cluster.
    name: String,
    /// Its host namespace.
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    host: HostFlags,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// How long to wait until everything is gone.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = super::duration::parse)]
    timeout: Duration,
}

pub(super) fn delete(arguments: &Delete) -> Result<ExitCode> {
    host::run(async {
        let host = arguments.host.open().await?;
        let helm = Helm::find(Some(&host)).await?;
        let set = find::optional(&host, &arguments.name, arguments.namespace.as_deref()).await?;
        let place = match &set {
            Some(set) => find::place(set),
            None => arguments.half_made(&host, &helm).await?,
        };
        let keep = kept(&host, &helm, &place).await?;
        if !arguments.yes && !confirmed(&place, !keep.is_empty())? {
            output::note("nothing was deleted");
            return Ok(ExitCode::FAILURE);
        }
        let mut interrupts = Interrupts::listen()?;
        tokio::select! {
            done = arguments.run(&host, &helm, &place, keep) => done?,
            _ = interrupts.next() => bail!("interrupted; `weft delete {}` goes on", place.name),
        }
        Ok(ExitCode::SUCCESS)
    })
}

impl Delete {
    /// Where it is if it has no StatefulSet: by its release, or by what is left of it.
    async fn half_made(&self, host: &Host, helm: &Helm) -> Result<Place> {
        let default = Place::default_namespace(&self.name);
        let namespaces = match &self.namespace {
            Some(namespace) => vec![namespace],
            None => vec![&default, &host.namespace],
        };
        for namespace in namespaces {
            let place = Place { namespace: namespace.clone(), name: self.name.clone() };
            let release = helm.release(&place).await?;
            if release.is_some_and(|release| release.version().is_some())
                || removal::is_there(host, &place).await?
            {
                return Ok(place);
            }
        }
        bail!(find::not_found(host, &self.name, self.namespace.as_deref()))
    }

    async fn run(&self, host: &Host, helm: &Helm, place: &Place, keep: BTreeSet<String>) -> Result<()> {
        let mut steps = Steps::start();
        disconnect(host, place)?;
        let keeps = !keep.is_empty();
        let removal = Removal { place: place.clone(), keep, timeout: self.timeout };
        steps.waiting("objects deleted", None);
        let removed = removal.run(host, helm, |left| {
            steps.waiting("objects deleted", Some(&removal::list(left)));
        });
        removed.await.with_context(|| format!("failed to delete {place}"))?;
        steps.done("objects deleted");
        if removal::delete_namespace(host, place, self.timeout).await? {
            steps.done("namespace deleted");
        }
        output::note(&format!(
            "nothing is left of {place}{}",
            if keeps { " but the volume claim of its storage" } else { "" }
        ));
        Ok(())
    }
}

/// UIDs of the claims that stay: Helm goes by the manifests of the release, and not by what the claim says.
async fn kept(host: &Host, helm: &Helm, place: &Place) -> Result<BTreeSet<String>> {
    let keep = removal::kept_claims(host, place).await?;
    if keep.is_empty() || helm.release(place).await?.is_none() {
        return Ok(keep);
    }
    let manifests = chart::objects(&helm.manifest(place).await?)?;
    Ok(if claims::are_kept_by(&manifests) { keep } else { BTreeSet::new() })
}

/// Removes its context and ends its forwarder.
fn disconnect(host: &Host, place: &Place) -> Result<()> {
    let links = host.files.links()?.into_iter();
    for (name, _) in links.filter(|(_, link)| link.place() == *place && link.host_context == host.context) {
        host.files.disconnect(&name)?;
    }
    Forwarder::of(host, place)?.stop()?;
    Ok(())
}

/// Asks on a terminal.
fn confirmed(place: &Place, keeps_claim: bool) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("deleting {place} has to be confirmed; give `--yes`");
    }
    let mut screen = anstream::stderr();
    write!(screen, "{}", question(place, keeps_claim))?;
    screen.flush()?;
    is_confirmed(place, std::io::stdin().lock())
}

fn question(place: &Place, keeps_claim: bool) -> String {
    let volumes = if keeps_claim { "" } else { " and its volumes" };
    format!("Delete virtual cluster {place}, everything in it{volumes}? Type its name to confirm: ")
}

fn is_confirmed(place: &Place, mut input: impl BufRead) -> Result<bool> {
    let mut answer = String::new();
    input.read_line(&mut answer).context("failed to read the answer")?;
    Ok(answer.trim() == place.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_confirms_and_volumes_are_mentioned_if_they_go() {
        let place = Place { namespace: "team-a".to_owned(), name: "one".to_owned() };
        assert!(is_confirmed(&place, &b"one\n"[..]).unwrap());
        for answer in ["", "y\n", "two\n"] {
            assert!(!is_confirmed(&place, answer.as_bytes()).unwrap(), "{answer}");
        }
        assert!(question(&place, false).contains("volumes") && !question(&place, true).contains("volumes"));
    }
}

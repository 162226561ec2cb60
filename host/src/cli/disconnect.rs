//! `weft disconnect`: goes back to the context from before, and ends the port-forwarder.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use crate::cli::host::HostFlags;
use crate::cli::output;
use crate::cluster::Place;
use crate::cluster::forwarder::Forwarder;
use crate::cluster::kubeconfig::Files;

#[derive(Debug, Args)]
pub(super) struct Disconnect {
    /// Name of the virtual cluster [default: that of the current context].
    name: Option<String>,
    /// Its host namespace [default: any].
    #[arg(short, long, requires = "name")]
    namespace: Option<String>,
    /// Disconnect from all virtual clusters.
    #[arg(long, conflicts_with_all = ["name", "namespace"])]
    all: bool,
    #[command(flatten)]
    host: HostFlags,
}

pub(super) fn disconnect(arguments: &Disconnect) -> Result<ExitCode> {
    let files = arguments.host.files()?;
    let wanted = arguments.wanted(&files)?;
    let is_on_host =
        |host: Option<&String>| arguments.host.context.as_ref().is_none_or(|wanted| Some(wanted) == host);
    let mut found = 0_usize;
    let links = files.links()?.into_iter();
    let links =
        links.filter(|(_, link)| wanted.fits(&link.place()) && is_on_host(link.host_context.as_ref()));
    for (name, link) in links {
        if let Some(done) = files.disconnect(&name)? {
            found += 1;
            let back =
                done.current.map(|name| format!("; the context is {name:?} again")).unwrap_or_default();
            output::note(&format!("disconnected from {}{back}", link.place()));
        }
    }
    let forwarders = Forwarder::all()?.into_iter();
    for forwarder in forwarders.filter(|own| wanted.fits(own.place()) && is_on_host(own.host_context())) {
        forwarder.stop()?;
        found += 1;
    }
    match (&wanted, found) {
        (Wanted::All, _) | (_, 1..) => Ok(ExitCode::SUCCESS),
        (Wanted::Named { name, .. }, 0) => {
            bail!("there is no connection to a virtual cluster {name:?}; `weft list` shows them")
        }
    }
}

/// Which virtual clusters to disconnect from.
enum Wanted {
    All,
    Named { name: String, namespace: Option<String> },
}

impl Wanted {
    fn fits(&self, place: &Place) -> bool {
        match self {
            Self::All => true,
            Self::Named { name, namespace } => {
                *name == place.name
                    && namespace.as_ref().is_none_or(|namespace| *namespace == place.namespace)
            }
        }
    }
}

impl Disconnect {
    fn wanted(&self, files: &Files) -> Result<Wanted> {
        if self.all {
            return Ok(Wanted::All);
        }
        if let Some(name) = self.name.clone() {
            return Ok(Wanted::Named { name, namespace: self.namespace.clone() });
        }
        let current = files.current()?;
        let mut links = files.links()?.into_iter();
        match links.find(|(name, _)| Some(name) == current.as_ref()) {
            Some((_, link)) => Ok(Wanted::Named { name: link.cluster, namespace: Some(link.namespace) }),
            None => bail!("the current context is no virtual cluster; name one, or give `--all`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_fits_in_every_namespace() {
        let place = Place { namespace: "team-a".to_owned(), name: "one".to_owned() };
        let named = |name: &str, namespace: Option<&str>| Wanted::Named {
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
        };
        assert!(Wanted::All.fits(&place) && named("one", None).fits(&place));
        assert!(named("one", Some("team-a")).fits(&place));
        assert!(!named("one", Some("team-b")).fits(&place) && !named("two", None).fits(&place));
    }
}

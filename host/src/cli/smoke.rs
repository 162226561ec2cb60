//! `weft smoke`: one pod through a virtual cluster; the chart's test runs it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::cli::{host, output};
use crate::cluster::smoke::smoke;

#[derive(Debug, Args)]
pub(super) struct Smoke {
    /// Kubeconfig of the virtual cluster.
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Address of its API server, instead of the kubeconfig's.
    #[arg(long)]
    address: Option<String>,
    /// Image of weft, for the pod.
    #[arg(long)]
    image: String,
    /// How long the pod may take.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = super::duration::parse)]
    timeout: Duration,
}

impl Smoke {
    pub(super) fn run(&self) -> Result<ExitCode> {
        host::run(smoke(&self.kubeconfig, self.address.as_deref(), &self.image, self.timeout))?;
        output::print("a pod of the virtual cluster has run on the host\n");
        Ok(ExitCode::SUCCESS)
    }
}

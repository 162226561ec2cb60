//! The host cluster that a command works on: which kubeconfig, which context, and a client for it.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::cluster::context::{self, HostContext};
use crate::cluster::kubeconfig::Files;

/// A server that is not there is reported by then, not after half a minute.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests here are small.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// Access to the host cluster.
pub struct Host {
    /// A client with the person's permissions, for requests that are answered at once.
    pub client: Client,
    /// The same for connections that may be quiet for hours, such as forwarded ports.
    pub streams: Client,
    /// The context; `None` in a pod, where there is no kubeconfig.
    pub context: Option<String>,
    /// The namespace of the context.
    pub namespace: String,
    /// The kubeconfig files.
    pub files: Files,
    /// Address of the API server.
    server: String,
}

impl Host {
    /// Prepares access; nothing is sent yet. Without `context` it is the current one, or, if that is a virtual
    /// cluster of ours, the one of its host.
    pub async fn open(files: Files, context: Option<&str>) -> Result<Self> {
        let kubeconfig = read(&files)?;
        let wanted = match (context, &kubeconfig) {
            (Some(context), _) => HostContext::Named(context.to_owned()),
            (None, Some(kubeconfig)) => context::of_host(kubeconfig),
            (None, None) => HostContext::Pod,
        };
        let (mut config, context) = match (wanted, kubeconfig) {
            (HostContext::Named(context), Some(kubeconfig)) => {
                (from_kubeconfig(kubeconfig, &context, &files).await?, Some(context))
            }
            (HostContext::None, _) => bail!(
                "{files} has no current context; choose one with `kubectl config use-context NAME` or give `--context`"
            ),
            (HostContext::Pod, _) | (HostContext::Named(_), None) => (in_cluster(&files)?, None),
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.default_retry = false;
        let (namespace, server) = (config.default_namespace.clone(), config.cluster_url.to_string());
        let client = |read_timeout| {
            let mut config = config.clone();
            config.read_timeout = read_timeout;
            Client::try_from(config).context("failed to prepare the connection to the host cluster")
        };
        Ok(Self {
            client: client(Some(READ_TIMEOUT))?,
            streams: client(None)?,
            context,
            namespace,
            files,
            server,
        })
    }

    /// A request that has failed: says what was to be done, or that there is no answer from the host at all.
    pub fn failed_to(&self, action: &str, error: kube::Error) -> anyhow::Error {
        let text = match &error {
            kube::Error::Service(_) => {
                format!(
                    "failed to reach {} at {}; is it running, and this its address?",
                    self.describe(),
                    self.server
                )
            }
            _ => format!("failed to {action}"),
        };
        anyhow::Error::from(error).context(text)
    }

    /// The host cluster in a sentence.
    pub fn describe(&self) -> String {
        match &self.context {
            Some(context) => format!("the cluster of the context {context:?}"),
            None => "the cluster of this pod".to_owned(),
        }
    }
}

/// The merged kubeconfig, if a file is there.
fn read(files: &Files) -> Result<Option<Kubeconfig>> {
    let mut merged: Option<Kubeconfig> = None;
    for file in files.existing() {
        let next = Kubeconfig::read_from(file)
            .with_context(|| format!("failed to read the kubeconfig {}", file.display()))?;
        merged = Some(match merged {
            None => next,
            Some(before) => before.merge(next).context("failed to merge the files of KUBECONFIG")?,
        });
    }
    Ok(merged)
}

async fn from_kubeconfig(kubeconfig: Kubeconfig, name: &str, files: &Files) -> Result<Config> {
    if !kubeconfig.contexts.iter().any(|entry| entry.name == name) {
        bail!("{files} has no context {name:?}; `kubectl config get-contexts` lists them");
    }
    let options = KubeConfigOptions { context: Some(name.to_owned()), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .with_context(|| format!("failed to read the context {name:?} of {files}"))
}

fn in_cluster(files: &Files) -> Result<Config> {
    // What a pod would have says nothing to somebody at a desk.
    Config::incluster().map_err(|_| {
        anyhow!("there is no kubeconfig at {files}, and this is no pod; set KUBECONFIG or give `--kubeconfig FILE`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
contexts: [{name: kind, context: {cluster: kind, namespace: team-a}}]
clusters: [{name: kind, cluster: {server: 'https://127.0.0.1:1'}}]
";

    async fn open(more: &str, context: Option<&str>) -> Result<Host> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        std::fs::write(&file, format!("{CONFIG}{more}")).unwrap();
        Host::open(Files::find(Some(file)).unwrap(), context).await
    }

    #[tokio::test]
    async fn the_named_context_or_the_current_one_is_used() {
        for host in [open("current-context: kind", None).await, open("", Some("kind")).await] {
            let host = host.unwrap();
            assert_eq!((host.context.as_deref(), host.namespace.as_str()), (Some("kind"), "team-a"));
        }
    }

    #[tokio::test]
    async fn a_context_that_is_not_there_is_named() {
        let error = |host: Result<Host>| host.err().unwrap().to_string();
        assert!(error(open("", None).await).contains("no current context"));
        assert!(error(open("", Some("minikube")).await).contains("no context \"minikube\""));
    }
}

//! The two clusters on which a case is run: a plain one, which is the judge, and the virtual one.

use std::fs;
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use weft_tests::installed::Person;

use super::cluster::Cluster;

/// One of them, as kubectl reaches it.
pub(super) struct Side<'a> {
    person: &'a Person,
    pub(super) name: &'static str,
    program: &'static str,
    prefix: Vec<String>,
}

/// A command that goes on, and its output.
pub(super) type Started = (Child, Lines<BufReader<ChildStdout>>);

/// The host, in the namespace of a virtual cluster, and that cluster, in `default`.
pub(super) fn sides<'a>(person: &'a Person, cluster: &Cluster<'_>) -> [Side<'a>; 2] {
    let (name, namespace) = (cluster.name(), cluster.namespace());
    let connect = ["connect", name, "-n", namespace, "--", "kubectl", "-n", "default"];
    let owned = |prefix: &[&str]| prefix.iter().map(|&argument| argument.to_owned()).collect();
    [
        Side { person, name: "host", program: "kubectl", prefix: owned(&["-n", namespace]) },
        Side { person, name: "virtual", program: "weft", prefix: owned(&connect) },
    ]
}

impl Side<'_> {
    /// Runs kubectl, and fails if it does.
    pub(super) async fn run(&self, arguments: &[&str], input: &str) -> Result<String> {
        self.person.run(self.program, &self.arguments(arguments), input).await
    }

    /// Runs kubectl, whatever comes of it.
    pub(super) async fn attempt(&self, arguments: &[&str], input: &str) -> Result<Output> {
        self.person.attempt(self.program, &self.arguments(arguments), input).await
    }

    /// The pods of the namespace, for what would take too many processes.
    pub(super) async fn pods(&self) -> Result<Api<Pod>> {
        let kubeconfig = match self.connect() {
            Some(connect) => self.person.weft(&[&connect[..], &["--print"]].concat()).await?,
            None => fs::read_to_string(self.person.kubeconfig())?,
        };
        let (kubeconfig, options) = (Kubeconfig::from_yaml(&kubeconfig)?, KubeConfigOptions::default());
        let client = Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &options).await?)?;
        Ok(Api::namespaced(client, self.prefix.last().context("it has a namespace")?))
    }

    /// The arguments of `weft` that lead into a virtual cluster.
    fn connect(&self) -> Option<Vec<&str>> {
        let (connect, _) = self.prefix.split_at_checked(4).filter(|_| self.program == "weft")?;
        Some(connect.iter().map(String::as_str).collect())
    }

    /// Starts what goes on until it is killed, and gives its lines.
    pub(super) fn start(&self, arguments: &[&str]) -> Result<Started> {
        start(self.person.command(self.program, &self.arguments(arguments)), Stdio::null())
    }

    /// The same in a terminal of its own, where commands of the shell come first.
    pub(super) fn start_in_terminal(&self, before: &str, arguments: &[&str]) -> Result<Started> {
        let arguments: Vec<String> = self.arguments(arguments).into_iter().map(quoted).collect();
        let script = format!("{before} {} {}", self.program, arguments.join(" "));
        // An input that has ended would close the terminal.
        start(self.person.command("/usr/bin/script", &["-qec", &script, "/dev/null"]), Stdio::piped())
    }

    fn arguments<'b>(&'b self, arguments: &[&'b str]) -> Vec<&'b str> {
        self.prefix.iter().map(String::as_str).chain(arguments.iter().copied()).collect()
    }
}

fn start(mut command: Command, input: Stdio) -> Result<Started> {
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let lines = BufReader::new(child.stdout.take().context("it has an output")?).lines();
    Ok((child, lines))
}

/// For a shell, as it is.
fn quoted(argument: &str) -> String {
    format!("'{}'", argument.replace('\'', r"'\''"))
}

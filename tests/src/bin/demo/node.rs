//! `cargo demo -- --node`: a virtual cluster with real containers, installed and used by the commands a person types.
#![expect(clippy::print_stdout, reason = "printing is this module's work")]

use std::path::Path;

use anyhow::{Result, ensure};
use weft_tests::binaries::modules::Program;
use weft_tests::installed::{Person, node_options};
use weft_tests::node::Node;
use weft_tests::progress::Progress;

const CLUSTER: &str = "my-vcluster";
const NAMESPACE: &str = "team-a";

/// Starts a node, installs a virtual cluster on it, and runs the example in it.
pub(crate) async fn start(example: &Path) -> Result<Node> {
    let options = node_options().await?;
    let progress = Progress::start("starting a real node: kubelet, containerd, kube-proxy");
    let node = Node::start(options).await?;
    progress.done("");
    let person = Person::new(&node, "you", Program::Helm4).await?;
    let example = example.display().to_string();
    let connect = ["connect", CLUSTER, "--namespace", NAMESPACE, "--", "kubectl"];
    let inside = |arguments: &[&'static str]| [&connect[..], arguments].concat();
    run(&person, "weft", &["create", CLUSTER, "--namespace", NAMESPACE]).await?;
    run(&person, "weft", &[&connect[..], &["apply", "-f", &example]].concat()).await?;
    let rollout = ["rollout", "status", "deployment", "--timeout=2m", "--namespace=nginx"];
    run(&person, "weft", &inside(&rollout)).await?;
    run(&person, "weft", &inside(&["get", "pods", "--all-namespaces", "-o", "wide"])).await?;
    run(&person, "kubectl", &["get", "pods", "--namespace", NAMESPACE, "-o", "wide"]).await?;
    println!(
        "
Look around in another terminal; the current context is the host's:

    export KUBECONFIG={} PATH={}:$PATH
    weft connect {CLUSTER}
    kubectl get pods --all-namespaces
    weft disconnect

Logs of all parts are in {}
Ctrl-C ends it all and leaves nothing behind.",
        person.kubeconfig().display(),
        person.path().display(),
        node.dir().display(),
    );
    Ok(node)
}

/// Shows the command and lets it speak for itself.
async fn run(person: &Person, program: &str, arguments: &[&str]) -> Result<()> {
    println!("\n$ {program} {}", arguments.join(" "));
    let status = person.command(program, arguments).kill_on_drop(true).status().await?;
    ensure!(status.success(), "{program} {} ended with {status}", arguments.join(" "));
    Ok(())
}

//! Prints what the demo has to show.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is this module's work")]

use std::path::Path;

use anyhow::Result;
use k8s_openapi::api::rbac::v1::PolicyRule;
use weft_tests::world::World;

use crate::sides::{Row, Sides};

const POD_HEAD: [&str; 7] = ["VIRTUAL POD", "HOST POD", "NODE", "IP", "PHASE", "READY", "AGE"];
const SERVICE_HEAD: [&str; 5] = ["VIRTUAL SERVICE", "HOST SERVICE", "CLUSTER IP", "PORTS", "AGE"];
const CLAIM_HEAD: [&str; 5] = ["VIRTUAL CLAIM", "HOST CLAIM", "PHASE", "SIZE", "AGE"];

/// Both sides next to each other, then what they disagree about.
pub(crate) fn show(world: &World, sides: &Sides) {
    let tenant = world.tenant();
    println!("\nvirtual cluster {} in host namespace {}\n", tenant.cluster(), tenant.namespace());
    table(&POD_HEAD, &sides.pods);
    table(&SERVICE_HEAD, &sides.services);
    table(&CLAIM_HEAD, &sides.claims);
    if sides.problems.is_empty() {
        println!("Both sides agree: every column is the same on the host and in the virtual cluster.");
    }
    for problem in &sides.problems {
        println!("differs: {problem}");
    }
}

/// The commands that show both clusters.
pub(crate) fn how_to_connect(world: &World) {
    let tenant = world.tenant();
    println!(
        "
Look around in another terminal:

    # the virtual cluster
    export KUBECONFIG={}
    kubectl get pods --all-namespaces

    # the host
    export KUBECONFIG={}
    kubectl get pods --namespace {}

Without kubectl on this machine, use the one that is built in:

    alias kubectl='{} kubectl'

Logs of all parts are in {}
Ctrl-C ends it all and leaves nothing behind.",
        tenant.virtual_plane().kubeconfig("admin").display(),
        tenant.host_plane().kubeconfig("admin").display(),
        tenant.namespace(),
        world.host().programs().planes.display(),
        world.dir().display(),
    );
}

/// What to do with a folder of plugins.
pub(crate) fn how_to_map(world: &World, folder: &Path) {
    println!(
        "
The syncer watches {folder} and reloads plugins as they change; files stay there for the next run.
What they need on the host is granted as they come. Elsewhere an operator does that, with what `weft rbac` prints:

    alias weft={weft}
    weft plugin new my-mapping --lang rust
    weft plugin dev my-mapping --into {folder} --log {log}

Settings are read from {folder}/<name>.settings.yaml; the syncer's whole configuration is {config}",
        folder = folder.display(),
        weft = world.tenant().weft().display(),
        log = world.tenant().syncer_log().display(),
        config = world.tenant().config().display(),
    );
}

/// What the syncer may do on the host since the folder of plugins has changed.
pub(crate) fn granted(outcome: Result<Vec<PolicyRule>>) {
    let rules = match outcome {
        Ok(rules) => rules,
        Err(error) => return eprintln!("\nthe syncer lacks the permissions of new plugins: {error:#}"),
    };
    for PolicyRule { api_groups, resources, verbs, .. } in rules {
        let list = |words: Option<Vec<String>>| words.unwrap_or_default().join(", ");
        let (groups, resources) = (list(api_groups), list(resources));
        println!(
            "\ngranted on the host, as `weft rbac` prints it: {} {resources} of {groups}",
            verbs.join(", ")
        );
    }
}

/// Said on Ctrl-C.
pub(crate) fn goodbye() {
    println!("\nending all processes");
}

/// Why the demo failed.
pub(crate) fn failed(error: &anyhow::Error) {
    eprintln!("\nthe demo failed: {error:#}");
}

fn table(head: &[&str], rows: &[Row]) {
    let mut lines: Vec<Vec<&str>> = vec![head.to_vec()];
    for row in rows {
        let names = [row.virtual_name.as_str(), row.host_name.as_str()];
        lines.push(names.into_iter().chain(row.facts.iter().map(String::as_str)).collect());
    }
    let widths: Vec<usize> = (0..head.len()).map(|column| width(&lines, column)).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("   ").trim_end());
    }
    println!();
}

fn width(lines: &[Vec<&str>], column: usize) -> usize {
    lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.len()).max().unwrap_or(0)
}

//! What tests on a real node do by kubectl, as a person would, and with the sources that they install.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use weft_tests::eventually::eventually;
use weft_tests::installed::Person;
use weft_tests::node::Node;

use super::cluster::LONG;

/// Creates objects in a namespace that may be new.
pub(super) async fn apply(node: &Node, namespace: &str, objects: &str) -> Result<()> {
    // A pod needs the account of its namespace, which a controller makes.
    eventually("the objects are created", LONG, async || {
        node.kubectl(&["apply", "--namespace", namespace, "-f", "-"], objects).await
    })
    .await?;
    Ok(())
}

/// Waits until a pod is ready; the failure describes it.
pub(super) async fn ready(node: &Node, namespace: &str, object: &str, patience: Duration) -> Result<()> {
    let timeout = format!("--timeout={}s", patience.as_secs());
    let wait = ["wait", "--for=condition=Ready", object, "--namespace", namespace, &timeout];
    if let Err(error) = node.kubectl(&wait, "").await {
        let described = node.kubectl(&["describe", object, "--namespace", namespace], "").await?;
        return Err(error.context(described));
    }
    Ok(())
}

/// Runs a command in a container and returns its output.
pub(super) async fn exec(node: &Node, namespace: &str, pod: &str, command: &[&str]) -> Result<String> {
    let exec = ["exec", pod, "--namespace", namespace, "--"];
    node.kubectl(&[&exec[..], command].concat(), "").await
}

/// A part of an object, by its path in the form of `jsonpath`.
pub(super) async fn get(node: &Node, namespace: &str, object: &str, path: &str) -> Result<String> {
    let path = format!("jsonpath={path}");
    node.kubectl(&["get", object, "--namespace", namespace, "--output", &path], "").await
}

/// Every object of the namespace, as `kind/name`.
pub(super) async fn objects(person: &Person, namespace: &str) -> Result<BTreeSet<String>> {
    let kinds = "all,configmaps,secrets,serviceaccounts,persistentvolumeclaims,roles,rolebindings,endpointslices,leases";
    let listed = person.run("kubectl", &["get", kinds, "-n", namespace, "-o", "name"], "").await?;
    // Kubernetes puts these into every namespace, a little later.
    let is_given = |line: &&str| ["configmap/kube-root-ca.crt", "serviceaccount/default"].contains(line);
    Ok(listed.lines().filter(|line| !is_given(line)).map(str::to_owned).collect())
}

/// Copies the sources of a package or a chart, without what was built from them.
pub(super) fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if !entry.file_type()?.is_dir() {
            fs::copy(entry.path(), to)?;
        } else if entry.file_name() != "target" {
            copy_sources(&entry.path(), &to)?;
        }
    }
    Ok(())
}

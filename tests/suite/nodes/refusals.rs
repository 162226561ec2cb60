//! What a person reads when a virtual cluster cannot be created: what is wrong, and what to do; and nothing stays behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weft_tests::binaries::modules::Program;
use weft_tests::eventually::eventually;
use weft_tests::installed::Person;
use weft_tests::node::Node;
use weft_tests::shared::{alone_on_shared_node, on_shared_node};

use super::cluster::LONG;
use super::steps::{apply, copy_sources, get, objects};

/// Nothing listens there.
const UNPULLABLE: &str = "image.registry=127.0.0.1:1";

/// Newer than any that will be.
const NEWER: &str = "999.0.0";

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn what_the_host_would_not_run_is_refused_before_helm_runs() -> Result<()> {
    alone_on_shared_node(async |node, namespace| {
        let person = Person::new(node, namespace, Program::Helm4).await?;
        for (value, word) in [
            ("controlPlane.version=1.20", "\"1.20\" is not a version such as"),
            ("persistence.size=abc", "/persistence/size"),
            ("persistence.storageClass=nope", "no StorageClass nope (there are local-path)"),
        ] {
            refuses(&person, namespace, &["--set", value], &[word]).await?;
        }
        let default = |value: &'static str| {
            let annotation = format!("storageclass.kubernetes.io/is-default-class={value}");
            async move {
                node.kubectl(&["annotate", "--overwrite", "storageclass", "local-path", &annotation], "")
                    .await
            }
        };
        default("false").await?;
        let words = ["no default StorageClass (there are local-path)", "--set persistence.storageClass=NAME"];
        let refused = refuses(&person, namespace, &[], &words).await;
        // Other tests need it.
        default("true").await?;
        refused?;
        apply(node, namespace, QUOTA).await?;
        eventually("the quota is counted", LONG, async || {
            let hard = get(node, namespace, "resourcequota/quota", "{.status.hard}").await?;
            ensure!(!hard.is_empty());
            Ok(())
        })
        .await?;
        let words = [
            "the host refuses the control plane's pod",
            "exceeded quota: quota",
            "choose another namespace with -n",
        ];
        refuses(&person, namespace, &[], &words).await?;
        node.kubectl(&["delete", "resourcequota", "quota", "-n", namespace], "").await?;
        apply(node, namespace, LIMIT).await?;
        let words =
            ["must be less than or equal to memory limit of 64Mi", "choose another namespace with -n"];
        refuses(&person, namespace, &[], &words).await
    })
}

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn every_permission_that_somebody_lacks_is_named_before_helm_runs() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let administrator = Person::new(node, namespace, Program::Helm3).await?;
        let person = Person::new(node, &format!("{namespace}-few"), Program::Helm3).await?;
        apply(node, namespace, FEW_PERMISSIONS).await?;
        let token = node.kubectl(&["create", "token", "few", "-n", namespace], "").await?;
        let token = format!("--token={}", token.trim());
        person.run("kubectl", &["config", "set-credentials", "few", &token], "").await?;
        person.run("kubectl", &["config", "set-context", "--current", "--user=few"], "").await?;
        let before = objects(&administrator, namespace).await?;
        let said = person.refused(&["create", "vc", "-n", namespace]).await?;
        let lacking = [
            "create, patch, delete services",
            "get, create, patch, delete serviceaccounts",
            "get, create, patch, delete configmaps",
            "get, list, create, update, delete secrets",
            "get, list, create, patch, delete statefulsets",
            "get, create, patch, delete roles",
            "get, create, patch, delete rolebindings",
        ];
        for what in lacking {
            let line = format!("you may not {what} in namespace {namespace}");
            ensure!(said.contains(&line), "{line:?} is not in {said}");
        }
        ensure!(!said.contains(" pods in"), "it may read pods: {said}");
        ensure!(objects(&administrator, namespace).await? == before, "something was created");
        Ok(())
    })
}

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn names_values_and_programs_that_do_not_fit_are_refused_with_what_does() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let person = Person::new(node, namespace, Program::Helm4).await?;
        let long = person.refused(&["create", "a-name-of-twenty-five-chars", "-n", namespace]).await?;
        ensure!(long.contains("1 to 24"), "{long}");
        let words = ["unknown keys", "did you mean `persistence`?"];
        refuses(&person, namespace, &["--set", "persistance.size=1Gi"], &words).await?;
        node.kubectl(&["create", "service", "clusterip", "vc", "--tcp=80", "-n", namespace], "").await?;
        let words = ["there is a Service of that name already; choose another name"];
        refuses(&person, namespace, &[], &words).await?;
        node.kubectl(&["delete", "service", "vc", "-n", namespace], "").await?;
        another_version_is_left_alone(&person, namespace).await?;
        what_kubectl_applied_is_left_alone(&person, namespace).await?;
        person.replace("helm", "echo v3.9.0+g7ceeda6")?;
        refuses(&person, namespace, &[], &["helm is v3.9.0", "or newer is needed; see https://"]).await
    })
}

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn an_image_that_cannot_be_pulled_is_named_and_nothing_stays_unless_it_is_to_be_kept() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let person = Person::new(node, namespace, Program::Helm4).await?;
        // The strictest level accepts the pod.
        let strict = "pod-security.kubernetes.io/enforce=restricted";
        node.kubectl(&["label", "namespace", namespace, strict], "").await?;
        let flags = ["--set", UNPULLABLE, "--set", "persistence.enabled=false", "--timeout", "8s"];
        let words = ["not ready within 8 s", "container init", "127.0.0.1:1/weft/weft", "`--keep`"];
        refuses(&person, namespace, &flags, &words).await?;
        let create = ["create", "vc", "-n", namespace];
        let said = person.refused(&[&create[..], &flags, &["--keep"]].concat()).await?;
        kept(&person, namespace, &said).await?;
        let said =
            interrupted(node, &person, namespace, &[&create[..], &flags[..4], &["--keep"]].concat()).await?;
        kept(&person, namespace, &said).await
    })
}

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn an_interrupt_takes_the_namespace_along_that_was_made() -> Result<()> {
    on_shared_node(async |node, name| {
        let person = Person::new(node, name, Program::Helm3).await?;
        let namespace = format!("weft-{name}");
        let said = interrupted(node, &person, &namespace, &["create", name, "--set", UNPULLABLE]).await?;
        ensure!(said.contains("interrupted"), "{said}");
        let found = node.kubectl(&["get", "namespace", &namespace], "").await;
        ensure!(found.is_err(), "the namespace is left: {found:?}");
        Ok(())
    })
}

/// Runs `weft create`, which has to fail, say all these words, and leave the namespace as it was.
async fn refuses(person: &Person, namespace: &str, flags: &[&str], words: &[&str]) -> Result<()> {
    let before = objects(person, namespace).await?;
    let said = person.refused(&[&["create", "vc", "-n", namespace], flags].concat()).await?;
    for word in words {
        ensure!(said.contains(word), "{word:?} is not in {said}");
    }
    let after = objects(person, namespace).await?;
    ensure!(after == before, "not as before: {:?}", after.symmetric_difference(&before));
    Ok(())
}

/// A release of a newer version is neither created again nor made older, and `weft delete` removes it.
async fn another_version_is_left_alone(person: &Person, namespace: &str) -> Result<()> {
    let chart = newer_chart(person.path())?.display().to_string();
    let install = ["install", "vc", &chart, "-n", namespace, "--set", UNPULLABLE];
    person.run("helm", &install, "").await?;
    let words = ["already, of version 999.0.0", "`weft connect vc`", "`--upgrade`"];
    refuses(person, namespace, &[], &words).await?;
    refuses(person, namespace, &["--upgrade"], &["has version 999.0.0", "use weft 999.0.0"]).await?;
    person.weft(&["delete", "vc", "-n", namespace, "--yes"]).await.map(drop)
}

async fn what_kubectl_applied_is_left_alone(person: &Person, namespace: &str) -> Result<()> {
    let printed = person.weft(&["create", "vc", "-n", namespace, "--print", "--set", UNPULLABLE]).await?;
    person.run("kubectl", &["apply", "-f", "-"], &printed).await?;
    refuses(person, namespace, &[], &["which Helm did not install", "`weft delete vc`"]).await?;
    person.weft(&["delete", "vc", "-n", namespace, "--yes"]).await.map(drop)
}

/// A copy of the chart that says it is newer.
fn newer_chart(folder: &Path) -> Result<PathBuf> {
    let (from, to) = (Path::new(CHART), folder.join("chart"));
    copy_sources(from, &to)?;
    let file = to.join("Chart.yaml");
    let own = env!("CARGO_PKG_VERSION");
    fs::write(&file, fs::read_to_string(&file)?.replace(own, NEWER))?;
    Ok(to)
}

/// Starts `weft create`, sends what Ctrl-C sends when it waits for the image, and returns what it has said.
async fn interrupted(node: &Node, person: &Person, namespace: &str, create: &[&str]) -> Result<String> {
    let mut command = person.command("weft", create);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id().context("it has ended")?)?);
    let name = create.get(1).context("it has a name")?;
    eventually("the image is not pulled", LONG, async || {
        let why = "{.status.initContainerStatuses[*].state.waiting.reason}";
        let why = get(node, namespace, &format!("pod/{name}-0"), why).await?;
        ensure!(why.contains("Image"), "{why}");
        Ok(())
    })
    .await?;
    kill(pid, Signal::SIGINT)?;
    let Output { status, stderr, .. } = child.wait_with_output().await?;
    let said = String::from_utf8_lossy(&stderr).into_owned();
    ensure!(!status.success(), "it did not fail: {said}");
    Ok(said)
}

/// It was kept; status says why it does not run; `weft delete` removes it.
async fn kept(person: &Person, namespace: &str, said: &str) -> Result<()> {
    ensure!(said.contains("kept") && said.contains("`weft delete vc`"), "{said}");
    let status = person.weft(&["status", "vc", "-n", namespace]).await?;
    ensure!(status.contains("container init") && status.contains("127.0.0.1:1/weft/weft"), "{status}");
    person.weft(&["delete", "vc", "-n", namespace, "--yes"]).await?;
    let left = objects(person, namespace).await?;
    ensure!(!left.iter().any(|object| object.contains("vc")), "left: {left:?}");
    Ok(())
}

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/weft");

const QUOTA: &str = "
apiVersion: v1
kind: ResourceQuota
metadata: {name: quota}
spec: {hard: {requests.memory: 100Mi}}
";

const LIMIT: &str = "
apiVersion: v1
kind: LimitRange
metadata: {name: limit}
spec: {limits: [{type: Container, max: {memory: 64Mi}, defaultRequest: {memory: 1Mi}}]}
";

/// Somebody who may look.
const FEW_PERMISSIONS: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: few}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: few}
rules:
  - {apiGroups: [''], resources: [pods], verbs: [get, list]}
  - {apiGroups: [''], resources: [services], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: few}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: few}
subjects: [{kind: ServiceAccount, name: few}]
";

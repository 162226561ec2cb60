//! The commands for people, on two real API servers: the host runs a pod that stands for a control plane, and ports
//! that are forwarded to it lead to the other API server.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::planes::{Component, Options, Plane, Role as Of, Store};
use weft_tests::scratch::Scratch;
use weft_tests::shared::in_own_world;
use weft_tests::world;

use super::both::create;

const NAMESPACE: &str = "team-a";
const CONTEXT: &str = "weft_team-a_one";

/// A host with the virtual cluster `one`, and a person with a kubeconfig for the host.
struct Desk {
    host: Plane,
    r#virtual: Plane,
    weft: PathBuf,
    relay: JoinHandle<()>,
    scratch: Scratch,
}

/// What a list says of the connection to a virtual cluster.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    context: Option<String>,
    is_current: bool,
    local_port: Option<u16>,
}

impl Desk {
    async fn start() -> Result<Self> {
        let (scratch, options) = (Scratch::new()?, world::Options::build().await?);
        // The fake kubelet forwards to a port that is known before it starts; what answers there comes later.
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let dir = scratch.path().join("host");
        let host = Options {
            role: Of::Host { nodes: 1 },
            programs: options.programs.clone(),
            store: Store::default(),
            extra: forwarding(&scratch, listener.local_addr()?.port())?,
            dir,
        };
        let r#virtual = Options {
            role: Of::Virtual,
            programs: options.programs,
            store: Store::default(),
            dir: scratch.path().join("virtual"),
            extra: Vec::new(),
        };
        let (host, r#virtual) = tokio::try_join!(Plane::start(host), Plane::start(r#virtual))?;
        let relay = tokio::spawn(relay(listener, r#virtual.server().replace("https://", "")));
        let desk = Self { host, r#virtual, weft: options.weft, relay, scratch };
        fs::copy(desk.host.kubeconfig("admin"), desk.kubeconfig())?;
        Ok(desk)
    }

    fn kubeconfig(&self) -> PathBuf {
        self.scratch.path().join("kubeconfig")
    }

    /// Creates what a chart and an init container would: the objects of the cluster `one`.
    async fn install(&self) -> Result<()> {
        let client = self.host.client().await?;
        create(&Api::<Namespace>::all(client.clone()), json!({"metadata": {"name": NAMESPACE}})).await?;
        let labels = json!({
            "app.kubernetes.io/name": "weft", "app.kubernetes.io/instance": "one", "weft.dev/control-plane": "one",
            "app.kubernetes.io/version": "0.1.0",
        });
        let selector = json!({"app.kubernetes.io/instance": "one", "weft.dev/control-plane": "one"});
        let metadata = |name: &str| json!({"name": name, "labels": labels});
        let containers = json!([{"name": "api", "image": "api"}, {"name": "syncer", "image": "syncer"}]);
        create(
            &Api::<StatefulSet>::namespaced(client.clone(), NAMESPACE),
            json!({"metadata": metadata("one"), "spec": {
                "serviceName": "one", "selector": {"matchLabels": selector},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
            }}),
        )
        .await?;
        create(
            &Api::<Service>::namespaced(client.clone(), NAMESPACE),
            json!({"metadata": metadata("one"), "spec": {
                "selector": selector, "ports": [{"port": 443, "targetPort": 6443}],
            }}),
        )
        .await?;
        // As the init container writes it: with the address inside of the host cluster.
        let kubeconfig = fs::read_to_string(self.r#virtual.kubeconfig("admin"))?;
        let kubeconfig = kubeconfig.replace(&self.r#virtual.server(), "https://one.team-a.svc:443");
        create(
            &Api::<Secret>::namespaced(client, NAMESPACE),
            json!({
                "metadata": {"name": "vc-one"}, "stringData": {"config": kubeconfig},
            }),
        )
        .await?;
        self.pod_runs().await
    }

    async fn pod_runs(&self) -> Result<()> {
        let sets: Api<StatefulSet> = Api::namespaced(self.host.client().await?, NAMESPACE);
        eventually("the control plane's pod is ready", SOON, async || {
            let status = sets.get("one").await?.status.context("it has no status")?;
            ensure!(status.ready_replicas == Some(1), "{status:?}");
            Ok(())
        })
        .await
    }

    /// Runs weft as the person.
    async fn weft(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = tokio::process::Command::new(&self.weft);
        let home = self.scratch.path().join("home");
        command.args(arguments).env("KUBECONFIG", self.kubeconfig()).env("HOME", &home);
        command.env_remove("XDG_RUNTIME_DIR").env("XDG_STATE_HOME", home.join("state"));
        Ok(command.output().await?)
    }

    /// The same; it must succeed, and its standard output is returned.
    async fn succeeds(&self, arguments: &[&str]) -> Result<String> {
        let output = self.weft(arguments).await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "weft {arguments:?} failed: {errors}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The one virtual cluster of the list.
    async fn listed(&self) -> Result<Listed> {
        let list: Vec<Listed> = serde_json::from_str(&self.succeeds(&["list", "-o", "json"]).await?)?;
        list.into_iter().next().context("the list is empty")
    }

    /// kubectl with the person's kubeconfig.
    async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new(&self.host.programs().planes);
        command.arg("kubectl").args(arguments).env("KUBECONFIG", self.kubeconfig());
        let output = command.output().await?;
        ensure!(output.status.success(), "kubectl failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// The uid of the Namespace `kube-system` on a plane, which distinguishes planes.
    async fn identity(plane: &Plane) -> Result<String> {
        let namespaces: Api<Namespace> = Api::all(plane.client().await?);
        namespaces.get("kube-system").await?.metadata.uid.context("it has no uid")
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

const UID: [&str; 5] = ["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"];

/// Flags that make the fake kubelet forward port 6443 of every pod to a port of ours.
fn forwarding(scratch: &Scratch, port: u16) -> Result<Vec<(Component, String)>> {
    let file = scratch.path().join("forward.yaml");
    let forward = json!({
        "apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "ClusterPortForward", "metadata": {"name": "api"},
        "spec": {"forwards": [{"ports": [6443], "target": {"port": port, "address": "127.0.0.1"}}]},
    });
    fs::write(&file, forward.to_string())?;
    let key = |file: &str| scratch.path().join("host/pki").join(file).display().to_string();
    Ok(vec![
        (Component::Kwok, format!("--config={}", file.display())),
        (Component::Kwok, format!("--tls-cert-file={}", key("server.crt"))),
        (Component::Kwok, format!("--tls-private-key-file={}", key("server.key"))),
        // The names of fake nodes resolve to nothing.
        (Component::ApiServer, "--kubelet-preferred-address-types=InternalIP".to_owned()),
    ])
}

/// Carries every connection to `address`.
async fn relay(listener: TcpListener, address: String) {
    while let Ok((mut from, _)) = listener.accept().await {
        let address = address.clone();
        tokio::spawn(async move {
            if let Ok(mut to) = TcpStream::connect(address).await {
                let _ = copy_bidirectional(&mut from, &mut to).await;
            }
        });
    }
}

#[test]
fn a_person_connects_to_a_virtual_cluster_and_back() -> Result<()> {
    in_own_world(async {
        let desk = Desk::start().await?;
        desk.install().await?;
        let (host, r#virtual) = (Desk::identity(&desk.host).await?, Desk::identity(&desk.r#virtual).await?);
        a_command_runs_with_the_context(&desk, &r#virtual).await?;
        the_context_stays_until_it_is_disconnected(&desk, &host, &r#virtual).await?;
        a_kubeconfig_is_printed(&desk, &r#virtual).await
    })
}

async fn a_command_runs_with_the_context(desk: &Desk, r#virtual: &str) -> Result<()> {
    let before = fs::read(desk.kubeconfig())?;
    let planes = desk.host.programs().planes.display().to_string();
    let command = [&["connect", "one", "--", &planes, "kubectl"][..], &UID].concat();
    let uid = desk.succeeds(&command).await?;
    ensure!(uid == r#virtual, "{uid} is not the virtual cluster, which is {virtual}");
    let output = desk.weft(&["connect", "one", "--", "sh", "-c", "exit 7"]).await?;
    ensure!(output.status.code() == Some(7), "{output:?}");
    let output = desk.weft(&["connect", "one", "--", "no-such-program"]).await?;
    ensure!(String::from_utf8_lossy(&output.stderr).contains("failed to run no-such-program"), "{output:?}");
    ensure!(fs::read(desk.kubeconfig())? == before, "the kubeconfig was changed");
    Ok(())
}

async fn the_context_stays_until_it_is_disconnected(desk: &Desk, host: &str, r#virtual: &str) -> Result<()> {
    desk.succeeds(&["connect", "one"]).await?;
    ensure!(desk.kubectl(&["config", "current-context"]).await? == CONTEXT);
    ensure!(desk.kubectl(&UID).await? == r#virtual, "the context leads elsewhere");
    // Virtual clusters are managed through the host's context, whichever is the current one.
    let listed = desk.listed().await?;
    ensure!(listed.context.as_deref() == Some(CONTEXT) && listed.is_current, "{listed:?}");
    let port = listed.local_port.context("no forwarder runs")?;
    desk.succeeds(&["connect", "one"]).await?;
    let again = desk.listed().await?;
    ensure!(again == listed, "a second connection changed {listed:?} to {again:?}");

    let pods: Api<Pod> = Api::namespaced(desk.host.client().await?, NAMESPACE);
    let before = pods.get("one-0").await?.metadata.uid;
    pods.delete("one-0", &DeleteParams::default()).await?;
    eventually("there is another pod", SOON, async || {
        ensure!(pods.get("one-0").await?.metadata.uid != before);
        Ok(())
    })
    .await?;
    ensure!(desk.kubectl(&UID).await? == r#virtual, "the forwarder did not find the new pod");

    desk.succeeds(&["disconnect"]).await?;
    ensure!(desk.kubectl(&UID).await? == host, "the context from before is not back");
    ensure!(!desk.kubectl(&["config", "view"]).await?.contains("weft_"), "entries are left");
    ensure!(!listens(port).await, "the forwarder still runs");
    let output = desk.weft(&["disconnect", "one"]).await?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    Ok(())
}

async fn a_kubeconfig_is_printed(desk: &Desk, r#virtual: &str) -> Result<()> {
    let before = fs::read(desk.kubeconfig())?;
    let file = desk.scratch.path().join("printed");
    fs::write(&file, desk.succeeds(&["connect", "one", "--print"]).await?)?;
    let mut command = tokio::process::Command::new(&desk.host.programs().planes);
    let output = command.arg("kubectl").args(UID).env("KUBECONFIG", &file).output().await?;
    ensure!(String::from_utf8_lossy(&output.stdout) == r#virtual, "{output:?}");
    ensure!(fs::read(desk.kubeconfig())? == before, "the kubeconfig was changed");
    desk.succeeds(&["disconnect", "one"]).await?;
    Ok(())
}

async fn listens(port: u16) -> bool {
    TcpStream::connect(format!("127.0.0.1:{port}")).await.is_ok()
}

#[test]
fn a_person_sees_the_state_of_virtual_clusters() -> Result<()> {
    in_own_world(async {
        let desk = Desk::start().await?;
        let output = desk.weft(&["status", "one"]).await?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(errors.contains("there is no virtual cluster \"one\""), "{errors}");
        desk.install().await?;
        let table = desk.succeeds(&["list"]).await?;
        let row: Vec<&str> = table.lines().nth(1).context("no row")?.split_whitespace().take(5).collect();
        ensure!(row == ["one", NAMESPACE, "Ready", "0.1.0", "no"], "{table}");
        let status: Value = serde_json::from_str(&desk.succeeds(&["status", "one", "-o", "json"]).await?)?;
        ensure!(status["apiServerReady"] == true && status["storage"].is_null(), "{status}");

        let levels = checked(&desk).await?;
        let wanted = [
            ("host API server", "ok"),
            ("host control plane", "ok"),
            ("host Service", "ok"),
            ("host storage", "warning"),
            ("host syncer's permissions", "error"),
            ("virtual API server", "ok"),
            ("virtual DNS", "error"),
        ];
        for (check, level) in wanted {
            ensure!(levels.get(check).is_some_and(|own| own == level), "{check} is not {level}: {levels:?}");
        }
        only_what_may_be_listed_is_listed(&desk).await
    })
}

/// The level of each check; the exit code must fit.
async fn checked(desk: &Desk) -> Result<BTreeMap<String, String>> {
    let output = desk.weft(&["check", "one", "-o", "json", "--timeout", "1m"]).await?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let level = |finding: &Value| {
        (format!("{} {}", text(finding, "side"), text(finding, "check")), text(finding, "level"))
    };
    Ok(findings.iter().map(level).collect())
}

async fn only_what_may_be_listed_is_listed(desk: &Desk) -> Result<()> {
    let client = desk.host.client().await?;
    let rules = json!([{"apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["list"]}]);
    create(
        &Api::<Role>::namespaced(client.clone(), NAMESPACE),
        json!({"metadata": {"name": "reader"}, "rules": rules}),
    )
    .await?;
    let binding = json!({
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
    });
    create(&Api::<RoleBinding>::namespaced(client, NAMESPACE), binding).await?;
    let file = desk.host.identity("reader", &[])?.display().to_string();
    eventually("the reader may list", SOON, async || {
        desk.succeeds(&["list", "--kubeconfig", &file, "-n", NAMESPACE]).await.map(drop)
    })
    .await?;
    for arguments in
        [&["list", "--kubeconfig", &file, "-A"][..], &["list", "--kubeconfig", &file, "-n", "default"]]
    {
        let output = desk.weft(arguments).await?;
        ensure!(output.status.code() == Some(1), "{output:?}");
    }
    Ok(())
}

//! The binary of the control plane: its versions, and what it shares with the tests' own.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, PostParams};
use serde_json::json;
use tokio::net::UdpSocket;
use weft_tests::binaries;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::image::components;
use weft_tests::planes::Plane;
use weft_tests::ports::Port;
use weft_tests::process::{Launch, Process};
use weft_tests::scratch::Scratch;
use weft_tests::shared::{in_own_world, in_runtime};

use super::harness::host;

#[test]
fn every_component_is_there_under_its_name() -> Result<()> {
    in_runtime(async {
        let scratch = Scratch::new()?;
        let kubernetes = binaries::kubernetes().await?;
        let versions = run(Command::new(&kubernetes).arg("version"))?;
        let pinned = modules(&binaries::kubernetes_module())?;
        for (component, module) in [
            ("kube-apiserver", "k8s.io/kubernetes"),
            ("kube-controller-manager", "k8s.io/kubernetes"),
            ("kube-scheduler", "k8s.io/kubernetes"),
            ("etcd", "go.etcd.io/etcd/server/v3"),
            ("kine", "github.com/k3s-io/kine"),
            ("coredns", "github.com/coredns/coredns"),
        ] {
            let version = pinned.get(module).with_context(|| format!("{module} is not pinned"))?;
            let expected = format!("{component} {version}");
            ensure!(versions.lines().any(|found| found == expected), "no line {expected:?} in:\n{versions}");
            let link = scratch.path().join(component);
            std::os::unix::fs::symlink(&kubernetes, &link)?;
            let flag = if component == "coredns" { "-version" } else { "--version" };
            let own = run(Command::new(&link).arg(flag))?;
            ensure!(own.contains(version.trim_start_matches('v')), "{component} says {own}, not {version}");
        }
        Ok(())
    })
}

#[test]
fn the_list_of_what_it_is_made_of_has_the_pinned_versions() -> Result<()> {
    in_runtime(async {
        let components = components::of_go(&binaries::kubernetes().await?).await?;
        let pinned = modules(&binaries::kubernetes_module())?;
        for module in
            ["k8s.io/kubernetes", "k8s.io/api", "github.com/k3s-io/kine", "github.com/coredns/coredns"]
        {
            let found = components.iter().find(|component| component.name == module);
            let found = found.with_context(|| format!("{module} is not in the list"))?;
            ensure!(
                Some(&found.version) == pinned.get(module),
                "{found:?}, and pinned is {:?}",
                pinned.get(module)
            );
        }
        Ok(())
    })
}

#[test]
fn the_tests_own_programs_are_built_from_the_same_modules() -> Result<()> {
    let (theirs, ours) = (modules(&binaries::kubernetes_module())?, modules(&binaries::module())?);
    ensure!(theirs.len() > 200, "only {} modules found", theirs.len());
    for (module, version) in &theirs {
        let own = ours.get(module);
        ensure!(
            own.is_none_or(|own| own == version),
            "{module} is {version} in host/kubernetes/go.mod and {own:?} in tests/planes/go.mod: packages would be \
             compiled twice; copy the replaced modules and run `go mod tidy` in tests/planes"
        );
    }
    Ok(())
}

#[test]
fn coredns_answers_for_the_services_of_a_plane() -> Result<()> {
    in_own_world(async {
        let (plane, scratch) = host().await?;
        let services: Api<Service> = Api::namespaced(plane.client().await?, "default");
        let service = serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {"ports": [{"port": 80}]},
        }))?;
        let created = services.create(&PostParams::default(), &service).await?;
        let address = created.spec.and_then(|spec| spec.cluster_ip).context("it has no address")?;
        let port = Port::reserve()?;
        let _coredns = coredns(&plane, scratch.path(), &port.to_string())?;
        let server = format!("127.0.0.1:{port}");
        eventually("CoreDNS resolves the service", SOON, async || {
            let answer = resolve(&server, "web.default.svc.cluster.local").await?;
            ensure!(answer.to_string() == address, "it says {answer}, not {address}");
            Ok(())
        })
        .await?;
        ensure!(resolve(&server, "nobody.default.svc.cluster.local").await.is_err(), "it invents names");
        Ok(())
    })
}

fn coredns(plane: &Plane, dir: &Path, port: &str) -> Result<Process> {
    let corefile = dir.join("Corefile");
    let kubeconfig = plane.kubeconfig("admin").display().to_string();
    fs::write(
        &corefile,
        format!(
            ".:{port} {{
                bind 127.0.0.1
                errors
                kubernetes cluster.local in-addr.arpa ip6.arpa {{
                    kubeconfig {kubeconfig}
                    fallthrough in-addr.arpa ip6.arpa
                }}
                cache 30
                loop
                reload
                loadbalance
            }}
            "
        ),
    )?;
    Process::start(&Launch {
        name: "CoreDNS".to_owned(),
        planes: plane.programs().planes.clone(),
        args: vec![
            "run".into(),
            plane.programs().kubernetes.clone().into(),
            "coredns".into(),
            "-conf".into(),
            corefile.into(),
        ],
        env: Vec::new(),
        log: dir.join("coredns.log"),
    })
}

/// The only address of a name, asked for as a resolver does.
async fn resolve(server: &str, name: &str) -> Result<Ipv4Addr> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.send_to(&question(name)?, server).await?;
    let mut answer = [0; 512];
    let length = tokio::time::timeout(Duration::from_secs(2), socket.recv(&mut answer)).await??;
    let answer = answer.get(..length).context("too long")?;
    // The header: identity, flags, questions, answers; the last four bytes of one answer are the address.
    let answers = answer.get(6..8).context("too short")?;
    ensure!(answers == [0, 1], "{name} has {answers:?} addresses");
    let address: [u8; 4] = answer.last_chunk().copied().context("too short")?;
    Ok(address.into())
}

/// A recursive question for the addresses (type A, class IN) of a name.
fn question(name: &str) -> Result<Vec<u8>> {
    let mut question = vec![0x57, 0x45, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len())?);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    Ok(question)
}

/// The version of every module that is required or replaced; a replacement wins.
fn modules(module: &Path) -> Result<BTreeMap<String, String>> {
    let file = fs::read_to_string(module.join("go.mod"))?;
    let mut versions = BTreeMap::new();
    let mut replaced = BTreeMap::new();
    for line in file.lines().filter_map(|line| line.strip_prefix('\t')) {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            [from, "=>", _, version] => drop(replaced.insert((*from).to_owned(), (*version).to_owned())),
            [module, version, ..] if version.starts_with('v') => {
                versions.insert((*module).to_owned(), (*version).to_owned());
            }
            _ => {}
        }
    }
    versions.extend(replaced);
    Ok(versions)
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

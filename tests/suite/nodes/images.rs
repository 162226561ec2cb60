//! The images of a virtual cluster run where there is no file but the program.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use weft_tests::binaries;
use weft_tests::binaries::statics::{self, Place};
use weft_tests::eventually::eventually;
use weft_tests::guests::rust;
use weft_tests::image::{self, Layers, products};
use weft_tests::node::Node;
use weft_tests::node::images::PROBE;
use weft_tests::shared::{alone_on_machine, on_shared_node};

use super::cluster::LONG;
use super::steps::{apply, copy_sources, exec, get, ready};

/// What the image of the syncer may take on a node.
const WEFT_LIMIT: u64 = 60_000_000;

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn a_static_program_resolves_the_names_of_its_pod() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let server = run_name_server(node, namespace).await?;
        apply(node, namespace, &CLIENT.replace("IMAGE", PROBE).replace("SERVER", &server)).await?;
        ready(node, namespace, "pod/client", LONG).await?;
        for name in ["thing.shop.test", "thing"] {
            let addresses = exec(node, namespace, "client", &["/probe", "lookup", name]).await?;
            assert_eq!(addresses, "192.0.2.7\n", "{name}");
        }
        let unknown = exec(node, namespace, "client", &["/probe", "lookup", "other.shop.test"]).await;
        ensure!(unknown.is_err(), "other.shop.test has {unknown:?}");
        Ok(())
    })
}

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn the_syncer_starts_from_an_image_of_its_own_that_is_small() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let image = products::weft(&statics::weft().await?);
        let size = image::write(&image, Layers::Plain, &node.dir().join("weft.tar"))?.unpacked;
        ensure!(size <= WEFT_LIMIT, "{} takes {size} bytes, and may take {WEFT_LIMIT}", image.reference);
        node.import(&image).await?;
        apply(node, namespace, &SYNCER.replace("IMAGE", &image.reference)).await?;
        eventually("the pod has ended well", LONG, async || {
            let phase = get(node, namespace, "pod/syncer", "{.status.phase}").await?;
            ensure!(phase == "Succeeded", "{phase}");
            Ok(())
        })
        .await?;
        let logs = node.kubectl(&["logs", "syncer", "--namespace", namespace], "").await?;
        assert_eq!(logs.trim(), format!("weft {}", env!("CARGO_PKG_VERSION")));
        Ok(())
    })
}

#[test]
#[ignore = "compiles a program twice: cargo verify nodes"]
fn a_program_is_equal_wherever_it_is_compiled() -> Result<()> {
    alone_on_machine(async {
        let scratch = tempfile::tempdir()?;
        let homes = [statics::cargo_home()?, scratch.path().join("another home")];
        fs::create_dir(&homes[1])?;
        for entry in fs::read_dir(&homes[0])? {
            let entry = entry?;
            symlink(entry.path(), homes[1].join(entry.file_name()))?;
        }
        let mut programs = Vec::new();
        for (folder, cargo_home) in ["one", "another folder/deeper"].iter().zip(homes) {
            let source = scratch.path().join(folder);
            copy_sources(&rust::root().join("tests/probe"), &source)?;
            let place = Place { target: source.join("target"), source: source.clone(), cargo_home };
            let program = fs::read(statics::build(&place, &source, "probe").await?)?;
            for folder in [&place.source, &place.cargo_home] {
                ensure!(!contains(&program, folder.as_os_str().as_bytes()), "{} is in it", folder.display());
            }
            programs.push(program);
        }
        ensure!(programs[0] == programs[1], "the programs differ");
        Ok(())
    })
}

#[test]
#[ignore = "links the control plane twice: cargo verify nodes"]
fn the_control_plane_is_equal_wherever_it_is_compiled() -> Result<()> {
    alone_on_machine(async {
        let scratch = tempfile::tempdir()?;
        let mut programs = Vec::new();
        for folder in ["one", "another/deeper"] {
            let module = scratch.path().join(folder);
            copy_sources(&binaries::kubernetes_module(), &module)?;
            let output = module.join("kubernetes");
            binaries::kubernetes_of(&module, &output).await?;
            programs.push(fs::read(output)?);
        }
        ensure!(programs[0] == programs[1], "the programs differ");
        Ok(())
    })
}

/// Runs a server that knows two names, and returns its address.
pub(super) async fn run_name_server(node: &Node, namespace: &str) -> Result<String> {
    let image = products::kubernetes(&binaries::kubernetes().await?);
    node.import(&image).await?;
    apply(node, namespace, &NAME_SERVER.replace("IMAGE", &image.reference)).await?;
    ready(node, namespace, "pod/names", LONG).await?;
    get(node, namespace, "pod/names", "{.status.podIP}").await
}

fn contains(program: &[u8], part: &[u8]) -> bool {
    program.windows(part.len()).any(|window| window == part)
}

/// Answers for two names, on the port that clients use, though it is not root.
const NAME_SERVER: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: names}
data:
  Corefile: |
    .:53 {
      errors
      ready :8181
      hosts {
        192.0.2.7 thing.shop.test
        192.0.2.8 upstream.example
      }
    }
---
apiVersion: v1
kind: Pod
metadata: {name: names}
spec:
  terminationGracePeriodSeconds: 1
  securityContext:
    sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: '0'}]
  containers:
    - name: names
      image: IMAGE
      args: [coredns, -conf, /etc/coredns/Corefile]
      readinessProbe: {httpGet: {path: /ready, port: 8181}, periodSeconds: 1}
      volumeMounts: [{name: names, mountPath: /etc/coredns}]
  volumes:
    - {name: names, configMap: {name: names}}
";

const CLIENT: &str = "
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  dnsPolicy: None
  dnsConfig: {nameservers: [SERVER], searches: [shop.test]}
  containers: [{name: client, image: IMAGE}]
";

/// As strict as a namespace can demand.
const SYNCER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: syncer}
spec:
  restartPolicy: Never
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: syncer
      image: IMAGE
      args: [--version]
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
";

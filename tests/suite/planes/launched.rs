//! A control plane that `weft init` and `weft launch` start on a dual-stack host: both ranges are found and used, and
//! certificates that end are renewed under running servers.

mod half_open;
mod readers;

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Request;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use kube::api::{Api, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use serde_json::{Value, json};
use weft_tests::binaries::{self, Programs};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::planes::{Component, Options, Plane, Role, Store};
use weft_tests::ports::Port;
use weft_tests::process::{Launch, Process};
use weft_tests::scratch::Scratch;
use weft_tests::shared::in_own_world;

use super::both::{at, create, text};

const NAMESPACE: &str = "team-a";
const RANGES: [&str; 2] = ["10.96.0.0/16", "fd00:77::/112"];
/// A name that only certificates of before have.
const FORMER: &str = "former.test";
/// The syncer looks every minute, and the API server reads its files as often.
const RENEWED: Duration = Duration::from_mins(4);

/// A host, and what runs of the control plane of the virtual cluster `vc`.
struct Launched {
    host: Plane,
    weft: PathBuf,
    api: Port,
    controllers: Port,
    health: Port,
    running: Vec<Process>,
    // Last, so that the folder goes after those who write to it.
    scratch: Scratch,
}

impl Launched {
    /// A host with the Service of the virtual cluster, and the configuration; nothing of it runs yet.
    async fn prepare() -> Result<Self> {
        let scratch = Scratch::new()?;
        let ranges = format!("--service-cluster-ip-range={}", RANGES.join(","));
        let host = Options {
            role: Role::Host { nodes: 1 },
            programs: Programs::build().await?,
            store: Store::default(),
            dir: scratch.path().join("host"),
            extra: [Component::ApiServer, Component::ControllerManager].map(|of| (of, ranges.clone())).into(),
        };
        let host = Plane::start(host).await?;
        let client = host.client().await?;
        create(&Api::<Namespace>::all(client.clone()), json!({"metadata": {"name": NAMESPACE}})).await?;
        let account = json!({"metadata": {"name": "weft-workload-vc"}});
        create(&Api::<ServiceAccount>::namespaced(client.clone(), NAMESPACE), account).await?;
        let service = json!({
            "metadata": {"name": "vc"},
            "spec": {"ipFamilyPolicy": "PreferDualStack", "ports": [{"port": 443, "targetPort": 6443}]},
        });
        create(&Api::<Service>::namespaced(client, NAMESPACE), service).await?;
        let weft = binaries::weft().await?;
        let [api, controllers, health] = [Port::reserve()?, Port::reserve()?, Port::reserve()?];
        let launched = Self { host, weft, api, controllers, health, running: Vec::new(), scratch };
        launched.write_config()?;
        launched.link_programs()?;
        Ok(launched)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn write_config(&self) -> Result<()> {
        let at = |port: &Port| vec!["--bind-address=127.0.0.1".to_owned(), format!("--secure-port={port}")];
        let kubeconfig = self.path("controllers.kubeconfig").display().to_string();
        let kubeconfigs = ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
            .map(|flag| format!("--{flag}={kubeconfig}"));
        let controllers = [at(&self.controllers), kubeconfigs.into()].concat();
        let config = json!({
            "cluster": {"name": "vc", "namespace": NAMESPACE},
            "host": {"kubeconfig": self.host.kubeconfig("admin")},
            "virtual": {"kubeconfig": self.path("syncer.kubeconfig")},
            "controlPlane": {
                "api": {"extraArgs": at(&self.api)},
                "controllers": {"extraArgs": controllers},
            },
            "folders": {"shared": self.path("shared"), "store": self.path("store"), "data": self.path("data")},
            "health": {"listen": format!("127.0.0.1:{}", self.health)},
            "kubelet": {"listen": "127.0.0.1:0", "metrics": {"enabled": true, "address": readers::ADDRESS}},
            "dns": {"enabled": false},
        });
        for folder in ["shared", "store", "data", "bin"] {
            fs::create_dir(self.path(folder))?;
        }
        Ok(fs::write(self.path("weft.yaml"), config.to_string())?)
    }

    /// Under their names, as in an image without the binary that has them all.
    fn link_programs(&self) -> Result<()> {
        for program in ["kine", "kube-apiserver", "kube-controller-manager"] {
            let link = self.path("bin").join(program);
            std::os::unix::fs::symlink(&self.host.programs().kubernetes, link)?;
        }
        Ok(())
    }

    /// What `weft` prints.
    async fn weft(&self, arguments: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new(&self.weft);
        let output = command.args(arguments).kill_on_drop(true).output().await?;
        ensure!(output.status.success(), "weft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    async fn init(&self) -> Result<()> {
        let config = self.path("weft.yaml").display().to_string();
        self.weft(&["init", "--config", &config]).await?;
        // The port of a pod's API server is fixed, and taken on a machine with others.
        for file in ["syncer.kubeconfig", "controllers.kubeconfig"] {
            let text = fs::read_to_string(self.path("shared/kubeconfig").join(file))?;
            fs::write(self.path(file), text.replace("localhost:6443", &format!("localhost:{}", self.api)))?;
        }
        Ok(())
    }

    fn run(&mut self, name: &str, command: &[String]) -> Result<()> {
        let path = std::env::var("PATH").unwrap_or_default();
        let process = Process::start(&Launch {
            name: name.to_owned(),
            planes: self.host.programs().planes.clone(),
            args: ["run"].into_iter().map(Into::into).chain(command.iter().map(Into::into)).collect(),
            env: vec![("PATH".to_owned(), format!("{}:{path}", self.path("bin").display()))],
            log: self.path(&format!("{name}.log")),
        })?;
        self.running.push(process);
        Ok(())
    }

    /// Starts the control plane, each program when what it needs is there.
    async fn start(&mut self) -> Result<()> {
        let (weft, file) =
            (self.weft.display().to_string(), self.path("shared/launch.json").display().to_string());
        for program in ["store", "api"] {
            self.run(program, &[&weft, "launch", program, "--file", &file].map(str::to_owned))?;
        }
        eventually("the API server is ready", SOON, async || {
            self.are_running()?;
            let ready = Request::get("/readyz").body(Vec::new())?;
            Ok(self.client("localhost").await?.request_text(ready).await.map(drop)?)
        })
        .await?;
        // It would wait for the API server at the port that it has in a pod.
        let printed = self.weft(&["launch", "controllers", "--print", "--file", &file]).await?;
        let command: Vec<String> = printed.lines().map(str::to_owned).collect();
        self.run("controllers", &command)
    }

    fn start_syncer(&mut self) -> Result<()> {
        let (weft, config) = (self.weft.display().to_string(), self.path("weft.yaml").display().to_string());
        self.run("syncer", &[&weft, "syncer", "--config", &config].map(str::to_owned))
    }

    fn are_running(&self) -> Result<()> {
        self.running.iter().try_for_each(Process::check)
    }

    /// A client of a new connection, for a server that has this name.
    async fn client(&self, server: &str) -> Result<Client> {
        let file = Kubeconfig::read_from(self.path("syncer.kubeconfig"))?;
        let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        config.tls_server_name = Some(server.to_owned());
        config.default_retry = false;
        Ok(Client::try_from(config)?)
    }

    /// Puts a certificate with its key in the place of a stored one: in the Secret, and where it was written.
    async fn replace(&self, file: &str, (certificate, key): &(String, String)) -> Result<()> {
        let secrets: Api<Secret> = Api::namespaced(self.host.client().await?, NAMESPACE);
        let mut data = serde_json::Map::new();
        for (name, text) in [(format!("{file}.crt"), certificate), (format!("{file}.key"), key)] {
            fs::write(self.path("shared/pki").join(&name), text)?;
            data.insert(name, BASE64_STANDARD.encode(text).into());
        }
        let patch = Patch::Merge(json!({"data": data}));
        secrets.patch("vc-pki", &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// A certificate of the stored authority that lives from one year until another.
    fn signed(&self, user: &str, names: &[String], [from, until]: [i32; 2]) -> Result<(String, String)> {
        let file = |name: &str| fs::read_to_string(self.path("shared/pki").join(name));
        let issuer = Issuer::from_ca_cert_pem(&file("ca.crt")?, KeyPair::from_pem(&file("ca.key")?)?)?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
    }

    fn stored(&self, file: &str) -> Result<String> {
        Ok(fs::read_to_string(self.path("shared/pki").join(file))?)
    }

    /// Every name of the API server, and one that it no longer has.
    async fn names(&self) -> Result<Vec<String>> {
        let services: Api<Service> = Api::namespaced(self.host.client().await?, NAMESPACE);
        let service = serde_json::to_value(services.get("vc").await?)?;
        let addresses = at(&service, "/spec/clusterIPs").as_array().context("it has addresses")?;
        let addresses = addresses.iter().filter_map(Value::as_str);
        let names = [
            "localhost",
            "127.0.0.1",
            "::1",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "vc",
            "vc.team-a",
            "vc.team-a.svc",
            "10.96.0.1",
            "fd00:77::1",
            FORMER,
        ];
        Ok(names.into_iter().chain(addresses).map(str::to_owned).collect())
    }
}

/// Its class is the host's, and nobody has to copy it: whether the volume grows is for the host to say.
async fn a_claim_can_ask_for_more(launched: &Launched) -> Result<()> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(launched.client("localhost").await?, "default");
    let claim = |size: &str| {
        json!({"metadata": {"name": "data"}, "spec": {
            "storageClassName": "of-the-host", "volumeName": "pvc-1", "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
        }})
    };
    create(&claims, claim("1Gi")).await?;
    let bound = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
    claims.patch_status("data", &PatchParams::default(), &Patch::Merge(bound)).await?;
    claims.patch("data", &PatchParams::default(), &Patch::Merge(claim("2Gi"))).await?;
    Ok(())
}

#[test]
fn a_dual_stack_cluster_gets_both_ranges_and_new_certificates_while_it_runs() -> Result<()> {
    in_own_world(async {
        let mut launched = Launched::prepare().await?;
        launched.init().await?;
        let file: Value = serde_json::from_str(&fs::read_to_string(launched.path("shared/launch.json"))?)?;
        ensure!(at(&file, "/serviceRanges") == &json!(RANGES), "{file}");

        let names = launched.names().await?;
        let young = launched.signed("kube-apiserver", &names, [2025, 2150])?;
        launched.replace("api", &young).await?;
        launched.init().await?;
        ensure!(launched.stored("api.crt")? == young.0, "it was renewed for another reason than its age");
        // Two thirds of these are over since 2025.
        launched.replace("api", &launched.signed("kube-apiserver", &names, [1975, 2050])?).await?;
        let controllers = launched.signed("system:kube-controller-manager", &[], [1975, 2050])?;
        launched.replace("controllers", &controllers).await?;

        launched.start().await?;
        let client = launched.client(FORMER).await?;
        client.list_api_groups().await.context("the certificate of before is served")?;
        // It renews certificates at once.
        launched.start_syncer()?;
        controllers_work(&launched, "before").await?;
        both_ranges_are_used(&launched).await?;
        readers::are_known(&launched).await?;
        half_open::are_survived(&launched).await?;
        a_claim_can_ask_for_more(&launched).await?;

        eventually("the API server serves a new certificate", RENEWED, async || {
            launched.are_running()?;
            let former = launched.client(FORMER).await?.list_api_groups().await;
            ensure!(former.is_err(), "the one of before is served");
            Ok(())
        })
        .await?;
        launched.client("localhost").await?.list_api_groups().await?;
        eventually("the controllers have a new certificate", RENEWED, async || {
            ensure!(launched.stored("controllers.crt")? != controllers.0, "it is the one of before");
            Ok(())
        })
        .await?;
        controllers_work(&launched, "after").await?;
        launched.are_running()
    })
}

/// The controller manager gives every namespace a ServiceAccount.
async fn controllers_work(launched: &Launched, namespace: &str) -> Result<()> {
    let client = launched.client("localhost").await?;
    create(&Api::<Namespace>::all(client.clone()), json!({"metadata": {"name": namespace}})).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
    eventually("the namespace has its ServiceAccount", SOON, async || {
        launched.are_running()?;
        Ok(accounts.get("default").await.map(drop)?)
    })
    .await
}

/// A Service has an address of each range, the same on both sides.
async fn both_ranges_are_used(launched: &Launched) -> Result<()> {
    let ours: Api<Service> = Api::namespaced(launched.client("localhost").await?, "default");
    let service = json!({
        "metadata": {"name": "web"},
        "spec": {"ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]},
    });
    create(&ours, service).await?;
    let hosts: Api<Service> = Api::namespaced(launched.host.client().await?, NAMESPACE);
    eventually("both sides have the same addresses", SOON, async || {
        launched.are_running()?;
        let (ours, hosts) = (ours.get("web").await?, hosts.get("web-x-default-x-vc").await?);
        let (ours, hosts) = (serde_json::to_value(ours)?, serde_json::to_value(hosts)?);
        let addresses = at(&ours, "/spec/clusterIPs");
        ensure!(addresses == at(&hosts, "/spec/clusterIPs"), "{addresses} and {hosts}");
        let [v4, v6] =
            ["0", "1"].map(|index| text(&ours, &format!("/spec/clusterIPs/{index}")).parse::<IpAddr>());
        ensure!(v4?.is_ipv4() && v6?.is_ipv6(), "{addresses}");
        Ok(())
    })
    .await
}

//! Knows the flags of each component and the configuration of the fake kubelet.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{Component, Plane, Role, SERVICE_CIDR, store};
use crate::{binaries, pki};

/// Nodes have no pod ranges, cloud or attachable volumes here.
const HOST_CONTROLLERS: &str = "*,-node-ipam-controller,-persistentvolume-attach-detach-controller,\
    -ttl-controller";

/// What concerns nodes and volumes is the host's: a virtual plane only mirrors it.
const VIRTUAL_CONTROLLERS: &str = "*,-node-ipam-controller,-node-lifecycle-controller,\
    -persistentvolume-binder-controller,-persistentvolume-attach-detach-controller,\
    -persistentvolume-expander-controller,-ttl-controller";

/// kwok's defaults of 4 keep a burst of pods waiting; without its debugging handlers it forwards no ports.
const KWOK_OPTIONS: &str = "\
apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokConfiguration
options:
  podPlayStageParallelism: 16
  nodePlayStageParallelism: 16
  nodeLeaseParallelism: 16
  enableDebuggingHandlers: true
";

/// The flags of one component.
pub(super) fn of(plane: &Plane, component: Component) -> Vec<String> {
    match component {
        Component::Store => plane.options.store.flags(plane.dir()),
        Component::ApiServer => [api_server(plane), api_server_keys(plane), place(plane)].concat(),
        Component::ControllerManager => controller_manager(plane),
        Component::Scheduler => scheduler(plane),
        Component::Kwok => kwok(plane),
    }
}

/// kwok's configuration: its options, then every file of the folder of stages.
pub(super) fn stages() -> Result<String> {
    let folder = binaries::module().join("stages");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    let mut documents = vec![KWOK_OPTIONS.to_owned()];
    for path in paths {
        documents
            .push(fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?);
    }
    Ok(documents.join("\n---\n"))
}

/// The storage classes that the stages provision.
pub(super) fn storage_classes() -> PathBuf {
    binaries::module().join("storage-classes.yaml")
}

fn api_server(plane: &Plane) -> Vec<String> {
    [
        format!("--etcd-servers={}", store::url(plane.dir())),
        format!("--secure-port={}", plane.ports.api_server),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
    ]
    .into_iter()
    .chain(
        [
            "--authorization-mode=Node,RBAC",
            "--anonymous-auth=false",
            "--allow-privileged=true",
            "--profiling=false",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        ]
        .map(str::to_owned),
    )
    .collect()
}

/// Where it listens, and what it must know where a kubelet runs.
fn place(plane: &Plane) -> Vec<String> {
    // There may be no route to find an address by.
    let address = plane.options.role.address();
    let mut flags = vec![format!("--advertise-address={address}"), format!("--bind-address={address}")];
    let Role::Machine(_) = plane.options.role else {
        flags.push("--endpoint-reconciler-type=none".to_owned());
        return flags;
    };
    flags.extend([
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        key(plane, "kubelet-certificate-authority", "ca.crt"),
        key(plane, "kubelet-client-certificate", "kubelet-client.crt"),
        key(plane, "kubelet-client-key", "kubelet-client.key"),
    ]);
    flags
}

fn api_server_keys(plane: &Plane) -> Vec<String> {
    vec![
        key(plane, "tls-cert-file", "server.crt"),
        key(plane, "tls-private-key-file", "server.key"),
        key(plane, "client-ca-file", "ca.crt"),
        // The public half: the private one is refused here when it is ECDSA.
        key(plane, "service-account-key-file", "sa.pub"),
        key(plane, "service-account-signing-key-file", "sa.key"),
        key(plane, "requestheader-client-ca-file", "front-proxy-ca.crt"),
        key(plane, "proxy-client-cert-file", "front-proxy-client.crt"),
        key(plane, "proxy-client-key-file", "front-proxy-client.key"),
        format!("--requestheader-allowed-names={}", pki::FRONT_PROXY_CLIENT),
    ]
}

fn controller_manager(plane: &Plane) -> Vec<String> {
    let (controllers, grace) = match plane.options.role {
        Role::Host { .. } | Role::Machine(_) => (HOST_CONTROLLERS, "50s"),
        // A syncer that is away for a while must not cost a tenant its pods.
        Role::Virtual => (VIRTUAL_CONTROLLERS, "180s"),
    };
    let mut flags = client_of("kube-controller-manager", plane);
    flags.extend([
        format!("--secure-port={}", plane.ports.controller_manager),
        format!("--controllers={controllers}"),
        format!("--node-monitor-grace-period={grace}"),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        "--allocate-node-cidrs=false".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        key(plane, "service-account-private-key-file", "sa.key"),
        key(plane, "root-ca-file", "ca.crt"),
        key(plane, "cluster-signing-cert-file", "ca.crt"),
        key(plane, "cluster-signing-key-file", "ca.key"),
    ]);
    flags
}

fn scheduler(plane: &Plane) -> Vec<String> {
    let mut flags = client_of("kube-scheduler", plane);
    flags.push(format!("--secure-port={}", plane.ports.scheduler));
    flags
}

fn kwok(plane: &Plane) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", plane.kubeconfig("kwok").display()),
        format!("--config={}", plane.file("kwok.yaml").display()),
        "--manage-all-nodes=true".to_owned(),
        // Its default of 254 addresses runs over its end.
        "--cidr=10.244.0.0/16".to_owned(),
        "--node-ip=127.0.0.1".to_owned(),
        format!("--node-port={}", plane.ports.kwok),
        format!("--server-address=127.0.0.1:{}", plane.ports.kwok),
        "--node-lease-duration-seconds=40".to_owned(),
    ]
}

/// What controller manager and scheduler have in common; tests must not wait for rate limits or leases.
fn client_of(user: &str, plane: &Plane) -> Vec<String> {
    let kubeconfig = plane.kubeconfig(user).display().to_string();
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
        "--kube-api-qps=1000".to_owned(),
        "--kube-api-burst=2000".to_owned(),
    ]
}

fn key(plane: &Plane, flag: &str, file: &str) -> String {
    format!("--{flag}={}", plane.pki.file(file).display())
}

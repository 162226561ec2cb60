//! Knows the flags and configuration files of containerd, CNI, kubelet and kube-proxy.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::NAME;
use super::images::PAUSE;
use super::network::Network;
use crate::planes::Plane;

/// Pods have addresses of this range.
const POD_CIDR: &str = "10.244.0.0/16";

/// Where Debian puts the CNI plugins.
const CNI_PLUGINS: &str = "/usr/lib/cni";

const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// `/run` is empty after a power failure, and no mount of a container or volume is left.
pub(super) const AFTER_POWER_FAILURE: &str = r#"
    awk '$5 ~ "^/(run|var/lib/(containerd|kubelet))/." { print $5 }' /proc/self/mountinfo |
        tac | xargs --no-run-if-empty umount --lazy
    rm -rf /run/containerd /run/netns /run/runc
    for link in $(ls /sys/class/net); do case $link in cni0 | veth*) ip link delete "$link" ;; esac; done
"#;

/// Writes the configuration of all but containerd, and the certificates of the kubelet.
pub(super) fn write(folder: &Path, plane: &Plane, network: &Network) -> Result<()> {
    let address = network.address().to_string();
    plane.pki().serving("kubelet", NAME, &[NAME, &address])?;
    let kubelet = plane.identity(&format!("system:node:{NAME}"), &["system:nodes"])?;
    let proxy = plane.identity("system:kube-proxy", &[])?;
    fs::copy(kubelet, folder.join("kubelet.kubeconfig"))?;
    write_json(&folder.join("kubelet.json"), &kubelet_config(plane, &network.id(), &address))?;
    write_json(&folder.join("kube-proxy.json"), &proxy_config(&proxy, &address))
}

/// Writes the configuration of containerd and of the network that it gives pods.
pub(super) fn write_containerd(folder: &Path) -> Result<()> {
    let cni = folder.join("cni");
    fs::create_dir_all(&cni)?;
    write_json(&cni.join("pods.conflist"), &pod_network())?;
    let path = folder.join("containerd.toml");
    fs::write(&path, containerd_config(&cni)).with_context(|| format!("failed to write {}", path.display()))
}

/// The command line of containerd.
pub(super) fn containerd_flags(folder: &Path) -> Vec<String> {
    vec!["run".to_owned(), "containerd".to_owned(), flag("config", &folder.join("containerd.toml"))]
}

/// The command line of the kubelet.
pub(super) fn kubelet_flags(folder: &Path, address: Ipv4Addr) -> Vec<String> {
    vec![
        "kubelet".to_owned(),
        flag("config", &folder.join("kubelet.json")),
        flag("kubeconfig", &folder.join("kubelet.kubeconfig")),
        format!("--hostname-override={NAME}"),
        format!("--node-ip={address}"),
    ]
}

/// The command line of kube-proxy.
pub(super) fn proxy_flags(folder: &Path) -> Vec<String> {
    vec![
        "kube-proxy".to_owned(),
        flag("config", &folder.join("kube-proxy.json")),
        format!("--hostname-override={NAME}"),
    ]
}

/// Removes what is large; logs and configuration stay until the next run.
pub(super) fn remove_data(folder: &Path) -> Result<()> {
    for part in ["containerd", "kubelet", "volumes", "etc", "opt", "var"] {
        let part = folder.join(part);
        if part.exists() {
            fs::remove_dir_all(&part).with_context(|| format!("failed to remove {}", part.display()))?;
        }
    }
    Ok(())
}

/// Raising the chance of being killed is left to the containers: lowering it is not allowed everywhere.
fn containerd_config(cni: &Path) -> String {
    format!(
        r#"
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#,
        cni.display()
    )
}

fn pod_network() -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": POD_CIDR}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
        ],
    })
}

fn kubelet_config(plane: &Plane, cgroup: &str, address: &str) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": plane.pki().file("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": plane.pki().file("kubelet.crt"),
        "tlsPrivateKeyFile": plane.pki().file("kubelet.key"),
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
        "cgroupDriver": "cgroupfs",
        // Of its own: two kubelets with one group kill each other's pods.
        "cgroupRoot": format!("/{cgroup}"),
        "enforceNodeAllocatable": ["pods"],
        "failCgroupV1": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "clusterDNS": [super::CLUSTER_DNS],
        "clusterDomain": "cluster.local",
        "resolvConf": "/etc/resolv.conf",
        "nodeStatusUpdateFrequency": "5s",
        // So that a test sees it: logs are rotated at ten times that otherwise, and looked at three times less often.
        "containerLogMaxSize": "1Mi",
        "containerLogMonitorInterval": "3s",
        // Images cannot be pulled again, and the disk is not ours alone.
        "imageGCHighThresholdPercent": 100,
        "imagePullCredentialsVerificationPolicy": "NeverVerify",
        // In bytes: a share of a large disk would be more than a busy machine has left.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "100Mi", "imagefs.available": "100Mi"},
    })
}

/// What belongs to the whole kernel, it leaves alone.
fn proxy_config(kubeconfig: &Path, address: &str) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": kubeconfig},
        "bindAddress": address,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "mode": "iptables",
        "clusterCIDR": POD_CIDR,
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    })
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

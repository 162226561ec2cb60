//! Knows the flags of each program of a control plane. Pure: from the launch file to a list of flags.

use super::storage::{ETCD_FOLDER, SQLITE_FILE};
use super::{AUTHENTICATION, Launch, Program};
use crate::config::control_plane::StorageType;
use crate::control::API_PORT;
use crate::control::credentials::kubeconfig_of;
use crate::control::pki::FRONT_PROXY_CLIENT;

/// The store's socket in its folder: never a port, because a store asks nobody who they are.
pub(super) const STORE_SOCKET: &str = "store.sock";
/// Where the controller manager serves its health.
const CONTROLLERS_PORT: u16 = 10_257;
/// Where etcd would talk to other members; without it, a port.
const ETCD_PEER_SOCKET: &str = "peer.sock";
/// How SQLite is opened. Every write waits for the disk: after a power cut no client may have seen what is gone.
const SQLITE: &str = "_journal_mode=WAL&_busy_timeout=30000&_txlock=immediate&_synchronous=FULL";

/// What concerns nodes and volumes is the host's: the virtual cluster only mirrors it. None of those that need a cloud,
/// which Kubernetes 1.37 no longer knows.
const CONTROLLERS: &str = "*,-node-ipam-controller,-node-lifecycle-controller,-persistentvolume-binder-controller,\
    -persistentvolume-attach-detach-controller,-persistentvolume-expander-controller,-ttl-controller";
/// A syncer that is away for a while must not cost a tenant its pods.
const NODE_GRACE: &str = "180s";

/// The flags of a program; `address` is that of the pod.
pub(super) fn of(launch: &Launch, program: Program, address: Option<&str>) -> Vec<String> {
    let settings = &launch.control_plane;
    let (flags, extra) = match program {
        Program::Store => (store(launch), &settings.store.extra_args),
        Program::Api => (api(launch, address), &settings.api.extra_args),
        Program::Controllers => (controllers(launch), &settings.controllers.extra_args),
    };
    let is_replaced = |flag: &String| extra.iter().any(|extra| name(extra) == name(flag));
    let kept = flags.into_iter().filter(|flag| !is_replaced(flag));
    kept.chain(extra.iter().cloned()).collect()
}

fn name(flag: &str) -> &str {
    flag.split_once('=').map_or(flag, |(name, _)| name)
}

fn store(launch: &Launch) -> Vec<String> {
    let data = &launch.folders.data;
    let (socket, peer) = (store_url(launch), socket_url(launch, ETCD_PEER_SOCKET));
    match launch.control_plane.storage.r#type {
        StorageType::Sqlite => vec![
            format!("--endpoint=sqlite://{}?{SQLITE}", data.join(SQLITE_FILE).display()),
            format!("--listen-address={socket}"),
            // Without a limit every writer polls for SQLite's one write lock: a quarter of the speed at 50 writers.
            "--datastore-max-open-connections=4".to_owned(),
            // Served on all addresses by default.
            "--metrics-bind-address=0".to_owned(),
            // The other format has colours, also where nobody sees them.
            "--log-format=json".to_owned(),
        ],
        StorageType::Etcd => vec![
            format!("--data-dir={}", data.join(ETCD_FOLDER).display()),
            format!("--listen-client-urls={socket}"),
            format!("--advertise-client-urls={socket}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            format!("--quota-backend-bytes={}", 4_u64 << 30),
            "--log-level=warn".to_owned(),
        ],
    }
}

fn api(launch: &Launch, address: Option<&str>) -> Vec<String> {
    let issuer = format!("https://kubernetes.default.svc.{}", launch.domain);
    let mut flags = vec![
        format!("--etcd-servers={}", store_url(launch)),
        format!("--bind-address={}", bind_address(launch)),
        format!("--secure-port={API_PORT}"),
        format!("--service-cluster-ip-range={}", ranges(launch)),
        format!("--service-account-issuer={issuer}"),
        format!("--authentication-config={}", launch.folders.shared.join(AUTHENTICATION).display()),
        format!("--requestheader-allowed-names={FRONT_PROXY_CLIENT}"),
    ];
    // Without one it looks for a route, and ends where there is none.
    flags.push(format!("--advertise-address={}", address.unwrap_or("127.0.0.1")));
    let fixed = [
        // The syncer keeps `default/kubernetes` at the address of the Service on the host.
        "--endpoint-reconciler-type=none",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        // It asks the virtual cluster's StorageClasses, of which there may be none: whether a volume can grow is the host's to say.
        "--disable-admission-plugins=PersistentVolumeClaimResize",
        "--allow-privileged=true",
        "--profiling=false",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    ];
    flags.extend(fixed.map(str::to_owned));
    flags.extend(api_keys(launch));
    flags
}

fn api_keys(launch: &Launch) -> Vec<String> {
    [
        ("tls-cert-file", "api.crt"),
        ("tls-private-key-file", "api.key"),
        ("client-ca-file", "ca.crt"),
        // The public half: the private one is refused here when it is ECDSA.
        ("service-account-key-file", "sa.pub"),
        ("service-account-signing-key-file", "sa.key"),
        ("requestheader-client-ca-file", "front-proxy-ca.crt"),
        ("proxy-client-cert-file", "front-proxy-client.crt"),
        ("proxy-client-key-file", "front-proxy-client.key"),
        // The kubelet of every node is the syncer.
        ("kubelet-certificate-authority", "ca.crt"),
        ("kubelet-client-certificate", "kubelet-client.crt"),
        ("kubelet-client-key", "kubelet-client.key"),
    ]
    .map(|(flag, file)| key(launch, flag, file))
    .into()
}

fn controllers(launch: &Launch) -> Vec<String> {
    let kubeconfig = kubeconfig_of(&launch.folders.shared, "controllers");
    let kubeconfig = kubeconfig.display();
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        format!("--bind-address={}", bind_address(launch)),
        format!("--secure-port={CONTROLLERS_PORT}"),
        format!("--service-cluster-ip-range={}", ranges(launch)),
        format!("--controllers={CONTROLLERS}"),
        format!("--node-monitor-grace-period={NODE_GRACE}"),
        "--allocate-node-cidrs=false".to_owned(),
        // There is one replica.
        "--leader-elect=false".to_owned(),
        "--profiling=false".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        // Each of some forty controllers makes its account first, which takes seconds at the default 20 a second.
        "--kube-api-qps=100".to_owned(),
        "--kube-api-burst=200".to_owned(),
        key(launch, "service-account-private-key-file", "sa.key"),
        key(launch, "root-ca-file", "ca.crt"),
        key(launch, "cluster-signing-cert-file", "ca.crt"),
        key(launch, "cluster-signing-key-file", "ca.key"),
    ]
}

fn store_url(launch: &Launch) -> String {
    socket_url(launch, STORE_SOCKET)
}

fn socket_url(launch: &Launch, file: &str) -> String {
    format!("unix://{}", launch.folders.store.join(file).display())
}

/// All addresses of the pod's first family.
fn bind_address(launch: &Launch) -> &'static str {
    let is_v6 = launch.service_ranges.first().is_some_and(|range| range.addr().is_ipv6());
    if is_v6 { "::" } else { "0.0.0.0" }
}

fn ranges(launch: &Launch) -> String {
    launch.service_ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn key(launch: &Launch, flag: &str, file: &str) -> String {
    let path = launch.folders.shared.join("pki").join(file);
    format!("--{flag}={}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::control_plane::{ControlPlane, Folders};

    fn launch(storage: StorageType, ranges: &[&str]) -> Launch {
        let mut control_plane = ControlPlane::default();
        control_plane.storage.r#type = storage;
        let service_ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
        Launch {
            domain: "cluster.local".to_owned(),
            service_ranges,
            control_plane,
            folders: Folders::default(),
        }
    }

    fn value(flags: &[String], flag: &str) -> String {
        let found: Vec<&String> = flags.iter().filter(|found| name(found) == format!("--{flag}")).collect();
        assert_eq!(found.len(), 1, "--{flag} in {flags:#?}");
        found[0].split_once('=').unwrap().1.to_owned()
    }

    #[test]
    fn no_flag_is_there_twice() {
        for storage in [StorageType::Sqlite, StorageType::Etcd] {
            for program in [Program::Store, Program::Api, Program::Controllers] {
                let flags = of(&launch(storage, &["10.96.0.0/16"]), program, Some("10.1.2.3"));
                let mut names: Vec<&str> = flags.iter().map(|flag| name(flag)).collect();
                names.sort_unstable();
                let count = names.len();
                names.dedup();
                assert_eq!(count, names.len(), "{flags:#?}");
            }
        }
    }

    #[test]
    fn store_and_server_meet_at_the_same_socket_and_no_store_listens_beyond_loopback() {
        for storage in [StorageType::Sqlite, StorageType::Etcd] {
            let launch = launch(storage, &["10.96.0.0/16"]);
            let (store, api) = (of(&launch, Program::Store, None), of(&launch, Program::Api, None));
            let listens =
                if storage == StorageType::Sqlite { "listen-address" } else { "listen-client-urls" };
            assert_eq!(value(&store, listens), value(&api, "etcd-servers"));
            assert!(store.iter().all(|flag| !flag.contains("0.0.0.0")), "{store:#?}");
        }
        let store = of(&launch(StorageType::Sqlite, &["10.96.0.0/16"]), Program::Store, None);
        assert_eq!(value(&store, "metrics-bind-address"), "0");
        assert!(value(&store, "endpoint").contains("_synchronous=FULL"));
    }

    #[test]
    fn both_ranges_of_a_dual_stack_host_are_used_and_the_first_decides_where_to_listen() {
        let dual = launch(StorageType::Sqlite, &["fd00::/112", "10.96.0.0/16"]);
        let api = of(&dual, Program::Api, None);
        assert_eq!(value(&api, "service-cluster-ip-range"), "fd00::/112,10.96.0.0/16");
        assert_eq!(value(&api, "bind-address"), "::");
        assert_eq!(
            value(&of(&dual, Program::Controllers, None), "service-cluster-ip-range"),
            "fd00::/112,10.96.0.0/16"
        );
    }

    #[test]
    fn a_flag_of_the_operator_replaces_ours() {
        let mut launch = launch(StorageType::Sqlite, &["10.96.0.0/16"]);
        launch.control_plane.api.extra_args = vec!["--profiling=true".to_owned(), "--v=4".to_owned()];
        let api = of(&launch, Program::Api, Some("10.1.2.3"));
        assert_eq!((value(&api, "profiling"), value(&api, "v")), ("true".to_owned(), "4".to_owned()));
        assert_eq!(value(&api, "advertise-address"), "10.1.2.3");
    }
}

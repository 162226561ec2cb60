//! Knows the stores of a plane, each behind a unix socket as in a virtual cluster: etcd, or kine on SQLite.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// The longest path that the kernel takes for a socket.
const LONGEST_SOCKET: usize = 107;

/// How SQLite is opened: wait for a lock instead of failing, take it at the start of a transaction,
/// and sync to disk before a revision is shown to anyone.
const SQLITE: &str = "_journal_mode=WAL&_busy_timeout=30000&_txlock=immediate&_synchronous=FULL";

/// Where a plane keeps its objects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Store {
    /// etcd that syncs nothing to disk: its data is thrown away with the test.
    #[default]
    Etcd,
    /// etcd as in a virtual cluster.
    DurableEtcd,
    /// kine on SQLite, as in a virtual cluster.
    Kine,
    /// The same by another build of kine.
    OtherKine(PathBuf),
}

impl Store {
    /// What starts it through `planes run`, `kubernetes` being the binary of the control plane.
    pub(super) fn program(&self, kubernetes: &Path) -> Vec<OsString> {
        match self {
            Self::Etcd | Self::DurableEtcd => vec![kubernetes.into(), "etcd".into()],
            Self::Kine => vec![kubernetes.into(), "kine".into()],
            Self::OtherKine(kine) => vec![kine.into()],
        }
    }

    /// Its flags; its data and its socket are in the folder of the plane.
    pub(super) fn flags(&self, dir: &Path) -> Vec<String> {
        match self {
            Self::Etcd => [etcd(dir), vec!["--unsafe-no-fsync".to_owned()]].concat(),
            Self::DurableEtcd => etcd(dir),
            Self::Kine | Self::OtherKine(_) => kine(dir),
        }
    }
}

/// The folder of the data.
pub(super) fn data(dir: &Path) -> PathBuf {
    dir.join("store")
}

/// The socket of the clients.
pub(super) fn socket(dir: &Path) -> PathBuf {
    dir.join("store.sock")
}

/// The same as the API server wants it.
pub(super) fn url(dir: &Path) -> String {
    format!("unix://{}", socket(dir).display())
}

/// Fails for a folder whose sockets the kernel would refuse.
pub(super) fn check(dir: &Path) -> Result<()> {
    let socket = socket(dir);
    ensure!(
        socket.as_os_str().len() <= LONGEST_SOCKET,
        "{} is too long for a unix socket; set TMPDIR to a shorter folder",
        socket.display()
    );
    Ok(())
}

/// Has etcd forget what was before a revision, by the JSON gateway on its socket.
pub(super) async fn compact(dir: &Path, revision: u64) -> Result<()> {
    let body = format!("{{\"revision\": \"{revision}\"}}");
    let head = "POST /v3/kv/compaction HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let mut stream = UnixStream::connect(socket(dir)).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let is_done = answer.starts_with("HTTP/1.1 200") || answer.contains("has been compacted");
    ensure!(is_done, "etcd did not compact its history: {answer}");
    Ok(())
}

fn etcd(dir: &Path) -> Vec<String> {
    let peer = format!("unix://{}", dir.join("peer.sock").display());
    vec![
        format!("--data-dir={}", data(dir).display()),
        format!("--listen-client-urls={}", url(dir)),
        format!("--advertise-client-urls={}", url(dir)),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        format!("--quota-backend-bytes={}", 4_u64 << 30),
        "--log-level=warn".to_owned(),
    ]
}

fn kine(dir: &Path) -> Vec<String> {
    vec![
        format!("--endpoint=sqlite://{}?{SQLITE}", data(dir).join("state.db").display()),
        format!("--listen-address={}", url(dir)),
        // One is the poller's. More writers than these wait in turn; without a limit each of them polls for SQLite's one
        // lock, sleeping longer and longer, and the unlucky ones time out.
        "--datastore-max-open-connections=4".to_owned(),
        // Its default is port 8080 of every address.
        "--metrics-bind-address=0".to_owned(),
    ]
}

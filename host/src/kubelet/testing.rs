//! What tests of the endpoint stand on: its keys, clients with certificates of each sort, and a host that the test plays.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::api::Api;
use crate::config::{Connection, KubeletTls};
use crate::engine::testing::{Bench, host_object, pod};
use crate::kubelet::listener::{Limits, Listener};
use crate::kubelet::relay::Relay;
use crate::kubelet::tls;

/// The host pod of the virtual pod `shop/web`, on the host's API server.
pub(super) const ON_HOST: &str = "/api/v1/namespaces/team-a/pods/web-x-shop-x-vc";

/// For what must come at once.
const SOON: Duration = Duration::from_secs(5);

/// A served endpoint for the virtual pod `shop/web`.
pub(super) struct Endpoint {
    folder: TempDir,
    authority: Authority,
    address: SocketAddr,
    /// Where the host's API server should be.
    pub(super) host: TcpListener,
    serving: JoinHandle<()>,
}

/// Who signs certificates.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub(super) struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// A secured connection to the endpoint.
pub(super) type Client = TlsStream<TcpStream>;

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = named(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The certificate of a client in this group.
    pub(super) fn client(&self, group: &str) -> Identity {
        let (certificate, key) = self.sign(named("client", &[group]));
        Identity {
            certificate: CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap(),
            key: PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        }
    }

    fn sign(&self, mut params: CertificateParams) -> (String, String) {
        let purposes =
            [rcgen::ExtendedKeyUsagePurpose::ClientAuth, rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.extended_key_usages = purposes.into();
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

impl Endpoint {
    /// Serves with limits that no test reaches.
    pub(super) async fn start() -> Self {
        Self::with(Limits { handshake: SOON, handshakes: 64, head: SOON, requests: 64, refusals: 64 }).await
    }

    /// Serves with other limits.
    pub(super) async fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("weft-ca");
        let keys = keys(&folder, &authority);
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let host = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Api::connect(&connection(&folder, host.local_addr().unwrap()), "host").await.unwrap();
        let bench = Bench::echoing();
        bench.put_virtual("v1/Pod", pod());
        bench.put_host("v1/Pod", host_object("v1/Pod", "shop", "web", "uid-1"));
        let relay = Arc::new(Relay::new(bench.pods(), api));
        let listener = Listener::with(limits, socket, tls::server(&keys).unwrap());
        let serving = tokio::spawn(listener.serve(relay));
        Self { folder, authority, address, host, serving }
    }

    /// The certificate that the virtual API server shows.
    pub(super) fn api_server(&self) -> Identity {
        self.authority.client("system:masters")
    }

    /// The authority of the virtual cluster.
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A connection that has sent nothing.
    pub(super) async fn open(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Connects as the client with this certificate.
    ///
    /// # Errors
    /// The handshake failed; a certificate is judged after it, so the first read may fail instead.
    pub(super) async fn connect(&self, identity: Option<Identity>) -> io::Result<Client> {
        let connector = TlsConnector::from(Arc::new(client_config(&self.folder, identity)));
        connector.connect("localhost".try_into().unwrap(), self.open().await).await
    }

    /// Connects and sends the head of a request, its lines parted by `|`.
    pub(super) async fn send(&self, identity: Option<Identity>, head: &str) -> io::Result<Client> {
        let mut client = self.connect(identity).await?;
        let (line, headers) = head.split_once('|').unwrap_or((head, ""));
        let mut lines = vec![format!("{line} HTTP/1.1"), "Host: kubelet".to_owned()];
        lines.extend(headers.split('|').filter(|header| !header.is_empty()).map(str::to_owned));
        let head = format!("{}\r\n\r\n", lines.join("\r\n"));
        client.write_all(head.as_bytes()).await?;
        Ok(client)
    }

    /// The whole answer to a request of the API server.
    pub(super) async fn ask(&self, head: &str) -> String {
        self.ask_as(Some(self.api_server()), head).await.unwrap()
    }

    /// The same of another client.
    pub(super) async fn ask_as(&self, identity: Option<Identity>, head: &str) -> io::Result<String> {
        let mut client = self.send(identity, head).await?;
        let mut answer = String::new();
        soon(client.read_to_string(&mut answer)).await?;
        Ok(answer)
    }

    /// Accepts a connection of the syncer to the host, and reads the head of its request.
    pub(super) async fn on_host(&self) -> (TcpStream, String) {
        let (mut socket, _) = soon(self.host.accept()).await.unwrap();
        let head = read_head(&mut socket).await;
        (socket, head)
    }

    /// Whether the host was asked for anything.
    pub(super) async fn has_asked_host(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(20), self.host.accept()).await.is_ok()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Reads until the empty line.
pub(super) async fn read_head(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(from.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

/// Reads exactly so much.
pub(super) async fn read(from: &mut (impl tokio::io::AsyncRead + Unpin), length: usize) -> String {
    let mut bytes = vec![0; length];
    soon(from.read_exact(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Fails the test where something does not come.
pub(super) async fn soon<T>(coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, coming).await.unwrap()
}

/// The keys of an endpoint, in files.
pub(super) fn keys(folder: &TempDir, authority: &Authority) -> KubeletTls {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    let (certificate, key) = authority.sign(params);
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    KubeletTls {
        certificate: write("kubelet.crt", &certificate),
        key: write("kubelet.key", &key),
        client_authority: write("ca.crt", &authority.0.pem()),
    }
}

fn named(name: &str, groups: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    for group in groups {
        params.distinguished_name.push(DnType::OrganizationName, *group);
    }
    params
}

pub(super) fn client_config(folder: &TempDir, identity: Option<Identity>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.path().join("ca.crt")).unwrap()).unwrap();
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    match identity {
        Some(Identity { certificate, key }) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => builder.with_no_client_auth(),
    }
}

/// How the syncer reaches the host.
fn connection(folder: &TempDir, address: SocketAddr) -> Connection {
    let kubeconfig = folder.path().join("kubeconfig");
    let config = json!({
        "current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "a", "user": {"token": "of-the-syncer"}}],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    Connection { kubeconfig: Some(kubeconfig), context: None }
}

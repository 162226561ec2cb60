//! A thousand connections to each of the kubelet's ports that never become requests: the API server is answered all the same, they
//! take no more than their share, and what they took is free again.

use std::fs;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, LogParams};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, crypto};
use weft_tests::eventually::{SOON, eventually};

use super::super::both::at;
use super::{Launched, readers};

/// Where the virtual API server reaches the kubelet.
const API_SERVERS: &str = "127.0.0.1";
/// Of each sort that does not finish its handshake.
const OF_EACH: usize = 340;
/// Clients with a certificate that is not the API server's; they send no request.
const STRANGERS: usize = 100;
/// What `host/src/kubelet` lets connections have: 512 handshakes and 32 clients to be refused at the port of the API server, and
/// 128 connections of one reader.
const MOST_OPEN: usize = 512 + 32 + 128;
/// Buffers of 64 KiB each, and what TLS takes.
const MOST_BYTES: usize = 64 << 20;
/// What else the syncer may have open meanwhile: a stream to the host, a file that it reads.
const OTHERS: usize = 16;

/// What a process has at one moment.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    bytes: usize,
}

impl Held {
    fn by(pid: i32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("it has memory")?;
        let kibibytes: usize = resident.trim().trim_end_matches(" kB").parse()?;
        Ok(Self { descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(), bytes: kibibytes << 10 })
    }
}

/// Checks it for the syncer that was started last.
pub(super) async fn are_survived(launched: &Launched) -> Result<()> {
    let syncer = launched.running.last().context("the syncer runs")?.pid();
    is_answered(launched).await?;
    let (port, before) = (port(launched).await?, Held::by(syncer)?);
    let config = Arc::new(client_config(launched)?);
    let half_open = half_open(&config, port).await?;
    is_answered(launched).await.context("with handshakes that do not end")?;
    let strangers = strangers(&config, port).await;
    is_answered(launched).await.context("with clients that are not the API server")?;
    let most = Held::by(syncer)?;
    ensure!(most.descriptors <= before.descriptors + MOST_OPEN + OTHERS, "{before:?}, and then {most:?}");
    ensure!(most.bytes <= before.bytes + MOST_BYTES, "{before:?}, and then {most:?}");
    eventually("the syncer has let go of connections that their clients still hold", SOON, async || {
        let after = Held::by(syncer)?;
        ensure!(after.descriptors <= before.descriptors + OTHERS, "{before:?}, and now {after:?}");
        Ok(())
    })
    .await?;
    drop((half_open, strangers));
    is_answered(launched).await.context("after all of that")
}

/// The virtual API server gets an answer of the host, which says that it finds no kubelet of its own.
async fn is_answered(launched: &Launched) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(launched.client("localhost").await?, "default");
    match pods.logs("measured", &LogParams::default()).await {
        Err(kube::Error::Api(status)) if status.message.contains("https://node-0:") => Ok(()),
        other => bail!("the answer is {other:?}"),
    }
}

/// Connections that send nothing, half of what begins a handshake, or all of that and nothing more; to the port of the API
/// server, and to that of readers, which cuts those it has no room for.
async fn half_open(config: &Arc<ClientConfig>, port: u16) -> Result<Vec<TcpStream>> {
    let hello = hello(config)?;
    let (half, _) = hello.split_at(hello.len() / 2);
    let mut open = Vec::new();
    for address in [API_SERVERS, readers::ADDRESS] {
        for begun in [&[], half, &hello] {
            for _ in 0..OF_EACH {
                let mut socket = TcpStream::connect((address, port)).await?;
                let sent = socket.write_all(begun).await;
                ensure!(sent.is_ok() || address != API_SERVERS, "a connection was cut: {sent:?}");
                open.push(socket);
            }
        }
    }
    Ok(open)
}

/// Where the kubelet's endpoint listens.
async fn port(launched: &Launched) -> Result<u16> {
    let nodes: Api<Node> = Api::all(launched.client("localhost").await?);
    let nodes = serde_json::to_value(nodes.list(&ListParams::default()).await?.items)?;
    let port = at(&nodes, "/0/status/daemonEndpoints/kubeletEndpoint/Port").as_u64();
    Ok(port.context("a node has the port")?.try_into()?)
}

/// Connections whose handshake is complete, as far as they are not cut.
async fn strangers(config: &Arc<ClientConfig>, port: u16) -> Vec<TlsStream<TcpStream>> {
    let mut open = Vec::new();
    for _ in 0..STRANGERS {
        let connected = async {
            let socket = TcpStream::connect((API_SERVERS, port)).await?;
            TlsConnector::from(config.clone())
                .connect("localhost".try_into()?, socket)
                .await
                .map_err(anyhow::Error::from)
        };
        open.extend(connected.await.ok());
    }
    open
}

/// The first bytes of a client.
fn hello(config: &Arc<ClientConfig>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ClientConnection::new(config.clone(), "localhost".try_into()?)?.write_tls(&mut bytes)?;
    Ok(bytes)
}

/// A client with a certificate as any user of the virtual cluster can have one.
fn client_config(launched: &Launched) -> Result<ClientConfig> {
    let (certificate, key) = launched.signed("developer", &[], [2025, 2150])?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(launched.path("shared/pki/ca.crt"))?)?;
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    Ok(builder.with_root_certificates(roots).with_client_auth_cert(chain, key)?)
}

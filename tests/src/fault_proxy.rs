//! A proxy between a syncer and one real API server, which makes the faults that a test asks for.
//!
//! It speaks HTTP and TLS on both sides. Towards the API server it has the syncer's identity, so that its permissions
//! hold. A [`Rule`] says which requests get which fault, and how often; connections can be frozen as a whole. Every
//! request is recorded, so that a test can count writes:
//!
//! ```ignore
//! let lost = tenant.host_proxy()?.rule(posts("pods").first(1).cut_after_effect());
//! both.create_pod("web", json!({})).await?;
//! lost.at_least(1).await?;
//! ```

mod connection;
mod exchange;
mod frames;
mod freeze;
mod request;
mod rule;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use kube::Client;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

pub use self::request::{Request, Verb};
pub use self::rule::{Applied, Matcher, Rule, any, deletes, gets, lists, patches, posts, watches};
use crate::kubeconfig;
use crate::pki::{Pair, Pki};
use crate::planes::Plane;
use connection::{Listener, tls};
use freeze::Freezer;
use rule::Rules;

/// The name in the proxy's certificate, and its address.
const NAME: &str = "fault-proxy";
const ADDRESS: &str = "127.0.0.1";

/// A running proxy; dropping it cuts every connection.
#[derive(Debug)]
pub struct FaultProxy {
    kubeconfig: PathBuf,
    server: String,
    shared: Arc<Shared>,
    freezer: Arc<Freezer>,
    accepting: AbortHandle,
}

/// What every connection works with.
pub(crate) struct Shared {
    /// To the API server, as the syncer.
    upstream: Mutex<Client>,
    /// With the certificate that connections to come are shown.
    tls: Mutex<TlsAcceptor>,
    rules: Rules,
    requests: Mutex<Vec<Request>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl FaultProxy {
    /// Starts a proxy to `plane` for `user`, which has an identity there, and writes a kubeconfig that names the proxy.
    pub async fn start(plane: &Plane, user: &str, kubeconfig: &Path) -> Result<Self> {
        let (pki, freezer) = (plane.pki(), Arc::<Freezer>::default());
        let shown = tls(&pki.server(NAME, &[ADDRESS])?)?;
        let shared = Arc::new(Shared::new(plane.client_as(user).await?, shown));
        let socket = TcpListener::bind((ADDRESS, 0)).await?;
        let server = format!("https://{}", socket.local_addr()?);
        kubeconfig::write(kubeconfig, &server, &pki.authority(), &pki.client(user, &[])?)?;
        let listener = Listener { socket, shared: shared.clone(), freezer: freezer.clone() };
        let accepting = tokio::spawn(listener.accept_forever()).abort_handle();
        Ok(Self { kubeconfig: kubeconfig.to_owned(), server, shared, freezer, accepting })
    }

    /// The kubeconfig that names the proxy.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Adds a rule; of those that match a request, the first one with a turn left applies.
    pub fn rule(&self, rule: Rule) -> Applied {
        self.shared.rules.add(rule)
    }

    /// Removes all rules. The requests that one of them holds back are cut.
    pub fn clear(&self) {
        self.shared.rules.clear();
    }

    /// Freezes every connection, also those to come: they are accepted, stay open, and no byte passes.
    pub fn freeze(&self) {
        self.freezer.freeze_all();
    }

    /// Freezes the connections that there are, as a network does that has forgotten them. Those to come are well.
    pub fn freeze_open_connections(&self) {
        self.freezer.freeze_open();
    }

    /// Lets every connection go on.
    pub fn thaw(&self) {
        self.freezer.thaw();
    }

    /// Freezes the connections to come: they are accepted, and no byte passes. Those that there are are well.
    pub fn freeze_new_connections(&self) {
        self.freezer.freeze_new();
    }

    /// Shows another certificate to connections to come.
    pub fn show_certificate(&self, shown: &Pair) -> Result<()> {
        *self.shared.tls.lock().unwrap_or_else(PoisonError::into_inner) = tls(shown)?;
        Ok(())
    }

    /// Shows a certificate of this authority to connections to come, and trusts it in the kubeconfig, which names the proxy.
    pub fn change_authority(&self, pki: &Pki) -> Result<()> {
        self.show_certificate(&pki.server(NAME, &[ADDRESS])?)?;
        // Whoever it is: the proxy has the syncer's identity.
        kubeconfig::write(&self.kubeconfig, &self.server, &pki.authority(), &pki.client(NAME, &[])?)
    }

    /// Cuts the connections that there are. Those to come are well.
    pub fn cut_connections(&self) {
        self.freezer.cut_open();
    }

    /// Brings requests to another API server from now on, as a changed address does; the connections that there are are cut.
    pub fn redirect(&self, upstream: Client) {
        *self.shared.upstream.lock().unwrap_or_else(PoisonError::into_inner) = upstream;
        self.cut_connections();
    }

    /// The requests so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests().clone()
    }

    /// How many requests so far `matcher` is about.
    pub fn count(&self, matcher: &Matcher) -> usize {
        self.shared.requests().iter().filter(|request| matcher.matches(request)).count()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    pub(super) fn upstream(&self) -> Client {
        self.upstream.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn new(upstream: Client, shown: TlsAcceptor) -> Self {
        let (upstream, tls) = (Mutex::new(upstream), Mutex::new(shown));
        Self { upstream, tls, rules: Rules::default(), requests: Mutex::default() }
    }

    fn tls(&self) -> TlsAcceptor {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records a request, and returns its number.
    fn record(&self, mut request: Request) -> usize {
        let mut requests = self.requests();
        request.number = requests.len();
        requests.push(request);
        requests.len() - 1
    }

    fn record_status(&self, number: usize, status: u16) {
        if let Some(request) = self.requests().get_mut(number) {
            request.status = Some(status);
        }
    }

    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

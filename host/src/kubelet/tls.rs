//! Who may connect: the virtual API server, by a certificate of the virtual cluster in the group of its masters; and readers
//! of metrics, elsewhere, whose tokens are reviewed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::KubeletTls;

/// The group of the API server's client certificate, in weft, k3s and k0s alike. No certificate with it comes out of the
/// certificates API (admission plugin `CertificateSubjectRestriction`), so a user of the virtual cluster cannot have one made.
const MASTERS: &str = "system:masters";

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing or no PEM.
    #[error("failed to read {path}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// There is no authority in its file.
    #[error("{path} has no certificate", path = path.display())]
    Authority {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: rustls::client::VerifierBuilderError,
    },
    /// They do not fit together.
    #[error("{path} and its key cannot be used", path = path.display())]
    Keys {
        /// The certificate.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// How connections are secured. A client without a certificate of the authority gets none.
pub(super) fn server(keys: &KubeletTls) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&keys.client_authority)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let verifier =
        verifier.map_err(|source| Error::Authority { path: keys.client_authority.clone(), source })?;
    secured(keys, verifier)
}

/// How connections of readers are secured, who are known by what they send.
pub(super) fn for_readers(keys: &KubeletTls) -> Result<Arc<ServerConfig>, Error> {
    secured(keys, WebPkiClientVerifier::no_client_auth())
}

fn secured(keys: &KubeletTls, clients: Arc<dyn ClientCertVerifier>) -> Result<Arc<ServerConfig>, Error> {
    let wrong = |source| Error::Keys { path: keys.certificate.clone(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&keys.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&keys.key).map_err(unreadable(&keys.key))?;
    // Every API server that is still maintained speaks it.
    let builder =
        ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let builder = builder.map_err(wrong)?.with_client_cert_verifier(clients);
    let mut config = builder.with_single_cert(chain, key).map_err(wrong)?;
    // Streams are upgraded, which HTTP/2 cannot.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A certificate is judged anew each time: it may have expired.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Whether a client whose certificates were verified is the API server.
pub(super) fn is_api_server(certificates: Option<&[CertificateDer<'_>]>) -> bool {
    let Some(certificate) = certificates.and_then(|chain| chain.first()) else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let mut groups = certificate.subject().iter_organization();
    groups.any(|group| group.as_str().is_ok_and(|group| group == MASTERS))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(unreadable(path))
}

fn unreadable(path: &Path) -> impl FnOnce(pem::Error) -> Error {
    let path = path.to_owned();
    |source| Error::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::kubelet::testing::{Authority, keys};

    #[test]
    fn keys_that_cannot_be_used_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let good = keys(&folder, &Authority::new("weft-ca"));
        server(&good).unwrap();
        let text = |keys: KubeletTls| server(&keys).unwrap_err().to_string();
        let missing = KubeletTls { key: "/nowhere/kubelet.key".into(), ..good.clone() };
        assert!(text(missing).contains("/nowhere/kubelet.key"));
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        let text_of_empty = text(KubeletTls { client_authority: empty.clone(), ..good.clone() });
        assert!(text_of_empty.contains("empty has no certificate"), "{text_of_empty}");
        assert!(
            text(KubeletTls { certificate: good.client_authority.clone(), ..good }).contains("and its key")
        );
    }

    #[test]
    fn a_client_without_certificates_is_not_the_api_server() {
        assert!(!is_api_server(None));
        assert!(!is_api_server(Some(&[])));
        assert!(!is_api_server(Some(&[CertificateDer::from(vec![1, 2, 3])])));
    }
}

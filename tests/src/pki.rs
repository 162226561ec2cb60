//! Makes the certificates and keys of one test control plane.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// Every name clients may use for the API server; the address is the first of the service range.
const SERVER_NAMES: [&str; 7] = [
    "127.0.0.1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "10.96.0.1",
];

/// Members of this group may do everything.
pub const MASTERS: &str = "system:masters";

/// The name the API server uses towards aggregated servers.
pub const FRONT_PROXY_CLIENT: &str = "front-proxy-client";

/// A certificate with its key, both PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// The authority of one plane, with the files its components read.
#[derive(Debug)]
pub struct Pki {
    dir: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    /// Makes the authority and writes the files of the API server and controller manager to `dir`.
    ///
    /// The API server is reached at `address`, beside the names that it always has.
    pub fn create(dir: &Path, address: Ipv4Addr) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let pki = Self { dir: dir.to_owned(), authority: authority("weft-test-ca")? };
        pki.write("ca.crt", &pki.authority.pem())?;
        pki.write("ca.key", &pki.authority.key().serialize_pem())?;
        let address = address.to_string();
        pki.serving("server", "kube-apiserver", &[&SERVER_NAMES[..], &[&address]].concat())?;
        pki.write_front_proxy()?;
        pki.write_service_account_keys()?;
        Ok(pki)
    }

    /// Where a file of it is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The authority's certificate, PEM.
    pub fn authority(&self) -> String {
        self.authority.pem()
    }

    /// A client certificate for a user in groups.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Pair> {
        client(&self.authority, user, groups)
    }

    /// A certificate for a server with these names and addresses.
    pub fn server(&self, name: &str, alternatives: &[&str]) -> Result<Pair> {
        server(&self.authority, name, alternatives)
    }

    /// The same for the address of this machine, which has expired.
    pub fn expired_server(&self, name: &str) -> Result<Pair> {
        let key = self.authority.key().serialize_pem();
        expired(&Pair { certificate: self.authority(), key }, name)
    }

    /// Writes a certificate for a server with these names and addresses, `<file>.crt` and `<file>.key`.
    pub fn serving(&self, file: &str, name: &str, alternatives: &[&str]) -> Result<()> {
        self.write_pair(file, &self.server(name, alternatives)?)
    }

    /// The front proxy has an authority of its own: a tenant's certificate must not pass for it.
    fn write_front_proxy(&self) -> Result<()> {
        let front = authority("weft-test-front-proxy-ca")?;
        self.write("front-proxy-ca.crt", &front.pem())?;
        self.write_pair("front-proxy-client", &client(&front, FRONT_PROXY_CLIENT, &[])?)?;
        // What an API server shows to kubelets.
        self.write_pair("kubelet-client", &self.client("kube-apiserver-kubelet-client", &[MASTERS])?)
    }

    /// ECDSA, because signing tokens with RSA shows in the cost of creating pods.
    fn write_service_account_keys(&self) -> Result<()> {
        let key = KeyPair::generate()?;
        self.write("sa.key", &key.serialize_pem())?;
        self.write("sa.pub", &key.public_key_pem())
    }

    fn write_pair(&self, name: &str, pair: &Pair) -> Result<()> {
        self.write(&format!("{name}.crt"), &pair.certificate)?;
        self.write(&format!("{name}.key"), &pair.key)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.file(name);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    }
}

/// A certificate for servers and clients that has expired, of an authority that is there.
pub fn expired(authority: &Pair, name: &str) -> Result<Pair> {
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let mut params = named(name, &["localhost", "127.0.0.1"])?;
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    Ok(Pair { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = named(name, &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn server(authority: &CertifiedIssuer<'static, KeyPair>, name: &str, alternatives: &[&str]) -> Result<Pair> {
    let mut params = named(name, alternatives)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    sign(params, authority)
}

fn client(authority: &CertifiedIssuer<'static, KeyPair>, user: &str, groups: &[&str]) -> Result<Pair> {
    let mut params = named(user, &[])?;
    for group in groups {
        params.distinguished_name.push(DnType::OrganizationName, *group);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    sign(params, authority)
}

fn named(name: &str, alternatives: &[&str]) -> Result<CertificateParams> {
    let alternatives: Vec<String> = alternatives.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(alternatives)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn sign(mut params: CertificateParams, authority: &CertifiedIssuer<'static, KeyPair>) -> Result<Pair> {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

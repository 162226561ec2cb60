//! One certificate: how it is made, and whether a stored one still does.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::{Pem, parse_x509_pem};

/// As long as kubeadm's authorities live.
const AUTHORITY_LIFE: Duration = Duration::days(3_650);
/// As long as kubeadm's certificates live.
const LEAF_LIFE: Duration = Duration::days(365);
/// Clocks differ.
const SKEW: Duration = Duration::hours(1);

/// A certificate with its key, both PEM.
pub(super) struct Signed {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// A certificate that signs no others.
pub(super) struct Leaf {
    /// Its files are `<file>.crt` and `<file>.key`.
    pub(super) file: &'static str,
    /// File of the authority that signs it.
    pub(super) authority: &'static str,
    common_name: String,
    group: Option<String>,
    server_names: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
}

/// From when until when a certificate is valid.
pub(super) struct Life {
    pub(super) start: OffsetDateTime,
    pub(super) end: OffsetDateTime,
}

impl Leaf {
    pub(super) fn server(
        authority: &'static str,
        file: &'static str,
        name: &str,
        server_names: &[String],
    ) -> Self {
        Self {
            server_names: server_names.to_vec(),
            usage: ExtendedKeyUsagePurpose::ServerAuth,
            ..Self::client(authority, file, name, None)
        }
    }

    pub(super) fn client(
        authority: &'static str,
        file: &'static str,
        user: &str,
        group: Option<&str>,
    ) -> Self {
        Self {
            file,
            authority,
            common_name: user.to_owned(),
            group: group.map(str::to_owned),
            server_names: Vec::new(),
            usage: ExtendedKeyUsagePurpose::ClientAuth,
        }
    }
}

impl Life {
    pub(super) fn has_ended(&self, now: OffsetDateTime) -> bool {
        now >= self.end
    }

    /// Whether two thirds are over: early enough for a renewal to fail for months.
    fn is_mostly_over(&self, now: OffsetDateTime) -> bool {
        (now - self.start) * 3 >= (self.end - self.start) * 2
    }
}

/// A new authority.
pub(super) fn authority(name: &str, now: OffsetDateTime) -> Result<Signed, rcgen::Error> {
    let mut params = params(name, None, &[], now, AUTHORITY_LIFE)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let made = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    Ok(Signed { certificate: made.pem(), key: made.key().serialize_pem() })
}

/// A new certificate with a key of its own.
pub(super) fn sign(
    leaf: &Leaf,
    issuer: &Issuer<'static, KeyPair>,
    now: OffsetDateTime,
) -> Result<Signed, rcgen::Error> {
    let mut params = params(&leaf.common_name, leaf.group.as_deref(), &leaf.server_names, now, LEAF_LIFE)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![leaf.usage.clone()];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    Ok(Signed { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Whether a stored certificate can be used on: signed by the authority, young enough, and with every name.
pub(super) fn is_good(stored: &str, authority: &str, leaf: &Leaf, now: OffsetDateTime) -> bool {
    let (Ok(stored), Ok(authority)) = (pem(stored), pem(authority)) else { return false };
    let (Ok(stored), Ok(authority)) = (stored.parse_x509(), authority.parse_x509()) else { return false };
    stored.verify_signature(Some(authority.public_key())).is_ok()
        && !life_of(&stored).is_mostly_over(now)
        && names_of(&stored).is_superset(&leaf.server_names.iter().cloned().collect())
}

/// How long a certificate lives.
pub(super) fn life(certificate: &str) -> Result<Life, String> {
    let unreadable = |why: String| format!("cannot be read ({why})");
    let pem = pem(certificate).map_err(unreadable)?;
    let certificate = pem.parse_x509().map_err(|error| unreadable(error.to_string()))?;
    Ok(life_of(&certificate))
}

fn pem(text: &str) -> Result<Pem, String> {
    parse_x509_pem(text.as_bytes()).map(|(_, pem)| pem).map_err(|error| error.to_string())
}

fn life_of(certificate: &X509Certificate<'_>) -> Life {
    let validity = certificate.validity();
    Life { start: validity.not_before.to_datetime(), end: validity.not_after.to_datetime() }
}

fn names_of(certificate: &X509Certificate<'_>) -> std::collections::BTreeSet<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.into_iter().flat_map(|names| names.value.general_names.iter());
    names.filter_map(text_of).collect()
}

/// The text of a name as it is configured.
fn text_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    }
}

fn params(
    name: &str,
    group: Option<&str>,
    server_names: &[String],
    now: OffsetDateTime,
    life: Duration,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(server_names.to_vec())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.not_before = now - SKEW;
    params.not_after = now + life;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    #[test]
    fn names_are_read_back_as_they_were_written() {
        let names = ["vc.team-a.svc", "10.96.0.1", "fd00::1"].map(str::to_owned);
        let authority = authority("ca", now()).unwrap();
        let key = KeyPair::from_pem(&authority.key).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&authority.certificate, key).unwrap();
        let leaf = Leaf::server("ca", "api", "kube-apiserver", &names);
        let signed = sign(&leaf, &issuer, now()).unwrap();
        let pem = pem(&signed.certificate).unwrap();
        assert_eq!(names_of(&pem.parse_x509().unwrap()), names.into());
        assert!(is_good(&signed.certificate, &authority.certificate, &leaf, now()));
    }

    #[test]
    fn an_authority_lives_ten_years_and_begins_before_clocks_that_are_late() {
        let life = life(&authority("ca", now()).unwrap().certificate).unwrap();
        assert_eq!((life.end - life.start).whole_days(), 3_650);
        assert!(life.start < now() - Duration::minutes(30) && !life.has_ended(now()));
    }
}

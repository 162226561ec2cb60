//! The keys and certificates of a virtual cluster: which there are, who signs each, and when each is renewed.
//!
//! They are PEM files under the names that stand in the host Secret `<name>-pki` and in the shared folder of the pod.
//! Two authorities sign: one for servers and clients, one for the front proxy, so that a tenant's certificate never
//! passes for the API server's own (<https://kubernetes.io/docs/setup/best-practices/certificates/>).

mod certificate;

use std::collections::BTreeMap;

use rcgen::{Issuer, KeyPair};
use time::OffsetDateTime;

use certificate::Leaf;

/// The name that the API server has towards aggregated servers.
pub(super) const FRONT_PROXY_CLIENT: &str = "front-proxy-client";
/// The name that it has towards kubelets, as kubeadm calls it.
const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";
/// Members of this group may do everything.
const MASTERS: &str = "system:masters";

const AUTHORITY: Authority = Authority { file: "ca", common_name: "weft-ca" };
const FRONT_PROXY: Authority = Authority { file: "front-proxy-ca", common_name: "weft-front-proxy-ca" };

/// PEM texts by the name of their file.
pub(super) type Files = BTreeMap<String, String>;

/// Who signs.
#[derive(Debug, Clone, Copy)]
struct Authority {
    /// Its files are `<file>.crt` and `<file>.key`.
    file: &'static str,
    common_name: &'static str,
}

/// Names and addresses at which servers are reached, for their certificates.
#[derive(Debug, Clone)]
pub(super) struct ServerNames {
    /// Those of the API server.
    pub(super) api: Vec<String>,
    /// Those of the kubelet's endpoint.
    pub(super) kubelet: Vec<String>,
}

/// The keys of a virtual cluster as they should be now.
#[derive(Debug)]
pub(super) struct Pki {
    files: Files,
    renewed: Vec<String>,
}

/// Why the keys cannot be completed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One half of an authority or of a key is gone.
    #[error(
        "it has {present} but no {missing}: restore {missing} from a backup, or delete the Secret to make new keys, \
             after which kubeconfigs that were handed out are no longer valid"
    )]
    Half {
        /// The half that is there.
        present: String,
        /// The half that is not.
        missing: String,
    },
    /// An authority that cannot be read, or is past its life.
    #[error(
        "its {file} {why}: restore it from a backup, or delete the Secret to make new keys, after which kubeconfigs \
             that were handed out are no longer valid"
    )]
    Authority {
        /// Which.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// Making a key or a certificate failed.
    #[error("failed to make {file}")]
    Make {
        /// Which.
        file: String,
        /// What is wrong.
        source: rcgen::Error,
    },
}

impl Pki {
    /// Completes the keys that are stored: makes what is missing, and renews the certificates that are past two
    /// thirds of their life, that no longer fit their authority, or that lack one of their server's names.
    ///
    /// # Errors
    /// An authority of which only a half is left, or that has expired: making another would lock out those who trust it.
    pub(super) fn complete(
        stored: Files,
        server_names: &ServerNames,
        now: OffsetDateTime,
    ) -> Result<Self, Error> {
        let mut pki = Self { files: stored, renewed: Vec::new() };
        for authority in [AUTHORITY, FRONT_PROXY] {
            pki.complete_authority(authority, now)?;
        }
        pki.complete_service_account()?;
        for leaf in leaves(server_names) {
            pki.complete_leaf(&leaf, now)?;
        }
        Ok(pki)
    }

    /// All files.
    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// The text of one file; every name of [`Pki::files`] has one.
    pub(super) fn file(&self, name: &str) -> &str {
        self.files.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Names of the files that are not as they were stored.
    pub(super) fn renewed(&self) -> &[String] {
        &self.renewed
    }

    fn complete_authority(&mut self, authority: Authority, now: OffsetDateTime) -> Result<(), Error> {
        let (certificate, key) = names(authority.file);
        if self.is_new(&certificate, &key)? {
            let made = certificate::authority(authority.common_name, now).map_err(make(authority.file))?;
            self.put(certificate, made.certificate);
            self.put(key, made.key);
            return Ok(());
        }
        let unusable = |why| Error::Authority { file: certificate.clone(), why };
        let life = certificate::life(self.file(&certificate)).map_err(unusable)?;
        if life.has_ended(now) {
            return Err(unusable(format!("has expired on {}", life.end.date())));
        }
        Ok(())
    }

    /// The key that signs service-account tokens. ECDSA: signing with RSA shows in the cost of creating pods.
    fn complete_service_account(&mut self) -> Result<(), Error> {
        if self.is_new("sa.key", "sa.pub")? {
            let key = KeyPair::generate().map_err(make("sa"))?;
            self.put("sa.key".to_owned(), key.serialize_pem());
            self.put("sa.pub".to_owned(), key.public_key_pem());
        }
        Ok(())
    }

    fn complete_leaf(&mut self, leaf: &Leaf, now: OffsetDateTime) -> Result<(), Error> {
        let (certificate, key) = names(leaf.file);
        let authority = self.file(&names(leaf.authority).0).to_owned();
        let has_key = self.files.contains_key(&key);
        let stored = self.files.get(&certificate).filter(|_| has_key);
        if stored.is_some_and(|stored| certificate::is_good(stored, &authority, leaf, now)) {
            return Ok(());
        }
        let made = self.issuer(leaf.authority).and_then(|issuer| certificate::sign(leaf, &issuer, now));
        let made = made.map_err(make(leaf.file))?;
        self.put(certificate, made.certificate);
        self.put(key, made.key);
        Ok(())
    }

    fn issuer(&self, authority: &str) -> Result<Issuer<'static, KeyPair>, rcgen::Error> {
        let (certificate, key) = names(authority);
        Issuer::from_ca_cert_pem(self.file(&certificate), KeyPair::from_pem(self.file(&key))?)
    }

    /// Whether neither half is there.
    fn is_new(&self, one: &str, other: &str) -> Result<bool, Error> {
        let half = |present: &str, missing: &str| {
            Err(Error::Half { present: present.to_owned(), missing: missing.to_owned() })
        };
        match (self.files.contains_key(one), self.files.contains_key(other)) {
            (true, true) => Ok(false),
            (false, false) => Ok(true),
            (true, false) => half(one, other),
            (false, true) => half(other, one),
        }
    }

    fn put(&mut self, name: String, text: String) {
        self.renewed.push(name.clone());
        self.files.insert(name, text);
    }
}

/// Every certificate that is no authority's.
fn leaves(server_names: &ServerNames) -> Vec<Leaf> {
    let client = |file, user: &str, group: Option<&str>| Leaf::client(AUTHORITY.file, file, user, group);
    vec![
        Leaf::server(AUTHORITY.file, "api", "kube-apiserver", &server_names.api),
        Leaf::client(FRONT_PROXY.file, FRONT_PROXY_CLIENT, FRONT_PROXY_CLIENT, None),
        Leaf::server(AUTHORITY.file, "kubelet", "kubelet", &server_names.kubelet),
        client("kubelet-client", KUBELET_CLIENT, Some(MASTERS)),
        client("controllers", "system:kube-controller-manager", None),
        client("scheduler", "system:kube-scheduler", None),
        client("syncer", "weft-syncer", Some(MASTERS)),
        client("admin", "kubernetes-admin", Some(MASTERS)),
    ]
}

fn names(file: &str) -> (String, String) {
    (format!("{file}.crt"), format!("{file}.key"))
}

fn make(file: &str) -> impl FnOnce(rcgen::Error) -> Error {
    let file = file.to_owned();
    |source| Error::Make { file, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;

    fn names() -> ServerNames {
        let api = ["localhost", "127.0.0.1", "kubernetes.default.svc", "10.96.0.1"].map(str::to_owned).into();
        ServerNames { api, kubelet: vec!["localhost".to_owned()] }
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    fn new() -> Pki {
        Pki::complete(Files::new(), &names(), now()).unwrap()
    }

    fn renewed(stored: Files, names: &ServerNames, now: OffsetDateTime) -> Vec<String> {
        Pki::complete(stored, names, now).unwrap().renewed
    }

    #[test]
    fn keys_are_made_once_and_stay() {
        let first = new();
        assert_eq!(first.renewed.len(), first.files.len());
        assert!(renewed(first.files, &names(), now()).is_empty());
    }

    #[test]
    fn leaves_are_renewed_at_two_thirds_of_a_year_and_keep_their_authority() {
        let first = new();
        assert!(renewed(first.files.clone(), &names(), now() + Duration::days(240)).is_empty());
        let second = Pki::complete(first.files.clone(), &names(), now() + Duration::days(245)).unwrap();
        assert_eq!(second.renewed.len(), 2 * leaves(&names()).len(), "{:?}", second.renewed);
        for kept in ["ca.crt", "ca.key", "sa.key", "sa.pub", "front-proxy-ca.crt"] {
            assert_eq!(second.file(kept), first.file(kept), "{kept}");
        }
    }

    #[test]
    fn a_leaf_that_is_damaged_or_lacks_a_name_or_its_authority_is_renewed() {
        let mut damaged = new().files;
        damaged.insert("syncer.crt".to_owned(), "no certificate".to_owned());
        damaged.remove("admin.key");
        assert_eq!(renewed(damaged, &names(), now()), ["syncer.crt", "syncer.key", "admin.crt", "admin.key"]);
        let mut more = names();
        more.api.push("vc.example.com".to_owned());
        assert_eq!(renewed(new().files, &more, now()), ["api.crt", "api.key"]);
        let mut more = names();
        more.kubelet.push("10.1.2.3".to_owned());
        assert_eq!(renewed(new().files, &more, now()), ["kubelet.crt", "kubelet.key"]);
        let (mut mixed, other) = (new().files, new().files);
        mixed.extend(["ca.crt", "ca.key"].map(|name| (name.to_owned(), other[name].clone())));
        assert!(renewed(mixed, &names(), now()).contains(&"syncer.crt".to_owned()));
    }

    #[test]
    fn half_an_authority_and_one_past_its_life_are_errors_that_say_what_to_do() {
        let mut half = new().files;
        half.remove("ca.key");
        let text = Pki::complete(half, &names(), now()).unwrap_err().to_string();
        assert!(text.contains("ca.crt but no ca.key") && text.contains("delete the Secret"), "{text}");
        let late = now() + Duration::days(3_660);
        let text = Pki::complete(new().files, &names(), late).unwrap_err().to_string();
        assert!(text.contains("ca.crt has expired on 20"), "{text}");
        let mut damaged = new().files;
        damaged.insert("ca.crt".to_owned(), "no certificate".to_owned());
        let text = Pki::complete(damaged, &names(), now()).unwrap_err().to_string();
        assert!(text.contains("ca.crt cannot be read"), "{text}");
    }
}

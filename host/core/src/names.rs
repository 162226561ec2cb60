//! Names on the host: which host name a virtual object gets, and how a host object says whose it is.
//!
//! The way forward is a pure function. The way back is the identity annotation on the host object,
//! checked against the object it sits on; there is no table of names to keep or to lose.
//! This file belongs to the trusted base: see ARCHITECTURE.md.

mod rfc1123;
mod virtual_text;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::keys::{IDENTITY, TOKEN_POD};
use crate::object::{HostObject, Key, Kind, VirtualName};
use crate::text::truncate;
pub use rfc1123::{is_dns_label, is_dns_subdomain, is_object_name};

/// Labels, and the names that host controllers derive from ours, end at 63 bytes (RFC 1123).
const MAX_NAME: usize = 63;
/// 26 characters of 5 bits: 130 bits of a hash, so that no tenant finds two names that meet.
const HASH_CHARS: usize = 26;
/// Leaves at least nine readable characters in a hashed name.
pub const MAX_CLUSTER_NAME: usize = 24;
const SEPARATOR: &str = "-x-";

/// The name of an object on the host, in the tenant's host namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

impl HostName {
    /// The name as the API wants it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that a host object carries already.
    pub fn of(object: &HostObject) -> Self {
        Self(object.name().to_owned())
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a cluster name cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterNameError {
    /// Longer than [`MAX_CLUSTER_NAME`], or empty.
    #[error("must have 1 to {MAX_CLUSTER_NAME} characters, has {0}")]
    Length(usize),
    /// Not a DNS label.
    #[error(
        "must be lower-case letters, digits and '-', and begin with a letter and end with a letter or digit"
    )]
    Characters,
    /// Would make host names of two clusters meet.
    #[error(
        "must not contain '-x-' nor begin with 'x-' or end with '-x', which separate the parts of host names"
    )]
    Separator,
}

/// What a host name of this virtual cluster is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parts<'a> {
    /// `<name>-x-<namespace>-x-<cluster>`
    Readable { name: &'a str, namespace: &'a str },
    /// `<prefix>-<hash>-x-<cluster>`
    Hashed { prefix: &'a str },
}

/// Makes host names for one virtual cluster and recognises them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    cluster: String,
    namespace: String,
}

impl Names {
    /// Names for the virtual cluster `cluster` whose objects live in the host namespace `namespace`.
    pub fn new(cluster: &str, namespace: &str) -> Result<Self, ClusterNameError> {
        check_cluster_name(cluster)?;
        Ok(Self { cluster: cluster.to_owned(), namespace: namespace.to_owned() })
    }

    /// The virtual cluster's name.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The host namespace that holds this virtual cluster's objects.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The host name of a virtual object: `<name>-x-<namespace>-x-<cluster>` where that fits and can
    /// be read in one way only, else a readable prefix and a hash.
    pub fn host_name(&self, name: &VirtualName) -> HostName {
        let readable = [name.name.as_str(), &name.namespace, &self.cluster].join(SEPARATOR);
        if readable.len() <= MAX_NAME && is_plain(&name.name) && is_plain(&name.namespace) {
            return HostName(readable);
        }
        self.hashed(&name.name, &[&name.namespace, &name.name])
    }

    /// The host name of something that belongs to a virtual object but is no virtual object itself,
    /// such as the Secret with a pod's tokens. `purpose` keeps several of them apart.
    pub fn derived(&self, purpose: &str, name: &VirtualName) -> HostName {
        self.hashed(&name.name, &[purpose, &name.namespace, &name.name])
    }

    /// The virtual name that a readable host name is made of; none for a hashed one, or one of somebody else.
    pub fn virtual_name(&self, host_name: &str) -> Option<VirtualName> {
        match self.parts(host_name)? {
            Parts::Readable { name, namespace } => Some(VirtualName::new(namespace, name)),
            Parts::Hashed { .. } => None,
        }
    }

    /// Whether `host_name` is a name that this tenant's objects can have: one that [`Self::host_name`] or
    /// [`Self::derived`] gives to something with a name that the API takes.
    pub fn is_ours(&self, host_name: &str) -> bool {
        self.parts(host_name).is_some()
    }

    /// Reads a host name in the one way in which it can be read.
    fn parts<'a>(&self, host_name: &'a str) -> Option<Parts<'a>> {
        if host_name.len() > MAX_NAME || !is_dns_subdomain(host_name) {
            return None;
        }
        let rest = host_name.strip_suffix(&self.cluster)?.strip_suffix(SEPARATOR)?;
        let mut parts = rest.split(SEPARATOR);
        match (parts.next()?, parts.next(), parts.next()) {
            (name, Some(namespace), None) => {
                let is_whole = is_dns_subdomain(name) && is_dns_label(namespace);
                let is_readable = is_whole && is_plain(name) && is_plain(namespace);
                is_readable.then_some(Parts::Readable { name, namespace })
            }
            (hashed, None, _) => prefix_of_hash(hashed).map(|prefix| Parts::Hashed { prefix }),
            _ => None,
        }
    }

    fn hashed(&self, readable: &str, parts: &[&str]) -> HostName {
        let room = MAX_NAME - HASH_CHARS - 1 - SEPARATOR.len() - self.cluster.len();
        let prefix = without_separators(truncate(readable, room));
        let prefix = trim_separator(&prefix);
        let hash = base32_hash(&self.cluster, parts);
        HostName(format!("{prefix}-{hash}{SEPARATOR}{}", self.cluster))
    }
}

/// Whose host object this is: stands in the annotation [`IDENTITY`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The virtual cluster's name.
    pub cluster: String,
    /// `apiVersion/Kind` of the virtual object.
    pub kind: String,
    /// Virtual namespace.
    pub namespace: String,
    /// Virtual name.
    pub name: String,
    /// UID of the virtual object.
    pub uid: String,
}

impl Identity {
    /// Reads the identity off a host object, whoever wrote it.
    pub fn of(object: &HostObject) -> Option<Self> {
        Self::read(object.annotation(IDENTITY)?)
    }

    /// Reads the identity of the virtual pod off a Secret with tokens, whoever wrote it.
    pub fn of_tokens(secret: &HostObject) -> Option<Self> {
        Self::read(secret.annotation(TOKEN_POD)?)
    }

    /// Reads an annotation's value, as [`Self::to_text`] writes it.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The pair that this identity names.
    pub fn key(&self) -> Key {
        Key { kind: Kind::new(&self.kind), name: VirtualName::new(&self.namespace, &self.name) }
    }

    /// The annotation's value.
    pub fn to_text(&self) -> String {
        // Five strings cannot fail to serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Names {
    /// The identity that `object` claims, if the claim fits the object it sits on: our cluster, and
    /// the name that we would have given to an object of a name that the API takes. A copy of one of our objects
    /// under another name, or an annotation that somebody made up, is not ours.
    pub fn identity(&self, object: &HostObject) -> Option<Identity> {
        let identity = Identity::of(object)?;
        let is_name = is_dns_subdomain(&identity.name)
            && (identity.namespace.is_empty() || is_dns_label(&identity.namespace));
        let expected = self.host_name(&VirtualName::new(&identity.namespace, &identity.name));
        let fits = is_name && identity.cluster == self.cluster && expected.as_str() == object.name();
        fits.then_some(identity)
    }
}

fn check_cluster_name(name: &str) -> Result<(), ClusterNameError> {
    if name.is_empty() || name.len() > MAX_CLUSTER_NAME {
        return Err(ClusterNameError::Length(name.len()));
    }
    let allowed = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let ends = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-');
    if !allowed || !ends {
        return Err(ClusterNameError::Characters);
    }
    if is_plain(name) { Ok(()) } else { Err(ClusterNameError::Separator) }
}

/// Whether a part can stand in a readable name without blurring where the parts end.
fn is_plain(part: &str) -> bool {
    !part.is_empty()
        && !part.contains(SEPARATOR)
        && !part.starts_with("x-")
        && !part.ends_with("-x")
        && part != "x"
}

/// A hashed name must not look like a readable one, so its prefix holds no separator. Separators overlap, as in
/// `a-x-x-b`: without one, what is left may hold the next.
fn without_separators(prefix: &str) -> String {
    let mut result = prefix.to_owned();
    while result.contains(SEPARATOR) {
        result = result.replace(SEPARATOR, "-");
    }
    result
}

/// Cuts what would form a separator together with the `-` that follows.
fn trim_separator(mut prefix: &str) -> &str {
    loop {
        let trimmed = prefix.trim_end_matches(['-', '.']);
        let trimmed = trimmed.strip_suffix("-x").unwrap_or(trimmed);
        if trimmed == prefix {
            return prefix;
        }
        prefix = trimmed;
    }
}

/// What stands before the hash, if `part` ends with one.
fn prefix_of_hash(part: &str) -> Option<&str> {
    let is_of_hash = |byte: u8| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte);
    let (prefix, hash) = part.rsplit_once('-')?;
    (hash.len() == HASH_CHARS && hash.bytes().all(is_of_hash)).then_some(prefix)
}

/// The first 130 bits of SHA-256 over the length-prefixed parts, in lower-case base 32 (RFC 4648).
fn base32_hash(cluster: &str, parts: &[&str]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut hasher = Sha256::new();
    for part in std::iter::once(&cluster).chain(parts) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let digest = hasher.finalize();
    let bit = |index: usize| digest.get(index / 8).is_some_and(|byte| byte & (0x80 >> (index % 8)) != 0);
    (0..HASH_CHARS)
        .map(|char_index| {
            let value =
                (0..5).fold(0_usize, |value, offset| value * 2 + usize::from(bit(char_index * 5 + offset)));
            char::from(*ALPHABET.get(value).unwrap_or(&b'a'))
        })
        .collect()
}

#[cfg(test)]
mod tests;

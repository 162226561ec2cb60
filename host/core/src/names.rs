//! Names on the host: which host name a virtual object gets, and how a host object says whose it is.
//!
//! The way forward is a pure function. The way back is the identity annotation on the host object,
//! checked against the object it sits on; there is no table of names to keep or to lose.
//! This file belongs to the trusted base: see ARCHITECTURE.md.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::keys::IDENTITY;
use crate::object::{HostObject, Key, Kind, VirtualName};
use crate::text::truncate;

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
        let rest = host_name.strip_suffix(&self.cluster)?.strip_suffix(SEPARATOR)?;
        let (name, namespace) = rest.split_once(SEPARATOR)?;
        let name = VirtualName::new(namespace, name);
        (self.host_name(&name).as_str() == host_name).then_some(name)
    }

    /// Whether `host_name` is a name that this tenant's objects can have.
    pub fn is_ours(&self, host_name: &str) -> bool {
        let Some(rest) = host_name.strip_suffix(&self.cluster).and_then(|rest| rest.strip_suffix(SEPARATOR))
        else {
            return false;
        };
        let parts: Vec<&str> = rest.split(SEPARATOR).collect();
        match parts.as_slice() {
            [name, namespace] => is_plain(name) && is_plain(namespace),
            [hashed] => has_hash(hashed),
            _ => false,
        }
    }

    /// `text` about an object in the virtual `namespace`, with every host name of this tenant in it replaced
    /// by the virtual name, so that the tenant learns nothing of the host.
    pub fn to_virtual_text(&self, text: &str, namespace: &str) -> String {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/');
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(is_name) {
            let (before, from) = rest.split_at_checked(start).unwrap_or((rest, ""));
            let (word, after) =
                from.split_at_checked(from.find(|c| !is_name(c)).unwrap_or(from.len())).unwrap_or((from, ""));
            result.push_str(before);
            result.push_str(&self.to_virtual_word(word, namespace));
            rest = after;
        }
        result.push_str(rest);
        result
    }

    fn to_virtual_word(&self, word: &str, about: &str) -> String {
        let name = word.trim_end_matches(['.', '-', '/']);
        let end = word.get(name.len()..).unwrap_or_default();
        let (is_qualified, name) =
            match name.strip_prefix(&self.namespace).and_then(|name| name.strip_prefix('/')) {
                Some(name) => (true, name),
                None => (false, name),
            };
        if name == self.namespace {
            return format!("{about}{end}");
        }
        if !self.is_ours(name) {
            return if is_qualified { format!("{about}/{name}{end}") } else { word.to_owned() };
        }
        let parts: Vec<&str> = name.split(SEPARATOR).collect();
        match parts.as_slice() {
            [name, namespace, _] if is_qualified => format!("{namespace}/{name}{end}"),
            [name, _, _] => format!("{name}{end}"),
            // Of a hashed name the readable part is all there is.
            [hashed, _] => format!("{}…{end}", hashed.rsplit_once('-').map_or("", |(prefix, _)| prefix)),
            _ => word.to_owned(),
        }
    }

    fn hashed(&self, readable: &str, parts: &[&str]) -> HostName {
        let room = MAX_NAME - HASH_CHARS - 1 - SEPARATOR.len() - self.cluster.len();
        // A hashed name must not look like a readable one, so the prefix holds no separator.
        let prefix = truncate(readable, room).replace(SEPARATOR, "-");
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
        serde_json::from_str(object.annotation(IDENTITY)?).ok()
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
    /// the name that we would have given. A copy of one of our objects under another name, or an
    /// annotation that somebody made up, is not ours.
    pub fn identity(&self, object: &HostObject) -> Option<Identity> {
        let identity = Identity::of(object)?;
        let expected = self.host_name(&VirtualName::new(&identity.namespace, &identity.name));
        let fits = identity.cluster == self.cluster && expected.as_str() == object.name();
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

fn has_hash(part: &str) -> bool {
    part.rsplit_once('-').is_some_and(|(_, hash)| {
        hash.len() == HASH_CHARS
            && hash.bytes().all(|byte| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte))
    })
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> Names {
        Names::new("my-vcluster", "team-a").unwrap()
    }

    #[test]
    fn a_short_name_stays_readable() {
        let host = names().host_name(&VirtualName::new("nginx", "nginx-76d6c9b8c-57xk5"));
        assert_eq!(host.as_str(), "nginx-76d6c9b8c-57xk5-x-nginx-x-my-vcluster");
    }

    #[test]
    fn a_name_with_a_separator_in_it_is_hashed() {
        let one = names().host_name(&VirtualName::new("c", "a-x-b"));
        let two = names().host_name(&VirtualName::new("b-x-c", "a"));
        assert_ne!(one, two);
        assert!(names().is_ours(one.as_str()) && names().is_ours(two.as_str()), "{one} {two}");
    }

    #[test]
    fn a_readable_name_can_be_read_and_a_hashed_one_cannot() {
        let web = VirtualName::new("shop", "web");
        assert_eq!(names().virtual_name(names().host_name(&web).as_str()), Some(web));
        let hashed = names().host_name(&VirtualName::new("shop", "w".repeat(70)));
        assert_eq!(names().virtual_name(hashed.as_str()), None);
        assert_eq!(names().virtual_name("web-x-shop-x-another"), None);
    }

    #[test]
    fn another_clusters_names_are_not_ours() {
        let other = Names::new("vcluster", "team-a").unwrap().host_name(&VirtualName::new("nginx", "web"));
        assert!(!names().is_ours(other.as_str()));
        assert!(!names().is_ours("weft-my-vcluster"));
        assert!(!names().is_ours("vc-my-vcluster"));
        assert!(!names().is_ours("my-vcluster"));
    }

    #[test]
    fn cluster_names_that_blur_the_parts_are_refused() {
        assert_eq!(Names::new("a-x-b", "ns"), Err(ClusterNameError::Separator));
        assert_eq!(Names::new("x-b", "ns"), Err(ClusterNameError::Separator));
        assert_eq!(Names::new("Big", "ns"), Err(ClusterNameError::Characters));
        assert_eq!(Names::new("", "ns"), Err(ClusterNameError::Length(0)));
    }

    #[test]
    fn a_string_with_host_names_is_shown_with_virtual_names() {
        let shown = names().to_virtual_text(
            "assigned team-a/web-0-x-shop-x-my-vcluster to node-1. \"db-x-shop-x-my-vcluster\" not found",
            "shop",
        );
        assert_eq!(shown, "assigned shop/web-0 to node-1. \"db\" not found");
        let shown = names().to_virtual_text(
            "web-x-shop-x-my-vcluster_team-a(1), team-a/quota, in namespace team-a.",
            "shop",
        );
        assert_eq!(shown, "web_shop(1), shop/quota, in namespace shop.");
        let long = names().host_name(&VirtualName::new("shop", "l".repeat(70)));
        assert!(!names().to_virtual_text(&format!("pod {long}: no"), "shop").contains("my-vcluster"));
    }

    proptest! {
        #[test]
        fn host_names_are_short_valid_and_ours(name in r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?){0,4}", namespace in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?") {
            let host = names().host_name(&VirtualName::new(namespace, name));
            prop_assert!(host.as_str().len() <= MAX_NAME);
            prop_assert!(names().is_ours(host.as_str()), "{}", host);
            prop_assert!(!host.as_str().contains(".-"));
        }

        #[test]
        fn different_objects_have_different_host_names(
            one in ("[ax-]{1,6}", "[ax-]{1,6}"), two in ("[ax-]{1,6}", "[ax-]{1,6}"),
        ) {
            let host = |(name, namespace): &(String, String)| names().host_name(&VirtualName::new(namespace, name));
            prop_assert_eq!(one == two, host(&one) == host(&two));
        }
    }
}

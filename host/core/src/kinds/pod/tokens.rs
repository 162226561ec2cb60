//! Says which tokens of the virtual API server a pod needs, and where they stand on the host.
//!
//! Each projected token becomes one key of one Secret, which the syncer fills and refreshes.

use serde_json::Value;

use super::parts;
use crate::digest;
use crate::names::{HostName, Names};
use crate::object::{VirtualName, VirtualObject};

/// The API's default lifetime.
const DEFAULT_EXPIRATION_SECONDS: i64 = 3600;
/// Hex digits that keep the tokens of one volume apart.
const HASH_DIGITS: usize = 8;

/// One token to ask the virtual API server for, bound to the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// The key in the Secret [`secret_name`].
    pub key: String,
    /// The requested audience; the server's default when empty.
    pub audiences: Vec<String>,
    /// The requested lifetime.
    pub expiration_seconds: i64,
    /// The virtual `ServiceAccount`, in the pod's namespace.
    pub service_account: String,
}

/// The tokens that `source` needs, in the order of its volumes.
pub fn requests(source: &VirtualObject) -> Vec<TokenRequest> {
    let mut requests = Vec::new();
    for volume in parts::items(source, "/spec/volumes") {
        for projection in
            volume.get("projected").into_iter().flat_map(|projected| parts::items_in(projected, "sources"))
        {
            if let Some(token) = projection.get("serviceAccountToken").filter(|token| token.is_object()) {
                requests.push(request(source, parts::text(volume, "name"), token));
            }
        }
    }
    requests
}

/// The host Secret that holds the tokens of the virtual pod `pod`.
pub fn secret_name(names: &Names, pod: &VirtualName) -> HostName {
    names.derived("token", pod)
}

fn request(source: &VirtualObject, volume: &str, token: &Value) -> TokenRequest {
    let audience = Some(parts::text(token, "audience")).filter(|audience| !audience.is_empty());
    TokenRequest {
        key: key(volume, parts::text(token, "path")),
        audiences: audience.into_iter().map(str::to_owned).collect(),
        expiration_seconds: token
            .get("expirationSeconds")
            .and_then(Value::as_i64)
            .unwrap_or(DEFAULT_EXPIRATION_SECONDS),
        service_account: parts::service_account(source).to_owned(),
    }
}

/// The Secret's key for the token at `path` of a volume. A path has slashes, which a key cannot have.
pub(super) fn key(volume: &str, path: &str) -> String {
    let hash: String = digest::of_value(&path.into()).chars().take(HASH_DIGITS).collect();
    format!("{volume}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn two_tokens_of_one_volume_have_two_keys() {
        let sources = json!([
            {"serviceAccountToken": {"path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt"}},
            {"serviceAccountToken": {"path": "vault/token", "audience": "vault", "expirationSeconds": 600}},
        ]);
        let pod = VirtualObject::from_json(json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"serviceAccountName": "builder", "volumes": [{"name": "api", "projected": {"sources": sources}}]},
        }));
        let found = requests(&pod.unwrap());
        assert_eq!(found.len(), 2);
        assert_ne!(found[0].key, found[1].key);
        assert_eq!((found[0].audiences.as_slice(), found[0].expiration_seconds), (&[][..], 3600));
        assert_eq!(
            (found[1].audiences.as_slice(), found[1].expiration_seconds),
            (&["vault".to_owned()][..], 600)
        );
        assert_eq!(found[1].service_account, "builder");
    }
}

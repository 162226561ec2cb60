//! Whether the tokens of every pod that runs are good: whenever both sides are in step, for as long as they are.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;
use weft_core::paths::at;

use super::invariants::{identity, text};
use super::world::{NAMESPACE, World};

impl World {
    /// What is wrong with tokens, as sentences.
    pub(super) fn bad_tokens(&self) -> Vec<String> {
        let pods = self.host.objects("", "pods").into_iter();
        let running = pods.filter(|pod| {
            text(pod, "/status/phase") == "Running" && at(pod, "/metadata/deletionTimestamp").is_none()
        });
        running.flat_map(|pod| self.bad_tokens_of(&pod)).collect()
    }

    fn bad_tokens_of(&self, pod: &Value) -> Vec<String> {
        let Some(identity) = identity(pod) else { return Vec::new() };
        let lives =
            self.r#virtual.object("", "pods", &identity.namespace, &identity.name).is_some_and(|source| {
                text(&source, "/metadata/uid") == identity.uid
                    && at(&source, "/metadata/deletionTimestamp").is_none()
            });
        let volumes = at(pod, "/spec/volumes").and_then(Value::as_array).into_iter().flatten();
        let sources = volumes.filter_map(|volume| at(volume, "/projected/sources")?.as_array()).flatten();
        let projected = sources.filter_map(|source| at(source, "/secret")).filter(|_| lives);
        let wrong = projected.filter_map(|secret| self.wrong(secret, &identity.uid));
        wrong.map(|why| format!("pods {}/{}: {why}", identity.namespace, identity.name)).collect()
    }

    /// What is wrong with the tokens that a projected Secret gives to the virtual pod of this UID.
    fn wrong(&self, projected: &Value, uid: &str) -> Option<String> {
        let name = text(projected, "/name");
        let Some(secret) = self.host.object("", "secrets", NAMESPACE, name) else {
            return Some(format!("there is no Secret {name} with its tokens"));
        };
        let items = at(projected, "/items").and_then(Value::as_array).into_iter().flatten();
        let mut tokens = items.map(|item| (text(item, "/key"), claims(&secret, text(item, "/key"))));
        tokens.find_map(|(key, claims)| match claims {
            None => Some(format!("there is no token {key} in the Secret {name}")),
            Some(claims) if text(&claims, "/kubernetes.io/pod/uid") != uid => {
                Some(format!("the token {key} is of another pod"))
            }
            Some(claims) => {
                let end = at(&claims, "/exp").and_then(Value::as_i64).unwrap_or_default();
                (end <= self.seconds()).then(|| format!("the token {key} has ended"))
            }
        })
    }
}

/// What a token says, without a look at its signature.
fn claims(secret: &Value, key: &str) -> Option<Value> {
    let token =
        String::from_utf8(BASE64_STANDARD.decode(at(secret, "/data")?.get(key)?.as_str()?).ok()?).ok()?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

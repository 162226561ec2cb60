//! Issues tokens of accounts. Their claims are those of a real server, as far as clients read them; their signature is none.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::call::Call;
use super::kinds::Kind;
use super::object::{fields, map, text};
use super::refusal::Refusal;
use super::rules::NONE;
use super::server::Server;
use super::storage::Key;

/// What is created, as refusals of its fields name it. It is stored nowhere.
static REQUEST: Kind = Kind {
    group: "authentication.k8s.io",
    version: "v1",
    name: "TokenRequest",
    plural: "tokenrequests",
    is_namespaced: true,
    subresources: &[],
    has_generation: false,
    returns_deleted: false,
    is_custom: false,
    rules: &NONE,
};
/// How long a token lives that says nothing else.
const LIFE: i64 = 3600;
/// No token may live shorter.
const SHORTEST: i64 = 600;

impl Server {
    /// Issues a token of the account that the call names, bound to the pod that its body names.
    pub(super) fn issue(&mut self, call: &Call) -> Result<Value, Refusal> {
        self.current(call)?;
        let seconds = call.body.pointer("/spec/expirationSeconds").and_then(Value::as_i64).unwrap_or(LIFE);
        if seconds < SHORTEST {
            let why = "may not specify a duration less than 10 minutes";
            return Err(Refusal::invalid(&REQUEST, "", "spec.expirationSeconds", "FieldValueInvalid", why));
        }
        let bound = call.body.pointer("/spec/boundObjectRef").cloned().unwrap_or_default();
        if text(&bound, "/kind") == "Pod" {
            self.check_bound(call, &bound)?;
        }
        let now = self.clock.now();
        let id = self.identifiers.uid();
        let claims = json!({
            "aud": call.body.pointer("/spec/audiences"), "iat": now, "exp": now.saturating_add(seconds), "jti": id,
            "kubernetes.io": {"namespace": call.namespace, "pod": {"name": bound.get("name"), "uid": bound.get("uid")}},
        });
        let token = format!("e30.{}.bm9uZQ", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut answer = call.body.clone();
        map(&mut answer, "spec").insert("expirationSeconds".into(), seconds.into());
        fields(&mut answer).insert("kind".into(), "TokenRequest".into());
        fields(&mut answer).insert("apiVersion".into(), "authentication.k8s.io/v1".into());
        let status = json!({"token": token, "expirationTimestamp": self.clock.timestamp(seconds)});
        map(&mut answer, "status").extend(status.as_object().cloned().unwrap_or_default());
        Ok(answer)
    }

    /// The pod must be there, and be the one that is meant.
    fn check_bound(&self, call: &Call, bound: &Value) -> Result<(), Refusal> {
        let Some(pods) = Kind::core("pods") else { return Ok(()) };
        let name = text(bound, "/name");
        let found = self.storage.get(&Key::new(pods, &call.namespace, name));
        let pod = found.ok_or_else(|| Refusal::not_found(pods, name))?;
        if text(pod, "/spec/serviceAccountName") != call.name {
            return Err(Refusal::bad_request("the pod runs with a different service account"));
        }
        let (uid, wanted) = (text(pod, "/metadata/uid"), text(bound, "/uid"));
        if !wanted.is_empty() && wanted != uid {
            let why = format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record. \
                               The object might have been deleted and then recreated"
            );
            return Err(Refusal::precondition(pods, name, &why));
        }
        Ok(())
    }
}

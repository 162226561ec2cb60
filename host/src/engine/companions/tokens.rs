//! Service account tokens of the virtual cluster for pods on the host.
//!
//! A pod's tokens are in one Secret beside it, owned by the host pod, so that it goes with the pod. A
//! token is asked for at the virtual API server, bound to the virtual pod, and again at 80 % of its
//! life. No token is ever logged or written anywhere else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Value, json};
use weft_core::change::Change;
use weft_core::keys::{PURPOSE_LABEL, TOKEN_REFRESH};
use weft_core::kinds::pod::tokens::{TokenRequest, requests, secret_name};
use weft_core::labels;
use weft_core::names::HostName;
use weft_core::object::{HostObject, ResourceType, VirtualName, VirtualObject};

use crate::engine::apply::{Failed, Side, Writer};
use crate::engine::cache::state::State;
use crate::engine::companions::{Companion, Work};
use crate::engine::queue::Outcome;
use crate::engine::resources::secrets;

/// Makes and refreshes the token Secrets of pods.
pub(crate) struct Tokens {
    state: Arc<State>,
    writer: Arc<Writer>,
    secrets: ResourceType,
}

/// Tokens that were issued together.
struct Issued {
    /// Secret key to token, in base 64.
    data: BTreeMap<String, String>,
    refresh_at: Timestamp,
}

impl Tokens {
    pub(crate) fn new(state: Arc<State>, writer: Arc<Writer>) -> Self {
        Self { state, writer, secrets: secrets() }
    }

    /// Writes every token that the pod asks for to its Secret, where one is missing or due; returns when the next
    /// one is due.
    async fn refresh(&self, pod: &VirtualObject, host_pod: &HostObject) -> Result<Outcome, Failed> {
        let requests = requests(pod);
        if requests.is_empty() || pod.is_terminating() || host_pod.is_terminating() {
            return Ok(Outcome::Done);
        }
        let name = secret_name(&self.state.names, &pod.virtual_name());
        let secret = self.secret(&name);
        if let Some(secret) = &secret
            && let Some(refresh_at) = fresh_until(secret, &requests, host_pod)
        {
            return Ok(Outcome::Again(refresh_at));
        }
        let issued = self.issue(pod, &requests).await?;
        let wanted = self.compose(pod, host_pod, &name, &issued);
        self.store(&name, secret, wanted).await?;
        Ok(Outcome::Again(until(issued.refresh_at)))
    }

    fn secret(&self, name: &HostName) -> Option<Arc<HostObject>> {
        self.state.synced(&self.secrets.kind())?.host.get(self.state.names.namespace(), name.as_str())
    }

    async fn issue(&self, pod: &VirtualObject, requests: &[TokenRequest]) -> Result<Issued, Failed> {
        let mut issued = Issued { data: BTreeMap::new(), refresh_at: Timestamp::MAX };
        for request in requests {
            let account = VirtualName::new(pod.namespace(), request.service_account.as_str());
            let token = self.writer.issue_token(
                &account,
                pod.name(),
                pod.uid(),
                &request.audiences,
                request.expiration_seconds,
            );
            let failed = Side::Virtual.failed_to("issue a token for", pod.virtual_name().to_string());
            let token = token.await.map_err(failed)?;
            issued.data.insert(request.key.clone(), BASE64.encode(token.token));
            issued.refresh_at =
                issued.refresh_at.min(refresh_time(&token.expires, request.expiration_seconds));
        }
        Ok(issued)
    }

    fn compose(&self, pod: &VirtualObject, host_pod: &HostObject, name: &HostName, issued: &Issued) -> Value {
        let mut labels = labels::scope(&self.state.names, pod.namespace());
        labels.insert(PURPOSE_LABEL.into(), "token".into());
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {
                "name": name.as_str(), "namespace": self.state.names.namespace(), "labels": labels,
                "annotations": {TOKEN_REFRESH: issued.refresh_at.as_second().to_string()},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": host_pod.name(), "uid": host_pod.uid()}],
            },
            "data": issued.data,
        })
    }

    async fn store(
        &self,
        name: &HostName,
        old: Option<Arc<HostObject>>,
        wanted: Value,
    ) -> Result<(), Failed> {
        let failed = |action| Side::Host.failed_to(action, format!("token Secret {name}"));
        let wanted = HostObject::new(wanted.as_object().cloned().unwrap_or_default());
        let stored = match old {
            Some(old) => {
                let change = Change::merge(Value::Object(wanted.fields().clone()));
                self.writer
                    .patch_host(&self.secrets, name, old.uid(), &change)
                    .await
                    .map_err(failed("patch"))?
            }
            None => self.writer.create_host(&self.secrets, &wanted).await.map_err(failed("create"))?,
        };
        if let Some(synced) = self.state.synced(&self.secrets.kind()) {
            synced.host.put(stored);
        }
        Ok(())
    }
}

impl Companion for Tokens {
    fn kind(&self) -> &'static str {
        "v1/Pod"
    }

    fn ensure<'a>(&'a self, pod: &'a VirtualObject, host_pod: &'a HostObject) -> Work<'a, Outcome> {
        Box::pin(self.refresh(pod, host_pod))
    }
}

/// How long the Secret serves this pod; none when a token is missing or due.
fn fresh_until(secret: &HostObject, requests: &[TokenRequest], host_pod: &HostObject) -> Option<Duration> {
    let data = secret.pointer("/data")?.as_object()?;
    let owned = secret.text("/metadata/ownerReferences/0/uid") == Some(host_pod.uid());
    let complete = requests.iter().all(|request| data.contains_key(&request.key));
    let refresh_at = Timestamp::from_second(secret.annotation(TOKEN_REFRESH)?.parse().ok()?).ok()?;
    (owned && complete && refresh_at > Timestamp::now()).then(|| until(refresh_at))
}

/// 80 % of the life that the server gave, which may differ from what was asked.
fn refresh_time(expires: &str, asked_seconds: i64) -> Timestamp {
    let now = Timestamp::now();
    let life =
        expires.parse::<Timestamp>().map_or(asked_seconds, |expires| expires.as_second() - now.as_second());
    Timestamp::from_second(now.as_second() + life * 8 / 10).unwrap_or(now)
}

fn until(time: Timestamp) -> Duration {
    let seconds = time.as_second().saturating_sub(Timestamp::now().as_second());
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default().max(1))
}

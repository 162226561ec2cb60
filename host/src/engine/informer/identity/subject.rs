//! What identifies a server: an object of it, read as a list, which has the version of the whole storage.

use std::collections::BTreeMap;

use serde::Deserialize;
use weft_core::keys::VIRTUAL_CLUSTER_UID;

use super::Error;
use crate::api;
use crate::engine::cache::version::ResourceVersion;

/// The question to the virtual API server.
pub(crate) const OF_VIRTUAL: &str = "/api/v1/namespaces?fieldSelector=metadata.name%3Dkube-system";

/// What identifies a server.
pub(super) enum Subject {
    /// The virtual namespace `kube-system`, by its UID.
    KubeSystem,
    /// The host Service of the virtual API server, by the virtual cluster that it remembers.
    Service { namespace: String, name: String },
}

#[derive(Deserialize)]
struct Answer {
    metadata: AnswerMetadata,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct AnswerMetadata {
    #[serde(rename = "resourceVersion")]
    version: String,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMetadata,
}

#[derive(Deserialize)]
struct ItemMetadata {
    uid: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Subject {
    pub(super) fn url(&self) -> String {
        match self {
            Self::KubeSystem => OF_VIRTUAL.to_owned(),
            Self::Service { namespace, name } => {
                format!("/api/v1/namespaces/{namespace}/services?fieldSelector=metadata.name%3D{name}")
            }
        }
    }

    fn identity(&self, of: ItemMetadata) -> Option<String> {
        match self {
            Self::KubeSystem => Some(of.uid),
            Self::Service { .. } => of.annotations.get(VIRTUAL_CLUSTER_UID).cloned(),
        }
    }

    /// For the log: `host` or `virtual`.
    pub(super) fn server(&self) -> &'static str {
        match self {
            Self::KubeSystem => "virtual",
            Self::Service { .. } => "host",
        }
    }

    pub(super) fn missing(&self) -> Error {
        match self {
            Self::KubeSystem => Error::NoNamespace,
            Self::Service { namespace, name } => Error::NoService(format!("{namespace}/{name}")),
        }
    }

    pub(super) fn other(&self, found: String, expected: String) -> Error {
        match self {
            Self::KubeSystem => Error::OtherCluster { found, expected },
            Self::Service { namespace, name } => {
                Error::OtherHost { service: format!("{namespace}/{name}"), found, expected }
            }
        }
    }

    pub(super) fn failed(&self, source: api::Error) -> Error {
        let subject = match self {
            Self::KubeSystem => "virtual namespace kube-system".to_owned(),
            Self::Service { namespace, name } => format!("host Service {namespace}/{name}"),
        };
        Error::Api { subject, source }
    }

    /// The virtual cluster that an answer names, if it names one, and the version of the whole storage.
    pub(super) fn read(&self, reply: &[u8]) -> Result<(Option<String>, ResourceVersion), Error> {
        let answer = serde_json::from_slice(reply);
        let Answer { metadata, items } = answer.map_err(|error| self.failed(api::Error::Decode(error)))?;
        let found = items.into_iter().next().and_then(|item| self.identity(item.metadata));
        Ok((found, ResourceVersion::new(&metadata.version)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weft_core::keys::VIRTUAL_CLUSTER_UID;

    use crate::api::scripted::{Answer, scripted};
    use crate::engine::informer::identity::IdentityGuard;

    #[tokio::test(start_paused = true)]
    async fn a_host_is_known_by_the_virtual_cluster_that_its_service_remembers() {
        let remembers = |identity: &str| json!([{"metadata": {"uid": "u", "annotations": {VIRTUAL_CLUSTER_UID: identity}}}]);
        let cases = [
            (remembers("cluster-1"), None),
            (remembers("cluster-2"), Some("this is another host")),
            (json!([{"metadata": {"uid": "u"}}]), Some("it may be another host")),
            (json!([]), Some("no Service team-a/vc")),
        ];
        for (items, expected) in cases {
            let answer = json!({"metadata": {"resourceVersion": "7"}, "items": items});
            let (api, requests) = scripted(move |_| Answer::ok(answer.clone()));
            let guard = IdentityGuard::of_host(api, "team-a", "vc");
            guard.expect("cluster-1");
            let refused = guard.check().await.err().map(|error| error.to_string());
            let asked = &requests.all()[0];
            assert_eq!(
                (asked.path.as_str(), asked.query.as_str()),
                ("/api/v1/namespaces/team-a/services", "fieldSelector=metadata.name%3Dvc")
            );
            match expected {
                None => assert_eq!(refused, None),
                Some(why) => {
                    assert!(refused.as_ref().is_some_and(|refused| refused.contains(why)), "{refused:?}");
                    guard.doubted().await;
                }
            }
        }
    }
}

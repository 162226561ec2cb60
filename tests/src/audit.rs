//! Audit logs of an API server: the flags that have it write one, and the requests in it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::json;

use crate::planes::Component;

/// Flags for a log of all requests but those of administrators and of the plane's own components; the policy is written
/// beside it.
pub fn flags(log: &Path) -> Result<Vec<(Component, String)>> {
    let policy = log.with_extension("policy.yaml");
    let rules = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "userGroups": ["system:masters"]},
            {"level": "None", "users": ["system:kube-controller-manager", "system:kube-scheduler"]},
            {"level": "None", "userGroups": ["system:serviceaccounts"]},
            {"level": "Metadata"},
        ],
    });
    fs::write(&policy, rules.to_string())?;
    Ok([
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", log.display()),
        // Each request is in the log before it is answered.
        "--audit-log-mode=blocking-strict".to_owned(),
    ]
    .map(|flag| (Component::ApiServer, flag))
    .to_vec())
}

/// One request. A watch is in the log when it begins, and once more when it ends.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The verb of the authorizer, such as `list`.
    pub verb: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub uri: String,
    user: User,
    /// What it is about; empty for paths that are no objects.
    #[serde(default, rename = "objectRef")]
    pub object: Object,
    #[serde(default, rename = "responseStatus")]
    response: Response,
}

#[derive(Debug, Clone, Deserialize)]
struct User {
    username: String,
}

/// What a request is about.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Object {
    /// Empty for the core group.
    pub api_group: String,
    /// The plural.
    pub resource: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// Empty for lists, and for objects that are created.
    pub name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Response {
    code: u16,
}

impl Request {
    /// Who sent it.
    pub fn user(&self) -> &str {
        &self.user.username
    }

    /// The HTTP status of the answer.
    pub fn code(&self) -> u16 {
        self.response.code
    }
}

/// The requests in a log, in the order of their answers. A server writes whole lines.
pub fn read(log: &Path) -> Result<Vec<Request>> {
    let text = fs::read_to_string(log).context("the server wrote no audit log")?;
    let request = |line| serde_json::from_str(line).context("failed to read the audit log");
    text.lines().map(request).collect()
}

//! Counts the requests of a syncer to both servers, by their audit logs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::json;
use weft_tests::planes::Component;

use crate::bench::Bench;

/// Both servers, in the order of the breakdown; also the names of their logs.
const SIDES: [&str; 2] = ["host", "virtual"];
/// Verbs that write.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// Flags for an audit log of all requests; readers filter it by user.
pub(crate) fn flags(run: &Path, side: &str) -> Result<Vec<(Component, String)>> {
    let policy = run.join(format!("audit-{side}.yaml"));
    let rules = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
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
        format!("--audit-log-path={}", log(run, side).display()),
        // Each request is in the log before it is answered.
        "--audit-log-mode=blocking-strict".to_owned(),
    ]
    .map(|flag| (Component::ApiServer, flag))
    .to_vec())
}

fn log(run: &Path, side: &str) -> PathBuf {
    run.join(format!("audit-{side}.log"))
}

/// One request of the syncer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    side: &'static str,
    pub(crate) verb: String,
    resource: String,
    subresource: String,
    name: String,
    code: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    verb: String,
    #[serde(rename = "requestURI")]
    uri: String,
    user: User,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Response,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    resource: String,
    subresource: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Response {
    code: u16,
}

impl Request {
    /// Whether it changes something.
    pub(crate) fn writes(&self) -> bool {
        WRITES.contains(&self.verb.as_str())
    }

    /// Whether the object it names is this one, or an event about it.
    pub(crate) fn is_about(&self, name: &str) -> bool {
        !name.is_empty() && self.name.starts_with(name)
    }

    /// What the breakdown counts it under.
    fn class(&self) -> String {
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        let failed = if self.code >= 400 { format!(" ({})", self.code) } else { String::new() };
        format!("{:7} {:6} {}{slash}{}{failed}", self.side, self.verb, self.resource, self.subresource)
    }
}

/// How far the logs of both servers have come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mark([usize; SIDES.len()]);

/// Where both logs end now.
pub(crate) fn mark(bench: &Bench) -> Result<Mark> {
    let mut mark = Mark::default();
    for (side, lines) in SIDES.into_iter().zip(&mut mark.0) {
        *lines = read(bench, side)?.lines().count();
    }
    Ok(mark)
}

/// The syncer's requests since then, without watches: those are a few for ever.
pub(crate) fn since(bench: &Bench, mark: Mark) -> Result<Vec<Request>> {
    let users = [bench.tenant.host_user(), "weft-syncer".to_owned()];
    let mut requests = Vec::new();
    for ((side, user), seen) in SIDES.into_iter().zip(&users).zip(mark.0) {
        for line in read(bench, side)?.lines().skip(seen) {
            let entry: Entry = serde_json::from_str(line).context("failed to read the audit log")?;
            if entry.user.username == *user && entry.verb != "watch" {
                requests.push(request(side, entry));
            }
        }
    }
    Ok(requests)
}

/// A server writes whole lines, each before it answers.
fn read(bench: &Bench, side: &str) -> Result<String> {
    fs::read_to_string(log(bench.dir(), side)).context("the server wrote no audit log")
}

fn request(side: &'static str, entry: Entry) -> Request {
    let Object { resource, subresource, name } = entry.object_ref;
    let resource = if resource.is_empty() { entry.uri } else { resource };
    Request { side, verb: entry.verb, resource, subresource, name, code: entry.response_status.code }
}

/// How many requests of each class.
pub(crate) fn breakdown(requests: &[Request]) -> BTreeMap<String, u32> {
    let mut classes = BTreeMap::new();
    for request in requests {
        *classes.entry(request.class()).or_default() += 1;
    }
    classes
}

//! Counts the requests of a syncer to both servers, by their audit logs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use weft_tests::audit;
use weft_tests::planes::Component;

use crate::bench::Bench;

/// Both servers, in the order of the breakdown; also the names of their logs.
const SIDES: [&str; 2] = ["host", "virtual"];
/// Verbs that write.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// Flags for an audit log of all requests; readers filter it by user.
pub(crate) fn flags(run: &Path, side: &str) -> Result<Vec<(Component, String)>> {
    audit::flags(&log(run, side))
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
    for (side, requests) in SIDES.into_iter().zip(&mut mark.0) {
        *requests = read(bench, side)?.len();
    }
    Ok(mark)
}

/// The syncer's requests since then, without watches: those are a few for ever.
pub(crate) fn since(bench: &Bench, mark: Mark) -> Result<Vec<Request>> {
    let users = [bench.tenant.host_user(), "weft-syncer".to_owned()];
    let mut requests = Vec::new();
    for ((side, user), seen) in SIDES.into_iter().zip(&users).zip(mark.0) {
        let new = read(bench, side)?.into_iter().skip(seen);
        let ours = new.filter(|entry| entry.user() == user && entry.verb != "watch");
        requests.extend(ours.map(|entry| request(side, entry)));
    }
    Ok(requests)
}

fn read(bench: &Bench, side: &str) -> Result<Vec<audit::Request>> {
    audit::read(&log(bench.dir(), side))
}

fn request(side: &'static str, entry: audit::Request) -> Request {
    let code = entry.code();
    let audit::Object { resource, subresource, name, .. } = entry.object;
    let resource = if resource.is_empty() { entry.uri } else { resource };
    Request { side, verb: entry.verb, resource, subresource, name, code }
}

/// How many requests of each class.
pub(crate) fn breakdown(requests: &[Request]) -> BTreeMap<String, u32> {
    let mut classes = BTreeMap::new();
    for request in requests {
        *classes.entry(request.class()).or_default() += 1;
    }
    classes
}

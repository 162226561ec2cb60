//! Keeps a syncer's permissions in step with its folder of plugins.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;
use k8s_openapi::api::rbac::v1::PolicyRule;
use weft::folder::Watcher;

use crate::tenant::Tenant;

/// Grants what `weft rbac` prints whenever a component in `folder` is new or replaced, for as long as it is polled.
/// `report` gets the rules that were added, or why it failed; then it is tried again a few seconds later.
pub async fn grant(tenant: &Tenant, folder: &Path, report: impl Fn(Result<Vec<PolicyRule>>)) {
    let watcher = Watcher::new(folder);
    let mut granted = None;
    loop {
        let there = components(folder);
        if granted.as_ref() != Some(&there) {
            let outcome = tenant.grant().await;
            granted = outcome.is_ok().then_some(there);
            report(outcome);
        }
        watcher.changed().await;
    }
}

/// A file, with what differs once it was replaced.
type Component = (PathBuf, u64, Option<SystemTime>);

fn components(folder: &Path) -> Vec<Component> {
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let components = paths.filter(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    let stamped = components.filter_map(|path| {
        let metadata = fs::metadata(&path).ok()?;
        Some((path, metadata.len(), metadata.modified().ok()))
    });
    let mut stamped: Vec<Component> = stamped.collect();
    stamped.sort();
    stamped
}

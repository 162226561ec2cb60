//! Audits a store: compares names and versions with the server's, for what a lost watch frame hid.

use tracing::warn;

use crate::api;
use crate::engine::cache::store::ResourceVersion;
use crate::engine::informer::error::Error;
use crate::engine::informer::state::{Auditing, Finding, State};
use crate::engine::informer::watch::Watch;
use crate::engine::informer::wire::{Head, Page};

impl<S: 'static> Watch<S> {
    /// One page of the audit.
    pub(super) async fn audit(&self, mut auditing: Auditing) -> State {
        let finding = self.compare_page(&mut auditing).await;
        if matches!(finding, Ok(Finding::Missed)) {
            warn!(kind = %self.resource.kind, "the watch has missed something; listing again");
        }
        auditing.step(finding)
    }

    async fn compare_page(&self, auditing: &mut Auditing) -> Result<Finding, Error> {
        let url = self.selection().list_url(&auditing.next);
        let Page { metadata, items } = {
            let body = self.api.send(api::get_metadata(&url)).await?;
            serde_json::from_slice(&body).map_err(Error::Frame)?
        };
        let seen = &auditing.watching.version;
        // A server that was restored to an older state counts from there again.
        if seen.is_newer_than(&ResourceVersion::new(&metadata.version)) {
            return Ok(Finding::Missed);
        }
        for item in &items {
            let Head { metadata } = serde_json::from_str(item.get()).map_err(Error::Frame)?;
            let version = ResourceVersion::new(&metadata.version);
            // What is newer than our place in the watch is still to come.
            if !version.is_newer_than(seen)
                && !self.store.knows(&metadata.namespace, &metadata.name, &version)
            {
                return Ok(Finding::Missed);
            }
            auditing.listed.insert((metadata.namespace.into_owned(), metadata.name.into_owned()));
        }
        let is_last = metadata.next.is_empty();
        if is_last && !self.store.names_until(seen).iter().all(|name| auditing.listed.contains(name)) {
            return Ok(Finding::Missed);
        }
        Ok(Finding::Same { next: metadata.next })
    }
}

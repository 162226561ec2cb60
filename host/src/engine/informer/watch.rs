//! Keeps a store in step with one kind on one server: list, then watch, then again.
//!
//! A watch that ends is resumed where it was; only a server that has forgotten that place (410) makes
//! for a new list. A watch that died without a word is noticed because the server is asked to end each
//! one after a short time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use kube::client::Body;
use rand::Rng;
use tracing::{debug, info, warn};
use weft_core::object::{Object, ResourceType};

use crate::api::{self, Api};
use crate::engine::cache::changed::Changed;
use crate::engine::cache::store::{Absence, Change, ResourceVersion, Store};
use crate::engine::informer::identity::{self, IdentityGuard};
use crate::engine::informer::wire::{Frame, FrameStatus, Head, Page};

/// Objects a page: large enough to be quick, small enough not to hold a whole kind in memory twice.
const PAGE: usize = 500;
/// Larger than any object that etcd takes (1.5 MiB) with all its escapes.
const MAX_FRAME: usize = 16 * 1024 * 1024;
/// How much later than asked a server may end a watch before it is taken for dead.
const LATE: Duration = Duration::from_secs(5);
/// How often names and versions are compared with the server's.
const AUDIT: Duration = Duration::from_mins(5);
/// First pause after a failure; doubled with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// Longest pause after failures.
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// Between two looks for a kind that a server does not have, or does not let us see.
const ABSENT: Duration = Duration::from_secs(5);

/// What is watched, and where it goes.
pub(crate) struct Watch<S> {
    pub(crate) api: Api<S>,
    /// For the log: `host` or `virtual`.
    pub(crate) server: &'static str,
    pub(crate) resource: ResourceType,
    /// One namespace, or all for an empty one.
    pub(crate) namespace: String,
    /// Label selector in URL form, or empty.
    pub(crate) selector: String,
    /// How long one watch lasts: what dies silently is noticed this long after, and [`LATE`].
    pub(crate) lifetime: Duration,
    /// Whether the server may lack the kind: custom resources can be defined later.
    pub(crate) may_lack: bool,
    /// Vouches for the server before a list takes anything out of the store.
    pub(crate) guard: Option<Arc<IdentityGuard>>,
    pub(crate) store: Arc<Store<S>>,
    /// Called after the store has changed.
    pub(crate) changed: Arc<dyn Fn(Changed<S>) + Send + Sync>,
    /// Called after a complete list has come in.
    pub(crate) listed: Arc<dyn Fn() + Send + Sync>,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Api(#[from] api::Error),
    #[error("failed to read a watch event")]
    Frame(#[source] serde_json::Error),
    #[error("a watch event is larger than {MAX_FRAME} bytes")]
    FrameSize,
    #[error("the server ended the watch: {code} {message}")]
    Ended { code: u16, message: String },
    #[error("the watch is silent past its end")]
    Silent,
    #[error("a list is not believed")]
    IdentityGuard(#[from] identity::Error),
}

impl<S: 'static> Watch<S> {
    /// Runs until it is dropped.
    pub(crate) async fn run(self) {
        let mut failures = 0;
        let mut is_absent = false;
        loop {
            let version = match self.list().await {
                Ok(version) => version,
                Err(error) if self.is_lacking(&error) => {
                    if !std::mem::replace(&mut is_absent, true) {
                        self.tell_absent(&error);
                    }
                    tokio::time::sleep(jittered(ABSENT)).await;
                    continue;
                }
                Err(error) => {
                    failures += 1;
                    self.pause("failed to list", &error, failures).await;
                    continue;
                }
            };
            failures = 0;
            if std::mem::take(&mut is_absent) {
                info!(kind = %self.resource.kind(), server = self.server, "the kind is there now");
            }
            self.store.set_synced();
            (self.listed)();
            self.follow(version).await;
            // Many watches are told 410 at the same time; their lists should not meet.
            let apart = rand::rng().random_range(Duration::ZERO..Duration::from_millis(500));
            tokio::time::sleep(apart).await;
        }
    }

    /// Takes in every object there is; gives the version from which to watch.
    async fn list(&self) -> Result<ResourceVersion, Error> {
        let mut listed = HashSet::new();
        let mut next = String::new();
        loop {
            let page: Page = {
                let body = self.api.send(api::get(&self.list_url(&next))).await?;
                serde_json::from_slice(&body).map_err(Error::Frame)?
            };
            if self.store.is_ahead_of(&ResourceVersion::new(&page.metadata.version)) {
                // The server was put back to an older state: its versions of today mean other things.
                if let Some(guard) = &self.guard {
                    guard.check().await?;
                }
                self.store.forget_versions();
            }
            for item in &page.items {
                let mut object: Object<S> = api::decode(item.get().as_bytes())?;
                self.say_what_it_is(&mut object);
                listed.insert((object.namespace().to_owned(), object.name().to_owned()));
                self.take_in(object);
            }
            next = page.metadata.next;
            if next.is_empty() {
                let version = ResourceVersion::new(&page.metadata.version);
                self.drop_unlisted(&listed, &version).await?;
                return Ok(version);
            }
        }
    }

    async fn drop_unlisted(
        &self,
        listed: &HashSet<(String, String)>,
        version: &ResourceVersion,
    ) -> Result<(), Error> {
        // A first list takes nothing out; but one of a kind that comes later may be what host objects go by.
        if let (Some(guard), true) = (&self.guard, self.may_lack || self.store.is_synced()) {
            guard.check().await?;
        }
        let is_listed =
            |namespace: &str, name: &str| listed.contains(&(namespace.to_owned(), name.to_owned()));
        for (namespace, name, last) in self.store.retain(&is_listed, version) {
            (self.changed)(Changed { namespace, name, object: None, last });
        }
        Ok(())
    }

    /// Watches from `version` until the server has forgotten where we are, or until a check shows that
    /// something was missed.
    async fn follow(&self, mut version: ResourceVersion) {
        let mut failures = 0;
        let mut next_audit = tokio::time::Instant::now() + AUDIT;
        loop {
            match self.watch(&mut version).await {
                Ok(()) => failures = 0,
                Err(Error::Api(api::Error::Status { code: 410, .. }) | Error::Ended { code: 410, .. }) => {
                    debug!(kind = %self.resource.kind, "the server has forgotten our place in the watch");
                    return;
                }
                Err(error) if self.is_lacking(&error) => return,
                Err(error) => {
                    failures += 1;
                    self.pause("failed to watch", &error, failures).await;
                }
            }
            if tokio::time::Instant::now() < next_audit || failures > 0 {
                continue;
            }
            next_audit = tokio::time::Instant::now() + AUDIT;
            match self.audit(&version).await {
                Ok(true) => {}
                Ok(false) => {
                    warn!(kind = %self.resource.kind, "the watch has missed something; listing again");
                    return;
                }
                Err(error) => self.pause("failed to check what is cached", &error, 1).await,
            }
        }
    }

    /// Whether the store has what the server has, by name and version: repairs what a lost watch frame hid.
    async fn audit(&self, seen: &ResourceVersion) -> Result<bool, Error> {
        let mut listed = HashSet::new();
        let mut next = String::new();
        loop {
            let body = self.api.send(api::get_metadata(&self.list_url(&next))).await?;
            let page: Page = serde_json::from_slice(&body).map_err(Error::Frame)?;
            let version = ResourceVersion::new(&page.metadata.version);
            // A server that was put back to an older state counts from there again.
            if seen.is_newer_than(&version) {
                return Ok(false);
            }
            for item in &page.items {
                let Head { metadata } = serde_json::from_str(item.get()).map_err(Error::Frame)?;
                let version = ResourceVersion::new(&metadata.version);
                // What is newer than our place in the watch is still to come.
                if !version.is_newer_than(seen)
                    && !self.store.knows(&metadata.namespace, &metadata.name, &version)
                {
                    return Ok(false);
                }
                listed.insert((metadata.namespace.into_owned(), metadata.name.into_owned()));
            }
            next = page.metadata.next;
            if next.is_empty() {
                return Ok(self.store.names_until(seen).iter().all(|name| listed.contains(name)));
            }
        }
    }

    /// One watch, to its end. `version` follows what was seen.
    async fn watch(&self, version: &mut ResourceVersion) -> Result<(), Error> {
        let response = tokio::time::timeout(LATE * 2, self.api.start(api::get(&self.watch_url(version))));
        let mut body = response.await.map_err(|_| Error::Silent)??.into_body();
        let end = tokio::time::Instant::now() + self.lifetime + LATE;
        let mut buffer = BytesMut::new();
        while let Some(chunk) =
            tokio::time::timeout_at(end, read_chunk(&mut body)).await.map_err(|_| Error::Silent)?
        {
            buffer.extend_from_slice(&chunk?);
            while let Some(line_end) = memchr::memchr(b'\n', &buffer) {
                let line = buffer.split_to(line_end);
                buffer.advance(1);
                self.frame(&line, version)?;
            }
            if buffer.len() > MAX_FRAME {
                return Err(Error::FrameSize);
            }
        }
        Ok(())
    }

    fn frame(&self, line: &[u8], version: &mut ResourceVersion) -> Result<(), Error> {
        let frame: Frame<'_> = serde_json::from_slice(line).map_err(Error::Frame)?;
        let text = frame.object.get();
        if frame.kind == "ERROR" {
            let status: FrameStatus = serde_json::from_str(text).map_err(Error::Frame)?;
            return Err(Error::Ended { code: status.code, message: status.message });
        }
        let head: Head<'_> = serde_json::from_str(text).map_err(Error::Frame)?;
        let metadata = head.metadata;
        *version = ResourceVersion::new(&metadata.version);
        match frame.kind {
            "ADDED" | "MODIFIED" if !self.store.knows(&metadata.namespace, &metadata.name, version) => {
                self.take_in(api::decode(text.as_bytes())?);
            }
            "DELETED" => {
                // An object that only stopped matching our selector was not being deleted.
                let absence = if metadata.deleted.is_some() { Absence::Deleted } else { Absence::Unseen };
                let last = self.store.remove(&metadata.namespace, &metadata.name, version.clone(), absence);
                let (namespace, name) = (metadata.namespace.into_owned(), metadata.name.into_owned());
                (self.changed)(Changed { namespace, name, object: None, last });
            }
            _ => {}
        }
        Ok(())
    }

    fn take_in(&self, object: Object<S>) {
        let object = Arc::new(object);
        if self.store.put(object.clone()) == Change::Stored {
            (self.changed)(Changed::new(object));
        }
    }

    /// Puts in what lists leave out of their items, so that rules see the same of an object however it came.
    fn say_what_it_is(&self, object: &mut Object<S>) {
        let fields = object.fields_mut();
        if !fields.contains_key("kind") {
            fields.insert("apiVersion".to_owned(), self.resource.api_version().into());
            fields.insert("kind".to_owned(), self.resource.kind.as_ref().into());
        }
    }

    /// Whether the server does not have the kind or does not let us see it, and that is nothing unusual.
    fn is_lacking(&self, error: &Error) -> bool {
        let Error::Api(error) = error else { return false };
        self.may_lack && matches!(error.code(), Some(403 | 404))
    }

    fn tell_absent(&self, error: &Error) {
        let (kind, server) = (self.resource.kind(), self.server);
        if matches!(error, Error::Api(error) if error.is_not_found()) {
            let plural = &self.resource.plural;
            warn!(
                %kind, %plural, server,
                "the server does not have this kind under this plural: nothing of it is synced until its CustomResourceDefinition is installed there"
            );
        } else {
            let error = error as &dyn std::error::Error;
            warn!(
                %kind, server, error,
                "nothing of this kind is synced until the syncer has the right to list and watch it there"
            );
        }
    }

    fn list_url(&self, next: &str) -> String {
        let path = api::list_path(&self.resource, &self.namespace);
        let next = if next.is_empty() { String::new() } else { format!("&continue={next}") };
        format!("{path}?limit={PAGE}{}{next}", self.selector_query())
    }

    fn watch_url(&self, version: &ResourceVersion) -> String {
        let path = api::list_path(&self.resource, &self.namespace);
        let (seconds, version) = (self.lifetime.as_secs(), version.as_str());
        let selector = self.selector_query();
        format!(
            "{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={version}{selector}"
        )
    }

    fn selector_query(&self) -> String {
        if self.selector.is_empty() { String::new() } else { format!("&labelSelector={}", self.selector) }
    }

    async fn pause(&self, what: &str, error: &Error, failures: u32) {
        let doubled = FIRST_BACKOFF.saturating_mul(1 << failures.min(10)).min(LAST_BACKOFF);
        let asked = match error {
            Error::Api(api::Error::Status { retry_after, .. }) => *retry_after,
            _ => None,
        };
        let pause = asked.unwrap_or_else(|| jittered(doubled));
        // The first failure is often a server that restarts.
        if failures > 1 {
            warn!(kind = %self.resource.kind, error = error as &dyn std::error::Error, "{what}; trying again");
        }
        tokio::time::sleep(pause).await;
    }
}

fn jittered(time: Duration) -> Duration {
    time.mul_f64(rand::rng().random_range(0.75..1.25))
}

async fn read_chunk(body: &mut Body) -> Option<Result<bytes::Bytes, api::Error>> {
    loop {
        match body.frame().await? {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data));
                }
            }
            Err(error) => return Some(Err(api::Error::Transport(error.into()))),
        }
    }
}

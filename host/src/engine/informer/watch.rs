//! What is watched, and where it goes: one kind on one server, into one store.

use std::sync::Arc;
use std::time::Duration;

use weft_core::object::{Object, ResourceType};

use crate::api::Api;
use crate::engine::ambient::Ambient;
use crate::engine::cache::changed::Changed;
use crate::engine::cache::content::Content;
use crate::engine::cache::store::{Change, Store};
use crate::engine::informer::error::Error;
use crate::engine::informer::failures::Reporter;
use crate::engine::informer::identity::IdentityGuard;
use crate::engine::informer::request::{PageLimits, Selection};

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
    /// After how long the server is asked to end each watch: one that died silently is detected soon after.
    pub(crate) lifetime: Duration,
    /// Whether the server may lack the kind: custom resources can be defined later.
    pub(crate) may_lack: bool,
    /// Confirms the server's identity before anything that it shows replaces what the store has.
    pub(crate) guard: Option<Arc<IdentityGuard<S>>>,
    /// Reports a watch that fails for a while; none for what readiness does not depend on.
    pub(crate) reporter: Option<Reporter>,
    pub(crate) content: Content,
    pub(crate) limits: PageLimits,
    pub(crate) ambient: Ambient,
    pub(crate) store: Arc<Store<S>>,
    /// Called after each change of the store, and for what may have changed unseen.
    pub(crate) changed: Arc<dyn Fn(Changed<S>) + Send + Sync>,
    /// Called with the metadata of an object that cannot be decoded, once for each version of it.
    pub(crate) unreadable: Arc<dyn Fn(Object<S>) + Send + Sync>,
    /// Called when the server does not serve the kind, for a new reason.
    pub(crate) unserved: Arc<dyn Fn() + Send + Sync>,
    /// Called after each complete list, and after an audit of a server that was away that has found nothing else.
    pub(crate) listed: Arc<dyn Fn() + Send + Sync>,
}

impl<S: 'static> Watch<S> {
    pub(super) fn selection(&self) -> Selection<'_> {
        Selection { resource: &self.resource, namespace: &self.namespace, selector: &self.selector }
    }

    /// Stores an object, unless the store has the same version of it or a newer one.
    pub(super) fn put(&self, object: Object<S>) {
        let object = Arc::new(object);
        if self.store.put(object.clone()) == Change::Stored {
            (self.changed)(Changed::new(object));
        }
    }

    /// Fails if the server is not the one whose objects the store has, or could not say within the last second.
    pub(super) async fn confirm_identity(&self) -> Result<(), Error> {
        let Some(guard) = &self.guard else { return Ok(()) };
        guard.check().await.map_err(Error::IdentityGuard)
    }

    /// The epoch of the server: see [`IdentityGuard::epoch`].
    pub(super) fn epoch(&self) -> u64 {
        self.guard.as_ref().map_or(0, |guard| *guard.epoch().borrow())
    }

    /// Waits until `epoch` is over.
    pub(super) async fn epoch_over(&self, epoch: u64) {
        match &self.guard {
            Some(guard) => drop(guard.epoch().wait_for(|now| *now != epoch).await),
            None => std::future::pending().await,
        }
    }
}

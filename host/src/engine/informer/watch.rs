//! What is watched, and where it goes: one kind on one server, into one store.

use std::sync::Arc;
use std::time::Duration;

use weft_core::object::{Object, ResourceType};

use crate::api::Api;
use crate::engine::cache::changed::Changed;
use crate::engine::cache::store::{Change, Store};
use crate::engine::informer::identity::{self, IdentityGuard};
use crate::engine::informer::request::Selection;

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
    /// Confirms the server's identity before a list removes anything from the store.
    pub(crate) guard: Option<Arc<IdentityGuard>>,
    pub(crate) store: Arc<Store<S>>,
    /// Called after each change of the store.
    pub(crate) changed: Arc<dyn Fn(Changed<S>) + Send + Sync>,
    /// Called after each complete list.
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

    /// Fails if the server is not the one whose objects the store has, or cannot say.
    pub(super) async fn confirm_identity(&self) -> Result<(), identity::Error> {
        match &self.guard {
            Some(guard) => guard.check().await,
            None => Ok(()),
        }
    }
}

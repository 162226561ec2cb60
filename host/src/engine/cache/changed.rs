//! One change of a store, as its informer emits it, or the chance of one.

use std::sync::Arc;

use weft_core::object::Object;

/// One change of a store, or what may have changed without an event of its own.
pub(crate) struct Changed<S> {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The object as it is now; none when it is gone.
    pub(crate) object: Option<Arc<Object<S>>>,
    /// What the store had of an object that is gone.
    pub(crate) last: Option<Arc<Object<S>>>,
}

impl<S> Changed<S> {
    /// An object that is there, most often new or newer.
    pub(crate) fn new(object: Arc<Object<S>>) -> Self {
        let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
        Self { namespace, name, object: Some(object), last: None }
    }
}

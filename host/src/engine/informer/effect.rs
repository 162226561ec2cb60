//! What an event of a watch does to the store.

use std::borrow::Cow;

use crate::engine::cache::store::Absence;
use crate::engine::informer::wire::HeadMetadata;

/// What is to be done to the store.
#[derive(Debug)]
pub(super) enum Effect<'a> {
    Nothing,
    /// Stores an object, which is decoded only if the store does not have this version of it.
    Put {
        head: HeadMetadata<'a>,
        object: &'a str,
    },
    /// Removes an object.
    Remove {
        namespace: Cow<'a, str>,
        name: Cow<'a, str>,
        absence: Absence,
    },
}

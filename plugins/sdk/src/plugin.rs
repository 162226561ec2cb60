//! The trait that a plugin implements.

use serde::de::DeserializeOwned;

use crate::{Call, Descriptor, Object, Problem, Result};

/// The rules of one component. The type's fields are the operator's settings.
///
/// If `serde` cannot read the settings, weft reports the field to the operator and does not load the plugin. Add
/// `#[serde(deny_unknown_fields)]` so that misspelt settings are reported too.
pub trait Plugin: 'static {
    /// Describes the plugin and the kinds that it maps. Must return the same value each time.
    fn describe() -> Descriptor
    where
        Self: Sized;

    /// Validates settings that `serde` could read. If there are problems, weft reports them to the operator and does not
    /// load the plugin.
    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// Changes the draft of a host object before it is written: it has its host name, weft's labels and all declared
    /// references rewritten, and no `status`.
    fn to_host(&self, call: &Call, draft: &mut Object) -> Result {
        let _ = (call, draft);
        Ok(())
    }

    /// Changes the draft of a virtual object before it is written: the tenant's object with the fields that are
    /// synced from the host. [`Call::host_object`] is set if the mapping requests it.
    fn to_virtual(&self, call: &Call, draft: &mut Object) -> Result {
        let _ = (call, draft);
        Ok(())
    }
}

/// A [`Plugin`] whose settings have been read, whatever its type.
pub(crate) trait AnyPlugin {
    fn to_host(&self, call: &Call, draft: &mut Object) -> Result;
    fn to_virtual(&self, call: &Call, draft: &mut Object) -> Result;
}

impl<P: Plugin + DeserializeOwned> AnyPlugin for P {
    fn to_host(&self, call: &Call, draft: &mut Object) -> Result {
        Plugin::to_host(self, call, draft)
    }

    fn to_virtual(&self, call: &Call, draft: &mut Object) -> Result {
        Plugin::to_virtual(self, call, draft)
    }
}

//! The trait behind which a plugin's rules stand.

use serde::de::DeserializeOwned;

use crate::{Call, Descriptor, Object, Problem, Result};

/// The rules of one component. The type's fields are the operator's settings.
///
/// Settings that `serde` cannot read are shown to the operator with the field they are about, and the plugin is not
/// loaded. Write `#[serde(deny_unknown_fields)]` so that a misspelt setting is one of them.
pub trait Plugin: 'static {
    /// What the plugin is and which kinds it maps. The same each time.
    fn describe() -> Descriptor
    where
        Self: Sized;

    /// What is wrong with settings that could be read. Problems are shown to the operator, and the plugin is not
    /// loaded.
    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// Changes the draft of a host object before it is written: it has its host name, weft's labels and all declared
    /// references rewritten, and no `status`.
    fn to_host(&self, call: &Call, draft: &mut Object) -> Result {
        let _ = (call, draft);
        Ok(())
    }

    /// Changes the draft of a virtual object before it is written: the tenant's object with what flows back.
    /// [`Call::host_object`] is given if the mapping asks for it.
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

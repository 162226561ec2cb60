//! Takes the place of a plugin that should be loaded and is not, so that its failure policy applies.

use weft_core::context::Ctx;
use weft_core::extension::{Answer, Extension, Failure, Request, Terms};

use crate::registry::Missing;

/// An extension that answers nothing, so that the failure policy of the missing plugin applies.
pub(super) struct Gap {
    missing: Missing,
    terms: Terms,
}

impl Gap {
    pub(super) fn new(missing: Missing) -> Self {
        let terms = Terms {
            to_host: true,
            to_virtual: false,
            host_writes: Vec::new(),
            virtual_writes: Vec::new(),
            on_failure: missing.on_failure,
        };
        Self { missing, terms }
    }
}

impl Extension for Gap {
    fn name(&self) -> &str {
        &self.missing.name
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn call(&self, _: &Ctx<'_>, _: &Request<'_>) -> Result<Answer, Failure> {
        Err(Failure::new("PluginNotLoaded", "it should be loaded and is not; the log of the syncer says why"))
    }

    fn refused(&self, _: &Failure) {}
}

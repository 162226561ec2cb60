//! A kind as a declaration adds it that says nothing of it.

use std::sync::Arc;

use weft_core::declared::{Declaration, Declared};
use weft_core::mapper::Mapper;
use weft_core::object::ResourceType;
use weft_core::spec::Selection;

/// The mapper of such a kind.
pub(crate) fn silent(resource: ResourceType) -> Arc<dyn Mapper> {
    Arc::new(Declared::new(Declaration {
        resource,
        selection: Selection::All,
        references: Vec::new(),
        selectors: Vec::new(),
        labels: Vec::new(),
        managed: Vec::new(),
        back: Vec::new(),
        installs_definition: false,
        acts_for_others: false,
    }))
}

//! The built-in kinds. This is the only such list: what is watched, what rights are needed and what the
//! documentation says is derived from it.

use std::sync::Arc;

use crate::mapper::Mapper;

pub mod config_map;

/// The rules of every built-in kind.
pub fn builtin() -> Vec<Arc<dyn Mapper>> {
    vec![Arc::new(config_map::ConfigMap::new())]
}

//! The built-in kinds. This is the only such list: what is watched, which permissions are needed and what the
//! documentation lists is derived from it.

use std::sync::Arc;

use crate::mapper::Mapper;

pub mod config_map;
pub mod endpoint_slice;
pub mod endpoints;
pub mod persistent_volume_claim;
pub mod pod;
pub mod secret;
pub mod service;

/// The mapper of every built-in kind.
pub fn builtin() -> Vec<Arc<dyn Mapper>> {
    vec![
        Arc::new(config_map::ConfigMap),
        Arc::new(endpoint_slice::EndpointSlice),
        Arc::new(endpoints::Endpoints),
        Arc::new(persistent_volume_claim::PersistentVolumeClaim),
        Arc::new(pod::Pod),
        Arc::new(secret::Secret),
        Arc::new(service::Service),
    ]
}

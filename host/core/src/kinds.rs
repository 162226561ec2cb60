//! The built-in kinds. This is the only such list: what is watched, what rights are needed and what the
//! documentation says is derived from it.

use std::sync::Arc;

use crate::mapper::Mapper;

pub mod config_map;
pub mod endpoint_slice;
pub mod endpoints;
pub mod persistent_volume_claim;
pub mod pod;
pub mod secret;
pub mod service;

/// The rules of every built-in kind.
pub fn builtin() -> Vec<Arc<dyn Mapper>> {
    vec![
        Arc::new(config_map::ConfigMap::new()),
        Arc::new(endpoint_slice::EndpointSlice::new()),
        Arc::new(endpoints::Endpoints::new()),
        Arc::new(persistent_volume_claim::PersistentVolumeClaim::new()),
        Arc::new(pod::Pod::new()),
        Arc::new(secret::Secret::new()),
        Arc::new(service::Service::new()),
    ]
}

//! What the operator lets tenants use of the host beyond what every tenant may.
//!
//! The default is the least. The guard judges by it what any mapper makes ([`crate::confine`]): a tenant's own API server
//! has admitted more than the host's operator may want to run.

pub mod addresses;
pub mod claims;
pub mod dns_names;
pub mod metadata;
pub mod nodes;
pub mod patterns;
pub mod pods;
pub mod services;

use claims::ClaimPolicy;
use metadata::MetadataPolicy;
use nodes::NodePolicy;
use pods::PodPolicy;
use services::ServicePolicy;

/// What the operator allows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// How pods may run.
    pub pods: PodPolicy,
    /// What Services and their endpoints may open and lead to.
    pub services: ServicePolicy,
    /// Which storage claims may ask for.
    pub claims: ClaimPolicy,
    /// Which labels and annotations the host sees.
    pub metadata: MetadataPolicy,
    /// What mirrored nodes show of the host's.
    pub nodes: NodePolicy,
}

impl Policy {
    /// Everything that can be allowed at all.
    pub fn open() -> Self {
        Self {
            pods: PodPolicy::open(),
            services: ServicePolicy::open(),
            claims: ClaimPolicy::open(),
            metadata: MetadataPolicy::open(),
            nodes: NodePolicy::default(),
        }
    }
}

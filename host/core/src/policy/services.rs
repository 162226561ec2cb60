//! What Services and their endpoints may open on the host and lead to.

/// What the operator allows Services, Endpoints and EndpointSlices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServicePolicy {}

impl ServicePolicy {
    /// Everything that can be allowed at all.
    pub fn open() -> Self {
        Self {}
    }
}

//! The empty-cluster guard: is the virtual API server still the one whose objects are on the host?
//!
//! A virtual API server that comes back with another storage, or with none, must not make us delete what
//! runs. The virtual cluster's identity is the UID of its namespace `kube-system`, which is as old as its
//! storage; the host remembers it.

use std::sync::OnceLock;

use weft_core::object::Virtual;

use crate::api::{self, Api};
use crate::engine::resources::namespaces;

/// Compares the virtual cluster's identity with the one that is expected.
pub(crate) struct IdentityGuard {
    api: Api<Virtual>,
    expected: OnceLock<String>,
}

/// Why the virtual API server is not trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "the virtual kube-system has the UID {found}, expected {expected}: this is another virtual cluster"
    )]
    OtherCluster { found: String, expected: String },
    #[error("failed to read the virtual namespace kube-system")]
    Api(#[source] api::Error),
}

impl IdentityGuard {
    pub(crate) fn new(api: Api<Virtual>) -> Self {
        Self { api, expected: OnceLock::new() }
    }

    /// The identity of the virtual cluster as it answers now.
    pub(crate) async fn identity(&self) -> Result<String, Error> {
        let found = self.api.get(&namespaces(), "", "kube-system").await.map_err(Error::Api)?;
        Ok(found.uid().to_owned())
    }

    /// Sets what is expected from now on, once: later calls change nothing.
    pub(crate) fn expect(&self, identity: &str) {
        self.expected.get_or_init(|| identity.to_owned());
    }

    /// Fails if the virtual cluster is another one than expected, or cannot say.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        let found = self.identity().await?;
        match self.expected.get() {
            Some(expected) if *expected != found => {
                Err(Error::OtherCluster { found, expected: expected.clone() })
            }
            _ => Ok(()),
        }
    }
}

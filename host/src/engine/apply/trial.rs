//! What a server would answer to a write: the same request as a dry run, which has no effect.

use http::Method;
use weft_core::change::Change;
use weft_core::names::HostName;
use weft_core::object::{HostObject, ResourceType, VirtualObject};

use super::Writer;
use super::request::{JSON, dry_run, patch_dry_run};
use crate::api::{self, Error};

/// A write to be tried.
#[derive(Clone, Copy)]
pub(crate) enum Trial<'a> {
    /// Of a new object.
    Create(&'a HostObject),
    /// Of an object that must have this UID.
    Patch { name: &'a HostName, uid: &'a str, change: &'a Change },
}

impl Writer {
    /// Fails if the virtual server refuses to create this object because of its fields, or fails at it. Whether it would is not
    /// known where it cannot be asked, for a webhook that takes no dry runs or a permission.
    pub(crate) async fn try_virtual(
        &self,
        resource: &ResourceType,
        object: &VirtualObject,
    ) -> Result<(), Error> {
        let path = api::list_path(resource, object.namespace());
        let request = dry_run(Method::POST, &path, JSON, object.fields());
        match self.r#virtual().await?.send(request).await {
            Err(error)
                if error.is_failure() || error.refused_fields().is_some_and(|fields| !fields.is_empty()) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Whether the host would accept this write now. It passes the gate like any other.
    pub(crate) async fn try_host(&self, resource: &ResourceType, trial: Trial<'_>) -> Result<(), Error> {
        let namespace = &self.host_namespace;
        let request = match trial {
            Trial::Create(object) => {
                dry_run(Method::POST, &api::list_path(resource, namespace), JSON, object.fields())
            }
            Trial::Patch { name, uid, change } => {
                let path = api::object_path(resource, namespace, name.as_str(), change.subresource);
                patch_dry_run(&path, uid, change)
            }
        };
        self.host().await?.send(request).await.map(drop)
    }
}

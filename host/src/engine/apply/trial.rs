//! What the host would answer to a write: the same request as a dry run, which has no effect.

use http::Method;
use weft_core::change::Change;
use weft_core::names::HostName;
use weft_core::object::{HostObject, ResourceType};

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

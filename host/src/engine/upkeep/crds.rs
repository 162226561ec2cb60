//! Installs the host's definitions of custom resources in the virtual cluster, and keeps them up to date.

mod action;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as signal;
use tracing::{debug, info, warn};
use weft_core::object::{Host, HostObject, Key, ResourceType, Virtual, VirtualName, VirtualObject};

use crate::api::{self, Api};
use crate::engine::apply::Writer;
use crate::engine::events::reason::Reason;
use crate::engine::events::recorder::{EventRecorder, ObjectEvent};
use crate::engine::resources::custom_resource_definitions;
use crate::registry::Rules;
use action::Action;

/// How often the host's definitions are read.
const PERIOD: Duration = Duration::from_secs(30);

/// Installs and updates the definitions of the kinds whose rules ask for it.
pub(crate) struct CrdInstaller {
    pub(crate) host: Api<Host>,
    pub(crate) r#virtual: Api<Virtual>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) recorder: EventRecorder,
    /// What was last published of each definition, so that it is published once.
    pub(crate) published: HashMap<String, String>,
}

/// Why a definition could not be installed or updated.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(
        "the host has no CustomResourceDefinition {0}; install it there, or have the plugin not ask for it"
    )]
    Missing(String),
    #[error(
        "the syncer may not read the CustomResourceDefinition {0} on the host; give it the permission `get` on it"
    )]
    Forbidden(String),
    #[error("the host's CustomResourceDefinition {name} cannot be used: {why}")]
    Unfit { name: String, why: String },
    #[error("failed to {action} {name}")]
    Api { action: &'static str, name: String, source: api::Error },
}

impl CrdInstaller {
    /// Runs for ever; writes only while `ready`.
    pub(crate) async fn keep(
        mut self,
        mut rules: signal::Receiver<Arc<Rules>>,
        mut ready: signal::Receiver<bool>,
    ) {
        while ready.wait_for(|ready| *ready).await.is_ok() {
            let current = rules.borrow_and_update().clone();
            for mapper in current.mappers.iter().filter(|mapper| mapper.spec().installs_definition) {
                self.reconcile(&mapper.spec().resource).await;
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                Ok(()) = rules.changed() => {}
            }
        }
    }

    async fn reconcile(&mut self, resource: &ResourceType) {
        let name = format!("{}.{}", resource.plural, resource.group);
        match self.ensure(resource, &name).await {
            Ok(None) => {
                self.published.remove(&name);
            }
            Ok(Some(notice)) => self.publish_once(&name, notice),
            Err(error) if is_passing(&error) => {
                debug!(error = &error as &dyn std::error::Error, "trying again");
            }
            Err(error) => self.warn_once(&name, &error),
        }
    }

    /// Brings one definition up to date; returns what to publish on it.
    async fn ensure(&self, resource: &ResourceType, name: &str) -> Result<Option<Notice>, Error> {
        let failed = |action| move |source| Error::Api { action, name: name.to_owned(), source };
        let host = self.on_host(name).await?;
        let current = match self.r#virtual.get(&custom_resource_definitions(), "", name).await {
            Ok(current) => Some(current),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(failed("read the virtual cluster's definition")(error)),
        };
        match action::decide(resource, &host, current.as_ref()) {
            Action::Nothing => Ok(None),
            Action::Create(definition) => {
                let created = self.writer.create_virtual(&custom_resource_definitions(), &definition).await;
                created.map_err(failed("install the definition"))?;
                info!(definition = name, "installed the host's definition in the virtual cluster");
                Ok(None)
            }
            Action::Update(changes) => {
                let Some(current) = current else { return Ok(None) };
                for change in changes {
                    let (kind, uid) = (custom_resource_definitions(), current.uid());
                    let patched = self.writer.patch_virtual(&kind, &named(name), uid, &change).await;
                    patched.map_err(failed("update the definition"))?;
                }
                info!(definition = name, "updated the definition in the virtual cluster to the host's");
                Ok(None)
            }
            Action::Respect => Ok(current.map(|current| Notice {
                definition: Arc::new(current),
                reason: Reason::DefinitionRespected,
                message:
                    "this definition was not installed by weft, so it stays as it is; the host's may differ"
                        .to_owned(),
            })),
            Action::Keep(why) => match current {
                Some(current) => Ok(Some(Notice {
                    definition: Arc::new(current),
                    reason: Reason::DefinitionKept,
                    message: format!("the definition is not brought up to the host's: {why}"),
                })),
                None => Err(Error::Unfit { name: name.to_owned(), why }),
            },
        }
    }

    async fn on_host(&self, name: &str) -> Result<HostObject, Error> {
        self.host.get(&custom_resource_definitions(), "", name).await.map_err(|source| match source.code() {
            Some(404) => Error::Missing(name.to_owned()),
            Some(403) => Error::Forbidden(name.to_owned()),
            _ => Error::Api { action: "read the host's definition", name: name.to_owned(), source },
        })
    }

    /// Logs it and records it on the definition, unless it was published last.
    fn publish_once(&mut self, name: &str, notice: Notice) {
        if self.published.insert(name.to_owned(), notice.message.clone()).as_ref() == Some(&notice.message) {
            return;
        }
        let Notice { definition, reason, message } = notice;
        let is_warning = reason.is_warning();
        if is_warning {
            warn!(definition = name, "{message}");
        } else {
            info!(definition = name, "{message}");
        }
        let key = Key { kind: custom_resource_definitions().kind(), name: named(name) };
        let reason = reason.as_str().to_owned();
        self.recorder.record(ObjectEvent { object: definition, key, by: None, is_warning, reason, message });
    }

    fn warn_once(&mut self, name: &str, error: &Error) {
        let problem = format!("{error:?}");
        if self.published.insert(name.to_owned(), problem.clone()).as_ref() != Some(&problem) {
            warn!(
                definition = name,
                error = error as &dyn std::error::Error,
                "the definition is not installed"
            );
        }
    }
}

/// Something to publish on a definition, for the tenant.
struct Notice {
    definition: Arc<VirtualObject>,
    reason: Reason,
    message: String,
}

/// Whether trying again may succeed without anybody's doing.
fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Api { source, .. } if !source.is_refusal())
}

fn named(name: &str) -> VirtualName {
    VirtualName::new("", name)
}

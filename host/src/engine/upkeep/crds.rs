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
use crate::engine::events::recorder::{EventRecorder, ObjectEvent, Reason};
use crate::engine::resources::custom_resource_definitions;
use crate::registry::Rules;
use action::Action;

/// How often the host's definitions are looked at.
const PERIOD: Duration = Duration::from_secs(30);

/// Looks after the definitions of the kinds whose rules ask for it.
pub(crate) struct CrdInstaller {
    pub(crate) host: Api<Host>,
    pub(crate) r#virtual: Api<Virtual>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) recorder: EventRecorder,
    /// What was last published of each definition, so that it is published once.
    pub(crate) published: HashMap<String, String>,
}

/// Why a definition could not be looked after.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(
        "the host has no CustomResourceDefinition {0}; install it there, or have the plugin not ask for it"
    )]
    Missing(String),
    #[error(
        "the syncer may not read the CustomResourceDefinition {0} on the host; give it the right `get` on it"
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
                self.look_at(&mapper.spec().resource).await;
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                Ok(()) = rules.changed() => {}
            }
        }
    }

    async fn look_at(&mut self, resource: &ResourceType) {
        let name = format!("{}.{}", resource.plural, resource.group);
        match self.ensure(resource, &name).await {
            Ok(None) => {
                self.published.remove(&name);
            }
            Ok(Some(news)) => self.tell_once(&name, news),
            Err(error) if is_passing(&error) => {
                debug!(error = &error as &dyn std::error::Error, "trying again");
            }
            Err(error) => self.warn_once(&name, &error),
        }
    }

    /// Brings one definition up to date; gives what there is to tell the tenant about it.
    async fn ensure(&self, resource: &ResourceType, name: &str) -> Result<Option<News>, Error> {
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
                info!(definition = name, "brought the definition in the virtual cluster up to the host's");
                Ok(None)
            }
            Action::Respect => Ok(current.map(|current| News {
                definition: Arc::new(current),
                reason: Reason::DefinitionRespected,
                message:
                    "this definition was not installed by weft, so it stays as it is; the host's may differ"
                        .to_owned(),
            })),
            Action::Keep(why) => match current {
                Some(current) => Ok(Some(News {
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

    /// Tells it in the log and on the definition, unless it was published last.
    fn tell_once(&mut self, name: &str, news: News) {
        if self.published.insert(name.to_owned(), news.message.clone()).as_ref() == Some(&news.message) {
            return;
        }
        let News { definition, reason, message } = news;
        let is_warning = reason == Reason::DefinitionKept;
        if is_warning {
            warn!(definition = name, "{message}");
        } else {
            info!(definition = name, "{message}");
        }
        let key = Key { kind: custom_resource_definitions().kind(), name: named(name) };
        let reason = reason.as_str().to_owned();
        self.recorder.tell(ObjectEvent { object: definition, key, by: None, is_warning, reason, message });
    }

    fn warn_once(&mut self, name: &str, error: &Error) {
        let text = format!("{error:?}");
        if self.published.insert(name.to_owned(), text.clone()).as_ref() != Some(&text) {
            warn!(
                definition = name,
                error = error as &dyn std::error::Error,
                "the definition is not installed"
            );
        }
    }
}

/// Something to tell the tenant about a definition.
struct News {
    definition: Arc<VirtualObject>,
    reason: Reason,
    message: String,
}

/// Whether the next look may find it healed without anybody's doing.
fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Api { source, .. } if !source.is_refusal())
}

fn named(name: &str) -> VirtualName {
    VirtualName::new("", name)
}

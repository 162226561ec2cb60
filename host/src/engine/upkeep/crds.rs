//! Installs the host's definitions of custom resources in the virtual cluster, and keeps them up to date.

mod action;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as signal;
use tracing::{debug, info, warn};
use weft_core::change::Change;
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
/// The same while one of them is not there, or may not be read: whoever mends that waits for it.
const ABSENT: Duration = Duration::from_secs(5);

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
        "the syncer has no permission to read the CustomResourceDefinition {0} on the host; its ClusterRole needs the rule \
         `{{apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], resourceNames: [{0}], verbs: [get]}}`, and \
         `weft rbac` prints all that it needs"
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
            let mut pause = PERIOD;
            for mapper in current.mappers.iter().filter(|mapper| mapper.spec().installs_definition) {
                if !self.reconcile(&mapper.spec().resource).await {
                    pause = ABSENT;
                }
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(pause) => {}
                Ok(()) = rules.changed() => {}
            }
        }
    }

    /// Returns whether the virtual cluster has the definition as it should.
    async fn reconcile(&mut self, resource: &ResourceType) -> bool {
        let name = format!("{}.{}", resource.plural, resource.group);
        let ensured = self.ensure(resource, &name).await;
        let is_done = ensured.is_ok();
        match ensured {
            Ok(None) => {
                self.published.remove(&name);
            }
            Ok(Some(notice)) => self.publish_once(&name, notice),
            Err(error) if is_passing(&error) => {
                debug!(error = &error as &dyn std::error::Error, "trying again");
            }
            Err(error) => self.warn_once(&name, &error),
        }
        is_done
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
        match (action::decide(resource, &host, current.as_ref()), current) {
            (Action::Create(definition), _) => {
                let created = self.writer.create_virtual(&custom_resource_definitions(), &definition).await;
                created.map_err(failed("install the definition"))?;
                info!(definition = name, "installed the host's definition in the virtual cluster");
                Ok(None)
            }
            (Action::Update(changes), Some(current)) => {
                self.update(&current, &changes).await.map_err(failed("update the definition"))?;
                info!(definition = name, "updated the definition in the virtual cluster to the host's");
                Ok(None)
            }
            (Action::Respect, Some(current)) => Ok(Some(Notice::respected(current))),
            (Action::Keep(why), Some(current)) => Ok(Some(Notice::kept(current, &why))),
            (Action::Keep(why), None) => Err(Error::Unfit { name: name.to_owned(), why }),
            (Action::Nothing | Action::Update(_) | Action::Respect, _) => Ok(None),
        }
    }

    async fn update(&self, current: &VirtualObject, changes: &[Change]) -> Result<(), api::Error> {
        let (definitions, name) = (custom_resource_definitions(), current.virtual_name());
        for change in changes {
            self.writer.patch_virtual(&definitions, &name, current.uid(), change).await?;
        }
        Ok(())
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
        let is_known_by_reason = false;
        let object = definition;
        self.recorder.record(ObjectEvent {
            object,
            key,
            by: None,
            is_warning,
            reason,
            message,
            is_known_by_reason,
        });
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

impl Notice {
    fn respected(definition: VirtualObject) -> Self {
        let message =
            "this definition was not installed by weft, so it stays as it is; the host's may differ"
                .to_owned();
        Self { definition: Arc::new(definition), reason: Reason::DefinitionRespected, message }
    }

    fn kept(definition: VirtualObject, why: &str) -> Self {
        let message = format!("the definition is not brought up to the host's: {why}");
        Self { definition: Arc::new(definition), reason: Reason::DefinitionKept, message }
    }
}

/// Whether trying again may succeed without anybody's doing.
fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Api { source, .. } if !source.is_refusal())
}

fn named(name: &str) -> VirtualName {
    VirtualName::new("", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::Method;
    use serde_json::{Value, json};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use weft_core::context::Ctx;
    use weft_core::keys::DEFINITION;

    use weft_core::mapper::Mapper;
    use weft_core::spec::KindSpec;
    use weft_core::verdict::Verdict;

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::testing::{Bench, echo, settle, widgets as resource};

    const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

    /// A definition that serves these versions and stores the first.
    fn definition(versions: &[&str]) -> Value {
        let version =
            |(number, name): (usize, &&str)| json!({"name": name, "served": true, "storage": number == 0});
        let versions: Vec<Value> = versions.iter().enumerate().map(version).collect();
        json!({
            "metadata": {"name": "widgets.example.org", "uid": "uid-definition", "generation": 1},
            "spec": {"group": "example.org", "versions": versions, "conversion": {"strategy": "None"}},
        })
    }

    /// What weft has installed in the virtual cluster of such a definition.
    async fn installed(versions: &[&str]) -> Value {
        let (bench, mut installer) = installer(definition(versions), None);
        installer.reconcile(&resource()).await;
        let mut created = bench.virtual_requests.bodies(&Method::POST).remove(0);
        created["metadata"]["uid"] = "uid-virtual".into();
        created
    }

    fn installer(on_host: Value, in_virtual: Option<Value>) -> (Bench, CrdInstaller) {
        let on_virtual = move |asked: &Asked| match &in_virtual {
            Some(current) if asked.method == Method::GET => Answer::ok(current.clone()),
            _ => echo(asked),
        };
        of(Bench::new(move |_| Answer::ok(on_host.clone()), on_virtual))
    }

    fn of(bench: Bench) -> (Bench, CrdInstaller) {
        let installer = CrdInstaller {
            host: bench.host.clone(),
            r#virtual: bench.r#virtual.clone(),
            writer: bench.writer.clone(),
            recorder: bench.recorder(),
            published: HashMap::new(),
        };
        (bench, installer)
    }

    /// The writes to definitions in the virtual cluster.
    fn writes(bench: &Bench) -> Vec<String> {
        let lines = bench.virtual_requests.lines().into_iter();
        lines.filter(|line| line.contains(PATH) && !line.starts_with("GET ")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_definition_that_is_missing_is_installed_and_the_hosts_is_only_read() {
        let (bench, mut installer) = installer(definition(&["v1"]), None);
        installer.reconcile(&resource()).await;
        assert_eq!(writes(&bench), [format!("POST {PATH}")]);
        assert_eq!(bench.host_requests.lines(), [format!("GET {PATH}/widgets.example.org")]);
        let created = &bench.virtual_requests.bodies(&Method::POST)[0];
        assert!(created["metadata"]["annotations"].get(DEFINITION).is_some(), "{created}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_definition_of_ours_is_updated_when_the_hosts_is_newer_and_not_otherwise() {
        let current = installed(&["v1"]).await;
        let (bench, mut same) = installer(definition(&["v1"]), Some(current.clone()));
        same.reconcile(&resource()).await;
        assert_eq!(writes(&bench), Vec::<String>::new());
        let (bench, mut newer) = installer(definition(&["v1", "v2"]), Some(current));
        newer.reconcile(&resource()).await;
        assert_eq!(writes(&bench), [format!("PATCH {PATH}/widgets.example.org")]);
        let patch = &bench.virtual_requests.bodies(&Method::PATCH)[0];
        assert_eq!(patch["metadata"]["uid"], "uid-virtual", "{patch}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_definition_of_somebody_else_is_respected_and_that_is_published_once() {
        let (bench, mut installer) = installer(definition(&["v1", "v2"]), Some(definition(&["v1"])));
        installer.reconcile(&resource()).await;
        installer.reconcile(&resource()).await;
        assert_eq!(writes(&bench), Vec::<String>::new());
        assert_eq!(bench.reasons().await, ["Normal DefinitionRespected"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_definition_that_would_lose_a_version_is_kept_and_that_is_published() {
        let current = installed(&["v1", "v1beta1"]).await;
        let (bench, mut installer) = installer(definition(&["v1"]), Some(current));
        installer.reconcile(&resource()).await;
        assert_eq!(writes(&bench), Vec::<String>::new());
        assert_eq!(bench.reasons().await, ["Warning DefinitionNotUpdated"]);
        let message = bench.events().await[0]["message"].to_string();
        assert!(message.contains("v1beta1"), "{message}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_definition_that_the_host_lacks_or_hides_is_not_installed_and_the_error_says_what_to_do() {
        for (code, what) in [
            (404, "install it there"),
            (403, "resourceNames: [widgets.example.org], verbs: [get]}`"),
            (500, "failed to read"),
        ] {
            let (bench, installer) = of(Bench::new(move |_| Answer::failure(code, "Scripted"), echo));
            let error = installer.ensure(&resource(), "widgets.example.org").await.map(|_| ()).unwrap_err();
            assert!(error.to_string().contains(what), "{code}: {error}");
            assert_eq!(is_passing(&error), code == 500, "{code}: only a server's failure passes by itself");
            assert!(bench.virtual_requests.all().is_empty());
        }
        let (_, installer) = installer(definition(&["v2"]), None);
        let error = installer.ensure(&resource(), "widgets.example.org").await.map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("cannot be used: the host does not serve version v1"), "{error}");
    }

    struct Widgets(KindSpec);

    impl Mapper for Widgets {
        fn spec(&self) -> &KindSpec {
            &self.0
        }

        fn to_host(&self, _: &Ctx<'_>, _: &VirtualObject, draft: HostObject) -> Verdict<HostObject> {
            Ok(draft)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn definitions_are_installed_while_ready_and_for_the_kinds_that_ask_for_it() {
        let asking = KindSpec { installs_definition: true, ..KindSpec::new(resource()) };
        let silent = KindSpec::new(ResourceType { plural: "others".into(), ..resource() });
        let mappers: Vec<Arc<dyn Mapper>> = vec![Arc::new(Widgets(asking)), Arc::new(Widgets(silent))];
        let (_rules, receiver) = signal::channel(Arc::new(Rules { mappers, ..Rules::default() }));
        let (ready, is_ready) = signal::channel(false);
        let requests = AtomicUsize::new(0);
        let (bench, installer) = of(Bench::new(
            move |_| match requests.fetch_add(1, Ordering::Relaxed) {
                0 => Answer::failure(403, "Forbidden"),
                _ => Answer::ok(definition(&["v1"])),
            },
            echo,
        ));
        tokio::spawn(installer.keep(receiver, is_ready));
        tokio::time::sleep(PERIOD * 2).await;
        assert!(bench.host_requests.all().is_empty(), "not ready: {:?}", bench.host_requests.lines());
        ready.send_replace(true);
        settle().await;
        let read = format!("GET {PATH}/widgets.example.org");
        assert_eq!(bench.host_requests.lines(), [&*read]);
        assert_eq!(writes(&bench), Vec::<String>::new());
        tokio::time::sleep(ABSENT + Duration::from_secs(1)).await;
        settle().await;
        assert_eq!(bench.host_requests.lines(), [&*read, &*read], "the permission is there now");
        assert_eq!(writes(&bench), [format!("POST {PATH}")]);
    }
}

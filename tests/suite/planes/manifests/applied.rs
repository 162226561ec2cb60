//! What the files of the folder say, and how it is applied: by server-side apply, as an installer does it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    PostParams, TypeMeta,
};
use kube::discovery::{Discovery, Scope};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};

use super::super::both::{at, name_of, text};
use super::ready;

const DEFINITION: &str = "CustomResourceDefinition";

/// One file: its objects, which live in a namespace of its name.
pub(super) struct Application {
    pub(super) name: String,
    objects: Vec<Value>,
}

/// All files of the folder.
pub(super) fn read() -> Result<Vec<Application>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("suite/planes/manifests");
    let mut applications = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let name = path.file_stem().and_then(|stem| stem.to_str()).context("a name")?.to_owned();
            let objects = serde_saphyr::from_multiple(&fs::read_to_string(&path)?)
                .with_context(|| format!("{} is not YAML", path.display()))?;
            applications.push(Application { name, objects });
        }
    }
    Ok(applications)
}

/// A virtual cluster and the kinds that it serves.
pub(super) struct Cluster {
    client: Client,
    kinds: Discovery,
}

impl Cluster {
    pub(super) async fn of(client: Client) -> Result<Self> {
        let kinds = Discovery::new(client.clone()).run().await?;
        Ok(Self { client, kinds })
    }

    /// Applies the definitions of an application, and waits until they are established.
    pub(super) async fn define(&self, application: &Application) -> Result<()> {
        for definition in application.objects.iter().filter(|object| text(object, "/kind") == DEFINITION) {
            self.apply_one(application, definition).await?;
            eventually(&format!("{} is established", name_of(definition)), SOON, async || {
                ready::ensure(&self.get(application, definition).await?)
            })
            .await?;
        }
        Ok(())
    }

    /// Fails unless the cluster serves all kinds of an application.
    pub(super) fn knows(&self, application: &Application) -> Result<()> {
        application.objects.iter().try_for_each(|object| self.kind(object).map(drop))
    }

    /// Applies all objects in their order, but for those that the server names.
    pub(super) async fn apply(&self, application: &Application) -> Result<()> {
        for object in application.objects.iter().filter(|object| !name_of(object).is_empty()) {
            let sentence = format!("{} of {} is accepted", name_of(object), application.name);
            // A new namespace gets its service account a little later.
            eventually(&sentence, SOON, async || self.apply_one(application, object).await).await?;
        }
        Ok(())
    }

    async fn apply_one(&self, application: &Application, object: &Value) -> Result<()> {
        let mut object = object.clone();
        self.name_owners(application, &mut object).await?;
        let params = PatchParams::apply("installer").force();
        self.api(application, &object)?.patch(name_of(&object), &params, &Patch::Apply(&object)).await?;
        Ok(())
    }

    /// A file cannot know the UID of an owner: it is that of the object that was applied before.
    async fn name_owners(&self, application: &Application, object: &mut Value) -> Result<()> {
        let owners = object.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut);
        for owner in owners.into_iter().flatten() {
            let stub = json!({
                "apiVersion": at(owner, "/apiVersion"), "kind": at(owner, "/kind"),
                "metadata": {"name": at(owner, "/name")},
            });
            let uid = at(&self.get(application, &stub).await?, "/metadata/uid").clone();
            owner.as_object_mut().context("an owner is a map")?.insert("uid".to_owned(), uid);
        }
        Ok(())
    }

    /// Creates the objects that the server names.
    pub(super) async fn create_unnamed(&self, application: &Application) -> Result<()> {
        for object in application.objects.iter().filter(|object| name_of(object).is_empty()) {
            ensure!(!text(object, "/metadata/generateName").is_empty(), "it has no name: {object}");
            let object: DynamicObject = serde_json::from_value(object.clone())?;
            let api = self.api(application, &serde_json::to_value(&object)?)?;
            api.create(&PostParams::default(), &object).await?;
        }
        Ok(())
    }

    /// The objects as they are now, and all pods that have come of them.
    pub(super) async fn objects(&self, application: &Application) -> Result<Vec<Value>> {
        let pods = Api::<DynamicObject>::namespaced_with(
            self.client.clone(),
            &application.name,
            &ApiResource::erase::<Pod>(&()),
        );
        let mut objects = Vec::new();
        for object in application.objects.iter().filter(|object| !name_of(object).is_empty()) {
            objects.push(self.get(application, object).await?);
        }
        for mut pod in pods.list(&ListParams::default()).await? {
            // Lists do not repeat the kind.
            pod.types = Some(TypeMeta::resource::<Pod>());
            objects.push(serde_json::to_value(pod)?);
        }
        Ok(objects)
    }

    /// Deletes what is in no namespace.
    pub(super) async fn delete_cluster_scoped(&self, application: &Application) -> Result<()> {
        for object in &application.objects {
            if self.kind(object)?.1 == Scope::Cluster {
                self.api(application, object)?.delete(name_of(object), &DeleteParams::background()).await?;
            }
        }
        Ok(())
    }

    async fn get(&self, application: &Application, object: &Value) -> Result<Value> {
        Ok(serde_json::to_value(self.api(application, object)?.get(name_of(object)).await?)?)
    }

    fn api(&self, application: &Application, object: &Value) -> Result<Api<DynamicObject>> {
        let (resource, scope) = self.kind(object)?;
        Ok(match scope {
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), &application.name, &resource),
        })
    }

    fn kind(&self, object: &Value) -> Result<(ApiResource, Scope)> {
        let (version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
        let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
        let found = self.kinds.resolve_gvk(&GroupVersionKind::gvk(group, version, kind));
        let (resource, capabilities) =
            found.with_context(|| format!("{group}/{version} {kind} is not served"))?;
        Ok((resource, capabilities.scope))
    }
}

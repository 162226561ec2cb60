//! A kind that no server knows by itself: its definition, its rules, and its objects on both sides.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use serde_json::{Value, json};
use weft_core::declared::{Declaration, Declared};
use weft_core::mapper::Mapper;
use weft_core::object::ResourceType;
use weft_core::spec::Selection;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::world::World;

use super::both::Both;

/// Name of the definition.
pub(super) const DEFINITION: &str = "widgets.example.org";

/// The kind.
pub(super) fn widgets() -> ResourceType {
    ResourceType {
        group: "example.org".into(),
        version: "v1".into(),
        kind: "Widget".into(),
        plural: "widgets".into(),
        namespaced: true,
    }
}

/// Rules that request the definition.
pub(super) fn declared() -> Arc<dyn Mapper> {
    Arc::new(Declared::new(Declaration {
        resource: widgets(),
        selection: Selection::All,
        references: Vec::new(),
        selectors: Vec::new(),
        labels: Vec::new(),
        managed: vec!["/spec".to_owned()],
        back: vec!["/status".to_owned()],
        installs_definition: true,
        acts_for_others: false,
    }))
}

/// Defines the kind with these versions, of which the first one is stored.
pub(super) async fn define(client: &Client, versions: &[&str]) -> Result<()> {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let version = |(place, name): (usize, &&str)| json!({"name": name, "served": true, "storage": place == 0, "subresources": {"status": {}}, "schema": schema});
    let versions: Vec<Value> = versions.iter().enumerate().map(version).collect();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": DEFINITION},
        "spec": {
            "group": "example.org", "scope": "Namespaced", "versions": versions,
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
        },
    });
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("test").force();
    definitions.patch(DEFINITION, &params, &Patch::Apply(definition)).await?;
    Ok(())
}

/// The versions that are served.
pub(super) async fn served(client: &Client) -> Result<Vec<String>> {
    let definition = Api::<CustomResourceDefinition>::all(client.clone()).get(DEFINITION).await?;
    let served = definition.spec.versions.into_iter().filter(|version| version.served);
    Ok(served.map(|version| version.name).collect())
}

/// The widgets of the virtual namespace `default`, and the host's.
pub(super) struct Widgets {
    pub(super) host: Api<DynamicObject>,
    pub(super) r#virtual: Api<DynamicObject>,
    pub(super) both: Both,
}

impl Widgets {
    pub(super) async fn of(world: &World) -> Result<Self> {
        let both = Both::of(world, "default").await?;
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("example.org", "v1", "Widget"));
        let host = Api::namespaced_with(both.host_client(), world.tenant().namespace(), &resource);
        let r#virtual = Api::namespaced_with(both.virtual_client(), both.namespace(), &resource);
        Ok(Self { host, r#virtual, both })
    }

    /// Creates a virtual one, as soon as its kind is there.
    pub(super) async fn create(&self, name: &str) -> Result<()> {
        let widget: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"a": 1},
        }))?;
        eventually(&format!("the widget {name} is accepted"), SOON, async || {
            self.r#virtual.create(&PostParams::default(), &widget).await?;
            Ok(())
        })
        .await
    }

    /// The host's.
    pub(super) async fn on_host(&self, name: &str) -> Result<DynamicObject> {
        Ok(self.host.get(&format!("{name}-x-default-x-my-vcluster")).await?)
    }

    /// Waits for the host's.
    pub(super) async fn arrives(&self, name: &str) -> Result<DynamicObject> {
        eventually(&format!("the widget {name} is on the host"), SOON, async || self.on_host(name).await)
            .await
    }

    /// Waits until the host's has this label.
    pub(super) async fn has_label(&self, name: &str, label: &str, value: &str) -> Result<()> {
        eventually(&format!("the host's {name} has {label}={value}"), SOON, async || {
            let labels = self.on_host(name).await?.metadata.labels.unwrap_or_default();
            ensure!(labels.get(label).is_some_and(|found| found == value), "{labels:?}");
            Ok(())
        })
        .await
    }

    /// Waits for an event about a virtual object of this name; gives its message.
    pub(super) async fn event_about(&self, name: &str, reason: &str) -> Result<String> {
        eventually(&format!("{name} has an event {reason}"), SOON, async || {
            let events = self.both.virtual_api::<Event>().list(&ListParams::default()).await?.items;
            let found = events.into_iter().find(|event| {
                event.involved_object.name.as_deref() == Some(name) && event.reason.as_deref() == Some(reason)
            });
            Ok(found.context("there is none")?.message.unwrap_or_default())
        })
        .await
    }
}

//! An object that the syncer cannot read: its kind goes on, and its host object stays until it is deleted.

use anyhow::{Result, ensure};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::Request;
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::shared::in_own_world;
use weft_tests::world::{Options, World};

use super::in_process::Running;
use super::widgets::{Widgets, declared, define};

/// Deeper than is read, and no deeper than an API server takes.
fn nested() -> Value {
    (0..140).fold(json!("bottom"), |inner, _| json!({"in": inner}))
}

impl Widgets {
    /// Sets a part of the spec of a virtual one, whose whole no client in Rust can read either.
    async fn set(&self, name: &str, spec: Value) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": spec}));
        let objects = Request::new(self.r#virtual.resource_url());
        let request = objects.patch(name, &PatchParams::default(), &patch)?;
        self.both.virtual_client().request_text(request).await?;
        Ok(())
    }
}

#[test]
fn an_object_that_is_nested_too_deeply_stops_no_other_and_keeps_its_host_object() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?).await?;
        let all = Widgets::of(&world).await?;
        define(&all.both.host_client(), &["v1"]).await?;
        let engine = Running::start(&world).await?;
        engine.set(&[declared()], [].into());
        all.create("deep").await?;
        all.create("gone").await?;
        let (deep, _) = (all.arrives("deep").await?, all.arrives("gone").await?);

        // In a watch.
        all.set("deep", nested()).await?;
        all.set("gone", nested()).await?;
        let message = all.event_about("deep", "ObjectUnreadable").await?;
        ensure!(message.contains("127 levels"), "{message}");
        all.create("one").await?;
        all.arrives("one").await?;

        // In a list, after a restart.
        drop(engine);
        let engine = Running::start(&world).await?;
        engine.set(&[declared()], [].into());
        all.create("two").await?;
        all.arrives("two").await?;
        ensure!(all.on_host("deep").await?.metadata.uid == deep.metadata.uid, "it was made anew");

        all.set("deep", json!({"a": 2, "in": null})).await?;
        eventually("the host's has what can be read again", SOON, async || {
            let spec = all.on_host("deep").await?.data;
            ensure!(spec.pointer("/spec/a") == Some(&json!(2)), "{spec}");
            Ok(())
        })
        .await?;
        all.r#virtual.delete("gone", &DeleteParams::default()).await?;
        eventually("the host's leaves with the virtual one", SOON, async || {
            ensure!(all.on_host("gone").await.is_err());
            Ok(())
        })
        .await
    })
}

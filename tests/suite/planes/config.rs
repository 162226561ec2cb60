//! ConfigMaps and Secrets are on the host while a pod uses them, and only what the tenant wrote.

use std::fs;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::shared::{in_own_world, in_shared_world};
use weft_tests::world::{Options, World};

use super::both::{Both, Namespaced, text, uid};

/// The ways in which a pod can use a ConfigMap.
fn uses_of_config_maps() -> Vec<(&'static str, Value)> {
    let container =
        |more: Value| json!({"containers": [merged(json!({"name": "main", "image": "nginx"}), more)]});
    let volume = |volume: Value| json!({"volumes": [merged(json!({"name": "v"}), volume)]});
    let key = json!({"configMapKeyRef": {"name": "by-env", "key": "a"}});
    vec![
        ("by-env", container(json!({"env": [{"name": "A", "valueFrom": key}]}))),
        ("by-env-from", container(json!({"envFrom": [{"configMapRef": {"name": "by-env-from"}}]}))),
        ("by-volume", volume(json!({"configMap": {"name": "by-volume"}}))),
        (
            "by-projection",
            volume(json!({"projected": {"sources": [{"configMap": {"name": "by-projection"}}]}})),
        ),
    ]
}

/// The ways in which a pod can use a Secret.
fn uses_of_secrets() -> Vec<(&'static str, Value)> {
    let container =
        |more: Value| json!({"containers": [merged(json!({"name": "main", "image": "nginx"}), more)]});
    let volume = |volume: Value| json!({"volumes": [merged(json!({"name": "v"}), volume)]});
    let key = json!({"secretKeyRef": {"name": "by-env", "key": "a"}});
    vec![
        ("by-env", container(json!({"env": [{"name": "A", "valueFrom": key}]}))),
        ("by-env-from", container(json!({"envFrom": [{"secretRef": {"name": "by-env-from"}}]}))),
        ("by-volume", volume(json!({"secret": {"secretName": "by-volume"}}))),
        ("by-projection", volume(json!({"projected": {"sources": [{"secret": {"name": "by-projection"}}]}}))),
        ("by-pull", json!({"imagePullSecrets": [{"name": "by-pull"}]})),
    ]
}

fn merged(mut object: Value, more: Value) -> Value {
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

/// Lets each pod use its object, and then go.
async fn come_and_go<K: Namespaced>(both: &Both, uses: Vec<(&'static str, Value)>) -> Result<()> {
    let object = |name: &str| json!({"metadata": {"name": name}, "data": {"a": "Yg=="}});
    for (name, _) in &uses {
        both.create::<K>(object(name)).await?;
    }
    both.create::<K>(object("unused")).await?;
    for (name, spec) in &uses {
        ensure!(both.find_host::<K>(name).await?.is_none(), "{name} is on the host before it is used");
        both.create_pod(name, spec.clone()).await?;
        let host = both.arrives::<K>(name).await?;
        ensure!(text(&host, "/data/a") == "Yg==", "{host}");
    }
    for (name, _) in &uses {
        both.runs(name).await?;
        both.delete::<Pod>(name).await?;
    }
    for (name, _) in &uses {
        both.leaves::<K>(name).await?;
        both.get::<K>(name).await?;
    }
    ensure!(both.find_host::<K>("unused").await?.is_none(), "a {} is on the host unused", K::kind(&()));
    Ok(())
}

fn pod_with(config_map: &str) -> Value {
    json!({"volumes": [{"name": "v", "configMap": {"name": config_map}}]})
}

/// Waits until the host's ConfigMap or Secret says this.
async fn says<K: Namespaced>(both: &Both, name: &str, pointer: &str, value: &Value) -> Result<Value> {
    let sentence = format!("the host's {} {name} has {value} at {pointer}", K::kind(&()));
    eventually(&sentence, SOON, async || {
        let host = both.host::<K>(name).await?;
        ensure!(host.pointer(pointer) == Some(value), "{host}");
        Ok(host)
    })
    .await
}

#[test]
fn a_config_map_is_on_the_host_while_a_pod_uses_it() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        come_and_go::<ConfigMap>(&both, uses_of_config_maps()).await
    })
}

#[test]
fn a_secret_is_on_the_host_while_a_pod_uses_it() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        come_and_go::<Secret>(&both, uses_of_secrets()).await
    })
}

#[test]
fn a_config_map_stays_until_its_last_user_is_gone() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        both.create::<ConfigMap>(json!({"metadata": {"name": "shared"}, "data": {"a": "b"}})).await?;
        both.create_pod("one", pod_with("shared")).await?;
        both.create_pod("two", pod_with("shared")).await?;
        both.runs("one").await?;
        both.runs("two").await?;
        let before = both.arrives::<ConfigMap>("shared").await?;
        both.delete::<Pod>("one").await?;
        both.gone::<Pod>("one").await?;
        // A change that arrives shows that the syncer has looked since.
        both.edit::<ConfigMap>("shared", json!({"data": {"a": "c"}})).await?;
        let after = says::<ConfigMap>(&both, "shared", "/data/a", &json!("c")).await?;
        ensure!(uid(&before) == uid(&after), "it was made anew");
        both.delete::<Pod>("two").await?;
        both.leaves::<ConfigMap>("shared").await
    })
}

#[test]
fn content_follows_and_what_others_do_on_the_host_is_corrected() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        let data =
            json!({"metadata": {"name": "all"}, "data": {"a": "1", "b": "2"}, "binaryData": {"c": "AAEC"}});
        both.create::<ConfigMap>(data).await?;
        both.create_pod("user", pod_with("all")).await?;
        says::<ConfigMap>(&both, "all", "/binaryData/c", &json!("AAEC")).await?;
        both.edit::<ConfigMap>("all", json!({"data": {"a": "3", "b": null}, "binaryData": {"d": "AwQ="}}))
            .await?;
        says::<ConfigMap>(&both, "all", "/data", &json!({"a": "3"})).await?;
        says::<ConfigMap>(&both, "all", "/binaryData", &json!({"c": "AAEC", "d": "AwQ="})).await?;

        both.edit_host::<ConfigMap>("all", json!({"data": {"a": "theirs", "e": "theirs"}})).await?;
        let edited = says::<ConfigMap>(&both, "all", "/data", &json!({"a": "3"})).await?;
        both.delete_host::<ConfigMap>("all").await?;
        eventually("the ConfigMap is made again", SOON, async || {
            let again = both.host::<ConfigMap>("all").await?;
            ensure!(uid(&again) != uid(&edited), "it is the old one");
            Ok(())
        })
        .await?;
        let ours = both.get::<ConfigMap>("all").await?;
        ensure!(ours["data"] == json!({"a": "3"}), "the tenant's own was changed: {ours}");

        both.edit::<ConfigMap>("all", json!({"immutable": true})).await?;
        says::<ConfigMap>(&both, "all", "/immutable", &json!(true)).await?;
        Ok(())
    })
}

#[test]
fn types_of_secrets_are_kept_but_for_those_that_host_controllers_may_act_on() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        let docker = json!({".dockerconfigjson": "e30="});
        let pull = "kubernetes.io/dockerconfigjson";
        let kinds = [("pull", pull, pull, docker), ("mine", "example.com/mine", "Opaque", json!({}))];
        for (name, kind, on_host, data) in kinds {
            let secret = json!({"metadata": {"name": name}, "type": kind, "data": data, "immutable": true});
            both.create::<Secret>(secret).await?;
            both.create_pod(name, json!({"imagePullSecrets": [{"name": name}]})).await?;
            let host = says::<Secret>(&both, name, "/type", &json!(on_host)).await?;
            ensure!(host["immutable"] == true, "{host}");
        }
        let annotations = json!({"kubernetes.io/service-account.name": "default"});
        let kind = "kubernetes.io/service-account-token";
        let token = json!({"metadata": {"name": "token", "annotations": annotations}, "type": kind});
        both.create::<Secret>(token).await?;
        both.create_pod("token", json!({"imagePullSecrets": [{"name": "token"}]})).await?;
        eventually("the host has the virtual cluster's token, as an opaque Secret", SOON, async || {
            let (ours, host) = both.pair::<Secret>("token").await?;
            ensure!(!text(&ours, "/data/token").is_empty(), "the virtual cluster has made no token yet");
            ensure!(host["data"] == ours["data"] && host["type"] == "Opaque", "of type {}", host["type"]);
            Ok(())
        })
        .await
    })
}

#[test]
fn what_a_pod_names_before_it_exists_arrives_when_it_is_made() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        let optional =
            json!({"volumes": [{"name": "v", "secret": {"secretName": "optional", "optional": true}}]});
        both.create_pod("waits", pod_with("late")).await?;
        both.create_pod("goes-ahead", optional).await?;
        both.runs("goes-ahead").await?;
        both.create::<ConfigMap>(json!({"metadata": {"name": "late"}, "data": {"a": "b"}})).await?;
        both.create::<Secret>(json!({"metadata": {"name": "optional"}, "data": {"a": "Yg=="}})).await?;
        both.arrives::<ConfigMap>("late").await?;
        both.arrives::<Secret>("optional").await?;
        both.runs("waits").await?;
        Ok(())
    })
}

#[test]
fn edits_made_while_the_syncer_is_down_arrive_and_no_secret_is_ever_logged() -> Result<()> {
    /// `correct horse`, and its base 64.
    const PASSWORDS: [&str; 2] = ["correct horse", "Y29ycmVjdCBob3JzZQ"];
    in_own_world(async {
        let mut options = Options::build().await?;
        options.config = json!({"log": {"level": "trace"}});
        let world = World::without_syncer(options).await?;
        let tenant = world.tenant();
        tenant.start_syncer().await?;
        let both = Both::of(&world, "default").await?;
        both.create::<Secret>(json!({"metadata": {"name": "login"}, "stringData": {"a": PASSWORDS[0]}}))
            .await?;
        both.create::<ConfigMap>(json!({"metadata": {"name": "settings"}, "data": {"a": "1"}})).await?;
        let volumes = json!([
            {"name": "s", "secret": {"secretName": "login"}}, {"name": "c", "configMap": {"name": "settings"}},
        ]);
        both.create_pod("user", json!({"volumes": volumes})).await?;
        both.runs("user").await?;
        both.arrives::<Secret>("login").await?;
        both.arrives::<ConfigMap>("settings").await?;

        tenant.stop_syncer().await?;
        both.edit::<ConfigMap>("settings", json!({"data": {"a": "2"}})).await?;
        both.edit::<Secret>("login", json!({"stringData": {"b": PASSWORDS[0]}})).await?;
        tenant.start_syncer().await?;
        says::<ConfigMap>(&both, "settings", "/data", &json!({"a": "2"})).await?;
        says::<Secret>(&both, "login", "/data/b", &json!(format!("{}==", PASSWORDS[1]))).await?;

        // A Secret that the host refuses is the one most likely to end up in a message.
        both.edit_host::<Secret>("login", json!({"immutable": true})).await?;
        both.edit::<Secret>("login", json!({"stringData": {"b": "other", "c": PASSWORDS[0]}})).await?;
        says::<Secret>(&both, "login", "/data/c", &json!(format!("{}==", PASSWORDS[1]))).await?;
        let log = fs::read_to_string(tenant.syncer_log())?;
        ensure!(!log.is_empty(), "the log is empty");
        for password in PASSWORDS {
            ensure!(!log.contains(password), "the log {} has a password", tenant.syncer_log().display());
        }
        Ok(())
    })
}

//! Kinds that plugins add, and kinds that are only declared, through two real API servers.

use std::fs;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Event, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::guests::rust;
use weft_tests::shared::in_shared_world;
use weft_tests::world::World;

use super::both::{Both, at, name_of, text};
use super::place::Place;

/// A tenant with these plugins, and a virtual namespace `shop`.
async fn tenant_with(
    world: &World,
    cluster: &str,
    plugins: &[&str],
    more: Value,
) -> Result<(weft_tests::tenant::Tenant, Both)> {
    let folder = world.dir().join(format!("{cluster}.plugins"));
    fs::create_dir_all(&folder)?;
    for name in plugins {
        fs::write(folder.join(format!("{name}.wasm")), rust::plugin(name).await?)?;
    }
    // Without settings it lets no host name and no class pass.
    if plugins.contains(&"ingress") {
        fs::write(folder.join("ingress.settings.yaml"), "hosts: ['*']\nclasses: ['*']\n")?;
    }
    let mut config = json!({"plugins": {"folder": folder, "grants": "requested"}});
    if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
        config.extend(more);
    }
    let tenant = world.another_tenant(cluster, cluster, &config).await?;
    Place::fresh(&tenant, "shop").await?;
    let both = Both::of_tenant(&tenant, "shop").await?;
    Ok((tenant, both))
}

#[test]
fn an_ingress_brings_its_secrets_along_and_gets_its_address_back() -> Result<()> {
    in_shared_world(async |world, _| {
        let (_tenant, both) = tenant_with(world, "ingresses", &["ingress"], json!({})).await?;
        both.create::<Secret>(json!({"metadata": {"name": "tls"}, "type": "kubernetes.io/tls", "stringData": {"tls.crt": "c", "tls.key": "k"}})).await?;
        both.create::<Service>(json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}))
            .await?;
        let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
        let rule = json!({"host": "shop.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}});
        both.create::<Secret>(json!({"metadata": {"name": "users"}, "stringData": {"auth": "a:b"}})).await?;
        let annotations = json!({"nginx.ingress.kubernetes.io/auth-secret": "shop/users"});
        both.create::<Ingress>(json!({"metadata": {"name": "front", "annotations": annotations}, "spec": {
            "tls": [{"hosts": ["shop.example"], "secretName": "tls"}], "rules": [rule],
        }}))
        .await?;
        let host = both.arrives::<Ingress>("front").await?;
        let service = both.arrives::<Service>("web").await?;
        let secret = both.arrives::<Secret>("tls").await?;
        ensure!(
            text(&host, "/spec/rules/0/http/paths/0/backend/service/name") == name_of(&service),
            "{host}"
        );
        ensure!(text(&host, "/spec/tls/0/secretName") == name_of(&secret), "{host}");
        let users = both.arrives::<Secret>("users").await?;
        let named = text(&host, "/metadata/annotations/nginx.ingress.kubernetes.io~1auth-secret");
        ensure!(named == format!("{}/{}", text(&host, "/metadata/namespace"), name_of(&users)), "{host}");

        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}});
        let api = both.host_api::<Ingress>();
        api.patch_status(name_of(&host), &PatchParams::default(), &Patch::Merge(status)).await?;
        eventually("the tenant sees the address", SOON, async || {
            let front = both.get::<Ingress>("front").await?;
            ensure!(text(&front, "/status/loadBalancer/ingress/0/ip") == "192.0.2.7", "{front}");
            Ok(())
        })
        .await?;

        both.delete::<Ingress>("front").await?;
        both.leaves::<Ingress>("front").await?;
        both.leaves::<Secret>("tls").await?;
        both.leaves::<Secret>("users").await
    })
}

#[test]
fn policies_and_budgets_reach_no_pod_of_others() -> Result<()> {
    in_shared_world(async |world, _| {
        let plugins = ["network-policy", "pod-disruption-budget"];
        let (tenant, both) = tenant_with(world, "policies", &plugins, json!({})).await?;
        let everything = json!({"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {}}]}]});
        both.create::<NetworkPolicy>(json!({"metadata": {"name": "all"}, "spec": everything})).await?;
        let selector = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
        both.create::<PodDisruptionBudget>(json!({"metadata": {"name": "web"}, "spec": selector})).await?;
        let policy = both.arrives::<NetworkPolicy>("all").await?;
        let budget = both.arrives::<PodDisruptionBudget>("web").await?;
        for selector in [
            at(&policy, "/spec/podSelector"),
            at(&policy, "/spec/ingress/0/from/0/podSelector"),
            at(&budget, "/spec/selector"),
        ] {
            let cluster = selector.pointer("/matchLabels/weft.dev~1cluster").and_then(Value::as_str);
            ensure!(cluster == Some(tenant.cluster()), "it reaches beyond the virtual cluster: {selector}");
        }
        ensure!(text(&budget, "/spec/selector/matchLabels/weft.dev~1namespace") == "shop", "{budget}");
        ensure!(text(&budget, "/spec/selector/matchLabels/app") == "web", "{budget}");
        Ok(())
    })
}

#[test]
fn a_kind_that_is_only_declared_is_synced_both_ways() -> Result<()> {
    in_shared_world(async |world, _| {
        let mapping = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "plural": "ingresses",
            "references": [
                {"path": "/spec/rules/*/http/paths/*/backend/service/name", "kind": "v1/Service"},
                {"path": "/spec/tls/*/secretName", "kind": "v1/Secret"},
                {"path": "/metadata/annotations/example.com~1users", "kind": "v1/Secret"},
            ],
        });
        let (_tenant, both) = tenant_with(world, "declared", &[], json!({"mappings": [mapping]})).await?;
        both.create::<Secret>(json!({"metadata": {"name": "tls"}})).await?;
        both.create::<Secret>(json!({"metadata": {"name": "users"}})).await?;
        let rule = json!({"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}});
        let metadata = json!({"name": "front", "annotations": {"example.com/users": "users"}});
        both.create::<Ingress>(
            json!({"metadata": metadata, "spec": {"tls": [{"secretName": "tls"}], "rules": [rule]}}),
        )
        .await?;
        let host = both.arrives::<Ingress>("front").await?;
        let secret = both.arrives::<Secret>("tls").await?;
        ensure!(text(&host, "/spec/tls/0/secretName") == name_of(&secret), "{host}");
        let users = both.arrives::<Secret>("users").await?;
        let named = text(&host, "/metadata/annotations/example.com~1users");
        ensure!(named == name_of(&users), "{host}");
        let renamed = text(&host, "/spec/rules/0/http/paths/0/backend/service/name");
        ensure!(renamed.ends_with("-x-shop-x-declared"), "{renamed}");
        let status = json!({"status": {"loadBalancer": {"ingress": [{"hostname": format!("{}.example", name_of(&host))}]}}});
        let api = both.host_api::<Ingress>();
        api.patch_status(name_of(&host), &PatchParams::default(), &Patch::Merge(status)).await?;
        eventually("the tenant sees the status", SOON, async || {
            let front = both.get::<Ingress>("front").await?;
            ensure!(!at(&front, "/status/loadBalancer/ingress/0/hostname").is_null(), "{front}");
            Ok(())
        })
        .await?;
        // The tenant's changes are synced, removals too.
        let gone = json!({"metadata": {"annotations": {"example.com/users": null}}, "spec": {"tls": null}});
        both.edit::<Ingress>("front", gone).await?;
        both.leaves::<Secret>("tls").await?;
        both.leaves::<Secret>("users").await
    })
}

/// The definition of gadgets, served in this version.
fn definition(version: &str) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.unserved.example.com"},
        "spec": {
            "group": "unserved.example.com", "scope": "Namespaced", "names": {"kind": "Gadget", "plural": "gadgets"},
            "versions": [{"name": version, "served": true, "storage": true, "schema": schema}],
        },
    })
}

#[test]
fn an_object_of_a_kind_that_the_host_does_not_serve_so_says_why_it_is_not_synced() -> Result<()> {
    in_shared_world(async |world, _| {
        let mapping = json!({"apiVersion": "unserved.example.com/v1", "kind": "Gadget", "plural": "gadgets"});
        let (tenant, both) = tenant_with(world, "unserved", &[], json!({"mappings": [mapping]})).await?;
        let place = Place::of(&tenant, "shop").await?;
        let define = async |api: Api<CustomResourceDefinition>, version: &str| {
            api.create(&PostParams::default(), &serde_json::from_value(definition(version))?).await?;
            anyhow::Ok(())
        };
        define(place.all_virtual(), "v1").await?;
        let gadgets = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk("unserved.example.com", "v1", "Gadget"),
            "gadgets",
        );
        let gadgets: Api<DynamicObject> = Api::namespaced_with(both.virtual_client(), "shop", &gadgets);
        let gadget: DynamicObject = serde_json::from_value(
            json!({"apiVersion": "unserved.example.com/v1", "kind": "Gadget", "metadata": {"name": "one"}}),
        )?;
        eventually("the kind is served", SOON, async || {
            Ok(gadgets.create(&PostParams::default(), &gadget).await?)
        })
        .await?;
        let says = async |words: &str| {
            eventually(&format!("the tenant and the operator read {words:?}"), SOON, async || {
                let events = place.on_virtual::<Event>().list(&ListParams::default()).await?;
                let of_reason =
                    events.iter().filter(|event| event.reason.as_deref() == Some("KindNotSynced"));
                let messages: Vec<_> = of_reason.filter_map(|event| event.message.as_deref()).collect();
                ensure!(messages.iter().any(|message| message.contains(words)), "{messages:?}");
                let shown = tenant.probe("/plugins").await?;
                ensure!(
                    shown.contains("unserved.example.com/v1/Gadget add") && shown.contains(words),
                    "{shown}"
                );
                Ok(())
            })
            .await
        };
        says("install the CustomResourceDefinition of Gadget there").await?;
        define(place.all_host(), "v2").await?;
        says("in v2, not in v1").await
    })
}

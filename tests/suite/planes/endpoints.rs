//! Endpoints and EndpointSlices that people write are on the host; those of controllers are not copied.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::pairs::Identity;
use weft_tests::shared::in_shared_world;

use super::both::{Both, Namespaced, at, name_of, text};

fn service(name: &str, selector: &Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"selector": selector, "ports": [{"port": 80}]}})
}

fn endpoints(name: &str, address: &str) -> Value {
    json!({"metadata": {"name": name}, "subsets": [{"addresses": [{"ip": address}], "ports": [{"port": 80}]}]})
}

fn slice(name: &str, service: &str, address: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
    })
}

/// Waits until the host's Endpoints of the virtual ones say this address.
async fn points_to(both: &Both, name: &str, address: &str) -> Result<()> {
    eventually(&format!("the host's Endpoints of {name} have {address}"), SOON, async || {
        let host = both.host::<Endpoints>(name).await?;
        ensure!(text(&host, "/subsets/0/addresses/0/ip") == address, "{}", at(&host, "/subsets"));
        Ok(())
    })
    .await
}

/// How many host objects of this kind belong to virtual ones of this namespace.
async fn copies<K: Namespaced>(both: &Both) -> Result<Vec<Identity>> {
    let all = both.host_api::<K>().list(&ListParams::default()).await?;
    let ours = all.items.iter().filter_map(Identity::of);
    // The host's mirroring controller copies annotations from Endpoints to slices: those are its own.
    let kind = format!("{}/{}", K::api_version(&()), K::kind(&()));
    Ok(ours.filter(|identity| identity.namespace == both.namespace() && identity.kind == kind).collect())
}

#[test]
fn endpoints_that_people_write_arrive_before_and_after_their_service_and_follow() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        both.create::<Endpoints>(endpoints("early", "192.0.2.1")).await?;
        both.create::<Service>(service("early", &json!(null))).await?;
        both.create::<Service>(service("late", &json!(null))).await?;
        both.arrives::<Service>("late").await?;
        both.create::<Endpoints>(endpoints("late", "192.0.2.2")).await?;
        points_to(&both, "early", "192.0.2.1").await?;
        points_to(&both, "late", "192.0.2.2").await?;
        let host = both.host::<Endpoints>("late").await?;
        ensure!(name_of(&host) == name_of(&both.host::<Service>("late").await?), "{host}");

        both.edit::<Endpoints>("late", json!({"subsets": endpoints("", "192.0.2.3")["subsets"]})).await?;
        points_to(&both, "late", "192.0.2.3").await?;
        both.delete::<Endpoints>("late").await?;
        both.leaves::<Endpoints>("late").await
    })
}

#[test]
fn what_controllers_write_is_made_on_the_host_and_not_copied() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        both.create::<Service>(service("web", &json!({"app": "web"}))).await?;
        both.create_pod("web", json!({})).await?;
        both.create::<Service>(service("mirrored", &json!(null))).await?;
        both.create::<Endpoints>(endpoints("mirrored", "192.0.2.4")).await?;
        let pod = both.runs("web").await?;
        let host = both.arrives::<Service>("web").await?;
        eventually("both sides have found the pod", SOON, async || {
            let ours = serde_json::to_value(both.virtual_api::<Endpoints>().get("web").await?)?;
            let hosts = serde_json::to_value(both.host_api::<Endpoints>().get(name_of(&host)).await?)?;
            for found in [ours, hosts] {
                ensure!(text(&found, "/subsets/0/addresses/0/ip") == text(&pod, "/status/podIP"), "{found}");
            }
            Ok(())
        })
        .await?;
        points_to(&both, "mirrored", "192.0.2.4").await?;
        eventually("the virtual controllers have made slices of both", SOON, async || {
            let slices = both.virtual_api::<EndpointSlice>().list(&ListParams::default()).await?;
            ensure!(slices.items.len() == 2, "there are {}", slices.items.len());
            Ok(())
        })
        .await?;
        let (copied, slices) = (copies::<Endpoints>(&both).await?, copies::<EndpointSlice>(&both).await?);
        ensure!(copied.len() == 1 && copied[0].name == "mirrored", "{copied:?}");
        ensure!(slices.is_empty(), "{slices:?}");
        Ok(())
    })
}

#[test]
fn slices_that_people_write_follow_under_the_name_of_their_host_service() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        both.create::<EndpointSlice>(slice("web-1", "web", "192.0.2.5")).await?;
        both.create::<Service>(service("web", &json!(null))).await?;
        let host = both.arrives::<EndpointSlice>("web-1").await?;
        // The slice follows the virtual Service, and may be on the host before it.
        let service = both.arrives::<Service>("web").await?;
        ensure!(text(&host, "/metadata/labels/kubernetes.io~1service-name") == name_of(&service), "{host}");

        let change = json!({
            "endpoints": [{"addresses": ["192.0.2.6"], "conditions": {"ready": false}}],
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        });
        both.edit::<EndpointSlice>("web-1", change).await?;
        eventually("the host's slice has the new address and port", SOON, async || {
            let host = both.host::<EndpointSlice>("web-1").await?;
            ensure!(text(&host, "/endpoints/0/addresses/0") == "192.0.2.6", "{host}");
            ensure!(host["endpoints"][0]["conditions"]["ready"] == false, "{host}");
            ensure!(host["ports"][0]["port"] == 8080, "{host}");
            let name = text(&host, "/metadata/labels/kubernetes.io~1service-name");
            ensure!(name == name_of(&service), "its Service is now {name}");
            Ok(())
        })
        .await?;
        both.delete::<EndpointSlice>("web-1").await?;
        both.leaves::<EndpointSlice>("web-1").await
    })
}

#[test]
fn a_service_that_gets_a_selector_leaves_its_endpoints_to_the_hosts_controller() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        both.create::<Service>(service("web", &json!(null))).await?;
        both.create::<Endpoints>(endpoints("web", "192.0.2.7")).await?;
        both.create::<EndpointSlice>(slice("web-own", "web", "192.0.2.8")).await?;
        points_to(&both, "web", "192.0.2.7").await?;
        both.arrives::<EndpointSlice>("web-own").await?;
        both.create_pod("web", json!({})).await?;
        let pod = both.runs("web").await?;

        both.edit::<Service>("web", json!({"spec": {"selector": {"app": "web"}}})).await?;
        let name = name_of(&both.host::<Service>("web").await?).to_owned();
        eventually("the host's own Endpoints have the pod's address alone", SOON, async || {
            let host = serde_json::to_value(both.host_api::<Endpoints>().get(&name).await?)?;
            ensure!(text(&host, "/subsets/0/addresses/0/ip") == text(&pod, "/status/podIP"), "{host}");
            Ok(())
        })
        .await?;
        both.leaves::<Endpoints>("web").await?;
        both.leaves::<EndpointSlice>("web-own").await
    })
}

#[test]
fn a_service_that_loses_its_selector_gets_the_endpoints_that_people_write() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        both.create::<Service>(service("web", &json!({"app": "web"}))).await?;
        both.create_pod("web", json!({})).await?;
        let pod = both.runs("web").await?;
        let name = name_of(&both.arrives::<Service>("web").await?).to_owned();
        eventually("the host's controllers have found the pod", SOON, async || {
            let host = serde_json::to_value(both.host_api::<Endpoints>().get(&name).await?)?;
            ensure!(text(&host, "/subsets/0/addresses/0/ip") == text(&pod, "/status/podIP"), "{host}");
            ensure!(host_slices(&both, &name).await?.len() == 1, "there is no slice");
            Ok(())
        })
        .await?;

        both.edit::<Service>("web", json!({"spec": {"selector": null}})).await?;
        eventually("the host Service has no selector", SOON, async || {
            let host = both.host::<Service>("web").await?;
            ensure!(host["spec"].get("selector").is_none(), "{}", host["spec"]);
            Ok(())
        })
        .await?;
        // What the virtual controllers have left is the tenant's to clear away, as in any cluster.
        both.delete::<Endpoints>("web").await?;
        both.virtual_api::<EndpointSlice>()
            .delete_collection(&DeleteParams::default(), &ListParams::default())
            .await?;
        both.create::<Endpoints>(endpoints("web", "192.0.2.9")).await?;
        points_to(&both, "web", "192.0.2.9").await?;
        eventually("the host sends nobody to the old pod", SOON, async || {
            let slices = host_slices(&both, &name).await?;
            let text = serde_json::to_string(&slices)?;
            ensure!(text.contains("192.0.2.9"), "{text}");
            ensure!(!text.contains(self::text(&pod, "/status/podIP")), "{text}");
            Ok(())
        })
        .await
    })
}

/// The slices of a host Service.
async fn host_slices(both: &Both, service: &str) -> Result<Vec<EndpointSlice>> {
    let params = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    Ok(both.host_api::<EndpointSlice>().list(&params).await?.items)
}

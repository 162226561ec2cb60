//! Services have the same addresses and ports on both sides, and follow what the tenant makes of them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::shared::{in_own_world, in_shared_world};
use weft_tests::world::World;

use super::both::{Both, at, ensure_same, name_of, text, uid};

/// An address outside of the range that both clusters begin with.
const ELSEWHERE: &str = "10.97.0.9";
/// The longest pause after refusals, and room.
const LATER: Duration = Duration::from_mins(2);

/// What both sides have in common once they are in step.
const SHARED: &[&str] = &[
    "/spec/type",
    "/spec/clusterIP",
    "/spec/clusterIPs",
    "/spec/ports",
    "/spec/externalName",
    "/spec/externalTrafficPolicy",
    "/spec/healthCheckNodePort",
    "/spec/sessionAffinity",
    "/status/loadBalancer",
];

/// Waits until the Service is of this type on both sides and they have the same to say.
async fn settles(both: &Both, name: &str, kind: &str) -> Result<(Value, Value)> {
    eventually(&format!("the Service {name} is in step, of type {kind}"), SOON, async || {
        let pair = both.pair::<Service>(name).await?;
        ensure!(text(&pair.1, "/spec/type") == kind, "on the host it is {}", at(&pair.1, "/spec"));
        ensure_same(&pair, SHARED)?;
        Ok(pair)
    })
    .await
}

fn service(name: &str, spec: Value) -> Value {
    let mut all = json!({"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]});
    if let (Value::Object(all), Value::Object(spec)) = (&mut all, spec) {
        all.extend(spec);
    }
    json!({"metadata": {"name": name}, "spec": all})
}

#[test]
fn services_of_every_type_have_the_same_addresses_and_ports_on_both_sides() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        let local = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"});
        let external = json!({"metadata": {"name": "external"}, "spec": {
            "type": "ExternalName", "externalName": "db.example.com"}});
        both.create::<Service>(service("plain", json!({"sessionAffinity": "ClientIP"}))).await?;
        both.create::<Service>(service("headless", json!({"clusterIP": "None"}))).await?;
        both.create::<Service>(service("node-port", json!({"type": "NodePort"}))).await?;
        both.create::<Service>(service("balanced", local)).await?;
        both.create::<Service>(external).await?;

        let (plain, host) = settles(&both, "plain", "ClusterIP").await?;
        ensure!(text(&plain, "/spec/clusterIP").starts_with("10.96."), "{plain}");
        ensure!(host["spec"]["selector"]["weft.dev/namespace"] == namespace, "{host}");
        let (headless, _) = settles(&both, "headless", "ClusterIP").await?;
        ensure!(text(&headless, "/spec/clusterIP") == "None", "{headless}");
        let (node_port, _) = settles(&both, "node-port", "NodePort").await?;
        ensure!(node_port["spec"]["ports"][0]["nodePort"].is_number(), "{node_port}");
        let (balanced, _) = settles(&both, "balanced", "LoadBalancer").await?;
        ensure!(balanced["spec"]["healthCheckNodePort"].is_number(), "{balanced}");
        let (external, _) = settles(&both, "external", "ExternalName").await?;
        ensure!(text(&external, "/spec/externalName") == "db.example.com", "{external}");
        Ok(())
    })
}

#[test]
fn the_addresses_of_a_load_balancer_come_back_and_go_with_it() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        both.create::<Service>(service("web", json!({"type": "LoadBalancer"}))).await?;
        let (_, host) = settles(&both, "web", "LoadBalancer").await?;
        let given = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}});
        let services = both.host_api::<Service>();
        services.patch_status(name_of(&host), &PatchParams::default(), &Patch::Merge(given)).await?;
        eventually("the address of the load balancer is in the virtual Service", SOON, async || {
            let web = both.get::<Service>("web").await?;
            ensure!(text(&web, "/status/loadBalancer/ingress/0/ip") == "192.0.2.7", "{}", web["status"]);
            Ok(())
        })
        .await?;

        both.edit::<Service>("web", json!({"spec": {"type": "ClusterIP"}})).await?;
        let (web, _) = settles(&both, "web", "ClusterIP").await?;
        ensure!(web.pointer("/status/loadBalancer/ingress").is_none(), "{}", web["status"]);
        ensure!(web["spec"]["ports"][0].get("nodePort").is_none(), "{}", web["spec"]);
        Ok(())
    })
}

#[test]
fn changes_of_ports_selectors_and_types_follow() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        let first = both.create::<Service>(service("web", json!({}))).await?;
        let (_, first_host) = settles(&both, "web", "ClusterIP").await?;

        let ports = json!([{"name": "a", "port": 81}, {"name": "b", "port": 82, "protocol": "UDP"}]);
        both.edit::<Service>(
            "web",
            json!({"spec": {"ports": ports, "selector": {"app": null, "tier": "front"}}}),
        )
        .await?;
        eventually("the new ports and selector are on the host", SOON, async || {
            let host = both.host::<Service>("web").await?;
            ensure!(host["spec"]["ports"][1]["port"] == 82, "{}", host["spec"]);
            let selector = &host["spec"]["selector"];
            ensure!(selector["tier"] == "front" && selector.get("app").is_none(), "{selector}");
            Ok(())
        })
        .await?;

        for kind in ["NodePort", "LoadBalancer", "ClusterIP"] {
            both.edit::<Service>("web", json!({"spec": {"type": kind}})).await?;
            settles(&both, "web", kind).await?;
        }
        let external = json!({"type": "ExternalName", "externalName": "db.example.com", "clusterIP": "", "clusterIPs": null});
        both.edit::<Service>("web", json!({"spec": external})).await?;
        settles(&both, "web", "ExternalName").await?;
        both.edit::<Service>("web", json!({"spec": {"type": "ClusterIP", "externalName": null}})).await?;
        let (last, last_host) = settles(&both, "web", "ClusterIP").await?;
        ensure!(text(&last, "/spec/clusterIP").starts_with("10.96."), "{}", last["spec"]);
        ensure!(uid(&last) == uid(&first) && uid(&last_host) == uid(&first_host), "it was made anew");

        both.delete::<Service>("web").await?;
        both.leaves::<Service>("web").await
    })
}

#[test]
fn a_service_deleted_on_the_host_is_made_again_and_the_virtual_one_is_not_touched() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = Both::of(world, namespace).await?;
        both.create::<Service>(service("web", json!({"type": "NodePort"}))).await?;
        let (before, host_before) = settles(&both, "web", "NodePort").await?;
        both.delete_host::<Service>("web").await?;
        eventually("the host Service is made again", SOON, async || {
            let host = both.host::<Service>("web").await?;
            ensure!(uid(&host) != uid(&host_before), "it is the old one");
            Ok(())
        })
        .await?;
        let (after, _) = settles(&both, "web", "NodePort").await?;
        ensure!(after == before, "the virtual Service was {before} and is {after}");
        Ok(())
    })
}

#[test]
fn the_api_server_and_the_dns_have_the_addresses_that_pods_reach() -> Result<()> {
    in_shared_world(async |world, _| {
        let tenant = world.tenant();
        let both = Both::of(world, "kube-system").await?;
        let way_in = both.host_api::<Service>().get(tenant.cluster()).await?;
        let way_in = way_in.spec.and_then(|spec| spec.cluster_ip).context("no address")?;
        let defaults: Api<Service> = Api::namespaced(both.virtual_client(), "default");
        eventually("default/kubernetes has the address of the host's Service", SOON, async || {
            let kubernetes = serde_json::to_value(defaults.get("kubernetes").await?)?;
            ensure!(text(&kubernetes, "/spec/clusterIP") == way_in, "{}", kubernetes["spec"]);
            ensure!(text(&kubernetes, "/spec/type") == "ClusterIP", "{}", kubernetes["spec"]);
            Ok(())
        })
        .await?;
        settles(&both, "kube-dns", "ClusterIP").await?;
        let default = Both::of(world, "default").await?;
        ensure!(default.find_host::<Service>("kubernetes").await?.is_none(), "kubernetes is copied");
        Ok(())
    })
}

/// Makes the host Service of `name` anew with this address, as somebody does who restores it.
async fn readdress(both: &Both, name: &str, address: &str) -> Result<()> {
    let services = both.host_api::<Service>();
    let mut host: Service = serde_json::from_value(both.host::<Service>(name).await?)?;
    both.delete_host::<Service>(name).await?;
    host.metadata.uid = None;
    host.metadata.resource_version = None;
    let spec = host.spec.as_mut().context("the host Service has no spec")?;
    spec.cluster_ip = Some(address.to_owned());
    spec.cluster_ips = Some(vec![address.to_owned()]);
    eventually("the host Service has the other address", SOON, async || {
        Ok(services.create(&PostParams::default(), &host).await?)
    })
    .await?;
    Ok(())
}

#[test]
fn a_move_that_the_virtual_cluster_would_not_take_is_not_begun() -> Result<()> {
    in_own_world(async {
        let world = World::start().await?;
        let both = Both::of(&world, "default").await?;
        both.create::<Service>(service("web", json!({"type": "NodePort"}))).await?;
        let (before, _) = settles(&both, "web", "NodePort").await?;
        world.tenant().kill_syncer()?;
        // An address that only the host has a range for.
        let range = json!({"metadata": {"name": "beside"}, "spec": {"cidrs": ["10.97.0.0/24"]}});
        let range: ServiceCIDR = serde_json::from_value(range)?;
        Api::all(both.host_client()).create(&PostParams::default(), &range).await?;
        readdress(&both, "web", ELSEWHERE).await?;
        world.tenant().start_syncer().await?;
        both.event("web", "StatusRefused", "--service-cluster-ip-range").await?;
        let after = both.get::<Service>("web").await?;
        ensure!(after["spec"] == before["spec"], "it was {} and is {}", before["spec"], after["spec"]);

        Api::all(both.virtual_client()).create(&PostParams::default(), &range).await?;
        // With two ranges, Kubernetes 1.36 judges a dry run by either of them (`MetaAllocator.DryRun` takes a random one), so it
        // may take many tries. A change of the Service brings the next one about, if it does not change all the time.
        let mut tries = 0;
        let (moved, host) =
            eventually("the Service moves once the virtual cluster has the range", LATER, async || {
                let pair = both.pair::<Service>("web").await?;
                if let Err(apart) = ensure_same(&pair, SHARED) {
                    tokio::time::sleep(Duration::from_secs(4)).await;
                    tries += 1;
                    let change = json!({"metadata": {"labels": {"tries": tries.to_string()}}});
                    both.edit::<Service>("web", change).await?;
                    return Err(apart);
                }
                Ok(pair)
            })
            .await?;
        ensure!(text(&host, "/spec/clusterIP") == ELSEWHERE, "{}", host["spec"]);
        ensure!(uid(&moved) == uid(&before), "it was made anew");
        Ok(())
    })
}

/// Leaves the virtual Service as a syncer does that is killed halfway of a move.
async fn leave_halfway(both: &Both, service: &Value) -> Result<()> {
    let fields =
        ["clusterIP", "clusterIPs", "externalTrafficPolicy", "ipFamilies", "ipFamilyPolicy", "ports", "type"];
    let spec = service.get("spec").context("a Service has a spec")?;
    let memory: Value = fields.iter().map(|field| ((*field).to_owned(), json!(spec.get(*field)))).collect();
    let halfway = json!({
        "metadata": {"annotations": {"weft.dev/moving": memory.to_string()}},
        "spec": {
            "type": "ExternalName", "externalName": "moving.weft.dev",
            "clusterIP": null, "clusterIPs": null, "ipFamilies": null, "ipFamilyPolicy": null,
            "externalTrafficPolicy": null, "ports": [{"port": 80, "targetPort": 8080}],
        },
    });
    both.edit::<Service>(name_of(service), halfway).await?;
    Ok(())
}

#[test]
fn a_move_that_a_crash_interrupted_is_finished_or_given_up_where_others_took_the_address() -> Result<()> {
    in_own_world(async {
        let world = World::start().await?;
        let both = Both::of(&world, "default").await?;
        both.create::<Service>(service("web", json!({"type": "NodePort"}))).await?;
        both.create::<Service>(service("late", json!({"type": "NodePort"}))).await?;
        let (before, _) = settles(&both, "web", "NodePort").await?;
        let (late, _) = settles(&both, "late", "NodePort").await?;
        world.tenant().kill_syncer()?;

        leave_halfway(&both, &before).await?;
        // The host has moved `late` to an address that somebody else has in the virtual cluster.
        readdress(&both, "late", "10.96.0.77").await?;
        leave_halfway(&both, &late).await?;
        let external = json!({"clusterIP": "10.96.0.77"});
        both.create::<Service>(service("first", external)).await?;
        world.tenant().start_syncer().await?;

        let (after, _) = settles(&both, "web", "NodePort").await?;
        ensure!(after["spec"] == before["spec"], "it was {} and is {}", before["spec"], after["spec"]);
        ensure!(uid(&after) == uid(&before), "it was made anew");
        let note = after.pointer("/metadata/annotations/weft.dev~1moving");
        ensure!(note.is_none(), "the note of the move is still there: {note:?}");

        // `first` gives the address up, because the host has given it to `late`; both end with the host's.
        settles(&both, "first", "ClusterIP").await?;
        let moved = eventually("the Service has the host's address", LATER, async || {
            let pair = both.pair::<Service>("late").await?;
            ensure_same(&pair, SHARED)?;
            Ok(pair.0)
        })
        .await?;
        ensure!(text(&moved, "/spec/clusterIP") == "10.96.0.77", "{}", moved["spec"]);
        ensure!(uid(&moved) == uid(&late), "it was made anew");
        Ok(())
    })
}

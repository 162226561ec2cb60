//! A running pod: its spec on the host, its status in the virtual cluster, and changes.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service, ServiceAccount};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::shared::in_shared_world;

use super::place::{Place, at, condition, ensure_at, patch, pod, with};

/// Enough for some to be set in just the wrong moment.
const GATES: usize = 60;

#[test]
fn a_host_pod_has_no_permissions_and_knows_only_the_virtual_cluster() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        place.create::<ServiceAccount>(json!({"metadata": {"name": "builder"}})).await?;
        let web = pod("web", json!({"serviceAccountName": "builder"}));
        let pair = place.run(with(web, "labels", json!({"app": "web", "weft.dev/mine": "yes"}))).await?;
        let host = &pair.host_pod;

        ensure!(host.name_any() == place.host_name("web"), "it is called {}", host.name_any());
        for (pointer, expected) in [
            ("/spec/serviceAccountName", json!(format!("weft-workload-{}", place.cluster))),
            ("/spec/automountServiceAccountToken", json!(false)),
            ("/spec/enableServiceLinks", json!(false)),
            ("/spec/hostname", json!("web")),
            ("/metadata/labels/app", json!("web")),
            ("/metadata/labels/weft.dev~1cluster", json!(place.cluster)),
            ("/metadata/labels/weft.dev~1namespace", json!(namespace)),
            ("/metadata/labels/weft.dev.tenant.weft.dev~1mine", json!("yes")),
        ] {
            ensure_at(host, pointer, &expected)?;
        }
        let owner = place.on_host::<ConfigMap>().get(&place.cluster).await?;
        ensure_at(host, "/metadata/ownerReferences/0/uid", &json!(owner.uid()))?;
        ensure_at(host, "/metadata/ownerReferences/1", &Value::Null)
    })
}

#[test]
fn a_host_pod_finds_the_virtual_clusters_api_and_names() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let host = place.run(pod("web", json!({}))).await?.host_pod;

        let service = place.on_host::<Service>().get(&place.cluster).await?;
        let api = at(&service, "/spec/clusterIP")?;
        let variables = at(&host, "/spec/containers/0/envFrom/0/configMapRef/name")?;
        let variables = variables.as_str().context("the host pod names no ConfigMap with variables")?;
        let variables = place.on_host::<ConfigMap>().get(variables).await?;
        ensure_at(&variables, "/data/KUBERNETES_SERVICE_HOST", &api)?;

        let kubernetes = place.beside("default").on_virtual::<Service>().get("kubernetes").await?;
        ensure_at(&kubernetes, "/spec/clusterIP", &api)?;
        ensure_at(&host, "/spec/hostAliases", &Value::Null)?;

        let system = place.beside("kube-system");
        let dns = at(&system.on_virtual::<Service>().get("kube-dns").await?, "/spec/clusterIP")?;
        ensure_at(&host, "/spec/dnsPolicy", &json!("None"))?;
        ensure_at(&host, "/spec/dnsConfig/nameservers", &json!([dns]))?;
        let searches =
            [format!("{namespace}.svc.cluster.local"), "svc.cluster.local".into(), "cluster.local".into()];
        ensure_at(&host, "/spec/dnsConfig/searches", &json!(searches))
    })
}

#[test]
fn the_tenant_sees_the_kubelets_status_but_not_the_hosts_node() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        place.run(pod("web", json!({}))).await?;
        let pair = eventually("the virtual pod is ready as its host pod is", SOON, async || {
            let pair = place.pair("web").await?;
            for kind in ["PodScheduled", "Initialized", "ContainersReady", "Ready"] {
                let (virtual_side, host) =
                    (condition(&pair.virtual_pod, kind), condition(&pair.host_pod, kind));
                ensure!(
                    virtual_side == host && host == "True",
                    "{kind} is {virtual_side:?}, on the host {host:?}"
                );
            }
            for field in ["phase", "podIP", "podIPs", "startTime", "containerStatuses"] {
                let pointer = format!("/status/{field}");
                ensure_at(&pair.virtual_pod, &pointer, &at(&pair.host_pod, &pointer)?)?;
            }
            Ok(pair)
        })
        .await?;

        ensure_at(&pair.virtual_pod, "/spec/nodeName", &at(&pair.host_pod, "/spec/nodeName")?)?;
        let (shown, real) = (at(&pair.virtual_pod, "/status/hostIP")?, at(&pair.host_pod, "/status/hostIP")?);
        ensure!(shown.is_string() && shown != real, "the tenant sees the host's address {shown}");
        let name = pair.virtual_pod.spec.context("no spec")?.node_name.context("not bound")?;
        let node = place.all_virtual::<Node>().get(&name).await?;
        ensure_at(&node, "/spec/taints", &Value::Null)?;
        let addresses = at(&node, "/status/addresses")?.to_string();
        ensure!(
            addresses.contains(shown.as_str().unwrap_or("?")),
            "{addresses} lacks the pod's hostIP {shown}"
        );
        ensure!(node.labels().contains_key("weft.dev/fake-node"), "{node:?}");
        Ok(())
    })
}

#[test]
fn a_pod_on_a_node_whose_name_is_too_long_for_a_label_is_bound_all_the_same() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        // No scheduler places it.
        let selector =
            json!({"nodeSelector": {"topology.kubernetes.io/zone": format!("none-of-{namespace}")}});
        place.create::<Pod>(pod("far", selector)).await?;
        let pair = eventually("far is on the host", SOON, async || place.pair("far").await).await?;
        let node = format!("ip-10-0-0-1.{}.{namespace}", "compute.example.com".repeat(4));
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": pair.host_pod.name_any()},
            "target": {"kind": "Node", "name": node},
        });
        let (host, name) = (place.on_host::<Pod>(), pair.host_pod.name_any());
        host.create_subresource::<Value, Value>("binding", &name, &PostParams::default(), &binding).await?;
        let bound = eventually("the virtual pod is bound to it", SOON, async || {
            let bound = place.on_virtual::<Pod>().get("far").await?;
            ensure_at(&bound, "/spec/nodeName", &json!(node))?;
            Ok(bound)
        })
        .await?;
        let label = place.all_virtual::<Node>().get(&node).await?.labels()["kubernetes.io/hostname"].clone();
        ensure!(label.len() <= 63 && label.starts_with("ip-10-0-0-1."), "{label}");
        place.delete::<Pod>(&bound.name_any()).await
    })
}

#[test]
fn a_readiness_gate_of_the_tenant_decides_about_ready_on_both_sides() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        place.run(pod("gated", json!({"readinessGates": [{"conditionType": "example.com/lb"}]}))).await?;
        for state in ["True", "False", "True"] {
            let gate = json!({"status": {"conditions": [{"type": "example.com/lb", "status": state}]}});
            let pods = place.on_virtual::<Pod>();
            pods.patch_status("gated", &PatchParams::default(), &Patch::Strategic(gate)).await?;
            eventually(&format!("with the gate {state} the pod is ready: {state}"), SOON, async || {
                let pair = place.pair("gated").await?;
                for side in [&pair.virtual_pod, &pair.host_pod] {
                    let seen = (condition(side, "example.com/lb"), condition(side, "Ready"));
                    ensure!(seen == (state, state), "gate and Ready are {seen:?} of {}", side.name_any());
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    })
}

#[test]
fn conditions_that_others_set_stay_through_the_status_of_the_host() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let pair = place.run(pod("web", json!({}))).await?;
        // As an eviction sets `DisruptionTarget`, of which a controller would say soon that it was not carried out.
        let target = json!({"type": "example.com/target", "status": "True", "reason": "Chosen"});
        let set = json!({"status": {"conditions": [target]}});
        let pods = place.on_virtual::<Pod>();
        pods.patch_status("web", &PatchParams::default(), &Patch::Strategic(set)).await?;
        for state in ["False", "True"] {
            let shown = json!({"status": {"conditions": [{"type": "ContainersReady", "status": state}]}});
            let (hosts, name) = (place.on_host::<Pod>(), pair.host_pod.name_any());
            hosts.patch_status(&name, &PatchParams::default(), &Patch::Strategic(shown)).await?;
            eventually(
                &format!("the tenant sees ContainersReady {state} beside its own condition"),
                SOON,
                async || {
                    let seen = pods.get("web").await?;
                    let seen = (
                        condition(&seen, "ContainersReady").to_owned(),
                        condition(&seen, "example.com/target").to_owned(),
                    );
                    ensure!(
                        seen == (state.to_owned(), "True".to_owned()),
                        "ContainersReady and the other are {seen:?}"
                    );
                    Ok(())
                },
            )
            .await?;
        }
        Ok(())
    })
}

#[test]
fn no_gate_is_lost_while_the_kubelet_changes_its_mind() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let gates: Vec<String> = (0..GATES).map(|number| format!("example.com/gate-{number}")).collect();
        let declared: Vec<Value> = gates.iter().map(|gate| json!({"conditionType": gate})).collect();
        let name = place.run(pod("gated", json!({"readinessGates": declared}))).await?.host_pod.name_any();
        let (pods, host_pods) = (place.on_virtual::<Pod>(), place.on_host::<Pod>());
        let opened = AtomicBool::new(false);

        let tenant = async {
            for gate in &gates {
                let open = json!({"status": {"conditions": [{"type": gate, "status": "True"}]}});
                pods.patch_status("gated", &PatchParams::default(), &Patch::Strategic(open)).await?;
            }
            opened.store(true, Ordering::Relaxed);
            anyhow::Ok(())
        };
        let kubelet = async {
            while !opened.load(Ordering::Relaxed) {
                for message in [json!("one"), json!("another")] {
                    let report = json!({"status": {"message": message}});
                    host_pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(report)).await?;
                }
            }
            anyhow::Ok(())
        };
        tokio::try_join!(tenant, kubelet)?;
        eventually("every gate is open on both sides, and the pod is ready", SOON, async || {
            let pair = place.pair("gated").await?;
            for side in [&pair.virtual_pod, &pair.host_pod] {
                let lost: Vec<_> = gates.iter().filter(|gate| condition(side, gate) != "True").collect();
                ensure!(lost.is_empty(), "{} has lost {lost:?}", side.name_any());
                ensure!(condition(side, "Ready") == "True", "{:#?}", side.status);
            }
            Ok(())
        })
        .await
    })
}

#[test]
fn labels_and_annotations_follow_and_what_the_host_changed_stays() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let name = place.run(pod("web", json!({}))).await?.host_pod.name_any();
        let pods = place.on_virtual::<Pod>();
        // As a policy of the host does at creation.
        let by_host = json!({
            "metadata": {"labels": {"host-ops": "watched"}},
            "spec": {"containers": [{"name": "main", "image": "mirror/nginx:1"}]},
        });
        place.on_host::<Pod>().patch(&name, &PatchParams::default(), &Patch::Strategic(by_host)).await?;

        let follows = async |change: Value| -> Result<()> {
            patch(&pods, "web", json!({"metadata": {"labels": change, "annotations": change}})).await?;
            eventually(&format!("the host pod follows {change}"), SOON, async || {
                let pair = place.pair("web").await?;
                for map in ["labels", "annotations"] {
                    let pointer = format!("/metadata/{map}/tier");
                    ensure_at(&pair.host_pod, &pointer, &at(&pair.virtual_pod, &pointer)?)?;
                }
                ensure_at(&pair.host_pod, "/metadata/labels/host-ops", &json!("watched"))?;
                ensure_at(&pair.host_pod, "/spec/containers/0/image", &json!("mirror/nginx:1"))?;
                ensure_at(&pair.virtual_pod, "/metadata/labels/host-ops", &Value::Null)
            })
            .await
        };
        follows(json!({"tier": "front"})).await?;
        follows(json!({"tier": "back"})).await?;
        follows(json!({"tier": null})).await
    })
}

#[test]
fn a_new_image_reaches_the_running_pod() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let before = place.run(pod("web", json!({}))).await?;
        let image = json!({"spec": {"containers": [{"name": "main", "image": "nginx:2"}]}});
        let pods = place.on_virtual::<Pod>();
        pods.patch("web", &PatchParams::default(), &Patch::Strategic(image)).await?;
        eventually("the host pod runs the new image and says so", SOON, async || {
            let pair = place.pair("web").await?;
            ensure!(pair.host_pod.uid() == before.host_pod.uid(), "it is another host pod");
            ensure_at(&pair.host_pod, "/spec/containers/0/image", &json!("nginx:2"))?;
            ensure_at(&pair.virtual_pod, "/status/containerStatuses/0/image", &json!("nginx:2"))?;
            ensure_at(&pair.virtual_pod, "/status/observedGeneration", &json!(2))
        })
        .await
    })
}

#[test]
fn a_debug_container_joins_the_running_pod() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        place.run(pod("web", json!({}))).await?;
        let pods = place.on_virtual::<Pod>();
        for name in ["debugger-1", "debugger-2"] {
            // What `kubectl debug` sends.
            let debug =
                json!([{"name": name, "image": "busybox", "targetContainerName": "main", "stdin": true}]);
            let debug = Patch::Strategic(json!({"spec": {"ephemeralContainers": debug}}));
            pods.patch_ephemeral_containers("web", &PatchParams::default(), &debug).await?;
            eventually(&format!("{name} runs on the host and the tenant sees it"), SOON, async || {
                let pair = place.pair("web").await?;
                let there = at(&pair.host_pod, "/spec/ephemeralContainers")?.to_string();
                ensure!(there.contains(name), "the host has {there}");
                let statuses = at(&pair.virtual_pod, "/status/ephemeralContainerStatuses")?.to_string();
                ensure!(statuses.contains(name), "the tenant sees {statuses}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    })
}

#[test]
fn a_resize_reaches_the_running_pod() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let of = |cpu: &str| {
            let resources = json!({"requests": {"cpu": cpu, "memory": "64Mi"}, "limits": {"memory": "64Mi"}});
            json!({"containers": [{"name": "main", "image": "nginx:1", "resources": resources}]})
        };
        let before = place.run(pod("web", of("100m"))).await?;
        let resize = Patch::Strategic(json!({"spec": of("200m")}));
        place.on_virtual::<Pod>().patch_resize("web", &PatchParams::default(), &resize).await?;
        eventually("the host pod has the new size and the tenant sees it", SOON, async || {
            let pair = place.pair("web").await?;
            ensure!(pair.host_pod.uid() == before.host_pod.uid(), "it is another host pod");
            ensure_at(&pair.host_pod, "/spec/containers/0/resources/requests/cpu", &json!("200m"))?;
            let seen = "/status/containerStatuses/0/resources/requests/cpu";
            ensure_at(&pair.virtual_pod, seen, &json!("200m"))
        })
        .await
    })
}

//! What the syncer applies in the virtual cluster by itself: CoreDNS, and what the operator deploys.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::shared::in_shared_world;
use weft_tests::tenant::Tenant;

use super::both::{Both, at, edit, ensure_same, name_of, text, uid};

/// Twice as long as the syncer takes to look after what it has applied.
const RESTORED: Duration = Duration::from_mins(1);

/// Waits until CoreDNS has this many pods that are ready.
async fn available(system: &Both, replicas: i64) -> Result<Value> {
    eventually(&format!("CoreDNS has {replicas} ready pods"), RESTORED, async || {
        let deployment = system.get::<Deployment>("coredns").await?;
        let counts =
            ["/spec/replicas", "/status/availableReplicas"].map(|pointer| at(&deployment, pointer).as_i64());
        ensure!(counts == [Some(replicas), Some(replicas)], "{deployment}");
        Ok(deployment)
    })
    .await
}

/// The virtual pods of CoreDNS.
async fn pods(system: &Both) -> Result<Vec<Value>> {
    let params = ListParams::default().labels("k8s-app=kube-dns");
    let pods = system.virtual_api::<Pod>().list(&params).await?.items;
    Ok(pods.into_iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
}

#[test]
fn coredns_runs_on_the_host_is_restored_and_follows_the_configuration() -> Result<()> {
    in_shared_world(async |world, _| {
        let dns = |replicas: u32| json!({"dns": {"replicas": replicas, "image": "mirror.example/coredns:1"}});
        let tenant = world.another_tenant("dns", "dns", &dns(2)).await?;
        let system = Both::of_tenant(&tenant, "kube-system").await?;
        let first = available(&system, 2).await?;
        for pod in pods(&system).await? {
            is_an_ordinary_pod(&system, &pod).await?;
        }
        is_found(&system, &tenant).await?;

        let theirs = json!({"metadata": {"annotations": {"theirs": "yes"}}, "spec": {"replicas": 3}});
        system.edit::<Deployment>("coredns", theirs).await?;
        let restored = available(&system, 2).await?;
        ensure!(text(&restored, "/metadata/annotations/theirs") == "yes", "{restored}");
        ensure!(uid(&restored) == uid(&first), "it was made again");
        system.delete::<ConfigMap>("coredns").await?;
        eventually("the deleted ConfigMap is there again", RESTORED, async || {
            system.get::<ConfigMap>("coredns").await
        })
        .await?;

        tenant.configure(&dns(1))?;
        available(&system, 1).await?;
        let log = fs::read_to_string(tenant.syncer_log())?;
        let applied =
            log.lines().filter(|line| line.contains("applied in") && line.contains("v1/ServiceAccount"));
        ensure!(applied.count() == 1, "what nobody has touched was applied again:\n{log}");
        is_turned_off_and_on(&system, &tenant, &dns(1)).await
    })
}

/// Pods go and the Service stays; what comes again pulls its image with the secrets of the host's ServiceAccount.
async fn is_turned_off_and_on(system: &Both, tenant: &Tenant, on: &Value) -> Result<()> {
    let service = system.get::<Service>("kube-dns").await?;
    tenant.configure(&json!({"dns": {"enabled": false}}))?;
    system.gone::<Deployment>("coredns").await?;
    for kind in ["serviceaccount/coredns", "configmap/coredns", "clusterrole/system:coredns"] {
        let get = ["get", kind, "-n", "kube-system", "--ignore-not-found"];
        let left = tenant.virtual_plane().kubectl(&get, "").await?;
        ensure!(left.is_empty(), "{left}");
    }
    eventually("no pod of it is left", RESTORED, async || {
        ensure!(pods(system).await?.is_empty());
        Ok(())
    })
    .await?;
    ensure!(uid(&system.get::<Service>("kube-dns").await?) == uid(&service), "the Service is another one");

    let secrets = json!([{"name": "registry"}]);
    let account = format!("weft-workload-{}", tenant.cluster());
    edit(&system.host_api::<ServiceAccount>(), &account, json!({"imagePullSecrets": secrets})).await?;
    tenant.configure(on)?;
    available(system, 1).await?;
    for pod in pods(system).await? {
        let (ours, hosts) = system.pair::<Pod>(name_of(&pod)).await?;
        ensure!(at(&hosts, "/spec/imagePullSecrets") == &secrets, "{hosts}");
        ensure!(at(&ours, "/spec/imagePullSecrets").is_null(), "the tenant sees them: {ours}");
    }
    Ok(())
}

/// A pod that the strictest Pod Security level admits, on the node's resolver.
async fn is_an_ordinary_pod(system: &Both, pod: &Value) -> Result<()> {
    let (ours, hosts) = system.pair::<Pod>(name_of(pod)).await?;
    ensure!(text(&hosts, "/spec/dnsPolicy") == "Default", "{hosts}");
    ensure!(at(&hosts, "/spec/dnsConfig").is_null(), "it would resolve by itself: {hosts}");
    ensure!(text(&hosts, "/spec/containers/0/image") == "mirror.example/coredns:1", "{hosts}");
    ensure_same(&(ours, hosts), &["/spec/securityContext", "/spec/containers/0/securityContext"])
}

/// Pods of the tenant ask the Service, which leads to the pods' own port, at one address on both sides.
async fn is_found(system: &Both, tenant: &Tenant) -> Result<()> {
    let pair = eventually("both sides agree about kube-dns", SOON, async || {
        let pair = system.pair::<Service>("kube-dns").await?;
        ensure_same(&pair, &["/spec/clusterIP", "/spec/ports"])?;
        ensure!(at(&pair.1, "/spec/ports/0/targetPort") == 1053, "{}", at(&pair.1, "/spec"));
        Ok(pair)
    })
    .await?;
    let annotations = at(&pair.1, "/metadata/annotations").to_string();
    ensure!(!annotations.contains("addon"), "the syncer's own annotation is on the host: {annotations}");
    let both = Both::of_tenant(tenant, "default").await?;
    both.create_pod("web", json!({})).await?;
    let web = both.arrives::<Pod>("web").await?;
    let address = at(&pair.0, "/spec/clusterIP");
    ensure!(at(&web, "/spec/dnsConfig/nameservers/0") == address, "{}", at(&web, "/spec/dnsConfig"));
    Ok(())
}

/// A custom resource before its definition, and a ConfigMap before its Namespace.
fn manifests(value: &str) -> String {
    format!(
        "\
apiVersion: example.net/v1
kind: Crate
metadata: {{name: first}}
spec: {{size: 1}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings, namespace: deployed}}
data: {{key: {value}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: of-nobody, namespace: nowhere}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: deployed}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: crates.example.net}}
spec:
  group: example.net
  scope: Namespaced
  names: {{kind: Crate, plural: crates}}
  versions:
    - {{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}
"
    )
}

#[test]
fn manifests_are_applied_in_an_order_that_works_and_again_when_they_change() -> Result<()> {
    in_shared_world(async |world, _| {
        let config = |value: &str| json!({"deploy": {"manifests": manifests(value)}});
        let tenant = world.another_tenant("deploy", "deploy", &config("one")).await?;
        let both = Both::of_tenant(&tenant, "deployed").await?;
        let has = async |value: &str| {
            eventually(&format!("the ConfigMap has {value}"), SOON, async || {
                let found = both.get::<ConfigMap>("settings").await?;
                ensure!(text(&found, "/data/key") == value, "{found}");
                Ok(())
            })
            .await
        };
        has("one").await?;
        eventually("the custom resource is there", SOON, async || {
            let crates = tenant.virtual_plane().kubectl(&["get", "crates", "-o", "name"], "").await?;
            ensure!(crates.contains("first"), "{crates}");
            Ok(())
        })
        .await?;
        let log = fs::read_to_string(tenant.syncer_log())?;
        let problem = log.lines().find(|line| line.contains("of-nobody") && line.contains("document 3"));
        ensure!(
            problem.is_some_and(|line| line.contains("nowhere")),
            "no line names the document that fails:\n{log}"
        );

        // It is the tenant's from then on, until the operator changes it.
        edit(
            &both.virtual_api::<ConfigMap>(),
            "settings",
            json!({"data": {"key": "theirs", "more": "theirs"}}),
        )
        .await?;
        tenant.stop_syncer().await?;
        tenant.start_syncer().await?;
        let namespaces = manifests("one") + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: later}\n";
        tenant.configure(&json!({"deploy": {"manifests": namespaces}}))?;
        let later: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(both.virtual_client());
        eventually("what is added is applied", SOON, async || Ok(later.get("later").await?)).await?;
        has("theirs").await?;
        tenant.configure(&config("two"))?;
        has("two").await?;
        ensure!(text(&both.get::<ConfigMap>("settings").await?, "/data/more") == "theirs", "it was replaced");
        later.get("later").await?;
        Ok(())
    })
}

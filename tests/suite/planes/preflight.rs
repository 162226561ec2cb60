//! What would make an installation fail is found before Helm runs, by a real API server's authorizer and admission.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use kube::api::Api;
use serde_json::{Value, json};
use weft::cluster::Place;
use weft::cluster::host::Host;
use weft::cluster::kubeconfig::Files;
use weft::cluster::preflight::{admission, check};
use weft_tests::binaries::Programs;
use weft_tests::planes::{Options, Plane, Role, Store};
use weft_tests::scratch::Scratch;
use weft_tests::shared::in_own_world;

use super::both::create;

async fn access(file: PathBuf) -> Result<Host> {
    Host::open(Files::find(Some(file))?, None).await
}

fn place(namespace: &str) -> Place {
    Place { namespace: namespace.to_owned(), name: "one".to_owned() }
}

/// What the check says, for somebody whom it refuses.
async fn refusal(host: &Host, namespace: &str) -> Result<String> {
    let checked = check(host, &place(namespace), &[], async { Ok(None) }).await;
    Ok(checked.err().context("nothing was refused")?.to_string())
}

#[test]
fn what_would_fail_is_found_before_helm_runs() -> Result<()> {
    in_own_world(async {
        let scratch = Scratch::new()?;
        let options = Options {
            role: Role::Host { nodes: 1 },
            programs: Programs::build().await?,
            store: Store::default(),
            dir: scratch.path().join("host"),
            extra: Vec::new(),
        };
        let plane = Plane::start(options).await?;
        let admin = access(plane.kubeconfig("admin")).await?;
        missing_permissions_are_named(&plane, &admin).await?;
        a_pod_that_the_host_refuses_is_known(&admin).await?;
        a_name_that_is_taken_is_refused(&admin).await
    })
}

async fn missing_permissions_are_named(plane: &Plane, admin: &Host) -> Result<()> {
    let nobody = access(plane.identity("nobody", &[])?).await?;
    let error = refusal(&nobody, "default").await?;
    for wanted in
        ["you may not get, create, patch, delete roles", "you may not get, list pods", "statefulsets"]
    {
        ensure!(error.contains(wanted), "{wanted:?} is not in {error}");
    }
    let findings = check(admin, &place("nowhere"), &[], async { Ok(None) }).await?;
    ensure!(findings.namespace_is_missing, "{findings:?}");
    Ok(())
}

async fn a_pod_that_the_host_refuses_is_known(admin: &Host) -> Result<()> {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespaces: Api<Namespace> = Api::all(admin.client.clone());
    create(&namespaces, json!({"metadata": {"name": "strict", "labels": labels}})).await?;
    let refused = admission::refused(admin, &place("strict"), &[set(&json!({}))], false).await?;
    ensure!(refused.join("; ").contains("violates PodSecurity"), "{refused:?}");
    let context = json!({"runAsNonRoot": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"}});
    let refused = admission::refused(admin, &place("strict"), &[set(&context)], false).await?;
    ensure!(refused.is_empty(), "{refused:?}");
    Ok(())
}

/// A StatefulSet as a chart renders it, with a service account that does not exist yet.
fn set(context: &Value) -> Value {
    let container = json!({"name": "api", "image": "api", "securityContext": context,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    json!({"kind": "StatefulSet", "metadata": {"name": "one"}, "spec": {
        "template": {"metadata": {}, "spec": {"serviceAccountName": "missing", "containers": [container],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-one-0"}}]}},
    }})
}

async fn a_name_that_is_taken_is_refused(admin: &Host) -> Result<()> {
    let services: Api<Service> = Api::namespaced(admin.client.clone(), "default");
    create(&services, json!({"metadata": {"name": "one"}, "spec": {"ports": [{"port": 80}]}})).await?;
    let error = refusal(admin, "default").await?;
    ensure!(error.contains("there is a Service of that name already"), "{error}");
    let secrets: Api<Secret> = Api::namespaced(admin.client.clone(), "default");
    // The kubeconfig of a virtual cluster `one-pki` would be here, if it were called `vc-one`.
    create(
        &secrets,
        json!({"metadata": {"name": "one-pki", "labels": {"app.kubernetes.io/instance": "other"}}}),
    )
    .await?;
    let error = refusal(admin, "default").await?;
    ensure!(error.contains("there is a Secret one-pki already"), "{error}");
    Ok(())
}

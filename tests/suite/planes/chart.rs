//! The chart gives a syncer what `weft rbac` prints for the configuration that the same chart renders, no more and no less,
//! and none of its selectors can match a tenant's pod.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::process::Command;
use weft::cluster::chart;
use weft_core::labels;
use weft_tests::binaries;
use weft_tests::binaries::modules::{self, Program};
use weft_tests::guests::rust::root;
use weft_tests::shared::in_runtime;

use super::both::text;

const NAMESPACE: &str = "team-a";

/// Values, and what they are about.
fn cases() -> Vec<(&'static str, Value)> {
    let mapping = |api_version: &str, kind: &str, plural: &str, installs: bool| json!({"apiVersion": api_version, "kind": kind, "plural": plural, "installDefinition": installs});
    let plugins = |load: Value| json!({"plugins": {"folder": "/nowhere", "load": load}});
    vec![
        ("the default", json!({})),
        ("a declared kind", json!({"mappings": [mapping("example.com/v1", "Ox", "oxen", false)]})),
        ("and its definition", json!({"mappings": [mapping("example.com/v1", "Ox", "oxen", true)]})),
        (
            "several declared kinds, one of them twice, two of them built in",
            json!({"mappings": [
                mapping("zoo.example.com/v1", "Cat", "cats", true),
                mapping("zoo.example.com/v1beta1", "Cat", "cats", false),
                mapping("example.com/v1", "Ox", "oxen", true),
                mapping("v1", "Pod", "pods", false),
                mapping("v1", "Endpoints", "endpoints", true),
            ]}),
        ),
        ("a folder for plugins", plugins(json!({}))),
        ("development", json!({"plugins": {"folder": "/nowhere", "grants": "requested"}})),
        (
            "kinds that plugins are granted",
            plugins(json!({
                "network": {"kinds": ["networking.k8s.io/v1/Ingress", "networking.k8s.io/v1/NetworkPolicy", "v1/Pod"]},
                "mesh": {"kinds": ["example.com/v1/Mesh", "gateway.networking.k8s.io/v1/Gateway"]},
                "endpoints": {"kinds": ["v1/Endpoints", "example.com/v1/RemoteEndpoints"]},
                "off": {"enabled": false, "kinds": ["example.com/v1/Cat"], "installDefinitions": true},
                "none": {},
            })),
        ),
        (
            "definitions that plugins may install, beside those of declared kinds",
            json!({
                "plugins": {"folder": "/nowhere", "load": {
                    "cats": {"kinds": ["example.com/v1/Cat", "v1/Pod"], "installDefinitions": true},
                    "more": {"kinds": ["example.com/v1/Cat", "example.com/v1/Policy"], "installDefinitions": true},
                }},
                "mappings": [mapping("example.com/v1", "Cat", "cats", true)],
            }),
        ),
        (
            "what is deployed",
            json!({"deploy": {"manifests": "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"}}),
        ),
        ("no volume", json!({"persistence": {"enabled": false}})),
        (
            "etcd, without DNS",
            json!({"controlPlane": {"storage": {"type": "etcd"}}, "dns": {"enabled": false}}),
        ),
        ("no kubelet", json!({"kubelet": {"enabled": false}})),
        ("metrics of nodes", json!({"kubelet": {"metrics": {"enabled": true}}})),
        ("metrics of no kubelet", json!({"kubelet": {"enabled": false, "metrics": {"enabled": true}}})),
        ("selected nodes", json!({"nodes": {"selector": {"pool": "tenants"}}})),
        ("mirrored nodes", json!({"nodes": {"mode": "mirrored"}})),
        (
            "mirrored nodes without what others request, and a definition",
            json!({
                "nodes": {"mode": "mirrored", "netAllocatable": true},
                "mappings": [mapping("example.com/v1", "Ox", "oxen", true)],
            }),
        ),
        ("pods as another account", json!({"pods": {"serviceAccount": "theirs"}})),
    ]
}

#[test]
fn the_chart_gives_a_syncer_what_the_program_says_it_needs() -> Result<()> {
    in_runtime(async {
        let (helm, weft) = (modules::program(Program::Helm4).await?, binaries::weft().await?);
        let dir = tempfile::tempdir()?;
        for (about, values) in cases() {
            let compared = compare(&helm, &weft, dir.path(), &values).await;
            compared.with_context(|| format!("{about}: {values}"))?;
        }
        Ok(())
    })
}

async fn compare(helm: &Path, weft: &Path, dir: &Path, values: &Value) -> Result<()> {
    let file = dir.join("values.yaml");
    fs::write(&file, values.to_string())?;
    let mut template = Command::new(helm);
    template.args(["template", "vc", "--namespace", NAMESPACE, "--values"]).arg(&file);
    let rendered = chart::objects(&output(template.arg(root().join("charts/weft"))).await?)?;
    ensure!(selectors(&rendered)? >= 3, "two Services and a StatefulSet have selectors");
    let config = rendered.iter().find(|object| text(object, "/kind") == "ConfigMap");
    let config = text(config.context("the chart renders a ConfigMap")?, "/data/weft.yaml");
    plugins_are_remembered(&rendered, config)?;
    let printed = printed(weft, dir.join("weft.yaml"), config).await?;
    for (kind, subject) in [("Role", "RoleBinding"), ("ClusterRole", "ClusterRoleBinding")] {
        let (given, wanted) = (role(&rendered, kind)?, role(&printed, kind)?);
        let (missing, unused) = (wanted.difference(&given), given.difference(&wanted));
        let (missing, unused) = (missing.collect::<Vec<_>>(), unused.collect::<Vec<_>>());
        ensure!(missing.is_empty() && unused.is_empty(), "{kind}: missing {missing:?}, unused {unused:?}");
        ensure!(binding(&rendered, subject) == binding(&printed, subject), "the {subject}s differ");
    }
    Ok(())
}

/// What is remembered of plugins lies in a volume that outlives the container and that the syncer alone mounts.
fn plugins_are_remembered(objects: &[Value], config: &str) -> Result<()> {
    let config: Value = serde_saphyr::from_str(config)?;
    let cache = Path::new(text(&config, "/plugins/cache"));
    let pod = objects.iter().find(|object| text(object, "/kind") == "StatefulSet");
    let pod = pod.and_then(|set| set.pointer("/spec/template/spec")).context("the chart renders a pod")?;
    let list = |of: &Value, name: &str| of.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let containers = [list(pod, "initContainers"), list(pod, "containers")].concat();
    let syncer =
        containers.iter().find(|container| text(container, "/name") == "syncer").context("a syncer")?;
    let mounts = list(syncer, "volumeMounts");
    let mount = mounts.iter().find(|mount| cache.starts_with(text(mount, "/mountPath")));
    let volume =
        text(mount.with_context(|| format!("{} is in no volume", cache.display()))?, "/name").to_owned();
    let mounted = containers.iter().flat_map(|container| list(container, "volumeMounts"));
    ensure!(mounted.filter(|mount| text(mount, "/name") == volume).count() == 1, "others mount {volume}");
    let volumes = list(pod, "volumes");
    let found =
        volumes.iter().find(|found| text(found, "/name") == volume).context("the pod has the volume")?;
    ensure!(found.get("emptyDir").is_some() && found.pointer("/emptyDir/medium").is_none(), "{found}");
    Ok(())
}

/// How many selectors of pods the objects have; an error if one of them may match a tenant's pod.
fn selectors(objects: &[Value]) -> Result<usize> {
    let mut found = 0;
    for object in objects {
        let spec = object.get("spec");
        let by_kind = match text(object, "/kind") {
            "Service" => spec.and_then(|spec| spec.get("selector")),
            "NetworkPolicy" => spec.and_then(|spec| spec.pointer("/podSelector/matchLabels")),
            _ => spec.and_then(|spec| spec.pointer("/selector/matchLabels")),
        };
        let Some(selector) = by_kind.and_then(Value::as_object) else { continue };
        let of = format!("{} {} selects {selector:?}", text(object, "/kind"), text(object, "/metadata/name"));
        ensure!(!selector.is_empty() && !labels::may_select_tenants(selector), "{of}");
        found += 1;
    }
    Ok(found)
}

/// The objects that the program prints for this configuration.
async fn printed(weft: &Path, file: PathBuf, config: &str) -> Result<Vec<Value>> {
    fs::write(&file, config)?;
    let mut rbac = Command::new(weft);
    let list = output(rbac.args(["rbac", "--output", "json", "--config"]).arg(&file)).await?;
    let list: Value = serde_json::from_str(&list)?;
    list.get("items").and_then(Value::as_array).cloned().context("a List")
}

async fn output(command: &mut Command) -> Result<String> {
    let output = command.kill_on_drop(true).output().await?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// What the only role of this kind allows, one verb on one resource each; nothing where there is none.
fn role(objects: &[Value], kind: &str) -> Result<BTreeSet<String>> {
    let mut roles = objects.iter().filter(|object| text(object, "/kind") == kind);
    let Some(role) = roles.next() else { return Ok(BTreeSet::new()) };
    ensure!(roles.next().is_none(), "there are two of kind {kind}");
    let mut allowed = BTreeSet::from([format!("called {}", text(role, "/metadata/name"))]);
    for rule in role.get("rules").and_then(Value::as_array).context("a role has rules")? {
        let list = |key: &str| {
            rule.get(key).and_then(Value::as_array).context("a list").with_context(|| key.to_owned())
        };
        let names = rule.get("resourceNames").map_or_else(|| "any".to_owned(), Value::to_string);
        for group in list("apiGroups")? {
            for resource in list("resources")? {
                allowed
                    .extend(list("verbs")?.iter().map(|verb| format!("{verb} {group}/{resource} {names}")));
            }
        }
    }
    Ok(allowed)
}

/// Who gets which role, by the only binding of this kind.
fn binding<'a>(objects: &'a [Value], kind: &str) -> Option<[&'a Value; 2]> {
    let binding = objects.iter().find(|object| text(object, "/kind") == kind)?;
    Some([binding.get("roleRef")?, binding.get("subjects")?])
}

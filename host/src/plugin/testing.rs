//! What tests of plugins stand on: a published build of the example that labels pods, and other versions of it.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use weft_core::context::{Facts, Notes};
use weft_core::mapper::Mapper;
use weft_core::names::Names;
use weft_core::object::{HostObject, VirtualObject};
use weft_core::offline::Offline;
use weft_core::translate;
use weft_core::verdict::Hold;

use crate::config::grants::Entry;
use crate::plugin::component;
use crate::plugin::generation::{Error, Generation};
use crate::plugin::metrics::Metrics;
use crate::plugin::sandbox::Sandbox;

/// The plugin `team-label` 0.1.0: it mutates `v1/Pod`, and has one setting, `team`.
pub(crate) fn component() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/mapping-0.1.0/team-label.wasm");
    std::fs::read(path).unwrap()
}

/// The same as version 0.2.0.
pub(crate) fn newer() -> Vec<u8> {
    patched("0.1.0Labels", "0.2.0Labels")
}

/// The same with one of its strings replaced by another one of its length.
pub(crate) fn patched(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = component();
    let place = bytes.windows(from.len()).position(|window| window == from.as_bytes());
    let place = place.unwrap_or_else(|| panic!("{from:?} is not in the component"));
    bytes[place..place + to.len()].copy_from_slice(to.as_bytes());
    bytes
}

/// A core module: WebAssembly, and no component.
pub(crate) const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// One sandbox for all tests, and one cache for all runs: compiling is most of what these tests take.
pub(crate) fn sandbox() -> Arc<Sandbox> {
    static SANDBOX: OnceLock<Arc<Sandbox>> = OnceLock::new();
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/compiled-components");
    SANDBOX.get_or_init(|| Arc::new(Sandbox::new(Some(&cache)).unwrap())).clone()
}

/// An entry of `plugins.load`.
pub(crate) fn entry(entry: Value) -> Entry {
    serde_json::from_value(entry).unwrap()
}

/// An entry that grants the plugin what it requests, with this team.
pub(crate) fn team(team: &str) -> Entry {
    entry(json!({"kinds": ["v1/Pod"], "settings": {"team": team}}))
}

/// The version in these bytes with this entry.
pub(crate) fn generation(bytes: &[u8], entry: Entry) -> Result<Generation, Error> {
    let loaded = component::load(&sandbox(), bytes, entry.wasi).unwrap();
    Generation::new("team-label", loaded, entry, sandbox(), Arc::new(Metrics::default()))
}

/// How the names of the virtual cluster `vc` in the host namespace `team-a` are made.
pub(crate) fn names() -> Names {
    Names::new("vc", "team-a").unwrap()
}

/// What becomes of a pod.
pub(crate) fn pod_to_host(mapper: &dyn Mapper) -> Result<HostObject, Hold> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [{"name": "main", "image": "nginx"}]},
    });
    let facts = Facts {
        dns: vec!["10.96.0.10".parse().unwrap()],
        kubernetes: vec!["10.96.0.1".parse().unwrap()],
        ..Facts::default()
    };
    let (offline, notes) = (Offline::new(names(), facts), Notes::default());
    translate::to_host(&offline.ctx(None, &notes), mapper, &VirtualObject::from_json(pod).unwrap())
}

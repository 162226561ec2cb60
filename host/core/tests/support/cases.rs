//! The golden files, and the fixed surroundings that they are translated in.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use serde_json::Value;
use weft_core::context::{Ctx, Facts, Lookup, Moment, Notes, Owner, Version};
use weft_core::kinds;
use weft_core::mapper::Mapper;
use weft_core::names::Names;
use weft_core::object::{HostObject, Key, Kind, VirtualObject};
use weft_core::offline::key_of;
use weft_core::policy::Policy;

/// One case: the files `<name>.*.yaml` of one folder.
pub(crate) struct Case {
    /// `service/headless`, for messages.
    pub(crate) title: String,
    /// The mapper of the folder's kind.
    pub(crate) mapper: Arc<dyn Mapper>,
    /// `<name>.virtual.yaml`.
    pub(crate) source: VirtualObject,
    /// `<name>.status.yaml`: what the host shows.
    pub(crate) shown: Option<HostObject>,
    /// What there is around the object, `<name>.others.yaml` included.
    pub(crate) world: World,
}

/// The fixed surroundings.
pub(crate) struct World {
    names: Names,
    pub(crate) facts: Facts,
    now: Moment,
    notes: Notes,
    objects: BTreeMap<Key, Arc<VirtualObject>>,
    pub(crate) host_objects: BTreeMap<Key, Arc<HostObject>>,
}

impl World {
    /// The surroundings with these other virtual objects.
    pub(crate) fn new(others: Vec<Value>) -> Self {
        let objects = others.into_iter().map(|other| {
            let object = VirtualObject::from_json(other).expect("every document of others.yaml is an object");
            (key_of(&object), Arc::new(object))
        });
        let names = Names::new("my-vcluster", "team-a").expect("the name is valid");
        Self {
            names,
            facts: facts(),
            now: Moment::default(),
            notes: Notes::default(),
            objects: objects.collect(),
            host_objects: BTreeMap::new(),
        }
    }

    /// What mappers are given.
    pub(crate) fn ctx(&self) -> Ctx<'_> {
        Ctx {
            names: &self.names,
            facts: &self.facts,
            lookup: self,
            now: &self.now,
            host_object: None,
            notes: &self.notes,
        }
    }
}

impl Lookup for World {
    fn object(&self, key: &Key) -> Option<Arc<VirtualObject>> {
        self.objects.get(key).cloned()
    }

    fn namespace_labels(&self, namespace: &str) -> Arc<BTreeMap<String, String>> {
        let labels = [("kubernetes.io/metadata.name", namespace), ("team", "a")];
        Arc::new(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    fn host_object(&self, key: &Key) -> Option<Arc<HostObject>> {
        self.host_objects.get(key).cloned()
    }

    fn find(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        labels: &[(String, String)],
    ) -> Vec<Arc<VirtualObject>> {
        let is_asked_for = |(key, object): &(&Key, &Arc<VirtualObject>)| {
            let is_there = namespace.is_none_or(|namespace| *key.name.namespace == *namespace);
            key.kind == *kind && is_there && object.has_labels(labels)
        };
        self.objects.iter().filter(is_asked_for).map(|(_, object)| object.clone()).collect()
    }

    fn is_complete(&self, _kind: &Kind) -> bool {
        true
    }

    fn shared(&self) -> Arc<dyn Lookup + Send + Sync> {
        unimplemented!("built-in mappers run where they are called")
    }
}

/// Every case of every built-in kind.
pub(crate) fn all() -> &'static [Case] {
    static ALL: LazyLock<Vec<Case>> = LazyLock::new(|| kinds::builtin().iter().flat_map(of_kind).collect());
    &ALL
}

/// The folder that holds the cases of a kind: `golden/endpoint_slice`.
pub(crate) fn folder(mapper: &dyn Mapper) -> PathBuf {
    root().join(snake_case(&mapper.spec().resource.kind))
}

/// The folder that holds the kinds' folders.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The content of a file, if there is such a file.
#[expect(clippy::disallowed_methods, reason = "mappers do no I/O; the files that test them are read here")]
pub(crate) fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The names in a folder, sorted; none when there is no such folder.
pub(crate) fn list(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut found: Vec<String> =
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    found.sort();
    found
}

/// Reads a YAML file that need not exist.
pub(crate) fn yaml(path: &Path) -> Option<Value> {
    let text = text(path)?;
    Some(serde_saphyr::from_str(&text).unwrap_or_else(|err| panic!("{} is not YAML: {err}", path.display())))
}

fn of_kind(mapper: &Arc<dyn Mapper>) -> Vec<Case> {
    let folder = folder(mapper.as_ref());
    let names =
        list(&folder).into_iter().filter_map(|file| file.strip_suffix(".virtual.yaml").map(str::to_owned));
    names.map(|name| read(mapper, &folder, &name)).collect()
}

fn read(mapper: &Arc<dyn Mapper>, folder: &Path, name: &str) -> Case {
    let path = |part: &str| folder.join(format!("{name}.{part}.yaml"));
    let source =
        yaml(&path("virtual")).and_then(VirtualObject::from_json).expect("the virtual file is an object");
    let shown = yaml(&path("status"))
        .map(|shown| HostObject::from_json(shown).expect("the status file is an object"));
    let others =
        text(&path("others")).map(|text| serde_saphyr::from_multiple(&text).expect("others.yaml is YAML"));
    let title = format!("{}/{name}", folder.file_name().unwrap_or_default().to_string_lossy());
    let world = World::new(others.unwrap_or_default());
    Case { title, mapper: mapper.clone(), source, shown, world }
}

fn facts() -> Facts {
    let version = Version { major: 1, minor: 36 };
    Facts {
        owner: Some(Owner {
            name: "my-vcluster".to_owned(),
            uid: "11111111-1111-1111-1111-111111111111".to_owned(),
        }),
        kubernetes: vec![IpAddr::from([10, 96, 0, 1])],
        dns: vec![IpAddr::from([10, 96, 0, 10])],
        cluster_domain: "cluster.local".to_owned(),
        workload_service_account: "weft-workload-my-vcluster".to_owned(),
        node_searches: Vec::new(),
        hosts_file_image: Some("ghcr.io/weft/weft:1.0.0".to_owned()),
        host_version: version,
        virtual_version: version,
        policy: Policy::open(),
    }
}

fn snake_case(kind: &str) -> String {
    let mut result = String::new();
    for letter in kind.chars() {
        if letter.is_ascii_uppercase() && !result.is_empty() {
            result.push('_');
        }
        result.push(letter.to_ascii_lowercase());
    }
    result
}

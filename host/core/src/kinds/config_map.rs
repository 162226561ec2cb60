//! ConfigMap: its data is copied as it is, while something on the host uses it.

use std::sync::LazyLock;

use serde_json::Value;

use crate::context::Ctx;
use crate::mapper::{Mapper, Patcher};
use crate::object::{HostObject, VirtualObject};
use crate::spec::KindSpec;
use crate::verdict::Verdict;

/// The mapper of ConfigMaps.
#[derive(Debug)]
pub struct ConfigMap;

static SPEC: LazyLock<KindSpec> = LazyLock::new(|| {
    KindSpec::core("ConfigMap", "configmaps").used().only_keys(&[]).managed([
        "/data",
        "/binaryData",
        "/immutable",
    ])
});

impl Mapper for ConfigMap {
    fn spec(&self) -> &KindSpec {
        &SPEC
    }

    fn to_host(&self, _ctx: &Ctx<'_>, _source: &VirtualObject, draft: HostObject) -> Verdict<HostObject> {
        Ok(draft)
    }

    fn patcher(&self) -> &dyn Patcher {
        self
    }
}

impl Patcher for ConfigMap {
    fn managed(&self) -> &[String] {
        &SPEC.managed
    }

    /// The API changes nothing of an immutable `ConfigMap`.
    fn must_recreate(&self, desired: &HostObject, current: &HostObject) -> bool {
        let is_immutable = current.pointer("/immutable").and_then(Value::as_bool).unwrap_or(false);
        is_immutable && !self.host_changes(desired, current).is_empty()
    }
}

//! Secret: its data is copied as it is, while something on the host uses it; of a type that controllers may act on, it becomes opaque.

use std::sync::LazyLock;

use serde_json::Value;

use crate::context::Ctx;
use crate::host_controllers::{OPAQUE, is_passive_type};
use crate::mapper::{Mapper, Patcher};
use crate::object::{HostObject, VirtualObject};
use crate::spec::KindSpec;
use crate::verdict::Verdict;

/// The mapper of Secrets.
#[derive(Debug)]
pub struct Secret;

static SPEC: LazyLock<KindSpec> = LazyLock::new(|| {
    KindSpec::core("Secret", "secrets").used().only_keys(&[]).managed(["/data", "/immutable"])
});

impl Mapper for Secret {
    fn spec(&self) -> &KindSpec {
        &SPEC
    }

    fn to_host(&self, _ctx: &Ctx<'_>, source: &VirtualObject, mut draft: HostObject) -> Verdict<HostObject> {
        if source.text("/type").is_some_and(|kind| !is_passive_type(kind)) {
            draft.fields_mut().insert("type".to_owned(), OPAQUE.into());
        }
        Ok(draft)
    }

    fn patcher(&self) -> &dyn Patcher {
        self
    }
}

impl Patcher for Secret {
    fn managed(&self) -> &[String] {
        &SPEC.managed
    }

    /// The API changes neither the type nor anything of an immutable Secret.
    fn must_recreate(&self, desired: &HostObject, current: &HostObject) -> bool {
        let kind = |object: &HostObject| object.text("/type").unwrap_or(OPAQUE).to_owned();
        let is_immutable = current.pointer("/immutable").and_then(Value::as_bool).unwrap_or(false);
        kind(desired) != kind(current) || (is_immutable && !self.host_changes(desired, current).is_empty())
    }
}

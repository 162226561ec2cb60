//! Secret: copied as it is, while something on the host uses it; those that controllers act on become opaque.

use std::sync::LazyLock;

use serde_json::Value;

use crate::context::Ctx;
use crate::mapper::{Mapper, Patcher};
use crate::object::{HostObject, VirtualObject};
use crate::spec::KindSpec;
use crate::verdict::Verdict;

/// Types that controllers of the host act on: they would put the host's tokens in, or delete the copy.
const ACTIVE_TYPES: &[&str] = &["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"];
/// Annotations that tie a Secret to a ServiceAccount, which the host does not have.
const SERVICE_ACCOUNT: &str = "kubernetes.io/service-account.";

/// The mapper of Secrets.
#[derive(Debug)]
pub struct Secret;

static SPEC: LazyLock<KindSpec> =
    LazyLock::new(|| KindSpec::core("Secret", "secrets").used().managed(["/data", "/immutable"]));

impl Mapper for Secret {
    fn spec(&self) -> &KindSpec {
        &SPEC
    }

    fn to_host(&self, _ctx: &Ctx<'_>, source: &VirtualObject, mut draft: HostObject) -> Verdict<HostObject> {
        draft.annotations_mut().retain(|key, _| !key.starts_with(SERVICE_ACCOUNT));
        if source.text("/type").is_some_and(|kind| ACTIVE_TYPES.contains(&kind)) {
            draft.fields_mut().insert("type".to_owned(), "Opaque".into());
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
        let kind = |object: &HostObject| object.text("/type").unwrap_or("Opaque").to_owned();
        let is_immutable = current.pointer("/immutable").and_then(Value::as_bool).unwrap_or(false);
        kind(desired) != kind(current) || (is_immutable && !self.host_changes(desired, current).is_empty())
    }
}

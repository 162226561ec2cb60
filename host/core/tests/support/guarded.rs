//! What a mapper and the guard make of a pod under a policy.

use serde_json::Value;
use weft_core::context::{Ctx, Facts};
use weft_core::mapper::Mapper;
use weft_core::object::{HostObject, VirtualObject};
use weft_core::policy::Policy;
use weft_core::translate;
use weft_core::verdict::Verdict;

use crate::cases::World;

/// What `mapper` makes of the pod under the policy.
pub(crate) fn on_host(mapper: &dyn Mapper, pod: &Value, policy: Policy) -> Verdict<HostObject> {
    let (world, source) = (World::new(Vec::new()), pod.clone());
    let source = VirtualObject::from_json(source).expect("a pod is an object");
    let facts = Facts { policy, ..world.ctx().facts.clone() };
    translate::to_host(&Ctx { facts: &facts, ..world.ctx() }, mapper, &source)
}

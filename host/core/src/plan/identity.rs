//! Finds out of which virtual object a host object is that has lost its identity.

use crate::context::Ctx;
use crate::keys::{DIGEST, IDENTITY};
use crate::mapper::Mapper;
use crate::object::{HostObject, VirtualObject};
use crate::translate;
use crate::verdict::{By, Hold, Problem};

/// Whether a host object without identity is of this virtual object and not of an older one of its name: the digest that
/// was written with it is of the identity as well.
pub(super) fn is_host_object_of(
    ctx: &Ctx<'_>,
    mapper: &dyn Mapper,
    source: &VirtualObject,
    host: &HostObject,
) -> bool {
    let has_digest = |desired: &HostObject| {
        desired.annotation(DIGEST).is_some_and(|digest| host.annotation(DIGEST) == Some(digest))
    };
    mapper.patcher().is_of(source, host)
        || translate::to_host(ctx, mapper, source).is_ok_and(|desired| has_digest(&desired))
}

/// Why nothing is written about a host object that may be of an older virtual object.
pub(super) fn unproven(host: &HostObject) -> Hold {
    let why = format!(
        "the host object {} has lost its annotation {IDENTITY}, and nothing proves that it was made for this object; \
         ask the operator to write the annotation again, or to delete the host object",
        host.name()
    );
    Hold::Fail(Problem::of(By::Mapper, "HostNameTaken", why))
}

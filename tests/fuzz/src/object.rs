//! What a tenant's object becomes, whatever is in it: it is refused, or its host object is the tenant's own, confined, and
//! in sync once it is written.

use std::sync::Arc;

use serde_json::Value;
use weft_core::confine::confine;
use weft_core::context::Ctx;
use weft_core::kinds;
use weft_core::mapper::Mapper;
use weft_core::names::is_object_name;
use weft_core::object::{HostObject, VirtualObject};
use weft_core::references;
use weft_core::translate;

use crate::cases::World;
use crate::servers::Pair;

/// The object in JSON.
pub(crate) fn target(data: &[u8]) {
    let Ok(value) = serde_json::from_slice(data) else { return };
    let Some((mapper, source)) = admitted(value) else { return };
    let world = World::new(Vec::new());
    let ctx = world.ctx();
    let translated = translate::to_host(&ctx, mapper.as_ref(), &source);
    assert_eq!(
        translated,
        translate::to_host(&ctx, mapper.as_ref(), &source),
        "the same object is the same again"
    );
    let Ok(host) = translated else { return };
    check(&ctx, mapper.as_ref(), &host);
    assert!(confine(&ctx, mapper.as_ref(), &host, &host).is_ok(), "what is confined is confined: {host:?}");
    Pair::new(source).settle(&world, mapper.as_ref());
}

/// The object with the rules of its kind, if it gets past the engine's watches and has what every server gives.
pub(crate) fn admitted(value: Value) -> Option<(Arc<dyn Mapper>, VirtualObject)> {
    let mut source = VirtualObject::from_json(value)?;
    let (version, kind) = (source.text("/apiVersion")?, source.text("/kind")?);
    let is_its = |mapper: &&Arc<dyn Mapper>| {
        let resource = &mapper.spec().resource;
        resource.api_version() == version && resource.kind == kind
    };
    let mapper = kinds::builtin().iter().find(is_its)?.clone();
    if source.namespace().is_empty() || !is_object_name(source.namespace(), source.name()) {
        return None;
    }
    // It is the kubelet's, and the laws of the golden cases are about it.
    source.fields_mut().remove("status");
    source.metadata_mut().insert("uid".to_owned(), "00000000-0000-0000-0000-000000000000".into());
    Some((mapper, source))
}

/// A host object is in the tenant's namespace, and it and all that it names are the tenant's.
pub(crate) fn check(ctx: &Ctx<'_>, mapper: &dyn Mapper, host: &HostObject) {
    assert_eq!(host.namespace(), ctx.names.namespace(), "{host:?}");
    assert!(ctx.names.is_ours(host.name()), "{host:?}");
    for used in references::host_names(&mapper.spec().references, host) {
        assert!(ctx.names.is_ours(used.name), "{} names {}", used.path, used.name);
    }
}

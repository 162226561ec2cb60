//! What a plugin answers, whatever it is: it is refused in one line, or the host object stays what it was and confined; and
//! what an edit changes is patched exactly.

use serde_json::Value;
use weft_core::confine::confine;
use weft_core::diff;
use weft_core::keys::{APPLIED, DIGEST, WANTED};
use weft_core::object::{Fields, HostObject};
use weft_core::translate;

use crate::cases::World;
use crate::lies::{IDENTITIES, Lie, behind};
use crate::object::{admitted, check};
use crate::servers::merge;

/// A line with the tenant's object, and the answer: a list is an RFC 6902 patch, anything else an RFC 7386 one.
pub(crate) fn target(data: &[u8]) {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let mut json = || serde_json::from_slice::<Value>(lines.next()?).ok();
    let (Some(object), Some(answer)) = (json(), json()) else { return };
    let lie = if answer.is_array() { Lie::Patch(answer) } else { Lie::Merge(answer) };
    if let Value::Object(draft) = &object {
        check_patch(draft, &lie);
    }
    let Some((mapper, source)) = admitted(object) else { return };
    let world = World::new(Vec::new());
    let ctx = world.ctx();
    let chain = behind(mapper.clone(), lie, "/spec");
    let Ok(fair) = translate::to_host(&ctx, mapper.as_ref(), &source) else { return };
    let Ok(result) = translate::to_host(&ctx, &chain, &source) else { return };
    check(&ctx, mapper.as_ref(), &result);
    check_identity(&fair, &result);
    let verdict = confine(&ctx, mapper.as_ref(), &unsigned(fair), &unsigned(result));
    assert!(verdict.is_ok(), "what passed passes again: {verdict:?}");
}

/// As it was when it was confined: the signature of what is written comes last.
fn unsigned(mut host: HostObject) -> HostObject {
    for key in [APPLIED, DIGEST, WANTED] {
        host.annotations_mut().remove(key);
    }
    host
}

/// Who and whose it is stays what it was.
pub(crate) fn check_identity(fair: &HostObject, result: &HostObject) {
    for pointer in IDENTITIES {
        assert_eq!(fair.pointer(pointer), result.pointer(pointer), "{pointer}");
    }
}

/// The patch from the draft to what the edit makes of it leads there, and from there nowhere.
fn check_patch(draft: &Fields, lie: &Lie) {
    let Ok(result) = lie.edit(draft).apply(draft) else { return };
    let (from, to) = (Value::Object(draft.clone()), without_nulls(Value::Object(result)));
    let Some(patch) = diff::exact(Some(&from), Some(&to)) else { return };
    let mut patched = from;
    merge(&mut patched, &patch);
    assert_eq!(diff::exact(Some(&patched), Some(&to)), None, "{patch}");
}

/// RFC 7386 cannot say that a field is null, and a server stores none.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        value => value,
    }
}

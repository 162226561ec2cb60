//! What a server sends, whatever it is: a frame is read as far as it decides, and says the same as the object in it.

use serde_json::Value;
use weft_core::object::VirtualObject;

use crate::wire::{Event, HeadMetadata, Page};

/// The body of a watch, and of a list.
pub(crate) fn target(data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(Event::Stored(head, object)) = Event::read(line) {
            check(&head, object);
        }
    }
    if let Ok(Page { items, .. }) = serde_json::from_slice::<Page<'_>>(data) {
        assert!(items.iter().all(|item| item.get().len() <= data.len()), "items are parts of their list");
    }
}

/// What the head decided was decided about this object.
fn check(head: &HeadMetadata<'_>, object: &str) {
    // What is nested too deeply is read no further than its head.
    let Ok(value) = serde_json::from_str::<Value>(object) else { return };
    let Some(object) = VirtualObject::from_json(value) else { return };
    let told = [&*head.namespace, &head.name, &head.uid, &head.version];
    let text = |field: &str| object.text(&format!("/metadata/{field}")).unwrap_or_default();
    assert_eq!(told, ["namespace", "name", "uid", "resourceVersion"].map(text));
    assert_eq!(head.deleted.is_some(), object.is_terminating());
}

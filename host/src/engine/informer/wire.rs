//! What lists and watches look like on the wire: only the fields that decide what to read further.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Larger than any object that etcd takes (1.5 MiB) with all its escapes.
pub(super) const MAX_FRAME: usize = 16 * 1024 * 1024;

/// A page of a list. Its items are parts of its body, so that each can be decoded by itself.
#[derive(Deserialize)]
pub(super) struct Page<'a> {
    pub(super) metadata: PageMetadata,
    #[serde(borrow, default, deserialize_with = "null_as_none")]
    pub(super) items: Vec<&'a RawValue>,
}

/// An empty list of metadata has `null` for its items.
fn null_as_none<'de: 'a, 'a, D: Deserializer<'de>>(items: D) -> Result<Vec<&'a RawValue>, D::Error> {
    Ok(Option::deserialize(items)?.unwrap_or_default())
}

#[derive(Debug, Deserialize)]
pub(super) struct PageMetadata {
    #[serde(rename = "resourceVersion", default)]
    pub(super) version: String,
    #[serde(rename = "continue", default)]
    pub(super) next: String,
}

/// One frame of a watch, read as far as it takes to know what it is about.
pub(super) enum Event<'a> {
    /// `ADDED` or `MODIFIED`, with the object's JSON.
    Stored(HeadMetadata<'a>, &'a str),
    /// `DELETED`, with the last state of the object.
    Removed(HeadMetadata<'a>),
    /// `BOOKMARK`, and whatever later servers may send: its version counts, and nothing else.
    Bookmark(HeadMetadata<'a>),
    /// `ERROR`: the server ends the watch.
    Error(FrameStatus),
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// The little of an object that decides whether the rest is read.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    #[serde(borrow)]
    pub(super) metadata: HeadMetadata<'a>,
}

#[derive(Debug, Deserialize)]
pub(super) struct HeadMetadata<'a> {
    #[serde(borrow, default)]
    pub(super) namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow, rename = "resourceVersion", default)]
    pub(super) version: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) uid: Cow<'a, str>,
    #[serde(rename = "deletionTimestamp")]
    pub(super) deleted: Option<serde::de::IgnoredAny>,
}

/// The object of an `ERROR` frame.
#[derive(Deserialize)]
pub(super) struct FrameStatus {
    #[serde(default)]
    pub(super) code: u16,
    #[serde(default)]
    pub(super) message: String,
}

impl<'a> Event<'a> {
    /// Reads one line of a watch. Objects are not decoded: most events are known already.
    pub(super) fn read(line: &'a [u8]) -> Result<Self, serde_json::Error> {
        let frame: Frame<'a> = serde_json::from_slice(line)?;
        let object = frame.object.get();
        if frame.kind == "ERROR" {
            return serde_json::from_str(object).map(Self::Error);
        }
        let Head { metadata } = serde_json::from_str(object)?;
        Ok(match frame.kind {
            "ADDED" | "MODIFIED" => Self::Stored(metadata, object),
            "DELETED" => Self::Removed(metadata),
            _ => Self::Bookmark(metadata),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a line is read as: its variant, and the version where it has one.
    fn read(line: &str) -> String {
        match Event::read(line.as_bytes()) {
            Ok(Event::Stored(head, object)) => format!("stored {} {object}", head.version),
            Ok(Event::Removed(head)) => format!("removed {} {}", head.version, head.deleted.is_some()),
            Ok(Event::Bookmark(head)) => format!("bookmark {}", head.version),
            Ok(Event::Error(status)) => format!("error {} {}", status.code, status.message),
            Err(_) => "no event".to_owned(),
        }
    }

    #[test]
    fn the_type_of_a_frame_decides_what_is_read_of_its_object() {
        let frame = |kind: &str, object: &str| format!(r#"{{"type":"{kind}","object":{object}}}"#);
        let object = r#"{"metadata":{"resourceVersion":"7"}}"#;
        assert_eq!(read(&frame("ADDED", object)), format!("stored 7 {object}"));
        assert_eq!(read(&frame("MODIFIED", object)), format!("stored 7 {object}"));
        assert_eq!(read(&frame("DELETED", object)), "removed 7 false");
        assert_eq!(read(&frame("BOOKMARK", object)), "bookmark 7");
        assert_eq!(read(&frame("INVENTED", object)), "bookmark 7", "of a later server");
        let dying = r#"{"metadata":{"resourceVersion":"7","deletionTimestamp":"2026-01-01T00:00:00Z"}}"#;
        assert_eq!(read(&frame("DELETED", dying)), "removed 7 true");
        assert_eq!(read(&frame("ERROR", r#"{"code":410,"message":"too old"}"#)), "error 410 too old");
        assert_eq!(read(&frame("ERROR", "{}")), "error 0 ");
    }

    #[test]
    fn a_list_of_nothing_is_written_in_three_ways() {
        for items in ["", r#","items":[]"#, r#","items":null"#] {
            let page = format!(r#"{{"metadata":{{"resourceVersion":"7"}}{items}}}"#);
            let Page { metadata, items } = serde_json::from_str(&page).unwrap();
            assert_eq!((metadata.version.as_str(), items.len()), ("7", 0), "{page}");
        }
        let page: Page<'_> = serde_json::from_str(r#"{"metadata":{},"items":[{"a": 1}]}"#).unwrap();
        assert_eq!(page.items[0].get(), r#"{"a": 1}"#);
    }

    #[test]
    fn names_with_escapes_are_read_as_what_they_mean() {
        let line = r#"{"type":"ADDED","object":{"metadata":{"name":"a\u002db"}}}"#;
        let Ok(Event::Stored(head, _)) = Event::read(line.as_bytes()) else { panic!("an event") };
        assert_eq!(head.name, "a-b");
    }

    #[test]
    fn what_has_no_object_with_metadata_is_no_event() {
        for line in ["", "{}", "null", r#"{"type":"ADDED","object":null}"#, r#"{"type":"ADDED","object":{}}"#]
        {
            assert_eq!(read(line), "no event", "{line}");
        }
    }
}

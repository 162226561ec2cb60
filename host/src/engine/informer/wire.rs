//! What lists and watches look like on the wire: only the fields that decide what to read further.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) metadata: PageMetadata,
    #[serde(default)]
    pub(super) items: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
pub(super) struct PageMetadata {
    #[serde(rename = "resourceVersion", default)]
    pub(super) version: String,
    #[serde(rename = "continue", default)]
    pub(super) next: String,
}

#[derive(Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    #[serde(borrow)]
    pub(super) object: &'a RawValue,
}

/// The little of an object that tells whether the rest is worth reading.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    #[serde(borrow)]
    pub(super) metadata: HeadMetadata<'a>,
}

#[derive(Deserialize)]
pub(super) struct HeadMetadata<'a> {
    #[serde(borrow, default)]
    pub(super) namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow, rename = "resourceVersion", default)]
    pub(super) version: Cow<'a, str>,
    #[serde(rename = "deletionTimestamp")]
    pub(super) deleted: Option<serde::de::IgnoredAny>,
}

/// An `ERROR` frame.
#[derive(Deserialize)]
pub(super) struct FrameStatus {
    #[serde(default)]
    pub(super) code: u16,
    #[serde(default)]
    pub(super) message: String,
}

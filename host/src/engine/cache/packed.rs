//! Objects as compressed JSON: what a cache keeps of an object that is not in use.
//!
//! Objects of one kind are much alike, so the first one that is packed serves the others as a dictionary.
//! A pod of 3 KB of JSON, 30 KB as a tree, takes some hundreds of bytes.

use std::sync::Arc;

use lz4_flex::block::{compress, compress_with_dict, decompress, decompress_with_dict};
use weft_core::object::Fields;

/// Packs the objects of one kind.
#[derive(Default)]
pub(crate) struct Packer {
    sample: Option<Arc<[u8]>>,
}

/// A packed object.
pub(crate) struct Packed {
    bytes: Box<[u8]>,
    /// Bytes of the JSON before it was compressed.
    length: usize,
    /// What it was compressed with, if it was not the first.
    sample: Option<Arc<[u8]>>,
}

impl Packer {
    /// Packs an object; `None` if it cannot be written as JSON, which an object always can.
    pub(crate) fn pack(&mut self, fields: &Fields) -> Option<Packed> {
        let json = serde_json::to_vec(fields).ok()?;
        let length = json.len();
        if let Some(sample) = self.sample.clone() {
            let bytes = compress_with_dict(&json, &sample).into_boxed_slice();
            return Some(Packed { bytes, length, sample: Some(sample) });
        }
        let packed = Packed { bytes: compress(&json).into_boxed_slice(), length, sample: None };
        self.sample = Some(json.into());
        Some(packed)
    }
}

impl Packed {
    /// The object.
    pub(crate) fn open(&self) -> Option<Fields> {
        let json = match &self.sample {
            Some(sample) => decompress_with_dict(&self.bytes, self.length, sample),
            None => decompress(&self.bytes, self.length),
        };
        serde_json::from_slice(&json.ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str) -> Fields {
        let container = json!({"name": "main", "image": format!("registry.example/{name}"), "resources": {}});
        let object = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"containers": [container], "restartPolicy": "Always", "dnsPolicy": "ClusterFirst"},
        });
        match object {
            Value::Object(fields) => fields,
            other => panic!("{other} is an object"),
        }
    }

    #[test]
    fn what_is_packed_opens_to_the_same() {
        let mut packer = Packer::default();
        for name in ["first", "second", "third"] {
            assert_eq!(packer.pack(&pod(name)).unwrap().open().unwrap(), pod(name));
        }
        assert_eq!(packer.pack(&Fields::new()).unwrap().open().unwrap(), Fields::new());
    }

    #[test]
    fn what_is_like_the_first_takes_little_room() {
        let mut packer = Packer::default();
        packer.pack(&pod("first"));
        let second = packer.pack(&pod("second")).unwrap();
        assert!(second.bytes.len() * 4 < second.length, "{} of {} bytes", second.bytes.len(), second.length);
    }
}

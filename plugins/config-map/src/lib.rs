//! weft's built-in rule for ConfigMaps, as a plugin: each is copied while a synced object uses it.
//!
//! It changes nothing and does not even parse the draft, so it shows the base cost of a plugin.

use serde::Deserialize;
use weft_plugin::{Call, Descriptor, Mapping, Object, Plugin, Result};

/// Without settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigMap {}

impl Plugin for ConfigMap {
    fn describe() -> Descriptor {
        let mapping = Mapping::replace("v1", "ConfigMap", "configmaps").host_writes(&[
            "/data",
            "/binaryData",
            "/immutable",
        ]);
        Descriptor::new("config-map", env!("CARGO_PKG_VERSION"), "Copies ConfigMaps as they are.")
            .mapping(mapping)
    }

    fn to_host(&self, _call: &Call, _draft: &mut Object) -> Result {
        Ok(())
    }
}

weft_plugin::export!(ConfigMap);

#[cfg(test)]
mod tests {
    use weft_plugin::json;
    use weft_plugin::testing::Test;

    use super::*;

    #[test]
    fn the_draft_is_not_changed() {
        let draft = json!({"metadata": {"name": "a"}, "data": {"color": "blue"}, "immutable": true});
        let answer = Test::new("v1/ConfigMap").draft(draft.clone()).to_host(&ConfigMap {});
        assert_eq!(answer.object(), &draft);
    }
}

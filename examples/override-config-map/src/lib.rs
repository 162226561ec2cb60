//! In the place of weft's own rule for ConfigMaps: refuses large ones, and keeps local keys in the virtual cluster.

use serde::Deserialize;
use weft_plugin::{Call, Descriptor, Mapping, Object, Plugin, Problem, Result, Value, problem, reject};

/// Keys that end so are not for the host.
const LOCAL: &str = ".local-only";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OverrideConfigMap {
    /// How many keys a ConfigMap may have on the host.
    #[serde(default = "default_max_keys")]
    max_keys: usize,
}

fn default_max_keys() -> usize {
    100
}

impl Plugin for OverrideConfigMap {
    fn describe() -> Descriptor {
        let mapping =
            Mapping::replace("v1", "ConfigMap", "configmaps").host_writes(&["/data", "/binaryData"]);
        Descriptor::new("override-config-map", env!("CARGO_PKG_VERSION"), "Refuses large ConfigMaps.")
            .mapping(mapping)
    }

    fn check(&self) -> Vec<Problem> {
        let too_small = problem("InvalidSettings", "no ConfigMap would pass; 1 at least").at("/maxKeys");
        if self.max_keys == 0 { vec![too_small] } else { Vec::new() }
    }

    fn to_host(&self, _call: &Call, draft: &mut Object) -> Result {
        let mut keys = 0;
        for field in ["/data", "/binaryData"] {
            if let Some(Value::Object(entries)) = draft.get_mut(field) {
                entries.retain(|key, _| !key.ends_with(LOCAL));
                keys += entries.len();
            }
        }
        if keys > self.max_keys {
            let message =
                format!("{keys} keys are more than the {} that the host takes; split it", self.max_keys);
            return Err(reject("TooManyKeys", message).at("/data"));
        }
        Ok(())
    }
}

weft_plugin::export!(OverrideConfigMap);

#[cfg(test)]
mod tests {
    use weft_plugin::json;
    use weft_plugin::testing::Test;

    use super::*;

    #[test]
    fn local_keys_stay_and_do_not_count() {
        let draft = json!({"data": {"a": "1", "b.local-only": "2"}, "binaryData": {"c": "AA=="}});
        let answer =
            Test::new("v1/ConfigMap").draft(draft.clone()).to_host(&OverrideConfigMap { max_keys: 2 });
        assert_eq!(answer.object(), &json!({"data": {"a": "1"}, "binaryData": {"c": "AA=="}}));
        let refused = Test::new("v1/ConfigMap").draft(draft).to_host(&OverrideConfigMap { max_keys: 1 });
        assert_eq!(refused.refusal().1.reason, "TooManyKeys");
    }
}

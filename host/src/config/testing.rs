//! What tests of other parts begin with: the least that is a configuration.

use serde_json::{Value, json};

use crate::config::Config;

/// The configuration of the cluster `a` in the host namespace `b`, with these top-level keys.
pub(crate) fn config(rest: &Value) -> Config {
    let mut config = json!({"cluster": {"name": "a", "namespace": "b"}});
    config.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    serde_json::from_value(config).unwrap()
}

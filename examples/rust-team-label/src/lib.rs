//! Labels every pod with the team that owns it.

use serde::Deserialize;
use weft_plugin::{Call, Descriptor, Mapping, Object, Plugin, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TeamLabel {
    #[serde(default = "none")]
    team: String,
}

fn none() -> String {
    "none".to_owned()
}

impl Plugin for TeamLabel {
    fn describe() -> Descriptor {
        Descriptor::new("team-label", env!("CARGO_PKG_VERSION"), "Labels every pod with its team.")
            .mapping(Mapping::mutate("v1", "Pod", "pods", 200))
    }

    fn to_host(&self, _call: &Call, draft: &mut Object) -> Result {
        draft.set_label("team", &self.team);
        Ok(())
    }
}

weft_plugin::export!(TeamLabel);

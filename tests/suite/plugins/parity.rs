//! A built-in rule and the same rule as a plugin make the same host objects, byte for byte.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use weft::author::workbench::{self, Workbench};
use weft_core::object::VirtualObject;
use weft_tests::guests::{compiled, rust};
use weft_tests::shared::in_runtime;

#[test]
fn config_maps_are_the_same_by_plugin_and_by_built_in_rule_on_every_golden_pair() -> Result<()> {
    in_runtime(async {
        let scratch = tempfile::tempdir()?;
        let component = scratch.path().join("config-map.wasm");
        fs::write(&component, rust::plugin("config-map").await?)?;
        let builtin = Workbench::new(None, &[])?;
        let mut loaded = Workbench::new(Some(&compiled()?), &[])?;
        loaded.load(&component, None)?;
        let surroundings = workbench::surroundings()?;
        let mut compared = 0;
        for entry in fs::read_dir(rust::root().join("host/core/tests/golden/config_map"))? {
            let path = entry?.path();
            if !path.to_string_lossy().ends_with(".virtual.yaml") {
                continue;
            }
            let text = fs::read_to_string(&path)?;
            let source = VirtualObject::from_json(serde_saphyr::from_str(&text)?).context("an object")?;
            let of = |bench: &Workbench| -> Result<String> {
                let translated = bench.to_host(&surroundings, &source, None)?;
                Ok(match translated.result {
                    Ok(host) => serde_json::to_string(&host.into_json())?,
                    Err(hold) => format!("{hold:?}"),
                })
            };
            let (ours, plugins) = (of(&builtin)?, of(&loaded)?);
            ensure!(ours == plugins, "{}:\n{ours}\n{plugins}", path.display());
            compared += 1;
        }
        ensure!(compared > 0, "there is nothing to compare");
        Ok(())
    })
}

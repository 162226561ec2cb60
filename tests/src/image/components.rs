//! Lists what programs are made of, as `CycloneDX`: an SBOM beside each image.
//!
//! Made from what the toolchains say, by one writer for both. Of the tools for cargo, `cargo-sbom` lists crates for other
//! systems as well, and `cargo-cyclonedx` writes into the folders of the sources.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use super::Image;
use crate::binaries::statics::TARGET;
use crate::cargo;
use crate::guests::rust::root;

/// A library within a program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Component {
    /// As its ecosystem has it.
    pub name: String,
    /// Without a leading `v` where its ecosystem has none.
    pub version: String,
    /// Its package URL, which is what scanners look up.
    pub purl: String,
    /// As an SPDX expression, where its manifest says it.
    pub license: Option<String>,
}

/// The crates that are linked into the syncer; build scripts and macros are not.
///
/// # Errors
/// Cargo cannot be run, or does not know them.
pub async fn of_weft() -> Result<Vec<Component>> {
    let mut command = cargo::command();
    command
        .current_dir(root())
        .args([
            "tree",
            "--locked",
            "--package",
            "weft",
            "--edges",
            "normal,no-proc-macro",
            "--target",
            TARGET,
        ])
        .args(["--prefix", "none", "--format", "{p}|{l}"]);
    let tree = output(command).await?;
    let crates = tree.lines().filter_map(crate_of_line).map(|found| (found.purl.clone(), found));
    Ok(crates.collect::<BTreeMap<_, _>>().into_values().collect())
}

/// `name vVERSION (where it is)|LICENSE (*)`: the last marks what was shown before.
fn crate_of_line(line: &str) -> Option<Component> {
    let (package, license) = line.trim_end_matches(" (*)").split_once('|')?;
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?.trim_start_matches('v'));
    // Manifests of before SPDX expressions have a slash.
    let license = license.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ");
    Some(Component {
        name: name.to_owned(),
        version: version.to_owned(),
        purl: format!("pkg:cargo/{name}@{version}"),
        license: (!license.is_empty()).then_some(license),
    })
}

/// The modules that a Go program was built from, by what its linker has written into it.
///
/// # Errors
/// Go cannot be run, or it is no program of Go.
pub async fn of_go(program: &Path) -> Result<Vec<Component>> {
    let mut command = Command::new("go");
    command.args(["version", "-m", "-json"]).arg(program);
    let build: GoBuild = serde_json::from_str(&output(command).await?)?;
    let library = build.go_version.trim_start_matches("go");
    let modules = build.deps.iter().map(|module| module.replace.as_deref().unwrap_or(module));
    let modules = modules.map(|module| go_component(&module.path, &module.version));
    Ok([go_component("stdlib", library)].into_iter().chain(modules).collect())
}

/// What `debug.BuildInfo` of Go has.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GoBuild {
    go_version: String,
    deps: Vec<GoModule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GoModule {
    path: String,
    version: String,
    /// What was built in its place.
    replace: Option<Box<Self>>,
}

fn go_component(path: &str, version: &str) -> Component {
    Component {
        name: path.to_owned(),
        version: version.to_owned(),
        purl: format!("pkg:golang/{path}@{version}").replace('+', "%2B"),
        license: None,
    }
}

async fn output(mut command: Command) -> Result<String> {
    let output =
        command.kill_on_drop(true).output().await.with_context(|| format!("failed to run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// The list as a file: equal for equal components.
pub fn cyclonedx(image: &Image, components: &[Component]) -> Value {
    let (name, version) = image.reference.rsplit_once(':').unwrap_or((&image.reference, ""));
    let components: Vec<Value> = components.iter().map(Component::json).collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": image.reference, "name": name, "version": version}},
        "components": components,
    })
}

impl Component {
    fn json(&self) -> Value {
        let Self { name, version, purl, license } = self;
        let licenses: Vec<Value> = license.iter().map(|license| json!({"expression": license})).collect();
        json!({
            "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl, "licenses": licenses,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = include_str!("../../../Cargo.lock");

    /// The versions of a package in `Cargo.lock`.
    fn locked(name: &str) -> Vec<&str> {
        let package = format!("name = \"{name}\"\nversion = \"");
        LOCK.split(&package).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[tokio::test]
    async fn the_list_of_the_syncer_has_what_is_linked_at_the_locked_versions_and_nothing_else() {
        let components = of_weft().await.unwrap();
        for component in &components {
            assert!(locked(&component.name).contains(&component.version.as_str()), "{component:?}");
        }
        let versions = |name: &str| -> Vec<&str> {
            components.iter().filter(|found| found.name == name).map(|found| found.version.as_str()).collect()
        };
        assert_eq!(versions("wasmtime"), locked("wasmtime"));
        assert_eq!(versions("weft-core"), [env!("CARGO_PKG_VERSION")]);
        for (absent, why) in [
            ("proptest", "is for tests"),
            ("cc", "is for build scripts"),
            ("serde_derive", "is a macro"),
            ("windows-sys", "is for another system"),
        ] {
            assert!(!locked(absent).is_empty(), "{absent} is not in Cargo.lock: take another");
            assert!(versions(absent).is_empty(), "{absent} {why}");
        }
    }

    #[test]
    fn a_line_of_cargo_is_a_component_with_a_license_of_spdx() {
        let shown = crate_of_line("fnv v1.0.7|Apache-2.0 / MIT (*)").unwrap();
        let purl = "pkg:cargo/fnv@1.0.7".to_owned();
        let license = Some("Apache-2.0 OR MIT".to_owned());
        assert_eq!(shown, Component { name: "fnv".to_owned(), version: "1.0.7".to_owned(), purl, license });
        assert_eq!(crate_of_line("weft v0.1.0 (/source/host)|").unwrap().license, None);
        assert_eq!(crate_of_line(""), None);
    }

    #[test]
    fn the_file_names_the_image_and_each_component_by_its_package_url() {
        let image = Image { reference: "registry.test:5000/thing:7".to_owned(), ..Image::default() };
        let components = [go_component("example.test/a", "v1.0.0+incompatible")];
        let file = cyclonedx(&image, &components);
        let subject = &file["metadata"]["component"];
        assert_eq!(
            (&subject["name"], &subject["version"]),
            (&json!("registry.test:5000/thing"), &json!("7"))
        );
        assert_eq!(file["components"][0]["purl"], "pkg:golang/example.test/a@v1.0.0%2Bincompatible");
    }
}

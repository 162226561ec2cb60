//! `weft plugin new`: creates a small working project from the examples of this repository.

mod files;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use weft_core::declared::check::check_kind;
use weft_core::kinds;
use weft_core::names::is_dns_label;
use weft_core::object::ResourceType;

use crate::cli::output::{good, note, print};
use crate::registry::descriptor::{Invalid, Role};

/// Arguments of `weft plugin new`.
#[derive(Debug, Args)]
pub(in crate::cli) struct New {
    /// A new or empty folder; its name becomes the plugin's.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The language.
    #[arg(long, value_enum)]
    lang: Language,
    /// The kind that it maps, as `apiVersion/Kind`: a mutation if weft has a built-in rule for the kind, else an
    /// addition.
    #[arg(long, value_name = "KIND", default_value = "v1/Pod")]
    kind: String,
    /// The folder of weft's SDK for Rust, `plugins/sdk` of its repository; searched above FOLDER, then above the
    /// current folder.
    #[arg(long, value_name = "FOLDER")]
    sdk: Option<PathBuf>,
}

/// A language of the examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    Js,
    Python,
}

/// The project to create.
struct Project {
    name: String,
    language: Language,
    resource: ResourceType,
    role: Role,
    /// Path of the SDK for the manifest; empty for other languages.
    sdk: String,
}

/// The package of the Rust SDK.
const SDK: &str = "weft-plugin";
/// The order of a mutation that need not run early or late.
const ORDER: u32 = 100;

pub(super) fn new(arguments: &New) -> Result<ExitCode> {
    let folder = &arguments.folder;
    check_empty(folder)?;
    let name = name_of(folder)?;
    let (resource, role) = resource(&arguments.kind)?;
    let sdk = match arguments.lang {
        Language::Rust => sdk(folder, arguments.sdk.as_deref(), &std::env::current_dir()?)?,
        Language::Js | Language::Python => String::new(),
    };
    let project = Project { name, language: arguments.lang, resource, role, sdk };
    for (path, text) in project.files() {
        write(&folder.join(path), &text)?;
    }
    if project.role == Role::Add {
        let (plural, kind) = (&project.resource.plural, &project.resource.kind);
        note(&format!("assuming that the API resource of {kind} is {plural:?}; change it if it is not"));
    }
    print(&project.next_steps(folder));
    Ok(ExitCode::SUCCESS)
}

fn check_empty(folder: &Path) -> Result<()> {
    match std::fs::read_dir(folder).map(Iterator::count) {
        Ok(0) => Ok(()),
        Ok(_) => bail!("{} is not empty; give a new folder", folder.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("{} cannot be used", folder.display())),
    }
}

/// The name of the plugin, which is that of the folder.
fn name_of(folder: &Path) -> Result<String> {
    let absolute = std::path::absolute(folder)?;
    let name = absolute.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // Cargo and npm want a letter first.
    if !is_dns_label(name) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        bail!(
            "the folder's name {name:?} becomes the plugin's: use lower-case letters, digits and `-`, a letter first and no `-` at the end"
        );
    }
    Ok(name.to_owned())
}

/// The kind, and the role of the plugin.
fn resource(text: &str) -> Result<(ResourceType, Role)> {
    if let Some(builtin) =
        kinds::builtin().iter().find(|mapper| mapper.spec().resource.kind().as_str() == text)
    {
        return Ok((builtin.spec().resource.clone(), Role::Mutate(ORDER)));
    }
    let parts: Vec<&str> = text.split('/').collect();
    let (group, version, kind) = match parts.as_slice() {
        [version, kind] => ("", *version, *kind),
        [group, version, kind] => (*group, *version, *kind),
        _ => bail!("--kind {text:?} must be apiVersion/Kind, such as v1/Pod or networking.k8s.io/v1/Ingress"),
    };
    if !kind.starts_with(|c: char| c.is_ascii_uppercase()) {
        bail!(
            "--kind {text:?}: {kind:?} must be written as in an object's `kind`, with a capital letter first"
        );
    }
    let owned = |text: &str| Cow::Owned(text.to_owned());
    let plural = Cow::Owned(plural(kind));
    let (group, version, kind) = (owned(group), owned(version), owned(kind));
    let resource = ResourceType { group, version, kind, plural, namespaced: true };
    let checked = check_kind("mapping", &resource).map_err(Invalid::from);
    checked.map_err(|invalid| anyhow::anyhow!("--kind {text:?}: {invalid}"))?;
    Ok((resource, Role::Add))
}

/// The plural name of the API resource, by the rules of English.
fn plural(kind: &str) -> String {
    let name = kind.to_lowercase();
    let is_vowel = |c: char| "aeiou".contains(c);
    match name.strip_suffix('y') {
        Some(stem) if !stem.ends_with(is_vowel) => format!("{stem}ies"),
        _ if name.ends_with(['s', 'x']) || name.ends_with("ch") => format!("{name}es"),
        _ => format!("{name}s"),
    }
}

/// The path of the SDK for the manifest in `folder`; `here` is the current folder.
fn sdk(folder: &Path, given: Option<&Path>, here: &Path) -> Result<String> {
    if let Some(given) = given {
        return given_sdk(given);
    }
    let folder = std::path::absolute(folder)?;
    for (steps, above) in folder.ancestors().enumerate().skip(1) {
        if is_sdk(&above.join("plugins/sdk")) {
            return Ok(format!("{}plugins/sdk", "../".repeat(steps)));
        }
    }
    let mut near = here.ancestors().map(|above| above.join("plugins/sdk"));
    match near.find(|place| is_sdk(place)) {
        Some(place) => Ok(place.display().to_string()),
        None => bail!(
            "weft's SDK is neither above {} nor above the current folder; give it with --sdk <repository>/plugins/sdk",
            folder.display()
        ),
    }
}

/// The SDK at the given path, which is made canonical.
fn given_sdk(given: &Path) -> Result<String> {
    if is_sdk(given) {
        let path =
            given.canonicalize().with_context(|| format!("--sdk {} cannot be used", given.display()))?;
        return Ok(path.display().to_string());
    }
    let near = ["sdk", "plugins/sdk"].into_iter().map(|below| given.join(below)).find(|place| is_sdk(place));
    let wanted = near.map_or_else(
        || "give `plugins/sdk` of weft's repository".to_owned(),
        |place| format!("it is --sdk {}", place.display()),
    );
    bail!("--sdk {} holds no Cargo.toml of the package `{SDK}`; {wanted}", given.display())
}

/// Whether this is the folder of the package [`SDK`].
fn is_sdk(folder: &Path) -> bool {
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    manifest.lines().any(|line| line.trim() == format!("name = \"{SDK}\""))
}

fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    }
    std::fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))
}

impl Project {
    fn next_steps(&self, folder: &Path) -> String {
        let folder = folder.display();
        let first = match self.language {
            Language::Rust => String::new(),
            Language::Js => format!("    (cd {folder} && npm ci)\n"),
            Language::Python => {
                format!(
                    "    (cd {folder} && python3 -m venv .venv && .venv/bin/pip install -r requirements.txt)\n"
                )
            }
        };
        format!(
            "{} {folder}, a plugin that labels each {}. Next steps:\n\n{first}    weft plugin build {folder}\n    weft plugin test {folder}\n    weft plugin dev {folder} --into <plugins.folder of a syncer>\n",
            good("created"),
            self.resource.kind
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plural_names_follow_english() {
        let plurals = ["Ingress", "NetworkPolicy", "Gateway", "Certificate"].map(plural);
        assert_eq!(plurals, ["ingresses", "networkpolicies", "gateways", "certificates"]);
    }

    #[test]
    fn built_in_kinds_are_mutated_and_others_are_added() {
        assert_eq!(resource("v1/Pod").unwrap().1, Role::Mutate(ORDER));
        assert_eq!(resource("networking.k8s.io/v1/Ingress").unwrap().1, Role::Add);
        let closed = resource("apps/v1/Deployment").unwrap_err().to_string();
        assert!(closed.contains("cannot be mapped"), "{closed}");
        let small = resource("networking.k8s.io/v1/ingress").unwrap_err().to_string();
        assert!(small.contains("capital letter"), "{small}");
    }

    #[test]
    fn a_folder_that_is_not_empty_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        check_empty(folder.path()).unwrap();
        check_empty(&folder.path().join("new")).unwrap();
        std::fs::write(folder.path().join("x"), "").unwrap();
        assert!(check_empty(folder.path()).unwrap_err().to_string().contains("not empty"));
    }

    #[test]
    fn the_sdk_is_found_above_the_folder() {
        let root = tempfile::tempdir().unwrap();
        write(&root.path().join("plugins/sdk/Cargo.toml"), "[package]\nname = \"weft-plugin\"\n").unwrap();
        let here = tempfile::tempdir().unwrap();
        let found = |folder: &Path, here: &Path| sdk(folder, None, here);
        assert_eq!(found(&root.path().join("examples/mine"), here.path()).unwrap(), "../../plugins/sdk");
        let beside = found(&here.path().join("mine"), &root.path().join("examples")).unwrap();
        assert_eq!(beside, root.path().join("plugins/sdk").display().to_string());
        assert!(found(&here.path().join("mine"), here.path()).is_err());
    }

    #[test]
    fn a_given_path_must_be_the_sdk_and_an_error_names_the_right_folder() {
        let root = tempfile::tempdir().unwrap();
        let plugins = root.path().join("plugins");
        write(&plugins.join("Cargo.toml"), "[workspace]\n").unwrap();
        let wrong = sdk(root.path(), Some(&plugins), root.path()).unwrap_err().to_string();
        assert!(wrong.contains("of the package `weft-plugin`; give `plugins/sdk`"), "{wrong}");
        write(&plugins.join("sdk/Cargo.toml"), "[package]\nname = \"weft-plugin\"\n").unwrap();
        let wrong = sdk(root.path(), Some(&plugins), root.path()).unwrap_err().to_string();
        assert!(wrong.ends_with(&format!("it is --sdk {}", plugins.join("sdk").display())), "{wrong}");
        let detour = plugins.join("../plugins/sdk");
        let straight = plugins.join("sdk").canonicalize().unwrap();
        assert_eq!(sdk(root.path(), Some(&detour), root.path()).unwrap(), straight.display().to_string());
    }
}

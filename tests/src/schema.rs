//! Which fields the API of a version of Kubernetes has, read from the Go types that its `OpenAPI` is generated from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// Where the types are: the name that they have in each other's source, the module, and the file.
const PACKAGES: &[(&str, &str, &str)] = &[
    ("v1", "k8s.io/api", "core/v1/types.go"),
    ("discovery", "k8s.io/api", "discovery/v1/types.go"),
    ("metav1", "k8s.io/apimachinery", "pkg/apis/meta/v1/types.go"),
];
/// The types of Kubernetes nest less deeply; one that contains itself would have no end.
const DEEPEST: usize = 40;

/// The types of one version.
#[derive(Debug, Default)]
pub struct Types {
    /// By package and name, as in `v1.Pod`.
    structs: BTreeMap<String, Vec<Member>>,
    /// Names of other types, as in `v1.ResourceList`, with what they stand for.
    named: BTreeMap<String, String>,
}

/// A line of a struct.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    /// The name in JSON; empty where the fields of the type are those of the struct.
    json: String,
    go_type: String,
}

/// The folders of the modules that have the types, of the libraries' version `v0.37.2`: downloaded, or from Go's cache.
///
/// # Errors
/// There is no Go, or its module proxy does not answer.
pub fn download(version: &str) -> Result<BTreeMap<&'static str, PathBuf>> {
    let modules: BTreeSet<_> = PACKAGES.iter().map(|(_, module, _)| *module).collect();
    modules.into_iter().map(|module| Ok((module, module_folder(module, version)?))).collect()
}

fn module_folder(module: &str, version: &str) -> Result<PathBuf> {
    let output = Command::new("go")
        .args(["mod", "download", "-json", &format!("{module}@{version}")])
        // Of no module: flags of the caller are for others.
        .env_remove("GOFLAGS")
        .current_dir(std::env::temp_dir())
        .output()
        .context("failed to run go, which downloads the types")?;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let why = answer.get("Error").and_then(Value::as_str).map(str::to_owned);
    let why = why.unwrap_or_else(|| String::from_utf8_lossy(&output.stderr).trim().to_owned());
    ensure!(output.status.success(), "failed to download {module}@{version}: {why}");
    let folder = answer.get("Dir").and_then(Value::as_str).context("go names no folder")?;
    Ok(folder.into())
}

impl Types {
    /// The types in these folders of modules.
    ///
    /// # Errors
    /// A file is not there.
    pub fn read(folders: &BTreeMap<&str, PathBuf>) -> Result<Self> {
        let mut types = Self::default();
        for (package, module, file) in PACKAGES {
            let folder: &Path = folders.get(module).with_context(|| format!("{module} is not there"))?;
            let file = folder.join(file);
            let text =
                fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
            types.add(package, &text);
        }
        Ok(types)
    }

    /// The paths of all fields of the type `name` that have no others inside them, as tables of fields write them:
    /// `spec.volumes[].csi.volumeAttributes{}`.
    ///
    /// # Errors
    /// There is no such type, or one contains itself.
    pub fn fields(&self, name: &str) -> Result<BTreeSet<String>> {
        ensure!(self.structs.contains_key(name), "there is no type {name}");
        let mut found = BTreeSet::new();
        self.add_fields(name, "", 0, &mut found)?;
        Ok(found)
    }

    fn add_fields(&self, name: &str, path: &str, depth: usize, found: &mut BTreeSet<String>) -> Result<()> {
        ensure!(depth < DEEPEST, "{name} contains itself");
        let members = self.structs.get(name).filter(|members| !members.is_empty());
        let Some(members) = members else {
            found.insert(path.to_owned());
            return Ok(());
        };
        for member in members {
            let dot = if path.is_empty() || member.json.is_empty() { "" } else { "." };
            let (suffix, inner) = self.resolve(name, &member.go_type);
            let path = format!("{path}{dot}{}{suffix}", member.json);
            self.add_fields(&inner, &path, depth + 1, found)?;
        }
        Ok(())
    }

    /// What of the type are lists and maps, and the type of their elements: `[]{}` and `v1.Container`.
    fn resolve(&self, inside: &str, go_type: &str) -> (String, String) {
        let go_type = go_type.trim_start_matches('*');
        let is_text = go_type == "[]byte";
        if let Some(element) = go_type.strip_prefix("[]").filter(|_| !is_text) {
            let (suffix, inner) = self.resolve(inside, element);
            return (format!("[]{suffix}"), inner);
        }
        if let Some((_, value)) = go_type.strip_prefix("map[").and_then(|rest| rest.split_once(']')) {
            let (suffix, inner) = self.resolve(inside, value);
            return (format!("{{}}{suffix}"), inner);
        }
        let package = inside.split_once('.').map_or("", |(package, _)| package);
        let full = if go_type.contains('.') { go_type.to_owned() } else { format!("{package}.{go_type}") };
        match self.named.get(&full) {
            Some(stands_for) => self.resolve(&full, stands_for),
            None => (String::new(), full),
        }
    }

    /// Reads one file. It is as `gofmt` writes it, so that every field has a line, and a struct ends with `}` alone.
    fn add(&mut self, package: &str, text: &str) {
        let mut current = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("type ") {
                let (name, what) = rest.split_once(' ').unwrap_or((rest, ""));
                let name = format!("{package}.{name}");
                current = what.starts_with("struct").then(|| name.clone());
                if what.starts_with("struct") {
                    self.structs.insert(name, Vec::new());
                } else if what.starts_with(['[', 'm']) {
                    self.named.insert(name, what.to_owned());
                }
            } else if line == "}" {
                current = None;
            } else if let Some(struct_name) = &current
                && let Some(member) = member(line)
            {
                self.structs.entry(struct_name.clone()).or_default().push(member);
            }
        }
    }
}

/// A field, or a type whose fields are those of the struct; none of a comment, and of what is not in JSON.
fn member(line: &str) -> Option<Member> {
    let (declaration, tags) = line.trim().split_once('`')?;
    if declaration.starts_with("//") {
        return None;
    }
    let (_, json) = tags.split_once("json:\"")?;
    let json = json.split(['"', ',']).next().filter(|json| *json != "-")?;
    let go_type = declaration.split_whitespace().last()?;
    Some(Member { json: json.to_owned(), go_type: go_type.to_owned() })
}

/// The minor of `v0.37.2`, or of `v1.37.2`.
///
/// # Errors
/// The version has none.
pub fn minor(version: &str) -> Result<u32> {
    let Some(minor) = version.split('.').nth(1) else { bail!("{version:?} has no minor") };
    minor.parse().with_context(|| format!("{version:?} has no minor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
// Widget is an example: `json:"not"` is in its comment.
type Widget struct {
	metav1.TypeMeta `json:",inline"`
	// Parts says `json:"something"`.
	Parts []Part `json:"parts,omitempty" protobuf:"bytes,1,rep,name=parts"`
	Limits ResourceList `json:"limits,omitempty"`
	Data map[string][]byte `json:"data"`
	Hidden string `json:"-"`
	At *metav1.Time `json:"at"`
}

type ResourceList map[ResourceName]resource.Quantity

type Phase string

type Part struct {
	Source `json:"" protobuf:"bytes,1,opt,name=source"`
	Empty *Nothing `json:"empty"`
}

type Source struct {
	Phase *Phase `json:"phase"`
}

type Nothing struct {
}

type Loop struct {
	Again *Loop `json:"again"`
}
"#;

    fn types() -> Types {
        let mut types = Types::default();
        types.add("v1", SOURCE);
        types.add("metav1", "type TypeMeta struct {\n\tKind string `json:\"kind\"`\n}");
        types
    }

    #[test]
    fn the_fields_of_a_type_are_those_of_its_json() {
        let fields = types().fields("v1.Widget").unwrap();
        let expected = ["at", "data{}", "kind", "limits{}", "parts[].empty", "parts[].phase"];
        assert_eq!(fields.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_type_that_is_missing_or_has_no_end_is_an_error() {
        assert!(types().fields("v1.Gadget").unwrap_err().to_string().contains("no type v1.Gadget"));
        assert!(types().fields("v1.Loop").unwrap_err().to_string().contains("contains itself"));
    }

    #[test]
    fn a_version_has_a_minor() {
        assert_eq!((minor("v0.37.2").unwrap(), minor("v1.36.3").unwrap()), (37, 36));
        assert!(minor("v1").is_err());
    }
}

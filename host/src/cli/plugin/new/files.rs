//! The files of a new project: those of the examples, with names replaced.

use weft_core::object::ResourceType;

use super::{Language, Project};
use crate::registry::descriptor::Role;

/// Path and content of a file of an example.
type File = (&'static str, &'static str);

const RUST: &[File] = &[
    ("Cargo.toml", include_str!("../../../../../examples/rust-team-label/Cargo.toml")),
    ("settings.yaml", include_str!("../../../../../examples/rust-team-label/settings.yaml")),
    ("src/lib.rs", include_str!("../../../../../examples/rust-team-label/src/lib.rs")),
];
const JS: &[File] = &[
    (".npmrc", include_str!("../../../../../examples/js-team-label/.npmrc")),
    ("package-lock.json", include_str!("../../../../../examples/js-team-label/package-lock.json")),
    ("package.json", include_str!("../../../../../examples/js-team-label/package.json")),
    ("plugin.js", include_str!("../../../../../examples/js-team-label/plugin.js")),
    ("settings.yaml", include_str!("../../../../../examples/js-team-label/settings.yaml")),
];
const PYTHON: &[File] = &[
    ("build.sh", include_str!("../../../../../examples/python-team-label/build.sh")),
    ("plugin.py", include_str!("../../../../../examples/python-team-label/plugin.py")),
    ("requirements.txt", include_str!("../../../../../examples/python-team-label/requirements.txt")),
    ("settings.yaml", include_str!("../../../../../examples/python-team-label/settings.yaml")),
];
/// The interface, for languages whose tools read it.
const WIT: &[File] = &[
    ("wit/log.wit", include_str!("../../../../../wit/log.wit")),
    ("wit/lookup.wit", include_str!("../../../../../wit/lookup.wit")),
    ("wit/mapper.wit", include_str!("../../../../../wit/mapper.wit")),
    ("wit/names.wit", include_str!("../../../../../wit/names.wit")),
    ("wit/plugin.wit", include_str!("../../../../../wit/plugin.wit")),
    ("wit/types.wit", include_str!("../../../../../wit/types.wit")),
    ("wit/world.wit", include_str!("../../../../../wit/world.wit")),
];
const CASE: &str = include_str!("../../templates/case.yaml");
/// Folders that tools write.
const IGNORED: &str = "/.venv\n/dist\n/node_modules\n/target\n__pycache__\n";

impl Project {
    /// Every file with its path.
    pub(super) fn files(&self) -> Vec<(&'static str, String)> {
        let (files, wit) = match self.language {
            Language::Rust => (RUST, &[][..]),
            Language::Js => (JS, WIT),
            Language::Python => (PYTHON, WIT),
        };
        let changes = self.changes();
        let filled = files.iter().map(|(path, text)| (*path, fill(text, &changes)));
        let wit = wit.iter().map(|(path, text)| (*path, (*text).to_owned()));
        let own = [("cases/first.yaml", self.case()), (".gitignore", IGNORED.to_owned())];
        filled.chain(wit).chain(own).collect()
    }

    /// Replacements in the files of the example.
    fn changes(&self) -> Vec<(&'static str, String)> {
        let kind = &self.resource.kind;
        let mut changes = match self.language {
            Language::Rust => self.rust(),
            Language::Js => self.js(),
            Language::Python => self.python(),
        };
        if kind != "Pod" {
            changes
                .extend([("every pod", format!("every {kind}")), ("for pods", format!("for each {kind}"))]);
            changes.push(("POD", "MAPPED".to_owned()));
        }
        changes
    }

    fn rust(&self) -> Vec<(&'static str, String)> {
        let ResourceType { kind, plural, .. } = &self.resource;
        let api_version = self.resource.api_version();
        let mapping = match self.role {
            Role::Mutate(order) => format!("Mapping::mutate({api_version:?}, {kind:?}, {plural:?}, {order})"),
            _ => format!("Mapping::add({api_version:?}, {kind:?}, {plural:?})"),
        };
        vec![
            ("team-label", self.name.clone()),
            ("TeamLabel", pascal(&self.name)),
            ("../../plugins/sdk", self.sdk.clone()),
            (r#"Mapping::mutate("v1", "Pod", "pods", 200)"#, mapping),
        ]
    }

    fn js(&self) -> Vec<(&'static str, String)> {
        let ResourceType { group, version, kind, plural, .. } = &self.resource;
        let role = match self.role {
            Role::Mutate(order) => format!(r#"{{ tag: "mutate", val: {order} }}"#),
            _ => r#"{ tag: "add" }"#.to_owned(),
        };
        let resource = format!("{{ group: {group:?}, version: {version:?}, kind: {kind:?} }}");
        vec![
            ("js-team-label", self.name.clone()),
            ("../../wit", "wit".to_owned()),
            (r#"{ group: "", version: "v1", kind: "Pod" }"#, resource),
            (r#"plural: "pods""#, format!("plural: {plural:?}")),
            (r#"{ tag: "mutate", val: 100 }"#, role),
        ]
    }

    fn python(&self) -> Vec<(&'static str, String)> {
        let ResourceType { group, version, kind, plural, .. } = &self.resource;
        let (role, import) = match self.role {
            Role::Mutate(order) => (format!("Role_Mutate({order})"), "Role_Mutate"),
            _ => ("Role_Add()".to_owned(), "Role_Add"),
        };
        let resource = format!("Kind(group={group:?}, version={version:?}, kind={kind:?})");
        vec![
            ("python-team-label", self.name.clone()),
            ("../../wit", "wit".to_owned()),
            (r#"Kind(group="", version="v1", kind="Pod")"#, resource),
            (r#"plural="pods""#, format!("plural={plural:?}")),
            ("Role_Mutate(100)", role),
            ("    Role_Mutate,", format!("    {import},")),
        ]
    }

    fn case(&self) -> String {
        let is_pod = self.resource.kind().as_str() == "v1/Pod";
        let spec = if is_pod { r#"{containers: [{name: first, image: "nginx:1.29"}]}"# } else { "{}" };
        let changes = [
            ("API_VERSION", self.resource.api_version()),
            ("KIND", self.resource.kind.to_string()),
            ("SPEC", spec.to_owned()),
        ];
        fill(CASE, &changes)
    }
}

fn fill(text: &str, changes: &[(&str, String)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// `team-label` as `TeamLabel`.
fn pascal(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    name.split('-').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::author::cases::Case;
    use crate::cli::plugin::new::resource;

    fn project(language: Language, kind: &str) -> Project {
        let (resource, role) = resource(kind).unwrap();
        Project {
            name: "my-plugin".to_owned(),
            language,
            resource,
            role,
            sdk: "/weft/plugins/sdk".to_owned(),
        }
    }

    /// Whoever changes these words in an example must change them here.
    #[test]
    fn everything_that_is_replaced_is_in_the_examples() {
        for (language, files) in [(Language::Rust, RUST), (Language::Js, JS), (Language::Python, PYTHON)] {
            let text: String = files.iter().map(|(_, text)| *text).collect();
            for (from, _) in project(language, "v1/Pod").changes() {
                assert!(text.contains(from), "{language:?}: {from:?} is in no file of the example");
            }
        }
    }

    #[test]
    fn no_name_of_the_examples_is_left() {
        for language in [Language::Rust, Language::Js, Language::Python] {
            for (path, text) in project(language, "networking.k8s.io/v1/Ingress").files() {
                let left = ["team-label", "TeamLabel", "../../", "\"Pod\"", "\"pods\"", "POD", "SPEC"];
                let left: Vec<&str> = left.into_iter().filter(|word| text.contains(word)).collect();
                assert!(left.is_empty(), "{language:?} {path}: {left:?}");
            }
        }
    }

    #[test]
    fn the_case_of_a_new_project_is_valid() {
        for kind in ["v1/Pod", "cert-manager.io/v1/Certificate"] {
            let case: Case = serde_saphyr::from_str(&project(Language::Rust, kind).case()).unwrap();
            let object = weft_core::object::VirtualObject::new(case.r#virtual);
            assert_eq!(weft_core::offline::key_of(&object).kind.as_str(), kind);
        }
    }
}

//! The house rules that can be read off the files: one list of kinds, a first sentence, one direction of imports.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What each file of the core may use of the others. Folders go with the file of their name.
const MAY_USE: &[(&str, &[&str])] = &[
    (
        "plan",
        &[
            "change",
            "conditions",
            "context",
            "keys",
            "mapper",
            "names",
            "object",
            "spec",
            "translate",
            "verdict",
        ],
    ),
    (
        "translate",
        &[
            "conditions",
            "confine",
            "context",
            "digest",
            "host_keys",
            "keys",
            "labels",
            "mapper",
            "names",
            "object",
            "policy",
            "references",
            "spec",
            "verdict",
        ],
    ),
    (
        "confine",
        &[
            "conditions",
            "context",
            "fields",
            "host_controllers",
            "keys",
            "labels",
            "mapper",
            "names",
            "object",
            "paths",
            "policy",
            "references",
            "selectors",
            "spec",
            "verdict",
            "well_known",
        ],
    ),
    (
        "kinds",
        &[
            "change",
            "conditions",
            "context",
            "diff",
            "digest",
            "fields",
            "host_controllers",
            "host_keys",
            "keys",
            "labels",
            "mapper",
            "messages",
            "names",
            "object",
            "paths",
            "policy",
            "references",
            "refused",
            "selectors",
            "spec",
            "verdict",
        ],
    ),
    ("messages", &["context", "object"]),
    ("mapper", &["change", "context", "diff", "object", "references", "refused", "spec", "verdict"]),
    ("refused", &["object"]),
    ("spec", &["object", "references", "selectors"]),
    ("selectors", &[]),
    ("well_known", &["object", "references", "selectors"]),
    ("verdict", &["object"]),
    ("change", &["object"]),
    ("causes", &[]),
    (
        "chain",
        &[
            "causes",
            "confine",
            "context",
            "edit",
            "extension",
            "mapper",
            "object",
            "references",
            "spec",
            "verdict",
        ],
    ),
    (
        "declared",
        &[
            "context",
            "host_keys",
            "labels",
            "mapper",
            "names",
            "object",
            "paths",
            "references",
            "selectors",
            "spec",
            "verdict",
            "well_known",
        ],
    ),
    ("extension", &["context", "edit", "object", "text", "verdict"]),
    ("edit", &["object"]),
    ("fields", &["object"]),
    ("conditions", &["change", "context", "keys", "object"]),
    ("nodes", &["change", "diff", "keys", "kinds", "object", "policy"]),
    ("offline", &["context", "names", "object"]),
    ("references", &["names", "object", "paths"]),
    ("unsigned", &["context", "keys", "labels", "names", "object"]),
    ("labels", &["digest", "keys", "names", "object", "text"]),
    ("context", &["names", "object", "policy", "verdict"]),
    ("diff", &["change", "keys", "names", "object"]),
    ("names", &["keys", "object", "text"]),
    ("host_controllers", &["key_pattern", "object"]),
    ("host_keys", &["labels", "object", "paths", "policy", "selectors", "spec"]),
    ("key_pattern", &[]),
    ("policy", &["host_controllers", "key_pattern", "names", "object"]),
    ("keys", &[]),
    ("digest", &[]),
    ("text", &[]),
    ("object", &["paths"]),
    ("paths", &[]),
    ("lib", &[]),
];

#[test]
fn every_file_begins_with_the_question_it_answers() {
    for path in files() {
        assert!(
            text(&path).starts_with("//! "),
            "{} does not begin with a sentence after `//!`",
            path.display()
        );
    }
}

#[test]
fn every_kinds_file_is_in_the_list() {
    let list = text(&source().join("kinds.rs"));
    for name in children(&source().join("kinds")).iter().filter(|path| path.is_file()).map(|path| stem(path))
    {
        assert!(list.contains(&format!("pub mod {name};")), "kinds.rs lacks `pub mod {name};`");
        assert!(list.contains(&format!("Arc::new({name}::")), "builtin() lacks the mapper of {name}");
    }
}

#[test]
fn imports_go_one_way() {
    for path in files() {
        let (_, allowed) =
            MAY_USE.iter().find(|(file, _)| *file == top(&path)).expect("every file is in MAY_USE");
        for used in uses(&text(&path)).iter().filter(|used| **used != top(&path)) {
            assert!(allowed.contains(&used.as_str()), "{} must not use crate::{used}", path.display());
        }
    }
}

#[test]
fn keys_of_weft_are_spelt_out_in_one_file() {
    for path in files().iter().filter(|path| top(path) != "keys") {
        for line in code(&text(path)) {
            assert!(!line.contains("weft.dev/"), "{}: use keys.rs instead of {line}", path.display());
        }
    }
}

/// The lines of a file, documentation and tests aside.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().take_while(|line| line.trim() != "mod tests {");
    lines.filter(|line| !line.trim_start().starts_with("//"))
}

/// The modules that follow `crate::` anywhere in a file, documentation and tests aside.
fn uses(text: &str) -> BTreeSet<String> {
    code(text)
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                .next()
                .unwrap_or_default()
        })
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The file of the core that a path belongs to: `kinds` for `kinds/service/moving.rs`.
fn top(path: &Path) -> String {
    let inner = path.strip_prefix(source()).expect("the path lies in src");
    inner.components().next().map(|first| stem(Path::new(first.as_os_str()))).unwrap_or_default()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        let (inner, files): (Vec<_>, Vec<_>) = children(&folder).into_iter().partition(|path| path.is_dir());
        folders.extend(inner);
        found.extend(
            files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")),
        );
    }
    found
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    entries.map(|entry| entry.expect("readable").path()).collect()
}

#[expect(clippy::disallowed_methods, reason = "mappers do no I/O; this reads their source")]
fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("readable")
}

//! The architecture of the shell, read off its files: which folder may use which, and that no circle comes back.
//!
//! `cargo test -p weft --test layout -- --nocapture` prints arrows, circles, and the files that have no test.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints what it counts"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What each part of the shell may use of the others. A part is a file of `src` with the folder of its name.
const PARTS: &[(&str, &[&str])] = &[
    ("main", &[]),
    ("lib", &[]),
    // The command line starts the composition root; nobody else imports it.
    (
        "cli",
        &[
            "author",
            "cluster",
            "config",
            "control",
            "folder",
            "permissions",
            "plugin",
            "registry",
            "run",
            "telemetry",
        ],
    ),
    // What people do with whole virtual clusters, on their own machines.
    ("cluster", &["config"]),
    (
        "run",
        &[
            "addons",
            "api",
            "config",
            "control",
            "engine",
            "folder",
            "kubelet",
            "plugin",
            "registry",
            "telemetry",
        ],
    ),
    // It asks the engine which host pod stands for a virtual one; what it creates are reviews, which nobody stores.
    ("kubelet", &["api", "bucket", "config", "engine"]),
    ("permissions", &["config", "registry"]),
    ("author", &["config", "plugin", "registry", "yaml"]),
    // The engine and the plugins meet only as traits of the core and of the registry.
    ("engine", &["addons", "api", "bucket", "registry"]),
    ("plugin", &["bucket", "config", "folder", "registry", "yaml"]),
    ("control", &["api", "config"]),
    ("registry", &["config"]),
    ("addons", &["config"]),
    ("api", &["config"]),
    ("telemetry", &["config"]),
    ("config", &["yaml"]),
    ("bucket", &[]),
    ("folder", &[]),
    ("yaml", &[]),
];

/// The same within the engine.
const ENGINE: &[(&str, &[&str])] = &[
    ("upkeep", &["apply", "cache", "events", "informer", "queue", "resources", "supervisor", "watches"]),
    ("reconcile", &["apply", "cache", "companions", "events", "queue"]),
    ("watches", &["apply", "cache", "events", "informer", "resources", "supervisor"]),
    ("companions", &["ambient", "apply", "cache", "events", "queue", "resources"]),
    ("events", &["ambient", "apply", "cache", "resources"]),
    ("health", &["cache", "informer"]),
    ("parts", &["ambient", "companions", "watches"]),
    ("pods", &["apply", "cache"]),
    ("informer", &["ambient", "cache", "resources"]),
    ("cache", &["ambient", "queue"]),
    ("queue", &["ambient"]),
    // Its gate asks whether the caches are complete and the server is the expected one.
    ("apply", &["cache", "informer", "resources"]),
    ("resources", &[]),
    ("supervisor", &[]),
    ("ambient", &[]),
];

/// Files that use each other by `crate::` paths, and why that stays. A file and those in the folder of its name, which
/// know each other by `super::` and by name, count as one.
const CIRCLES: &[&[&str]] = &[
    // The stubs are methods of the type that lives inside the sandbox.
    &["plugin/sandbox", "plugin/wasi_stubs"],
];

/// A file of one of these names is what tests stand on, and no part of the program.
const TEST_SUPPORT: &[&str] = &["scripted", "testing"];

/// Where a file counts as large: split it, or say why not.
const LARGE: usize = 400;
/// Shell files longer than this should have a test beside them.
const WORTH_A_TEST: usize = 80;
/// So many do not: they put parts together, print, or need a component that imports WASI.
const UNTESTED: usize = 3;

#[test]
fn every_file_begins_with_the_question_it_answers() {
    for file in files().iter().filter(|file| file.name != "main") {
        assert!(file.text.starts_with("//! "), "{} does not begin with a sentence after `//!`", file.name);
    }
}

#[test]
fn parts_of_the_shell_use_each_other_one_way() {
    for file in files() {
        let part = part(&file.name);
        let allowed = allowed(PARTS, part);
        for used in file.uses.iter().map(|used| self::part(used)).filter(|used| *used != part) {
            assert!(allowed.contains(&used), "{} must not use crate::{used}", file.name);
        }
    }
}

#[test]
fn modules_of_the_engine_use_each_other_one_way() {
    for file in files() {
        let Some(module) = file.name.strip_prefix("engine/").map(part) else { continue };
        let allowed = allowed(ENGINE, module);
        let modules = file.uses.iter().filter_map(|used| used.strip_prefix("engine/")).map(part);
        for used in modules.filter(|used| *used != module) {
            assert!(allowed.contains(&used), "{} must not use crate::engine::{used}", file.name);
        }
    }
}

#[test]
fn what_may_be_used_makes_no_circle() {
    for table in [PARTS, ENGINE] {
        let arrows = table.iter().map(|(part, used)| {
            (part.to_string(), used.iter().map(ToString::to_string).collect::<BTreeSet<_>>())
        });
        assert_eq!(circles(&arrows.collect()), Vec::<Vec<String>>::new());
    }
}

#[test]
fn files_use_each_other_one_way() {
    let arrows: BTreeMap<String, BTreeSet<String>> =
        files().into_iter().map(|file| (file.name, file.uses)).collect();
    let count = |prefix: &str| -> usize {
        let within = arrows.iter().filter(|(name, _)| name.starts_with(prefix));
        within.map(|(_, used)| used.iter().filter(|used| used.starts_with(prefix)).count()).sum()
    };
    println!("import arrows: {} in all, {} within the engine", count(""), count("engine/"));
    let found = circles(&arrows);
    println!("import circles: {found:?}");
    assert_eq!(found, CIRCLES, "files that use each other");
}

#[test]
fn no_file_is_too_large_and_few_are_without_a_test() {
    let files = files();
    let large: Vec<&str> =
        files.iter().filter(|file| file.lines > LARGE).map(|file| file.name.as_str()).collect();
    let is_untested = |file: &&File| file.code > WORTH_A_TEST && !file.has_tests;
    let untested: Vec<&str> = files.iter().filter(is_untested).map(|file| file.name.as_str()).collect();
    println!("files over {LARGE} lines: {large:?}");
    println!("{} files over {WORTH_A_TEST} lines have no test beside them: {untested:?}", untested.len());
    assert_eq!(large, Vec::<&str>::new(), "files over {LARGE} lines");
    assert!(untested.len() <= UNTESTED, "more than {UNTESTED} files have no test: {untested:?}");
}

#[test]
fn two_files_send_writes_one_lets_streams_pass_and_one_asks_for_reviews() {
    let verbs = ["POST", "PUT", "PATCH", "DELETE"];
    let sends = |verb: &str| {
        [format!("Method::{verb}"), format!("(\"{verb}\")"), format!("Request::{}(", verb.to_lowercase())]
    };
    let sends: Vec<String> = verbs.into_iter().flat_map(sends).collect();
    let does_write = |file: &File| {
        let code = file.text.split("mod tests {").next().unwrap_or_default();
        sends.iter().any(|sent| code.contains(sent))
    };
    let is_support = |name: &str| TEST_SUPPORT.contains(&name.rsplit('/').next().unwrap_or_default());
    let files = files().into_iter().filter(|file| !is_support(&file.name) && does_write(file));
    // A file and those in the folder of its name count as one.
    let writers: BTreeSet<String> =
        files.map(|file| file.name.split('/').take(2).collect::<Vec<_>>().join("/")).collect();
    // The first writes no tenant's object, the third lets POST pass, which opens streams, and the last creates reviews, which
    // are stored nowhere: see ARCHITECTURE.md.
    let wanted = ["control/writer", "engine/apply", "kubelet/asked", "kubelet/metrics"].map(str::to_owned);
    assert_eq!(writers, wanted.into(), "files that send POST, PUT, PATCH or DELETE");
}

/// A test file that is in no `mod` list is not compiled, and nobody notices that it has stopped testing.
#[test]
fn every_file_of_the_tests_is_compiled() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    let files: Vec<PathBuf> = ["suite", "src"].iter().flat_map(|folder| paths(&tests.join(folder))).collect();
    assert!(files.len() > 50, "{} files are in {}", files.len(), tests.display());
    let dead: Vec<&PathBuf> = files.iter().filter(|file| !is_root(file) && !is_in_a_list(file)).collect();
    assert!(dead.is_empty(), "files that are in no `mod` list, so nothing compiles them: {dead:?}");
}

/// Whether a file is the root of a crate.
fn is_root(file: &Path) -> bool {
    file.ends_with("suite/main.rs")
        || file.ends_with("src/lib.rs")
        || (file.ends_with("main.rs") && file.components().any(|part| part.as_os_str() == "bin"))
}

/// Whether the file of the module above has a `mod` line for this file.
fn is_in_a_list(file: &Path) -> bool {
    let module = if file.ends_with("mod.rs") { file.parent().expect("in a folder") } else { file };
    let name = module.file_stem().and_then(|stem| stem.to_str()).expect("names are ASCII");
    let folder = module.parent().expect("in a folder");
    let above = ["mod.rs", "main.rs", "lib.rs"].map(|file| folder.join(file));
    above.into_iter().chain([folder.with_extension("rs")]).any(|above| {
        let text = std::fs::read_to_string(above).unwrap_or_default();
        text.lines().any(|line| line.split_once("mod ").is_some_and(|(_, rest)| rest == format!("{name};")))
    })
}

/// A file of the shell, as far as these rules go.
struct File {
    /// `engine/cache/store` for `src/engine/cache/store.rs`.
    name: String,
    text: String,
    lines: usize,
    /// Lines before the tests.
    code: usize,
    has_tests: bool,
    /// The files that it uses.
    uses: BTreeSet<String>,
}

fn files() -> Vec<File> {
    let texts: BTreeMap<String, String> = paths(&source())
        .into_iter()
        .map(|path| {
            let inner = path.strip_prefix(source()).expect("the path lies in src").with_extension("");
            let name = inner.to_str().expect("names are ASCII").to_owned();
            (name, std::fs::read_to_string(&path).expect("readable"))
        })
        .collect();
    let names: BTreeSet<&str> = texts.keys().map(String::as_str).collect();
    let file = |(name, text): (&String, &String)| {
        let code: Vec<&str> = text.lines().take_while(|line| line.trim() != "mod tests {").collect();
        let mut uses: BTreeSet<String> =
            paths_in(&code).iter().filter_map(|path| file_of(path, &names)).collect();
        uses.remove(name);
        let lines = text.lines().count();
        File {
            name: name.clone(),
            lines,
            code: code.len(),
            has_tests: code.len() < lines,
            uses,
            text: text.clone(),
        }
    };
    texts.iter().map(file).filter(|file| !TEST_SUPPORT.contains(&file_name(&file.name))).collect()
}

/// The paths that follow `crate::` in code, groups taken apart: `engine::cache::{a, b}` gives two.
fn paths_in(code: &[&str]) -> Vec<String> {
    let code: Vec<&str> = code.iter().copied().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut paths = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let end = rest.find(|letter: char| !is_path(letter)).unwrap_or(rest.len());
        let (path, rest) = rest.split_at(end);
        match rest.strip_prefix('{').and_then(|group| group.split_once('}')) {
            Some((group, _)) => {
                let names = group.split(',').map(str::trim).filter(|name| !name.is_empty());
                paths.extend(names.map(|name| format!("{path}{name}")));
            }
            None => paths.push(path.to_owned()),
        }
    }
    paths
}

fn is_path(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == ':' || letter == '#'
}

/// The file that the longest part of a path names: `engine/cache/store` for `engine::cache::store::Store`.
fn file_of(path: &str, names: &BTreeSet<&str>) -> Option<String> {
    let segments: Vec<&str> = path.split("::").collect();
    let candidates = (1..=segments.len()).rev().filter_map(|length| Some(segments.get(..length)?.join("/")));
    candidates.into_iter().find(|name| names.contains(name.as_str()))
}

/// The part of a name after the last `/`.
fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

/// The part of a name before the first `/`.
fn part(name: &str) -> &str {
    name.split('/').next().unwrap_or_default()
}

fn allowed(table: &[(&'static str, &'static [&'static str])], part: &str) -> &'static [&'static str] {
    let entry = table.iter().find(|(name, _)| *name == part);
    entry.unwrap_or_else(|| panic!("{part} is in no table of this test")).1
}

/// The groups of names that reach each other, each group sorted.
fn circles(arrows: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        arrows.keys().map(|name| (name.as_str(), reachable(name, arrows))).collect();
    let mut groups: BTreeSet<Vec<String>> = BTreeSet::new();
    for (name, others) in &reached {
        if others.contains(name) {
            let back = |other: &&&str| reached.get(**other).is_some_and(|reached| reached.contains(name));
            groups.insert(others.iter().filter(back).map(ToString::to_string).collect());
        }
    }
    groups.into_iter().collect()
}

fn reachable<'a>(from: &str, arrows: &'a BTreeMap<String, BTreeSet<String>>) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        for next in arrows.get(name).into_iter().flatten() {
            if found.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    found
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let (folders, files): (Vec<_>, Vec<_>) =
        entries.map(|entry| entry.expect("readable").path()).partition(|path| path.is_dir());
    let rust = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.chain(folders.iter().flat_map(|folder| paths(folder))).collect()
}

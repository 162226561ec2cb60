//! The pages beside the code say what the code does: settings, and the reasons of events.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use weft_core::host_controllers::keys;

/// Writes the generated pages where it is set.
const UPDATE: &str = "UPDATE_DOCS";
/// What stands above the table of keys.
const KEYS: &str = "\
<!-- Generated from the table in host/core/src/host_controllers/keys: UPDATE_DOCS=1 cargo test -p weft --test docs -->

# Labels and annotations that controllers of the host obey

A tenant could command them by these keys, so on the host such a key is escaped: `sidecar.istio.io/inject` is
`sidecar.istio.io.tenant.weft.dev/inject` there. Selectors of pods are escaped with it, and the downward API answers with the
tenant's own key. A plugin or declared mapping that sets one is refused; so is a template with one in an object of a kind that
a mapping adds. An Ingress keeps the annotations of ingress controllers, which its mapping judges. `metadata.labels` and
`metadata.annotations` of the [settings](SETTINGS.md) allow keys of this table and deny others. A domain stands for itself and its subdomains.

| Who obeys | Keys |
|---|---|
";
/// Whoever gives an event its reason does it with one of these, so every CamelCase string of such a file is a reason.
const MAKERS: [&str; 10] = [
    "operator::compose(",
    "ObjectEvent {",
    "notes.event(Event {",
    "PluginEvent {",
    "PluginEvent::",
    "Problem {",
    "Problem::of(",
    "Failure::new(",
    "enum Reason",
    "impl Reason",
];
/// The only place that writes Events.
const WRITERS: &str = "host/src/engine/events/";
/// Parts of the test suite, as the page of proofs names them: `faults::kills`.
const SUITES: [&str; 4] = ["faults", "nodes", "planes", "plugins"];

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// What the program prints.
fn weft(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_weft")).args(arguments).output().unwrap();
    assert!(output.status.success(), "weft {arguments:?} failed: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_page_of_settings_is_what_the_program_prints() {
    let (file, printed) = (package().join("SETTINGS.md"), weft(&["config", "docs"]));
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, &printed).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == printed, "host/SETTINGS.md is stale: run {UPDATE}=1 cargo test -p weft --test docs");
}

#[test]
fn the_page_of_keys_is_the_table_of_the_code() {
    let (file, wanted) = (package().join("KEYS.md"), page_of_keys());
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, &wanted).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == wanted, "host/KEYS.md is stale: run {UPDATE}=1 cargo test -p weft --test docs");
}

fn page_of_keys() -> String {
    let list = |keys: &[&str]| keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    let rows: Vec<String> =
        keys::groups().map(|group| format!("| {} | {} |\n", group.who, list(group.keys))).collect();
    let rows = rows.concat();
    let harmless = list(keys::harmless());
    format!("{KEYS}{rows}\nOf the domains of Kubernetes these reach the host: {harmless}.\n")
}

#[test]
fn the_schema_can_be_used_and_refuses_what_the_program_refuses() {
    let schema = serde_json::from_str(&weft(&["config", "schema"])).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let mut config = serde_json::json!({"cluster": {"name": "my-vcluster", "namespace": "team-a"}});
    assert!(schema.is_valid(&config));
    config["cluster"]["namepsace"] = "team-b".into();
    assert!(!schema.is_valid(&config), "a key that does not exist");
}

#[test]
fn the_page_of_events_has_every_reason_of_the_code_and_no_other() {
    let page = reasons_of_the_page();
    let makers = sources().into_iter().filter(|(_, code)| MAKERS.iter().any(|maker| code.contains(maker)));
    let strings: BTreeSet<String> = makers.flat_map(|(_, code)| strings(&code)).collect();
    let reasons: BTreeSet<&String> = strings.iter().filter(|string| is_camel_case(string)).collect();
    assert!(reasons.len() > 10, "the rule that finds reasons finds only {reasons:?}");
    let missing: Vec<_> = reasons.into_iter().filter(|reason| !page.contains(*reason)).collect();
    assert!(missing.is_empty(), "describe these reasons in host/EVENTS.md: {missing:?}");
    let gone: Vec<_> = page.difference(&strings).collect();
    assert!(gone.is_empty(), "no code gives these reasons; remove them from host/EVENTS.md: {gone:?}");
}

#[test]
fn events_are_written_in_one_place_only() {
    let writers = sources().into_iter().filter(|(_, code)| code.contains("\"kind\": \"Event\""));
    let files: Vec<String> = writers.map(|(file, _)| file).collect();
    assert!(!files.is_empty() && files.iter().all(|file| file.starts_with(WRITERS)), "{files:?}");
}

#[test]
fn the_tests_that_are_named_as_proofs_are_there() {
    let (page, suite) = (package().join("../ARCHITECTURE.md"), package().join("../tests/suite"));
    let text = std::fs::read_to_string(page).unwrap();
    let named = text.split('`').filter_map(|code| code.split_once("::"));
    let named: BTreeSet<(&str, &str)> = named.filter(|(part, _)| SUITES.contains(part)).collect();
    assert!(SUITES.iter().all(|suite| named.iter().any(|(part, _)| part == suite)), "{named:?}");
    for (part, file) in named {
        let path = suite.join(part).join(file);
        assert!(path.is_dir() || path.with_extension("rs").is_file(), "{part}::{file} is no test");
    }
}

/// The reasons in the tables: where the first or the second cell is nothing but one code word.
fn reasons_of_the_page() -> BTreeSet<String> {
    let page = std::fs::read_to_string(package().join("EVENTS.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let code = |cell: &str| Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned());
    rows.filter_map(|row| row.split(" | ").take(2).find_map(code)).collect()
}

/// The files of the shell and the core, without comments and tests.
fn sources() -> Vec<(String, String)> {
    let files = ["src", "core/src"].iter().flat_map(|folder| files(&package().join(folder)));
    let source = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.lines().take_while(|line| line.trim() != "mod tests {");
        let code = code.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        (format!("host/{}", file.strip_prefix(package()).unwrap().display()), code)
    };
    files.map(source).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files.chain(folders.iter().flat_map(|folder| self::files(folder))).collect()
}

/// The strings that are one word. A quote within a string shifts what counts as inside; a word stands between two
/// quotes in any case.
fn strings(code: &str) -> Vec<String> {
    let is_word = |text: &&str| !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric());
    code.split('"').filter(is_word).map(str::to_owned).collect()
}

/// Two words or more: `HostRefused`.
fn is_camel_case(word: &str) -> bool {
    let capitals = word.chars().filter(char::is_ascii_uppercase).count();
    word.starts_with(|first: char| first.is_ascii_uppercase())
        && capitals >= 2
        && word.chars().any(|letter| letter.is_ascii_lowercase())
}

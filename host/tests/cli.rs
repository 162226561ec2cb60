//! What the program says to wrong input, and the exit code that scripts see.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

fn weft(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    // No cache outside, and no colours whatever the machine says.
    let command = command.current_dir(folder).args(arguments).env("XDG_CACHE_HOME", folder.join("cache"));
    command.env_remove("CLICOLOR_FORCE").output().unwrap()
}

/// The program fails with 1, prints nothing, and says `wanted`.
#[track_caller]
fn fails(folder: &Path, arguments: &[&str], wanted: &str) {
    let output = weft(folder, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("weft: ") && said.contains(wanted), "{arguments:?} said: {said}");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{arguments:?}");
}

#[test]
fn files_that_are_no_plugin_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("text.wasm", b"hello");
    write("module.wasm", b"\0asm\x01\0\0\0");
    write("empty.wasm", b"\0asm\x0d\0\x01\0");
    write("torn.wasm", b"\0asm\x0d\0\x01\0\x01");
    for (file, wanted) in [
        ("none.wasm", "there is no none.wasm"),
        ("text.wasm", "text.wasm: it is no WebAssembly file"),
        ("module.wasm", "module.wasm: it is a core module, not a component"),
        ("empty.wasm", "empty.wasm: it is a component, but no mapping plugin"),
        ("torn.wasm", "torn.wasm: it cannot be compiled"),
    ] {
        fails(folder.path(), &["plugin", "check", file], wanted);
        fails(folder.path(), &["plugin", "inspect", file], wanted);
    }
}

#[test]
fn folders_that_are_no_project_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    fails(folder.path(), &["plugin", "test"], "`weft plugin build .` makes one");
    fails(folder.path(), &["plugin", "build"], "`weft plugin new` begins one");
    fails(folder.path(), &["plugin", "new", "Mine", "--lang", "js"], "use lower-case letters");
    fails(folder.path(), &["plugin", "new", "mine", "--lang", "rust"], "--sdk <repository>/plugins/sdk");
    assert!(weft(folder.path(), &["plugin", "new", "mine", "--lang", "js"]).status.success());
    fails(folder.path(), &["plugin", "new", "mine", "--lang", "python"], "mine is not empty");
    fails(folder.path(), &["plugin", "list", "--config", "weft.yaml"], "weft.yaml");
}

#[test]
fn objects_that_cannot_be_read_are_named_with_their_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pod.yaml"), "kind: Pod\nmetadata: {name: a}\n").unwrap();
    std::fs::write(folder.path().join("job.yaml"), "{apiVersion: batch/v1, kind: Job, metadata: {name: a}}")
        .unwrap();
    std::fs::write(folder.path().join("torn.yaml"), "kind: [").unwrap();
    let translate = |file: &'static str| ["translate", "-f", file];
    fails(folder.path(), &translate("none.yaml"), "failed to read none.yaml");
    fails(folder.path(), &translate("torn.yaml"), "failed to parse torn.yaml");
    fails(folder.path(), &translate("pod.yaml"), "pod.yaml, object 1: `apiVersion` is missing");
    fails(folder.path(), &translate("job.yaml"), "batch/v1/Job is not mapped");
}

#[test]
fn a_host_object_is_printed_without_colours_where_nobody_looks() {
    let folder = tempfile::tempdir().unwrap();
    let map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b}, data: {k: v}}";
    std::fs::write(folder.path().join("map.yaml"), map).unwrap();
    let output = weft(folder.path(), &["translate", "-f", "map.yaml"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("name: a-x-b-x-my-vcluster"), "{text}");
    let output = weft(folder.path(), &["translate", "-f", "map.yaml", "-o", "explain"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let wanted = "metadata.name: \"a\" -> \"a-x-b-x-my-vcluster\"  (by common part)\n";
    assert!(text.contains(wanted) && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn usage_errors_have_an_exit_code_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(weft(folder.path(), &["plugin", "tset"]).status.code(), Some(2));
    assert_eq!(weft(folder.path(), &["plugin", "run", "x.wasm"]).status.code(), Some(2));
}

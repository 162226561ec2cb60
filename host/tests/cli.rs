//! Error messages and exit codes of the program.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

fn weft(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    // A cache of its own, and no colours whatever the environment says.
    let command = command.current_dir(folder).args(arguments).env("XDG_CACHE_HOME", folder.join("cache"));
    command.env_remove("CLICOLOR_FORCE").env("RUST_BACKTRACE", "1").output().unwrap()
}

/// The program exits with 1, prints nothing on standard output, and `wanted` on standard error.
#[track_caller]
fn fails(folder: &Path, arguments: &[&str], wanted: &str) {
    let output = weft(folder, arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.starts_with("weft: ") && errors.contains(wanted), "{arguments:?} printed: {errors}");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{arguments:?}");
}

#[test]
fn files_that_are_not_plugins_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("text.wasm", b"hello");
    write("module.wasm", b"\0asm\x01\0\0\0");
    write("empty.wasm", b"\0asm\x0d\0\x01\0");
    write("torn.wasm", b"\0asm\x0d\0\x01\0\x01");
    for (file, wanted) in [
        ("none.wasm", "no such file or folder: none.wasm"),
        ("text.wasm", "text.wasm: not a WebAssembly file"),
        ("module.wasm", "module.wasm: it is a core module, not a component"),
        ("empty.wasm", "empty.wasm: it does not export `weft:mapping/mapper`"),
        ("torn.wasm", "torn.wasm: it cannot be compiled"),
    ] {
        fails(folder.path(), &["plugin", "check", file], wanted);
        fails(folder.path(), &["plugin", "inspect", file], wanted);
    }
}

#[test]
fn folders_that_are_not_projects_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    fails(folder.path(), &["plugin", "test"], "there is no plugin in .");
    fails(folder.path(), &["plugin", "build"], "`weft plugin new` creates one");
    fails(folder.path(), &["plugin", "new", "Mine", "--lang", "js"], "use lower-case letters");
    fails(folder.path(), &["plugin", "new", "mine-", "--lang", "js"], "no `-` at the end");
    fails(folder.path(), &["plugin", "new", "mine", "--lang", "rust"], "--sdk <repository>/plugins/sdk");
    assert!(weft(folder.path(), &["plugin", "new", "mine", "--lang", "js"]).status.success());
    fails(folder.path(), &["plugin", "new", "mine", "--lang", "python"], "mine is not empty");
    fails(folder.path(), &["plugin", "list", "--config", "weft.yaml"], "weft.yaml");
}

/// A project whose build prints whether backtraces are on, and fails.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    write("requirements.txt", "");
    write("plugin.py", "");
    write("cases/first.yaml", "");
    write(".venv/bin/componentize-py", "");
    write("build.sh", "echo \"backtrace: ${RUST_BACKTRACE:-none}\" >&2; exit 3");
    write("pod.yaml", "{apiVersion: v1, kind: Pod, metadata: {name: a}}");
    folder
}

#[test]
fn a_plugin_is_built_first_if_its_source_is_newer() {
    let project = project();
    let folder = project.path();
    let object = ["-f", "pod.yaml"];
    let commands: [(&str, &[&str]); 5] =
        [("test", &[]), ("check", &[]), ("inspect", &[]), ("run", &object), ("bench", &object)];
    let component = folder.join("dist/mine.wasm");
    for (command, more) in commands {
        let arguments = [&["plugin", command], more].concat();
        let _ = std::fs::remove_dir_all(folder.join("dist"));
        fails(
            folder,
            &arguments,
            "weft: building the plugin in .\nbacktrace: none\nweft: the build of . failed",
        );
        std::fs::create_dir(folder.join("dist")).unwrap();
        std::fs::write(&component, "no component").unwrap();
        fails(folder, &arguments, "not a WebAssembly file");
        let file = std::fs::File::options().append(true).open(&component).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        fails(folder, &arguments, "the build of . failed");
        // A file is used as it is.
        let named = [&["plugin", command, "dist/mine.wasm"], more].concat();
        fails(folder, &named, "not a WebAssembly file");
    }
}

#[test]
fn errors_that_no_change_of_the_source_can_fix_end_dev_at_once() {
    let project = project();
    let dev = |more: &[&'static str]| [&["plugin", "dev", "--into", "plugins"], more].concat();
    fails(project.path(), &dev(&["nope"]), "there is no plugin in nope");
    fails(project.path(), &dev(&["--settings", "none.yaml"]), "--settings none.yaml is not a file");
    fails(project.path(), &dev(&["-f", "none.yaml"]), "--file none.yaml is not a file");
    assert!(!project.path().join("plugins").exists());
    fails(project.path(), &["plugin", "dev", "--into", "pod.yaml"], "--into pod.yaml is a file");
}

#[test]
fn an_existing_case_is_not_overwritten() {
    let project = project();
    let record = ["plugin", "record", "-f", "pod.yaml", "-o", "pod.yaml"];
    fails(project.path(), &record, "pod.yaml already exists; remove it");
}

#[test]
fn objects_that_cannot_be_read_are_named_with_their_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pod.yaml"), "kind: Pod\nmetadata: {name: a}\n").unwrap();
    std::fs::write(folder.path().join("other.yaml"), "{apiVersion: v1, kind: Endpoint, metadata: {name: a}}")
        .unwrap();
    std::fs::write(folder.path().join("torn.yaml"), "kind: [").unwrap();
    let translate = |file: &'static str| ["translate", "-f", file];
    fails(folder.path(), &translate("none.yaml"), "failed to read none.yaml");
    fails(folder.path(), &translate("torn.yaml"), "failed to parse torn.yaml");
    fails(folder.path(), &translate("pod.yaml"), "pod.yaml, object 1: `apiVersion` is missing");
    fails(folder.path(), &translate("other.yaml"), "v1/Endpoint is not mapped");
}

#[test]
fn output_has_no_colours_without_a_terminal() {
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
fn a_folder_of_objects_is_translated_as_kubectl_would_apply_it() {
    let folder = tempfile::tempdir().unwrap();
    let map = |name| format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}");
    std::fs::create_dir(folder.path().join("maps")).unwrap();
    fails(folder.path(), &["translate", "-f", "maps"], "there is no *.yaml, *.yml or *.json in maps");
    for (file, name) in [("a.yaml", "a"), ("b.yml", "b"), ("c.json", "c"), ("d.md", "d")] {
        std::fs::write(folder.path().join("maps").join(file), map(name)).unwrap();
    }
    let output = weft(folder.path(), &["translate", "-f", "maps"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    // The owner, too, is one.
    assert_eq!(text.lines().filter(|line| *line == "kind: ConfigMap").count(), 3, "{text}");
}

#[test]
fn a_preview_without_a_plugin_of_the_kind_is_noted_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}";
    std::fs::write(folder.path().join("map.yaml"), map).unwrap();
    let translate = |kinds: &str| {
        let config = format!(
            "{{cluster: {{name: a, namespace: b}}, plugins: {{folder: ., grants: requested, load: {{mine: {{{kinds}}}}}}}}}"
        );
        std::fs::write(folder.path().join("weft.yaml"), config).unwrap();
        let output = weft(folder.path(), &["translate", "-f", "map.yaml", "--config", "weft.yaml"]);
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    // Without `kinds`, nothing waits for it.
    let (succeeds, errors) = translate("");
    assert!(errors.contains("there is no file mine.wasm") && !errors.contains("applies to"), "{errors}");
    assert!(succeeds, "{errors}");
    let (succeeds, errors) = translate("kinds: [v1/Pod]");
    assert!(succeeds && errors.contains("`onFailure: hold` applies to v1/Pod"), "{errors}");
    let (succeeds, errors) = translate("kinds: [v1/ConfigMap]");
    assert!(!succeeds && errors.contains("`onFailure: hold` applies to v1/ConfigMap"), "{errors}");
}

#[test]
fn usage_errors_have_an_exit_code_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(weft(folder.path(), &["plugin", "tset"]).status.code(), Some(2));
    assert_eq!(weft(folder.path(), &["plugin", "run", "x.wasm"]).status.code(), Some(2));
}

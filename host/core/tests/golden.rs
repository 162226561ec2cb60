//! Every pair of files under `golden/` is what translation makes of it.
//!
//! A case is `<name>.virtual.yaml` and what becomes of it: `<name>.host.yaml`, or `<name>.hold.yaml` where
//! the host gets nothing. With `<name>.status.yaml`, what the host shows, `<name>.back.yaml` is the virtual
//! object afterwards. `<name>.others.yaml` holds other virtual objects that the mapper may look up.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/cases.rs"]
mod cases;

use std::path::Path;

use serde_json::{Value, json};
use weft_core::kinds;
use weft_core::translate;
use weft_core::verdict::Hold;

use cases::Case;

const PARTS: &[&str] = &["virtual", "host", "hold", "status", "back", "others"];

#[test]
fn every_case_is_translated_as_its_file_says() {
    let wrong: Vec<String> = cases::all().iter().flat_map(check).collect();
    assert!(
        wrong.is_empty(),
        "{}\nIf that is what you want: UPDATE_GOLDEN=1 cargo test -p weft-core --test golden, and read the diff.",
        wrong.join("\n")
    );
}

#[test]
fn every_built_in_kind_has_a_case() {
    for mapper in kinds::builtin() {
        let folder = cases::folder(mapper.as_ref());
        let has_case = cases::list(&folder).iter().any(|file| file.ends_with(".virtual.yaml"));
        assert!(has_case, "{} holds no case: add a <name>.virtual.yaml", folder.display());
    }
}

#[test]
fn every_file_belongs_to_a_case() {
    let known: Vec<_> = kinds::builtin().iter().map(|mapper| cases::folder(mapper.as_ref())).collect();
    for kind in cases::list(&cases::root()) {
        let folder = cases::root().join(kind);
        assert!(known.contains(&folder), "{} is the folder of no built-in kind", folder.display());
        for file in cases::list(&folder) {
            assert!(is_used(&folder, &file), "{} belongs to no case", folder.join(file).display());
        }
    }
}

fn is_used(folder: &Path, file: &str) -> bool {
    let Some((name, part)) = file.strip_suffix(".yaml").and_then(|stem| stem.rsplit_once('.')) else {
        return false;
    };
    let has = |part: &str| folder.join(format!("{name}.{part}.yaml")).exists();
    PARTS.contains(&part)
        && has("virtual")
        && (part != "back" || has("status"))
        && !(has("host") && has("hold"))
}

/// What is wrong with a case, each as a string for people.
fn check(case: &Case) -> Vec<String> {
    let (host, hold) = match forward(case) {
        Ok(host) => (Some(host), None),
        Err(hold) => (None, Some(hold_to_json(&hold))),
    };
    let back = case.shown.as_ref().map(|shown| {
        translate::to_virtual(&case.world.ctx(), case.mapper.as_ref(), shown, &case.source).into_json()
    });
    [("host", host), ("hold", hold), ("back", back)]
        .into_iter()
        .filter_map(|(part, made)| compare(case, part, made))
        .collect()
}

fn forward(case: &Case) -> Result<Value, Hold> {
    if case.shown.is_none() {
        case.mapper.patcher().before_create(&case.source)?;
    }
    translate::to_host(&case.world.ctx(), case.mapper.as_ref(), &case.source)
        .map(weft_core::object::HostObject::into_json)
}

fn hold_to_json(hold: &Hold) -> Value {
    match hold {
        Hold::Absent(_) => json!({"absent": true}),
        Hold::Wait(wait) => {
            json!({"wait": wait.until.iter().map(ToString::to_string).collect::<Vec<_>>()})
        }
        Hold::Reject(problem) => json!({"refuse": {"field": problem.field, "why": problem.why}}),
        Hold::Skip(problem) | Hold::Fail(problem) => json!({"problem": problem.to_string()}),
    }
}

fn compare(case: &Case, part: &str, made: Option<Value>) -> Option<String> {
    let path = cases::root().join(format!("{}.{part}.yaml", case.title));
    if is_update(&case.title) {
        update(&path, made);
        return None;
    }
    let expected = cases::yaml(&path);
    (expected != made).then(|| {
        let show =
            |value: Option<Value>| value.map_or_else(|| "nothing\n".to_owned(), |value| to_yaml(&value));
        format!("{}: {part} is now\n{}but the file says\n{}", case.title, show(made), show(expected))
    })
}

/// `UPDATE_GOLDEN=1` is every case, anything else those whose titles begin with it.
#[expect(clippy::disallowed_methods, reason = "asks the person at the keyboard, not for a rule")]
fn is_update(title: &str) -> bool {
    std::env::var("UPDATE_GOLDEN").is_ok_and(|which| which == "1" || title.starts_with(&which))
}

fn update(path: &Path, made: Option<Value>) {
    match made {
        // An equal file keeps its comments and its layout.
        Some(made) if cases::yaml(path).as_ref() == Some(&made) => {}
        Some(made) => std::fs::write(path, to_yaml(&made)).expect("golden files are writable"),
        None if path.exists() => std::fs::remove_file(path).expect("golden files can be removed"),
        None => {}
    }
}

fn to_yaml(value: &Value) -> String {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: 10_000 };
    serde_saphyr::to_string_with_options(value, options).expect("JSON is YAML")
}

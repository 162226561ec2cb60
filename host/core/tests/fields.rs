//! The tables of fields say what the guard does, and what the kinds declare.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with the golden files, which use more of it")]
#[path = "support/cases.rs"]
mod cases;

use serde_json::{Value, json};
use weft_core::confine::{confine_content, field_name};
use weft_core::fields::{self, Class, Line};
use weft_core::object::{HostObject, VirtualObject};
use weft_core::translate;
use weft_core::verdict::Verdict;

use cases::Case;

#[test]
#[expect(clippy::print_stdout, reason = "how much was tried is part of the result")]
fn each_field_that_is_dropped_or_refused_is_refused_in_a_result() {
    let mut tried = 0;
    for case in one_of_each_kind() {
        let good = on_host(case);
        for line in lines(case).iter().filter(|line| forbids(line)) {
            let mut object = good.clone().into_json();
            let pointer = put(&mut object, &line.path.replace('*', "future"), json!("x"));
            let object = HostObject::from_json(object).expect("is an object");
            let judged = confine_content(&case.world.ctx(), case.mapper.spec(), &object);
            let field = judged.err().and_then(|hold| hold.problem().field.clone()).unwrap_or_default();
            // A selector is refused as a whole.
            let is_there = !field.is_empty() && field_name(&pointer).starts_with(&field);
            assert!(is_there, "{}: {} is refused for {field:?}", case.title, line.path);
            tried += 1;
        }
    }
    println!("{tried} fields are refused where they are");
    assert!(tried > 100, "only {tried} fields were tried");
}

#[test]
fn references_and_selectors_are_those_that_the_kinds_declare() {
    for case in one_of_each_kind() {
        let spec = case.mapper.spec();
        let in_metadata = |path: &&str| !path.starts_with("/metadata/");
        let declared = spec.references.iter().map(|reference| reference.path.as_str()).filter(in_metadata);
        let mut declared: Vec<String> = declared.map(str::to_owned).collect();
        let mut named = paths(case, Class::Reference);
        declared.sort();
        named.sort();
        assert_eq!(named, declared, "{}", case.title);

        let selects = paths(case, Class::Selector);
        for selector in &spec.selectors {
            let has_line = selects.iter().any(|path| is_in(path, &selector.path));
            assert!(has_line, "{}: no line for the selector {}", case.title, selector.path);
        }
        for path in selects {
            let is_declared = spec.selectors.iter().any(|selector| is_in(&path, &selector.path));
            assert!(is_declared, "{}: {path} is no selector of the kind", case.title);
        }
    }
}

#[test]
fn what_no_table_knows_is_copied_while_it_names_nothing() {
    let case = case("pod/plain");
    for place in
        ["", "/spec", "/spec/containers/0", "/spec/containers/0/resources", "/spec/futurePolicy/inner"]
    {
        let with = |field: &str, value: Value| -> Verdict<HostObject> {
            let mut source = Value::Object(case.source.fields().clone());
            put_at(&mut source, &format!("{place}/{field}"), value);
            let source = VirtualObject::from_json(source).expect("is an object");
            translate::to_host(&case.world.ctx(), case.mapper.as_ref(), &source)
        };
        for value in [json!("Fast"), json!(3), json!({"mode": "Fast", "steps": [1, "a", {"exact": true}]})] {
            let host = with("futureMode", value.clone()).expect("it names nothing");
            assert_eq!(host.pointer(&format!("{place}/futureMode")), Some(&value), "in {place:?}");
        }
        for value in [json!({"name": "a"}), json!("a"), json!([{"key": "a"}]), json!({})] {
            let hold = with("futureSecretRef", value).expect_err("it could name a Secret");
            let field = field_name(&format!("{place}/futureSecretRef"));
            assert_eq!(hold.problem().field.as_deref(), Some(field.as_str()));
        }
    }
}

fn forbids(line: &Line) -> bool {
    matches!(line.rule.class, Class::Drop | Class::Refuse)
}

/// The lines for the kind of a case, of its metadata too.
fn lines(case: &Case) -> Vec<Line> {
    let kind = &case.mapper.spec().resource.kind;
    let (_, texts, _) = fields::texts().find(|(of, ..)| of == kind).expect("every kind has a table");
    texts.into_iter().flat_map(|text| fields::lines(text).expect("the table can be read")).collect()
}

/// The paths of a class, as the kinds write them.
fn paths(case: &Case, class: Class) -> Vec<String> {
    let lines = lines(case);
    let of_class = lines.iter().filter(|line| line.rule.class == class);
    of_class
        .map(|line| format!("/{}", line.path.replace('.', "/").replace("[]", "/*").replace("{}", "")))
        .collect()
}

fn is_in(path: &str, outside: &str) -> bool {
    path.strip_prefix(outside).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn case(title: &str) -> &'static Case {
    cases::all().iter().find(|case| case.title == title).unwrap_or_else(|| panic!("{title} is no case"))
}

fn one_of_each_kind() -> Vec<&'static Case> {
    let is_translated =
        |case: &&Case| translate::to_host(&case.world.ctx(), case.mapper.as_ref(), &case.source).is_ok();
    let mut found: Vec<&Case> = cases::all().iter().filter(is_translated).collect();
    found.dedup_by_key(|case| case.mapper.spec().resource.kind.clone());
    assert_eq!(found.len(), weft_core::kinds::builtin().len());
    found
}

fn on_host(case: &Case) -> HostObject {
    translate::to_host(&case.world.ctx(), case.mapper.as_ref(), &case.source).expect("it was chosen for that")
}

/// Puts `value` at a path of a table, and gives the pointer to it.
fn put(object: &mut Value, path: &str, value: Value) -> String {
    let pointer = path.split('.').fold(String::new(), |pointer, segment| {
        format!("{pointer}/{}", segment.replace("[]", "/0").replace("{}", "/key"))
    });
    put_at(object, &pointer, value);
    pointer
}

/// Puts `value` at a pointer, in lists and objects that are made where they are missing.
fn put_at(object: &mut Value, pointer: &str, value: Value) {
    let slot = pointer.split('/').skip(1).fold(object, inside);
    *slot = value;
}

fn inside<'a>(value: &'a mut Value, segment: &str) -> &'a mut Value {
    let Ok(index) = segment.parse::<usize>() else {
        if !value.is_object() {
            *value = json!({});
        }
        return &mut value[segment];
    };
    if !value.is_array() {
        *value = json!([]);
    }
    let items = value.as_array_mut().expect("it was made one");
    items.resize(items.len().max(index + 1), Value::Null);
    items.get_mut(index).expect("it was made long enough")
}

//! Label and field selectors.

use serde_json::Value;
use weft_core::paths::at;

use super::call::Call;
use super::kinds::Kind;
use super::metadata::is_label_value;
use super::object::text;
use super::refusal::Refusal;

/// The fields that objects can be selected by, beside name and namespace. A real server has a few more.
const FIELDS: &[(&str, &str)] = &[
    ("events", "involvedObject.kind"),
    ("events", "involvedObject.name"),
    ("events", "involvedObject.uid"),
    ("events", "reason"),
    ("events", "type"),
    ("namespaces", "status.phase"),
    ("nodes", "spec.unschedulable"),
    ("pods", "spec.nodeName"),
    ("pods", "status.phase"),
    ("secrets", "type"),
];

/// What objects must be like.
#[derive(Debug, Default)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    /// Path as a JSON pointer, value, and whether it must be that value.
    fields: Vec<(String, String, bool)>,
}

#[derive(Debug)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Selector {
    /// Reads the selectors of a request.
    pub(super) fn read(call: &Call) -> Result<Self, Refusal> {
        let labels =
            terms(call.parameter("labelSelector")).into_iter().map(requirement).collect::<Result<_, _>>()?;
        let fields = terms(call.parameter("fieldSelector"));
        let fields = fields.into_iter().map(|term| field(term, call.kind)).collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    /// Whether nothing is selected by.
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object is selected.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = at(object, "/metadata/labels").and_then(Value::as_object);
        let has_label = |wanted: &Requirement| {
            let found = labels.and_then(|labels| labels.get(&wanted.key)?.as_str());
            let is_one =
                |values: &[String]| found.is_some_and(|found| values.iter().any(|value| value == found));
            match &wanted.test {
                Test::Exists => found.is_some(),
                Test::Absent => found.is_none(),
                Test::In(values) => is_one(values),
                Test::NotIn(values) => !is_one(values),
            }
        };
        let has_field = |(path, value, is): &(String, String, bool)| (text(object, path) == value) == *is;
        self.labels.iter().all(has_label) && self.fields.iter().all(has_field)
    }
}

/// The terms of a selector: commas in parentheses separate values.
fn terms(selector: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let is_end = |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    selector.split(is_end).map(str::trim).filter(|term| !term.is_empty()).collect()
}

fn requirement(term: &str) -> Result<Requirement, Refusal> {
    let wrong = || Refusal::bad_request(format!("unable to parse requirement: {term}"));
    let of = |key: &str, test: Test| {
        let key = key.trim();
        let is_key = !key.is_empty() && !key.contains([' ', '(', ')', '=', '!']);
        let is_valid = match &test {
            Test::In(values) | Test::NotIn(values) => values.iter().all(|value| is_label_value(value)),
            Test::Exists | Test::Absent => true,
        };
        if is_key && is_valid { Ok(Requirement { key: key.to_owned(), test }) } else { Err(wrong()) }
    };
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some((key, value)) = term.split_once("!=") {
        return of(key, Test::NotIn(one(value)));
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return of(key, Test::In(one(value)));
    }
    if let Some((left, values)) = term.split_once('(') {
        let values = values.strip_suffix(')').ok_or_else(wrong)?;
        let values: Vec<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
        return match left.trim().rsplit_once(' ') {
            Some((key, "in")) => of(key, Test::In(values)),
            Some((key, "notin")) => of(key, Test::NotIn(values)),
            _ => Err(wrong()),
        };
    }
    match term.strip_prefix('!') {
        Some(key) => of(key, Test::Absent),
        None => of(term, Test::Exists),
    }
}

fn field(term: &str, kind: &Kind) -> Result<(String, String, bool), Refusal> {
    let wrong = || Refusal::bad_request(format!("invalid field selector: {term}"));
    let ((path, value), is) = match term.split_once("!=") {
        Some(parts) => (parts, false),
        None => (term.split_once("==").or_else(|| term.split_once('=')).ok_or_else(wrong)?, true),
    };
    let is_known = path == "metadata.name"
        || path == "metadata.namespace" && kind.is_namespaced
        || FIELDS.contains(&(kind.plural, path));
    if !is_known {
        return Err(Refusal::bad_request(format!("field label not supported: {path}")));
    }
    Ok((format!("/{}", path.replace('.', "/")), value.to_owned(), is))
}

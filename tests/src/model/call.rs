//! Reads what a request asks for, off its method, path, query and body.

use std::collections::BTreeMap;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, Method};
use serde_json::Value;

use super::kinds::Kind;
use super::object::elements;
use super::refusal::Refusal;

/// The parameters that the model knows; others would be believed without having an effect.
const PARAMETERS: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "dryRun",
    "fieldManager",
    "fieldSelector",
    "fieldValidation",
    "gracePeriodSeconds",
    "labelSelector",
    "limit",
    "pretty",
    "propagationPolicy",
    "resourceVersion",
    "resourceVersionMatch",
    "timeoutSeconds",
    "watch",
];
/// The fields that are objects in every kind that has them.
const SECTIONS: &[&str] = &["metadata", "spec", "status", "data"];

/// What is asked for.
pub(super) struct Call {
    pub(super) verb: Verb,
    pub(super) kind: &'static Kind,
    /// Empty for everywhere, and for kinds without namespaces.
    pub(super) namespace: String,
    /// Empty for all.
    pub(super) name: String,
    pub(super) subresource: Option<&'static str>,
    pub(super) query: BTreeMap<String, String>,
    /// Whether metadata is all that is wanted.
    pub(super) is_for_metadata: bool,
    /// Null without one.
    pub(super) body: Value,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Replace,
    Patch(Format),
    Delete,
}

/// How a patch is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Merge,
    Strategic,
}

/// What a path names.
struct Target {
    kind: &'static Kind,
    namespace: String,
    name: String,
    subresource: Option<&'static str>,
}

impl Call {
    /// Reads a request.
    pub(super) fn read(head: &Parts, body: &[u8]) -> Result<Self, Refusal> {
        let target = Target::read(head.uri.path())?;
        let query = query(head.uri.query().unwrap_or_default())?;
        let verb = verb(head, &target, &query)?;
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body).map_err(|error| Refusal::bad_request(error.to_string()))?
        };
        if matches!(verb, Verb::Create | Verb::Replace) {
            check_shape(&body)?;
        }
        let is_for_metadata = header(head, ACCEPT).contains("as=PartialObjectMetadata");
        let Target { kind, namespace, name, subresource } = target;
        Ok(Self { verb, kind, namespace, name, subresource, query, is_for_metadata, body })
    }

    /// The deletion of one object, as if somebody had asked for it.
    pub(super) fn deletion(kind: &'static Kind, namespace: &str, name: &str) -> Self {
        Self {
            verb: Verb::Delete,
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: None,
            query: BTreeMap::new(),
            is_for_metadata: false,
            body: Value::Null,
        }
    }

    /// A parameter of the query; empty without it.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A parameter that is a number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        match self.parameter(name) {
            "" => Ok(None),
            text => {
                let wrong = |_| Refusal::bad_request(format!("{name}: {text:?} is no number"));
                text.parse().map(Some).map_err(wrong)
            }
        }
    }

    /// Whether nothing is to be stored. A deletion with a body has its options there.
    pub(super) fn is_dry_run(&self) -> bool {
        if self.verb == Verb::Delete && !self.body.is_null() {
            return elements(&self.body, "/dryRun").iter().any(|stage| stage == "All");
        }
        self.parameter("dryRun") == "All"
    }
}

impl Target {
    fn read(path: &str) -> Result<Self, Refusal> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(Refusal::no_resource()),
        };
        let (namespace, rest) = match rest {
            // `namespaces/a/status` is about the namespace.
            ["namespaces", _, "status" | "finalize"] => ("", rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", None),
            [plural, name] => (*plural, *name, None),
            [plural, name, subresource] => (*plural, *name, Some(*subresource)),
            _ => return Err(Refusal::no_resource()),
        };
        let kind = Kind::find(group, version, plural).ok_or_else(Refusal::no_resource)?;
        if kind.is_namespaced == namespace.is_empty() && !(kind.is_namespaced && name.is_empty()) {
            return Err(Refusal::no_resource());
        }
        let subresource = subresource.map(|wanted| subresource_of(kind, wanted)).transpose()?;
        Ok(Self { kind, namespace: namespace.to_owned(), name: name.to_owned(), subresource })
    }
}

fn subresource_of(kind: &'static Kind, wanted: &str) -> Result<&'static str, Refusal> {
    let found = kind.subresources.iter().find(|subresource| **subresource == wanted);
    found.copied().ok_or_else(|| {
        // A real server has more of them than the model.
        let may_be_real = kind.has_status();
        let what = format!("{}/{wanted}", kind.plural);
        if may_be_real { Refusal::unmodelled(&what) } else { Refusal::no_resource() }
    })
}

fn query(text: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let query: BTreeMap<String, String> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    match query.keys().find(|name| !PARAMETERS.contains(&name.as_str())) {
        Some(unknown) => Err(Refusal::unmodelled(&format!("the parameter {unknown}"))),
        None => Ok(query),
    }
}

fn verb(head: &Parts, target: &Target, query: &BTreeMap<String, String>) -> Result<Verb, Refusal> {
    let is_watch = query.get("watch").is_some_and(|watch| matches!(watch.as_str(), "1" | "true"));
    let is_collection = target.name.is_empty();
    let is_nowhere = target.kind.is_namespaced && target.namespace.is_empty();
    match (head.method.clone(), target.subresource) {
        (Method::GET, None) if is_collection => Ok(if is_watch { Verb::Watch } else { Verb::List }),
        (Method::GET, None | Some("status")) => Ok(Verb::Get),
        (Method::POST, None) if is_collection && !is_nowhere => json(head, Verb::Create),
        (Method::POST, Some("binding" | "token")) => json(head, Verb::Create),
        (_, Some("binding" | "token")) => Err(Refusal::method()),
        (Method::PUT, _) if !is_collection => json(head, Verb::Replace),
        (Method::PATCH, _) if !is_collection => Ok(Verb::Patch(format(head, target.kind)?)),
        (Method::DELETE, None) if !is_collection => Ok(Verb::Delete),
        (Method::DELETE, None) => Err(Refusal::unmodelled("deletion of collections")),
        _ => Err(Refusal::method()),
    }
}

fn json(head: &Parts, verb: Verb) -> Result<Verb, Refusal> {
    match header(head, CONTENT_TYPE) {
        "" | "application/json" => Ok(verb),
        yaml @ ("application/yaml" | "application/cbor") => Err(Refusal::unmodelled(yaml)),
        other => Err(Refusal::media_type(other)),
    }
}

fn format(head: &Parts, kind: &Kind) -> Result<Format, Refusal> {
    match header(head, CONTENT_TYPE) {
        "application/json-patch+json" => Ok(Format::Json),
        "application/merge-patch+json" => Ok(Format::Merge),
        "application/strategic-merge-patch+json" if !kind.is_custom => Ok(Format::Strategic),
        "application/apply-patch+yaml" => Err(Refusal::unmodelled("server-side apply")),
        other => Err(Refusal::media_type(other)),
    }
}

fn header(head: &Parts, name: HeaderName) -> &str {
    head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Refuses what no kind looks like, so that what follows can read and edit it.
pub(super) fn check_shape(object: &Value) -> Result<(), Refusal> {
    let Some(fields) = object.as_object() else {
        return Err(Refusal::bad_request("the body is no object"));
    };
    let wrong =
        SECTIONS.iter().find(|name| fields.get(**name).is_some_and(|v| !v.is_object() && !v.is_null()));
    match wrong {
        Some(name) => Err(Refusal::bad_request(format!("{name} is no object"))),
        None => Ok(()),
    }
}

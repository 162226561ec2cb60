//! Reads off a request what it is about: verb, resource, namespace, name.

use std::time::Instant;

use http::header::ACCEPT;
use http::{HeaderMap, Method, Uri};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads one object, or something that is no object.
    Get,
    /// Reads many.
    List,
    /// Reads names and versions of many.
    ListMetadata,
    /// Follows the changes of many.
    Watch,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

/// A request as the proxy saw it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its place among all requests of the proxy.
    pub number: usize,
    /// When it came.
    pub at: Instant,
    /// What is done.
    pub verb: Verb,
    /// Path and query.
    pub path: String,
    /// Plural and subresource: `pods`, `pods/binding`; empty for what is no resource.
    pub resource: String,
    /// Empty without one.
    pub namespace: String,
    /// Empty without one.
    pub name: String,
    /// What was answered, once it was. A fault that answers nothing leaves it empty.
    pub status: Option<u16>,
}

impl Request {
    /// Reads the head of a request.
    pub(super) fn read(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let Target { resource, namespace, name } = Target::read(uri.path());
        let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let verb = match verb(method, uri, &name, &resource) {
            Verb::List if accepted.contains("PartialObjectMetadataList") => Verb::ListMetadata,
            verb => verb,
        };
        Self {
            number: 0,
            at: Instant::now(),
            verb,
            path: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            resource,
            namespace,
            name,
            status: None,
        }
    }
}

fn verb(method: &Method, uri: &Uri, name: &str, resource: &str) -> Verb {
    let is_watch =
        uri.query().unwrap_or_default().split('&').any(|part| matches!(part, "watch=1" | "watch=true"));
    match method.as_str() {
        "POST" => Verb::Post,
        "PUT" => Verb::Put,
        "PATCH" => Verb::Patch,
        "DELETE" => Verb::Delete,
        _ if is_watch => Verb::Watch,
        _ if name.is_empty() && !resource.is_empty() => Verb::List,
        _ => Verb::Get,
    }
}

#[derive(Default)]
struct Target {
    resource: String,
    namespace: String,
    name: String,
}

impl Target {
    fn read(path: &str) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let rest = match parts.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        match rest {
            // A namespace has subresources of its own.
            ["namespaces", name, subresource @ ("status" | "finalize")] => {
                Self::of("", "namespaces", name, subresource)
            }
            ["namespaces", namespace, plural] => Self::of(namespace, plural, "", ""),
            ["namespaces", namespace, plural, name] => Self::of(namespace, plural, name, ""),
            ["namespaces", namespace, plural, name, subresource] => {
                Self::of(namespace, plural, name, subresource)
            }
            [plural] => Self::of("", plural, "", ""),
            [plural, name] => Self::of("", plural, name, ""),
            [plural, name, subresource] => Self::of("", plural, name, subresource),
            _ => Self::default(),
        }
    }

    fn of(namespace: &str, plural: &str, name: &str, subresource: &str) -> Self {
        let separator = if subresource.is_empty() { "" } else { "/" };
        Self {
            resource: format!("{plural}{separator}{subresource}"),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_about_a_resource_in_a_namespace_with_a_name() {
        for (method, path, verb, about) in [
            (Method::POST, "/api/v1/namespaces/a/pods", Verb::Post, ["pods", "a", ""]),
            (Method::POST, "/api/v1/namespaces/a/pods/web/binding", Verb::Post, ["pods/binding", "a", "web"]),
            (
                Method::PATCH,
                "/apis/apps/v1/namespaces/a/deployments/web",
                Verb::Patch,
                ["deployments", "a", "web"],
            ),
            (Method::DELETE, "/api/v1/nodes/one", Verb::Delete, ["nodes", "", "one"]),
            (Method::GET, "/api/v1/namespaces/a", Verb::Get, ["namespaces", "", "a"]),
            (Method::PUT, "/api/v1/namespaces/a/finalize", Verb::Put, ["namespaces/finalize", "", "a"]),
            (Method::GET, "/api/v1/pods?limit=500", Verb::List, ["pods", "", ""]),
            (Method::GET, "/api/v1/pods?allowWatchBookmarks=true&watch=1", Verb::Watch, ["pods", "", ""]),
            (Method::GET, "/version", Verb::Get, ["", "", ""]),
        ] {
            let request = Request::read(&method, &path.parse().unwrap(), &HeaderMap::new());
            assert_eq!(request.verb, verb, "{path}");
            assert_eq!([request.resource, request.namespace, request.name], about, "{path}");
        }
    }
}

//! Builds the paths of URLs: of one object, of all objects of a kind.

use std::borrow::Cow;

use weft_core::object::ResourceType;

/// URL path of all objects of a kind, in one namespace or everywhere.
pub fn list_path(resource: &ResourceType, namespace: &str) -> String {
    let root = if resource.group.is_empty() { "/api" } else { "/apis" };
    let (version, plural) = (resource.api_version(), &resource.plural);
    if namespace.is_empty() {
        format!("{root}/{version}/{plural}")
    } else {
        format!("{root}/{version}/namespaces/{}/{plural}", segment(namespace))
    }
}

/// URL path of one object or of a subresource of it.
pub fn object_path(
    resource: &ResourceType,
    namespace: &str,
    name: &str,
    subresource: Option<&str>,
) -> String {
    let path = format!("{}/{}", list_path(resource, namespace), segment(name));
    match subresource {
        Some(subresource) => format!("{path}/{subresource}"),
        None => path,
    }
}

/// A name as one segment of a path, whatever is in it. Servers decode a path before they split it, so that `%2F` and `%2E%2E`
/// lead elsewhere all the same. Of what no name has (`IsValidPathSegmentName` in `k8s.io/apimachinery`) the escapes are escaped
/// once more: the server looks for an object that has them in its name, and finds none.
fn segment(name: &str) -> Cow<'_, str> {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':');
    let is_path = matches!(name, "." | "..") || name.contains(['/', '%']);
    if name.is_empty() {
        // Nothing would be all objects of the kind.
        return "%25".into();
    }
    if !is_path && name.bytes().all(is_plain) {
        return name.into();
    }
    let escape = if is_path { "%25" } else { "%" };
    name.bytes().map(|byte| format!("{escape}{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api;

    #[test]
    fn a_name_is_one_segment_whatever_is_in_it() {
        let pods = ResourceType::core("Pod", "pods");
        let path = |namespace: &str, name: &str| object_path(&pods, namespace, name, Some("status"));
        for name in ["web-0.x", "system:node"] {
            assert_eq!(path("shop", name), format!("/api/v1/namespaces/shop/pods/{name}/status"));
        }
        assert_eq!(path("shop", "a?"), "/api/v1/namespaces/shop/pods/%61%3F/status");
        for name in ["../../secrets/x", "..", ".", "", "a/b", "a%2Fb", "a b", "a#b", "a?b", "ä", "a\n"] {
            let path = path("shop", name);
            let request = api::get(&path);
            assert_eq!(request.uri().path(), path, "{name:?} makes a URL");
            assert_eq!(request.uri().query(), None, "{name:?}");
            assert_eq!(
                decoded(&path).split('/').count(),
                8,
                "{name:?} is one segment, also when it is decoded"
            );
            assert!(!decoded(&path).contains("/../") && !decoded(&path).contains("//"), "{name:?}");
        }
        assert_eq!(decoded(&list_path(&pods, "../team-b")).split('/').count(), 6);
    }

    /// The path as a server reads it, which decodes it once.
    fn decoded(path: &str) -> String {
        let mut pieces = path.split('%');
        let first = pieces.next().unwrap_or_default().to_owned();
        pieces.fold(first, |done, piece| {
            let (code, rest) = piece.split_at(2);
            format!("{done}{}{rest}", char::from(u8::from_str_radix(code, 16).unwrap()))
        })
    }
}

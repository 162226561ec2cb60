//! Lists objects: of now or of a revision, in pages.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::call::Call;
use super::object::fields;
use super::refusal::Refusal;
use super::selector::Selector;
use super::server::Server;

/// Where the next page begins. The fields are those of a real server.
#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    /// All pages show the objects of this revision.
    rv: u64,
    /// The path of the first object.
    start: String,
}

/// Which objects, as of when.
struct Range {
    revision: u64,
    start: String,
    /// No limit is zero.
    limit: usize,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

impl Server {
    pub(super) fn list(&self, call: &Call) -> Result<Value, Refusal> {
        let selector = Selector::read(call)?;
        let range = self.range(call)?;
        if self.storage.has_forgotten(range.revision) {
            return Err(Refusal::expired("the provided continue parameter or resourceVersion is too old"));
        }
        let all = self.storage.at(range.revision, call.kind, &call.namespace);
        let mut rest = all
            .into_iter()
            .filter(|(key, object)| key.path >= range.start && selector.matches(object))
            .peekable();
        let limit = if range.limit == 0 { usize::MAX } else { range.limit };
        let page: Vec<Value> = rest.by_ref().take(limit).map(|(_, object)| item(&object, call)).collect();
        let mut metadata = json!({"resourceVersion": range.revision.to_string()});
        if let Some((key, _)) = rest.peek() {
            fields(&mut metadata).insert("continue".into(), token(range.revision, &key.path).into());
            if selector.is_empty() {
                fields(&mut metadata).insert("remainingItemCount".into(), rest.count().into());
            }
        }
        let (version, kind) = if call.is_for_metadata {
            ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned())
        } else {
            (call.kind.api_version(), format!("{}List", call.kind.name))
        };
        Ok(json!({"kind": kind, "apiVersion": version, "metadata": metadata, "items": page}))
    }

    fn range(&self, call: &Call) -> Result<Range, Refusal> {
        let limit = call.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or_default();
        let (version, matching) = (call.number("resourceVersion")?, call.parameter("resourceVersionMatch"));
        let next = call.parameter("continue");
        check_match(version, matching, next)?;
        if !next.is_empty() {
            if version.is_some_and(|version| version != 0) {
                return Err(Refusal::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let Token { rv, start, .. } = read_token(next)?;
            return Ok(Range { revision: rv, start, limit });
        }
        let current = self.storage.revision();
        let wanted = version.unwrap_or_default();
        self.check_not_ahead(wanted)?;
        let is_exact = matching == "Exact" || wanted != 0 && limit != 0 && matching.is_empty();
        let revision = if is_exact { wanted } else { current };
        // A cache answers what may be of any time, and has no pages.
        let limit = if version == Some(0) { 0 } else { limit };
        Ok(Range { revision, start: String::new(), limit })
    }
}

fn check_match(version: Option<u64>, matching: &str, next: &str) -> Result<(), Refusal> {
    let is_wrong = match matching {
        "" => false,
        "NotOlderThan" => version.is_none() || !next.is_empty(),
        "Exact" => matches!(version, None | Some(0)) || !next.is_empty(),
        _ => true,
    };
    if is_wrong {
        return Err(Refusal::unprocessable("resourceVersionMatch is forbidden here, or not supported"));
    }
    Ok(())
}

fn token(revision: u64, start: &str) -> String {
    let token = Token { v: TOKEN_VERSION.to_owned(), rv: revision, start: start.to_owned() };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

fn read_token(text: &str) -> Result<Token, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let token: Option<Token> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let is_known = |token: &Token| token.v == TOKEN_VERSION && !token.start.is_empty();
    token.filter(is_known).ok_or_else(|| Refusal::bad_request("continue key is not valid"))
}

/// An object in a list. Only custom resources say there what they are.
fn item(object: &Arc<Value>, call: &Call) -> Value {
    if call.is_for_metadata {
        return project(object);
    }
    let mut item = Value::clone(object);
    if !call.kind.is_custom {
        fields(&mut item).retain(|name, _| !matches!(name.as_str(), "kind" | "apiVersion"));
    }
    item
}

/// The metadata of an object, for those who want no more.
pub(super) fn project(object: &Value) -> Value {
    let metadata = object.get("metadata").cloned().unwrap_or_default();
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

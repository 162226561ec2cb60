//! Which taints of nodes a pod may tolerate.

use serde_json::Value;

use crate::key_pattern;
use crate::policy::patterns::Patterns;

/// Effects that a taint can have.
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Taints, each written as `kubectl taint` does: `key`, `key=value`, `key:Effect`, `key=value:Effect`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taints(Vec<Taint>);

/// One or more taints.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Taint {
    /// A pattern of keys.
    key: String,
    /// Any where there is none.
    value: Option<String>,
    /// Any where there is none.
    effect: Option<String>,
}

/// Why an entry cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} must be a taint as `key`, `key=value`, `key:Effect` or `key=value:Effect`, where the key can be `*` or end \
     in `/*`, and the effect is NoSchedule, PreferNoSchedule or NoExecute"
)]
pub struct UnusableTaint(String);

impl Taints {
    /// Reads the entries.
    ///
    /// # Errors
    /// An entry without a key or with an effect that no taint has.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, UnusableTaint> {
        let read = |entry: &str| Taint::parse(entry).ok_or_else(|| UnusableTaint(entry.to_owned()));
        entries.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The same of entries that stand in the code.
    pub(super) fn of(entries: &[&str]) -> Self {
        Self(entries.iter().filter_map(|entry| Taint::parse(entry)).collect())
    }

    /// Whether each taint that `toleration` tolerates is among these. What is no toleration is not.
    pub fn cover(&self, toleration: &Value) -> bool {
        let text = |field: &str| match toleration.get(field) {
            None | Some(Value::Null) => Some(""),
            Some(value) => value.as_str(),
        };
        let fields = (text("key"), text("operator"), text("value"), text("effect"));
        let (Some(key), Some(operator), Some(value), Some(effect)) = fields else { return false };
        // Operators other than equality tolerate more values than the one that they name.
        let value = matches!(operator, "" | "Equal").then_some(value);
        toleration.is_object() && self.0.iter().any(|taint| taint.covers(key, value, effect))
    }
}

impl Taint {
    fn parse(entry: &str) -> Option<Self> {
        let (rest, effect) = match entry.split_once(':') {
            Some((rest, effect)) => (rest, Some(effect)),
            None => (entry, None),
        };
        let (key, value) = match rest.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (rest, None),
        };
        Patterns::parse([key]).ok()?;
        let is_known = effect.is_none_or(|effect| EFFECTS.contains(&effect));
        let owned = |text: Option<&str>| text.map(str::to_owned);
        is_known.then(|| Self { key: key.to_owned(), value: owned(value), effect: owned(effect) })
    }

    /// Whether it stands for the taints of this key, of this value or of any, and of this effect or, if empty, of any.
    fn covers(&self, key: &str, value: Option<&str>, effect: &str) -> bool {
        // A toleration without a key tolerates every taint.
        let covers_key = if key.is_empty() { self.key == "*" } else { key_pattern::means(&self.key, key) };
        covers_key
            && self.value.as_deref().is_none_or(|own| value == Some(own))
            && self.effect.as_deref().is_none_or(|own| effect == own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn covers(entry: &str, toleration: &Value) -> bool {
        Taints::parse([entry]).unwrap().cover(toleration)
    }

    #[test]
    fn a_toleration_is_covered_if_all_that_it_tolerates_is() {
        let exact = json!({"key": "gpu", "operator": "Equal", "value": "a100", "effect": "NoSchedule"});
        for entry in ["gpu", "gpu=a100", "gpu:NoSchedule", "gpu=a100:NoSchedule", "*", "*:NoSchedule"] {
            assert!(covers(entry, &exact), "{entry}");
        }
        for entry in ["gpus", "gpu=", "gpu=t4", "gpu:NoExecute", "example.com/*", "gpu=a100:NoExecute"] {
            assert!(!covers(entry, &exact), "{entry}");
        }
    }

    #[test]
    fn a_toleration_of_many_taints_needs_an_entry_for_all_of_them() {
        for wide in [
            json!({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}),
            json!({"key": "gpu", "operator": "Gt", "value": "5", "effect": "NoSchedule"}),
        ] {
            assert!(covers("gpu:NoSchedule", &wide) && !covers("gpu=5:NoSchedule", &wide), "{wide}");
        }
        let any_effect = json!({"key": "gpu", "value": "a"});
        assert!(covers("gpu=a", &any_effect) && !covers("gpu=a:NoSchedule", &any_effect));
        let everything = json!({"operator": "Exists"});
        assert!(covers("*", &everything));
        for entry in ["gpu", "example.com/*", "*:NoSchedule", "*=a"] {
            assert!(!covers(entry, &everything), "{entry}");
        }
        assert!(covers("example.com/*", &json!({"key": "example.com/a", "operator": "Exists"})));
    }

    #[test]
    fn what_is_no_toleration_is_not_covered() {
        for value in
            [json!("gpu"), json!(null), json!([]), json!({"key": 7}), json!({"key": "a", "effect": []})]
        {
            assert!(!covers("*", &value), "{value}");
        }
    }

    #[test]
    fn what_is_no_taint_is_refused() {
        for entry in ["", "=a", ":NoSchedule", "a:Never", "a:", "*a"] {
            assert_eq!(Taints::parse([entry]), Err(UnusableTaint(entry.to_owned())), "{entry}");
        }
    }
}

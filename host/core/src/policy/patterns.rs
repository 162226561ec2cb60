//! A list of names that the operator allows, such as those of classes or of node labels.

use crate::key_pattern;

/// Names, or patterns of them as [`key_pattern::means`] reads them: `gold`, `gpu-*`, `example.com/*`, or `*` for any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns(Vec<String>);

/// Why an entry cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} {why}")]
pub struct UnusablePattern {
    entry: String,
    why: &'static str,
}

impl Patterns {
    /// Reads the entries.
    ///
    /// # Errors
    /// An entry is no pattern.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, UnusablePattern> {
        let check = |entry: &str| match key_pattern::check(entry) {
            Ok(()) => Ok(entry.to_owned()),
            Err(why) => Err(UnusablePattern { entry: entry.to_owned(), why }),
        };
        entries.into_iter().map(check).collect::<Result<_, _>>().map(Self)
    }

    /// The same of entries that stand in the code.
    pub(super) fn of(entries: &[&str]) -> Self {
        Self(entries.iter().map(|entry| (*entry).to_owned()).collect())
    }

    /// Any name.
    pub fn any() -> Self {
        Self::of(&[key_pattern::ANY])
    }

    /// Whether the operator allows `name`.
    pub fn has(&self, name: &str) -> bool {
        !name.is_empty() && self.0.iter().any(|entry| key_pattern::means(entry, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_its_names_and_a_star_has_all_but_the_empty_one() {
        let list = Patterns::parse(["gvisor", "example.com/*"]).unwrap();
        for name in ["gvisor", "example.com/a"] {
            assert!(list.has(name), "{name}");
        }
        for name in ["", "gvisor2", "example.com", "example.community/a", "a.example.com/a"] {
            assert!(!list.has(name), "{name}");
        }
        assert!(Patterns::any().has("anything") && Patterns::any().has("example.com/a"));
        assert!(!Patterns::any().has("") && !Patterns::default().has("gvisor"));
    }

    #[test]
    fn an_entry_that_is_no_pattern_is_named() {
        for entry in ["", "*/a", "*a", "/*", "a/*/b", "a b"] {
            let error = Patterns::parse([entry]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{entry:?} must ")), "{error}");
        }
    }
}

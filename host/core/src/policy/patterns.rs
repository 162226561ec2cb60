//! A list of names that are allowed, some by how they begin.

/// Names; `*` at an entry's end stands for any end, and alone for every name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns(Vec<String>);

/// Why an entry cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} must be a name, `*`, or a domain with all of its keys, such as `example.com/*`")]
pub struct UnusablePattern(String);

impl Patterns {
    /// Reads the entries.
    ///
    /// # Errors
    /// An entry that is empty, or has a `*` elsewhere than alone or behind a domain.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, UnusablePattern> {
        let is_usable = |entry: &str| {
            let fixed = entry.strip_suffix("/*").unwrap_or(entry);
            entry == "*" || !(fixed.is_empty() || fixed.contains(['*', ' ']))
        };
        let check = |entry: &str| {
            if is_usable(entry) { Ok(entry.to_owned()) } else { Err(UnusablePattern(entry.to_owned())) }
        };
        entries.into_iter().map(check).collect::<Result<_, _>>().map(Self)
    }

    /// The same of entries that stand in the code.
    pub(super) fn of(entries: &[&str]) -> Self {
        Self(entries.iter().map(|entry| (*entry).to_owned()).collect())
    }

    /// Whether `name` is allowed.
    pub fn match_name(&self, name: &str) -> bool {
        self.0.iter().any(|entry| matches(entry, name))
    }
}

/// Whether an entry stands for `name`.
pub(super) fn matches(entry: &str, name: &str) -> bool {
    entry.strip_suffix('*').map_or(entry == name, |start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_name_or_all_keys_of_a_domain() {
        let patterns = Patterns::parse(["gvisor", "example.com/*"]).unwrap();
        for name in ["gvisor", "example.com/a"] {
            assert!(patterns.match_name(name), "{name}");
        }
        for name in ["", "gvisor2", "example.com", "example.community/a", "a.example.com/a"] {
            assert!(!patterns.match_name(name), "{name}");
        }
        assert!(Patterns::parse(["*"]).unwrap().match_name("anything"));
        assert!(!Patterns::default().match_name(""));
    }

    #[test]
    fn a_star_elsewhere_is_refused() {
        for entry in ["", "a*", "*/a", "*a", "/*", "a/*/b", "a b"] {
            assert_eq!(Patterns::parse([entry]), Err(UnusablePattern(entry.to_owned())), "{entry}");
        }
    }
}

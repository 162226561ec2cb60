//! Names that the operator lists, such as those of classes.

use std::collections::BTreeSet;

/// Any name at all, in place of a name.
pub const ANY: &str = "*";

/// Names that the operator lists; `*` is any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowList(BTreeSet<String>);

impl AllowList {
    /// These names.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Any name.
    pub fn any() -> Self {
        Self::new([ANY.to_owned()])
    }

    /// Whether the operator lists `name`.
    pub fn has(&self, name: &str) -> bool {
        !name.is_empty() && (self.0.contains(ANY) || self.0.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_its_names_and_a_star_has_all_but_the_empty_one() {
        let list = AllowList::new(["fast".to_owned()]);
        assert!(list.has("fast") && !list.has("slow") && !list.has("") && !AllowList::default().has("fast"));
        assert!(AllowList::any().has("slow") && AllowList::any().has("*") && !AllowList::any().has(""));
        assert!(!list.has("*"));
    }
}

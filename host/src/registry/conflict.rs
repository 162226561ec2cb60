//! Why the rules of several sources cannot be used together.

use weft_core::object::Kind;

use crate::registry::Owner;
use crate::registry::descriptor::Role;

/// Why rules do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Two want to be the one that maps a kind.
    #[error(
        "{kind} is mapped by {first} and by {second}, and only one can: a plugin may mutate the kind, or override what weft itself does"
    )]
    TwoOwners {
        /// The kind.
        kind: Kind,
        /// Who has it.
        first: Owner,
        /// Who wants it as well.
        second: Owner,
    },
    /// There is nothing to override or to mutate.
    #[error("the plugin {plugin} wants to {role} {kind}, which nobody maps: let it add the kind")]
    NoOwner {
        /// The kind.
        kind: Kind,
        /// The plugin.
        plugin: String,
        /// What it wants to be.
        role: Role,
    },
    /// The plural that a plugin gives is not the kind's.
    #[error("the plugin {plugin} declares plural {found:?} for {kind}; the API resource is {expected:?}")]
    Plural {
        /// The kind.
        kind: Kind,
        /// The plugin.
        plugin: String,
        /// What it declares.
        found: String,
        /// What it is.
        expected: String,
    },
}

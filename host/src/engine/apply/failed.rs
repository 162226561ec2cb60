//! The error of a request: which verb failed, about which object, on which side.

use std::borrow::Cow;

use crate::api::Error;

/// A request about one object that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} {name} {}", side.place())]
pub(crate) struct Failed {
    pub(crate) side: Side,
    /// A verb in its plain form, `create`, and what it needs where that is known.
    pub(crate) action: Cow<'static, str>,
    /// Which object, for people.
    pub(crate) name: Box<str>,
    pub(crate) source: Error,
}

/// Which cluster a request went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Host,
    Virtual,
}

impl Side {
    /// Makes an error of this side out of what the server answered, for `map_err`. The name is written out only then.
    pub(crate) fn failed_to(
        self,
        action: impl Into<Cow<'static, str>>,
        name: impl ToString,
    ) -> impl FnOnce(Error) -> Failed {
        move |source| Failed { side: self, action: action.into(), name: name.to_string().into(), source }
    }

    fn place(self) -> &'static str {
        match self {
            Self::Host => "on the host",
            Self::Virtual => "in the virtual cluster",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_verb_the_object_and_the_side() {
        let host = Side::Host.failed_to("create", "v1/Pod shop/web")(Error::Timeout);
        assert_eq!(host.to_string(), "failed to create v1/Pod shop/web on the host");
        let failed = Side::Virtual.failed_to("bind", "v1/Pod shop/web")(Error::Timeout);
        assert_eq!(failed.to_string(), "failed to bind v1/Pod shop/web in the virtual cluster");
        let cause = std::error::Error::source(&failed).unwrap().to_string();
        assert_eq!(cause, Error::Timeout.to_string(), "the cause is the source, and not in the message");
    }
}

//! An error and all that caused it, as one line for people.

/// `error: its cause: the cause of that`. Some errors end with the text of their cause; it is not repeated.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

/// The same without line breaks.
pub fn causes(error: &dyn std::error::Error) -> String {
    chain(error).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Error {
        #[error("refused")]
        Refused,
        #[error("connect: {0}")]
        Connect(#[source] Box<Error>),
        #[error("failed to list\npods")]
        List(#[source] Box<Error>),
    }

    #[test]
    fn a_cause_that_is_in_the_text_already_is_not_repeated() {
        let error = Error::List(Error::Connect(Error::Refused.into()).into());
        assert_eq!(chain(&error), "failed to list\npods: connect: refused");
        assert_eq!(causes(&error), "failed to list pods: connect: refused");
    }
}

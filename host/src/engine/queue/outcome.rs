//! What a worker reports to the queue when its work on a key has ended.

use std::time::Duration;

/// How the work on a key ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing is left to do until something changes.
    Done,
    /// Requeued after this time, though nothing failed.
    Again(Duration),
    /// Failed: requeued after a pause that grows, or after the time the server asked for.
    Failed(Option<Duration>),
    /// The server refuses what is written, or somebody else's object is there: the same as a failure, and all refused keys
    /// together are tried only so often.
    Refused,
}

impl Outcome {
    /// Both: a failure counts, and of two times the sooner one.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Refused, _) | (_, Self::Refused) => Self::Refused,
            (Self::Failed(one), Self::Failed(other)) => Self::Failed(one.max(other)),
            (Self::Failed(asked), _) | (_, Self::Failed(asked)) => Self::Failed(asked),
            (Self::Again(one), Self::Again(other)) => Self::Again(one.min(other)),
            (Self::Again(time), Self::Done) | (Self::Done, Self::Again(time)) => Self::Again(time),
            (Self::Done, Self::Done) => Self::Done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_outcomes_the_worse_and_the_sooner_counts() {
        let (soon, late) = (Duration::from_secs(1), Duration::from_secs(2));
        assert_eq!(Outcome::Again(soon).and(Outcome::Again(late)), Outcome::Again(soon));
        assert_eq!(Outcome::Done.and(Outcome::Again(late)), Outcome::Again(late));
        assert_eq!(Outcome::Again(soon).and(Outcome::Failed(None)), Outcome::Failed(None));
        assert_eq!(Outcome::Failed(Some(late)).and(Outcome::Failed(None)), Outcome::Failed(Some(late)));
        assert_eq!(Outcome::Done.and(Outcome::Done), Outcome::Done);
        assert_eq!(Outcome::Failed(Some(late)).and(Outcome::Refused), Outcome::Refused);
    }
}

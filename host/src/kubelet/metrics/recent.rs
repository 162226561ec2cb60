//! Remembers answers of the virtual API server for a while, so many at most.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// What is remembered in place of the question, which may be a secret.
type Fingerprint = [u8; 32];

/// Answers by their questions.
pub(super) struct Recent<V> {
    most: usize,
    answers: Mutex<HashMap<Fingerprint, (Instant, V)>>,
}

impl<V: Clone> Recent<V> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, answers: Mutex::default() }
    }

    pub(super) fn get(&self, question: &[u8]) -> Option<V> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (end, answer) = answers.get(&fingerprint(question))?;
        (*end > Instant::now()).then(|| answer.clone())
    }

    /// Remembers an answer for so long. Where there is no room, what would be forgotten first makes some: refusals, which live
    /// shorter, do not drive out who is known.
    pub(super) fn put(&self, question: &[u8], answer: V, life: Duration) {
        let now = Instant::now();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= self.most {
            answers.retain(|_, (end, _)| *end > now);
        }
        if answers.len() >= self.most
            && let Some(first) =
                answers.iter().min_by_key(|(_, (end, _))| *end).map(|(question, _)| *question)
        {
            answers.remove(&first);
        }
        answers.insert(fingerprint(question), (now + life, answer));
    }
}

fn fingerprint(question: &[u8]) -> Fingerprint {
    Sha256::digest(question).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(2);
    const SHORT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_forgotten_at_the_end_of_its_life() {
        let recent = Recent::new(8);
        recent.put(b"one", 1, SHORT);
        assert_eq!((recent.get(b"one"), recent.get(b"other")), (Some(1), None));
        tokio::time::advance(SHORT).await;
        assert_eq!(recent.get(b"one"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_short_lives_drives_out_no_long_one_and_takes_no_more_room() {
        let recent = Recent::new(8);
        recent.put(b"known", 0, LONG);
        for number in 0..1000_u32 {
            recent.put(&number.to_le_bytes(), number, SHORT);
        }
        assert_eq!(recent.get(b"known"), Some(0));
        assert_eq!(recent.answers.lock().unwrap().len(), 8);
    }
}

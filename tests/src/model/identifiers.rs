//! UIDs and the ends of generated names: they look random and follow from a seed.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// What Kubernetes generates names from: no vowels, no digits that look like letters.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many characters it appends.
const SUFFIX: usize = 5;

/// A source of identifiers.
pub(super) struct Identifiers {
    seed: u64,
    count: u64,
}

impl Identifiers {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, count: 0 }
    }

    /// The next UID.
    pub(super) fn uid(&mut self) -> String {
        let mut uid = String::new();
        for (index, byte) in self.next().into_iter().take(16).enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                uid.push('-');
            }
            // Writing to a string cannot fail.
            let _ = write!(uid, "{byte:02x}");
        }
        uid
    }

    /// The next end of a generated name.
    pub(super) fn suffix(&mut self) -> String {
        let letter = |byte: u8| ALPHABET.get(usize::from(byte) % ALPHABET.len()).copied().map(char::from);
        self.next().into_iter().take(SUFFIX).filter_map(letter).collect()
    }

    fn next(&mut self) -> [u8; 32] {
        self.count += 1;
        Sha256::new()
            .chain_update(self.seed.to_be_bytes())
            .chain_update(self.count.to_be_bytes())
            .finalize()
            .into()
    }
}

//! How much is copied, and how long a slow reader takes: enough to see a fault, or as much as somebody may want who can wait.

/// What is tried of each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amounts {
    /// In each of the files that are copied at the same time.
    pub(super) mebibytes: u32,
    /// Those of a slow reader, a tenth of a second each.
    pub(super) pauses: usize,
}

/// Half a minute of reading.
const SHORT: Amounts = Amounts { mebibytes: 12, pauses: 250 };
/// Ten minutes of it.
const LONG: Amounts = Amounts { mebibytes: 1024, pauses: 5_000 };

/// The long form where `WEFT_LONG` is set.
pub(super) fn amounts() -> Amounts {
    if std::env::var_os("WEFT_LONG").is_some() { LONG } else { SHORT }
}

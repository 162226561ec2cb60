//! What a call writes to its stubbed standard streams, as lines for the log.
//!
//! A stream takes all that it is given, as `check-write` promises, and each byte costs the same. Of what one call prints
//! beyond some lines only the last line of each write goes on, which is where a panic's message stands; the log says so.

/// Bytes of one line; longer ones are broken.
const LINE: usize = 4096;
/// Lines of one call that all go to the log, which takes no more at once: see `generation.rs`.
const LINES: usize = 100;

/// The lines of one call.
#[derive(Debug, Default)]
pub(super) struct Printed {
    /// The line that is not at its end.
    begun: Vec<u8>,
    lines: usize,
    has_left_out: bool,
}

impl Printed {
    /// Adds what was written; returns the lines that it ends, as far as they go to the log.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() && self.lines < LINES {
            let room = LINE.saturating_sub(self.begun.len());
            let (window, _) = rest.split_at(rest.len().min(room));
            let end = memchr::memchr(b'\n', window);
            let (part, after) = rest.split_at(end.unwrap_or(window.len()));
            self.begun.extend_from_slice(part);
            rest = after;
            if end.is_some() {
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
            if end.is_some() || self.begun.len() >= LINE {
                self.lines += 1;
                lines.push(self.end(end.is_some()));
            }
        }
        lines.extend(self.last(rest));
        lines
    }

    /// Whether something was taken that no line has.
    pub(super) fn has_left_out(&self) -> bool {
        self.has_left_out
    }

    /// The last line that `rest` ends, without a look at the others.
    fn last(&mut self, rest: &[u8]) -> Option<String> {
        let Some(end) = memchr::memrchr(b'\n', rest) else {
            self.begin(rest);
            return None;
        };
        let (ended, next) = rest.split_at(end);
        match memchr::memrchr(b'\n', ended) {
            Some(start) => {
                self.has_left_out = true;
                self.begun.clear();
                self.begin(ended.split_at(start + 1).1);
            }
            None => self.begin(ended),
        }
        let line = self.end(true);
        self.begin(next.strip_prefix(b"\n").unwrap_or(next));
        Some(line)
    }

    /// Keeps the beginning of a line that is not looked at byte by byte.
    fn begin(&mut self, bytes: &[u8]) {
        let room = LINE.saturating_sub(self.begun.len());
        self.has_left_out |= bytes.len() > room;
        self.begun.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// The line that the call has begun and not ended.
    pub(super) fn left(&mut self) -> Option<String> {
        (!self.begun.is_empty()).then(|| self.end(true))
    }

    /// Ends a line. One that is broken for its length keeps its last character for the next if that may be incomplete.
    fn end(&mut self, is_whole: bool) -> String {
        let is_continued = |byte: &u8| byte & 0xc0 == 0x80;
        let tail = self.begun.iter().rev().take(3).take_while(|byte| is_continued(byte)).count() + 1;
        let is_text = self.begun.last().is_none_or(u8::is_ascii);
        let kept = if is_whole || is_text { self.begun.len() } else { self.begun.len().saturating_sub(tail) };
        let next = self.begun.split_off(kept);
        String::from_utf8_lossy(&std::mem::replace(&mut self.begun, next)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(parts: &[&[u8]]) -> Vec<String> {
        let mut printed = Printed::default();
        let mut lines: Vec<String> = parts.iter().flat_map(|part| printed.add(part)).collect();
        lines.extend(printed.left());
        lines
    }

    #[test]
    fn lines_are_those_of_the_text_however_it_is_cut() {
        assert_eq!(all(&[b"a\nb\n\n", b"c", b"d\ne"]), ["a", "b", "", "cd", "e"]);
        assert_eq!(
            all(&["gr\u{fc}n\n".as_bytes().split_at(3).0, "\u{fc}n\n".as_bytes().split_at(1).1]),
            ["gr\u{fc}n"]
        );
    }

    #[test]
    fn nothing_that_was_taken_is_lost_from_a_long_line() {
        for letter in ["x", "\u{fc}", "\u{20ac}", "\u{1f600}"] {
            // Off by one, so that characters lie across the break.
            let text = format!("y{}", letter.repeat(3 * LINE / letter.len()));
            let lines = all(&[text.as_bytes()]);
            assert!(lines.len() >= 3 && lines.iter().all(|line| line.len() <= LINE), "{letter}");
            assert_eq!(lines.concat(), text);
        }
    }

    #[test]
    fn what_no_line_has_is_known_to_be_left_out() {
        let has_left_out = |beyond: &[u8]| {
            let mut printed = Printed::default();
            assert_eq!(printed.add("again\n".repeat(LINES).as_bytes()).len(), LINES);
            printed.add(beyond);
            printed.has_left_out()
        };
        assert!(!has_left_out(b"") && !has_left_out(b"a\nb"));
        assert!(has_left_out(b"a\nb\n") && has_left_out(&[b'x'; LINE + 1]));
    }

    #[test]
    fn a_flood_is_a_few_lines_and_its_end() {
        let flood = "again\n".repeat(1_000_000) + "panicked: over\n";
        let lines = all(&[flood.as_bytes(), b"a\nb\nc\n"]);
        assert_eq!(lines.len(), LINES + 2);
        assert_eq!(&lines[LINES..], ["panicked: over", "c"]);
    }
}

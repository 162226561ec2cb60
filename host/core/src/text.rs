//! Cuts strings to a length, and makes lines out of strings that foreign code has chosen.

/// The first `length` bytes of `text`, without the character that does not fit whole.
pub fn truncate(text: &str, length: usize) -> &str {
    text.split_at_checked(text.floor_char_boundary(length)).map_or(text, |(kept, _)| kept)
}

/// The first `length` bytes of a string that foreign code has chosen, as one line in which nothing can move or
/// colour a terminal, begin another line, or make it run backwards.
pub fn one_line(text: &str, length: usize) -> String {
    truncate(text, length).chars().map(|c| if c.is_control() || is_layout(c) { ' ' } else { c }).collect()
}

/// Separators of lines and paragraphs, and marks that change the direction of text.
fn is_layout(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_cut_between_characters() {
        assert_eq!((truncate("wörter", 2), truncate("wörter", 3), truncate("ab", 9)), ("w", "wö", "ab"));
    }

    #[test]
    fn a_string_of_foreign_code_becomes_one_plain_line() {
        assert_eq!(one_line("a\r\n\u{1b}[31mb\u{9b}2J\u{2028}c\u{202e}d", 1024), "a   [31mb 2J c d");
        assert_eq!(one_line("wörter", 2), "w");
    }
}

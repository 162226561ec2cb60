//! Output of commands: results on standard output, notes on standard error, colours only on a terminal.

use std::fmt::{Display, Write as _};
use std::io::{IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde::Serialize;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const FAINT: Style = AnsiColor::Cyan.on_default();
const STRONG: Style = Style::new().bold();

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For people, with more columns.
    Wide,
    /// For programs.
    Json,
    /// For people and programs.
    Yaml,
}

/// Prints a result. A closed pipe is not an error.
pub(super) fn print(text: &str) {
    let _ = anstream::stdout().write_all(text.as_bytes());
}

/// Prints a note to standard error.
pub(super) fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "weft: {text}");
}

/// Whether standard output is a terminal.
pub(super) fn is_read_by_a_person() -> bool {
    std::io::stdout().is_terminal()
}

/// Prints a value for programs.
pub(super) fn print_value<T: Serialize>(value: &T, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => print(&format!("{}\n", serde_json::to_string_pretty(value)?)),
        _ => print(&serde_saphyr::to_string(value)?),
    }
    Ok(())
}

/// In the colour of success.
pub(super) fn good(text: impl Display) -> String {
    paint(GOOD, text)
}

/// In the colour of failure.
pub(super) fn bad(text: impl Display) -> String {
    paint(BAD, text)
}

/// In the colour of secondary text.
pub(super) fn faint(text: impl Display) -> String {
    paint(FAINT, text)
}

/// In bold.
pub(super) fn strong(text: impl Display) -> String {
    paint(STRONG, text)
}

fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// A table with a header; each column is as wide as its longest entry.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    let width = |column: usize| {
        let entries = std::iter::once(&head).chain(rows).filter_map(|row| row.get(column));
        entries.map(|entry| entry.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (entry, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{entry:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = vec![vec!["a".to_owned(), "bbbb".to_owned()], vec!["ccc".to_owned(), "d".to_owned()]];
        assert_eq!(table(&["X", "Y"], &rows), "X    Y\na    bbbb\nccc  d\n");
    }
}

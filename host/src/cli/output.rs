//! How commands speak: what was asked for on the standard output, the rest beside it; colours only where
//! somebody looks.

use std::fmt::{Display, Write as _};
use std::io::{IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde::Serialize;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const FAINT: Style = AnsiColor::Cyan.on_default();
const STRONG: Style = Style::new().bold();

/// The shape of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For people with room.
    Wide,
    /// For programs.
    Json,
    /// For both.
    Yaml,
}

/// Prints what a command was asked for. A reader who has gone is no error.
pub(super) fn print(text: &str) {
    let _ = anstream::stdout().write_all(text.as_bytes());
}

/// Says something beside what was asked for.
pub(super) fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "weft: {text}");
}

/// Whether a person reads what is printed.
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

/// As it should be.
pub(super) fn good(text: impl Display) -> String {
    paint(GOOD, text)
}

/// Not as it should be.
pub(super) fn bad(text: impl Display) -> String {
    paint(BAD, text)
}

/// Beside the point.
pub(super) fn faint(text: impl Display) -> String {
    paint(FAINT, text)
}

/// The point.
pub(super) fn strong(text: impl Display) -> String {
    paint(STRONG, text)
}

fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Rows under a head, each column as wide as its longest entry.
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
    fn columns_stand_under_each_other() {
        let rows = vec![vec!["a".to_owned(), "bbbb".to_owned()], vec!["ccc".to_owned(), "d".to_owned()]];
        assert_eq!(table(&["X", "Y"], &rows), "X    Y\na    bbbb\nccc  d\n");
    }
}

//! How a table of fields is read: lines of text, each one or more paths with what becomes of them.

use std::ops::RangeInclusive;

use super::{Class, Rule};

/// The minors that have a field.
pub type Minors = RangeInclusive<u32>;

/// One path of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The path, without alternatives: `spec.volumes[].csi.volumeAttributes{}`.
    pub path: String,
    /// What becomes of what is there.
    pub rule: Rule,
    /// Which minors of Kubernetes 1 have it.
    pub minors: Minors,
}

/// A line that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {why}")]
pub struct Error {
    /// Its number, from 1.
    pub number: usize,
    /// What is wrong with it.
    pub why: String,
}

/// The lines of a table, alternatives written out.
///
/// # Errors
/// The first line that says nothing.
pub fn lines(text: &'static str) -> Result<Vec<Line>, Error> {
    let mut words: Vec<(&str, String)> = Vec::new();
    let mut found = Vec::new();
    for (index, line) in text.lines().map(str::trim).enumerate() {
        let at_line = |why: String| Error { number: index + 1, why };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((word, path)) = line.split_once(" = ") {
            words.push((word, replace_word(path.trim(), &words)));
            continue;
        }
        let (path, rest) = first_word(line);
        let (rule, minors) = what(rest).map_err(at_line)?;
        let paths = alternatives(&replace_word(path, &words)).map_err(at_line)?;
        found.extend(paths.into_iter().map(|path| Line { path, rule, minors: minors.clone() }));
    }
    Ok(found)
}

/// What stands behind a path: class, minors and reason.
fn what(text: &'static str) -> Result<(Rule, Minors), String> {
    let (class, rest) = first_word(text);
    let class = class_of(class).ok_or_else(|| format!("{class:?} is no class"))?;
    let (first, others) = first_word(rest);
    let (minors, reason) = match minors_of(first) {
        Some(minors) => (minors, others),
        None => (0..=u32::MAX, rest),
    };
    let says_itself = matches!(class, Class::Copy | Class::Reference | Class::Selector);
    if reason.is_empty() && !says_itself {
        return Err("it does not say why".to_owned());
    }
    Ok((Rule { class, reason }, minors))
}

fn class_of(word: &str) -> Option<Class> {
    Some(match word {
        "copy" => Class::Copy,
        "rewrite" => Class::Rewrite,
        "reference" => Class::Reference,
        "selector" => Class::Selector,
        "power" => Class::Power,
        "drop" => Class::Drop,
        "refuse" => Class::Refuse,
        _ => return None,
    })
}

/// `1.36+`, or `1.35` alone.
fn minors_of(word: &str) -> Option<Minors> {
    let word = word.strip_prefix("1.")?;
    if let Some(first) = word.strip_suffix('+') {
        return Some(first.parse().ok()?..=u32::MAX);
    }
    let only = word.parse().ok()?;
    Some(only..=only)
}

/// The path with what its first segment stands for, if that is a word of the table's own.
fn replace_word(path: &str, words: &[(&str, String)]) -> String {
    let (first, rest) = path.split_at(path.find('.').unwrap_or(path.len()));
    let known = words.iter().find(|(word, _)| *word == first);
    known.map_or_else(|| path.to_owned(), |(_, stands_for)| format!("{stands_for}{rest}"))
}

/// The paths that a path with alternatives stands for.
fn alternatives(path: &str) -> Result<Vec<String>, String> {
    let Some((before, rest)) = path.split_once('(') else {
        return if path.contains(['(', ')', '|', ' ']) {
            Err(format!("{path:?} is no path"))
        } else {
            Ok(vec![path.to_owned()])
        };
    };
    let (inside, after) = rest.split_once(')').ok_or_else(|| format!("{path:?} has no `)`"))?;
    let mut paths = Vec::new();
    for alternative in inside.split('|') {
        paths.extend(alternatives(&format!("{before}{alternative}{after}"))?);
    }
    Ok(paths)
}

/// The text up to the first space, and what follows the spaces.
fn first_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    (word, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &'static str) -> Vec<String> {
        lines(text).unwrap().into_iter().map(|line| line.path).collect()
    }

    #[test]
    fn alternatives_and_words_are_written_out() {
        let text = "# A comment.\nBOX = spec.(a|b)[]\nLID = BOX.lid\n\nLID.(c|d.e)   copy\nBOXES.f   copy";
        let expected =
            ["spec.a[].lid.c", "spec.a[].lid.d.e", "spec.b[].lid.c", "spec.b[].lid.d.e", "BOXES.f"];
        assert_eq!(paths(text), expected);
    }

    #[test]
    fn a_line_says_what_since_when_and_why() {
        let line = |text| lines(text).unwrap().remove(0);
        let refused = line("a   refuse   1.36+   1.36 has it");
        assert_eq!(refused.rule, Rule { class: Class::Refuse, reason: "1.36 has it" });
        assert!(refused.minors.contains(&36) && !refused.minors.contains(&35));
        assert_eq!(line("a   copy   1.35").minors, 35..=35);
        assert!(line("a   copy").minors.contains(&35));
    }

    #[test]
    fn a_line_that_says_nothing_is_named() {
        for (text, why) in [
            ("a   copied", "line 1: \"copied\" is no class"),
            ("\na", "line 2: \"\" is no class"),
            ("a   refuse", "line 1: it does not say why"),
            ("a   drop   1.37+", "line 1: it does not say why"),
            ("(a|b   copy", "line 1: \"(a|b\" has no `)`"),
            ("a)   copy", "line 1: \"a)\" is no path"),
        ] {
            assert_eq!(lines(text).unwrap_err().to_string(), why);
        }
    }
}

//! Reports measurements: a table for people, one JSON object for programs.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde_json::{Map, Value, json};

/// The target of a number; see the design's numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// More is better.
    AtLeast {
        /// What it must be.
        must: f64,
        /// What it should be.
        aim: f64,
    },
    /// Less is better.
    AtMost {
        /// What it must be.
        must: f64,
        /// What it should be.
        aim: f64,
    },
}

/// One thing that was measured.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its key in the JSON.
    pub(crate) key: &'static str,
    /// What it is.
    pub(crate) what: &'static str,
    /// `value`, or quantiles by name.
    pub(crate) values: Vec<(&'static str, f64)>,
    /// How many pods it was measured with.
    pub(crate) pods: u32,
    /// One for each value, or none.
    pub(crate) limits: Vec<Limit>,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    sections: Vec<Section>,
    notes: Vec<String>,
}

/// A table with columns of its own.
#[derive(Debug)]
struct Section {
    key: &'static str,
    text: String,
    json: Value,
}

/// Prints to standard error, because standard output is for the JSON.
pub(crate) fn say(text: &str) {
    // A closed standard error is no reason to stop measuring.
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Limit {
    fn numbers(self) -> (f64, f64, &'static str) {
        match self {
            Self::AtLeast { must, aim } => (must, aim, "≥"),
            Self::AtMost { must, aim } => (must, aim, "≤"),
        }
    }

    fn verdict(self, value: f64) -> &'static str {
        let holds = |limit: f64| match self {
            Self::AtLeast { .. } => value >= limit,
            Self::AtMost { .. } => value <= limit,
        };
        let (must, aim, _) = self.numbers();
        match (holds(must), holds(aim)) {
            (false, _) => "MISSED",
            (true, false) => "must met",
            (true, true) => "aim met",
        }
    }
}

impl Row {
    /// One value that is not judged.
    pub(crate) fn plain(key: &'static str, what: &'static str, value: f64, pods: u32) -> Self {
        Self { key, what, values: vec![("value", value)], pods, limits: Vec::new() }
    }

    fn json(&self) -> Value {
        let mut fields: Map<String, Value> =
            self.values.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        fields.insert("pods".to_owned(), self.pods.into());
        Value::Object(fields)
    }

    fn lines(&self) -> String {
        (0..).zip(&self.values).map(|(number, (name, value))| self.line(number, name, *value)).collect()
    }

    fn line(&self, number: usize, name: &str, value: f64) -> String {
        let name = if name == "value" { "" } else { name };
        let what = if number == 0 { self.what } else { "" };
        let (must, aim, verdict) = match self.limits.get(number) {
            None => (String::new(), String::new(), ""),
            Some(limit) => {
                let (must, aim, sign) = limit.numbers();
                (format!("{sign} {must}"), format!("{sign} {aim}"), limit.verdict(value))
            }
        };
        let measured = if value.abs() < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") };
        line([&format!("{what:40} {name}"), &measured, &self.pods.to_string(), &must, &aim, verdict])
    }
}

impl Report {
    /// Takes a row.
    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Takes what one row has more than another, if both were measured.
    pub(crate) fn add_difference(
        &mut self,
        key: &'static str,
        what: &'static str,
        [of, less]: [&str; 2],
        limits: &[Limit],
    ) {
        let find = |key: &str| self.rows.iter().find(|row| row.key == key);
        let (Some(of), Some(less)) = (find(of), find(less)) else { return };
        let differ = |((name, value), (_, less)): (&(&'static str, f64), &(_, f64))| (*name, value - less);
        let values = of.values.iter().zip(&less.values).map(differ).collect();
        let row = Row { key, what, values, pods: of.pods, limits: limits.to_vec() };
        self.add(row);
    }

    /// Takes a table with columns of its own, for people and for programs.
    pub(crate) fn section(&mut self, key: &'static str, text: String, json: Value) {
        self.sections.push(Section { key, text, json });
    }

    /// Takes a remark, for people only.
    pub(crate) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Takes counts, each divided by `by`.
    pub(crate) fn breakdown(&mut self, title: &str, counts: &BTreeMap<String, u32>, by: f64) {
        let lines =
            counts.iter().map(|(class, count)| format!("\n    {:7.2}  {class}", f64::from(*count) / by));
        self.note(format!("{title}:{}", lines.collect::<String>()));
    }

    /// The table and the remarks.
    pub(crate) fn text(&self) -> String {
        let head = line(["what", "measured", "pods", "must", "aim", "verdict"]);
        let rows: String = self.rows.iter().map(Row::lines).collect();
        let sections: Vec<&str> = self.sections.iter().map(|section| section.text.as_str()).collect();
        format!("{head}{rows}\n{}{}\n", sections.join("\n"), self.notes.join("\n"))
    }

    /// One object.
    pub(crate) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| (row.key.to_owned(), row.json()));
        let sections = self.sections.iter().map(|section| (section.key.to_owned(), section.json.clone()));
        rows.chain(sections).collect::<Map<_, _>>().into()
    }
}

fn line([what, measured, pods, must, aim, verdict]: [&str; 6]) -> String {
    let line = format!("{what:46} {measured:>9} {pods:>6}  {must:8} {aim:8} {verdict}");
    format!("{}\n", line.trim_end())
}

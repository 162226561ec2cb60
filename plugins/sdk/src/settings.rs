//! Reads the operator's settings into a plugin's own type, and names the field that is wrong.

use serde::de::DeserializeOwned;

use crate::{Problem, pointer, problem};

const REASON: &str = "InvalidSettings";

/// The settings, or what is wrong with them.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Vec<Problem>> {
    serde_json::from_str(text).map_err(|_| vec![explain::<T>(text)])
}

/// Parses again and tracks the path of the field: only invalid settings pay for it.
#[cold]
fn explain<T: DeserializeOwned>(text: &str) -> Problem {
    let mut reader = serde_json::Deserializer::from_str(text);
    let result: Result<T, _> = serde_path_to_error::deserialize(&mut reader);
    match result {
        Ok(_) => problem(REASON, "there is more than one value"),
        Err(error) => {
            let at = pointer_of(error.path());
            problem(REASON, without_place(error.inner())).at(at)
        }
    }
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer::push_index(&mut text, *index),
            Segment::Map { key } => pointer::push(&mut text, key),
            Segment::Enum { variant } => pointer::push(&mut text, variant),
            Segment::Unknown => {}
        }
    }
    text
}

/// The operator writes YAML, so a line and a column of the JSON mean nothing to them.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&place).unwrap_or(&message).to_owned()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Settings {
        teams: Vec<Team>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Team {
        name: String,
    }

    #[test]
    fn a_problem_names_the_field() {
        let problems = read::<Settings>(r#"{"teams": [{"name": "a"}, {"name": 7}]}"#).unwrap_err();
        assert_eq!(problems[0].field.as_deref(), Some("/teams/1/name"));
        assert_eq!(problems[0].message, "invalid type: integer `7`, expected a string");
    }

    #[test]
    fn an_unknown_field_is_reported_with_the_known_ones() {
        let problems = read::<Settings>(r#"{"team": []}"#).unwrap_err();
        assert_eq!(problems[0].message, "unknown field `team`, expected `teams`");
    }
}

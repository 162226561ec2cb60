//! Whether settings fit the JSON Schema of a plugin.

use serde_json::Value;

use crate::plugin::apart::{self, Settings, SettingsInput, Work, Workplace};

/// Bytes of a schema that are read.
const LONGEST: usize = 256 * 1024;
/// Problems that are reported.
const REPORTED: usize = 8;
/// Characters of one.
const PROBLEM: usize = 1024;

/// Holds `settings` against `schema` where foreign work is done.
///
/// # Errors
/// The work took too much.
pub(super) fn check_at(
    workplace: &Workplace,
    schema: &str,
    settings: &Value,
) -> Result<Settings, apart::Error> {
    if schema.len() > LONGEST {
        let why = format!("it has {} bytes; {LONGEST} at most are read", schema.len());
        return Ok(Settings::Schema(why));
    }
    match workplace {
        Workplace::Here => Ok(check(schema, settings)),
        Workplace::Child(program) => {
            let input = SettingsInput { schema: schema.to_owned(), settings: settings.clone() };
            let input = serde_json::to_vec(&input).unwrap_or_default();
            apart::run(program, &Work::Settings, &input)
        }
    }
}

/// The same here. A schema can take any time and any memory: `$ref`s to `$ref`s double with each level.
pub(super) fn check(schema: &str, settings: &Value) -> Settings {
    let schema: Value = match serde_json::from_str(schema) {
        Ok(schema) => schema,
        Err(error) => return Settings::Schema(error.to_string()),
    };
    let validator = match jsonschema::validator_for(&schema) {
        Ok(validator) => validator,
        Err(error) => return Settings::Schema(error.to_string()),
    };
    // The value is masked: settings may hold what is not for logs.
    let problems = validator.iter_errors(settings).take(REPORTED).map(|error| {
        let problem = format!("settings{}: {}", error.instance_path(), error.masked());
        problem.chars().take(PROBLEM).collect()
    });
    let problems: Vec<String> = problems.collect();
    if problems.is_empty() { Settings::Fit } else { Settings::Wrong(problems) }
}

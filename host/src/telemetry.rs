//! Logging: fields first, for people or for collectors.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{Error, Log, LogFormat};

/// Sets the process up to log as configured.
pub fn start(log: &Log) -> Result<(), Error> {
    let wrong = |error: tracing_subscriber::filter::ParseError| Error::Value {
        key: "log.level",
        why: error.to_string(),
    };
    let filter = EnvFilter::try_new(&log.level).map_err(wrong)?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // In a file colours are noise, and nothing in a log may move a terminal.
    let subscriber = subscriber.with_ansi(std::io::stderr().is_terminal());
    // A second call, in a test, keeps the first one's settings.
    let _ = match log.format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
    Ok(())
}

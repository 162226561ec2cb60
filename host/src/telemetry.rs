//! Logging: fields first, for people or for collectors.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{Error, Log, LogFormat};

/// The client library.
const NOISY: &str = "kube_client";

/// What is logged, to be changed while the process runs.
pub struct LogFilter(Box<dyn Fn(EnvFilter) + Send + Sync>);

/// Sets the process up to log as configured.
pub fn start(log: &Log) -> Result<LogFilter, Error> {
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter(&log.level)?).with_writer(std::io::stderr);
    // In a file colours are noise, and nothing in a log may move a terminal.
    let subscriber = subscriber.with_ansi(std::io::stderr().is_terminal());
    // A second call, in a test, keeps the first one's settings; a filter that is gone needs no change.
    Ok(match log.format {
        LogFormat::Text => {
            let subscriber = subscriber.with_filter_reloading();
            let handle = subscriber.reload_handle();
            let _ = subscriber.try_init();
            LogFilter(Box::new(move |filter| drop(handle.reload(filter))))
        }
        LogFormat::Json => {
            let subscriber = subscriber.json().with_filter_reloading();
            let handle = subscriber.reload_handle();
            let _ = subscriber.try_init();
            LogFilter(Box::new(move |filter| drop(handle.reload(filter))))
        }
    })
}

impl LogFilter {
    /// Logs by another `log.level` from now on.
    pub fn set(&self, level: &str) -> Result<(), Error> {
        (self.0)(filter(level)?);
        Ok(())
    }
}

fn filter(level: &str) -> Result<EnvFilter, Error> {
    // It calls every answer an error that is none to whoever waits for a server; who asked says what failed.
    let level = if level.contains(NOISY) {
        level.to_owned()
    } else {
        format!("{level},{NOISY}::client::builder=off")
    };
    EnvFilter::try_new(level).map_err(|error| Error::Value { key: "log.level", why: error.to_string() })
}

//! Log lines for the operator, in the syncer's log. Never write the data of Secrets.
//!
//! The macros [`debug`], [`info`], [`warn`] and [`error`] take the arguments of `format!`; [`write()`] also takes fields.

#[cfg(target_arch = "wasm32")]
use crate::bindings::weft::mapping::log as host;

/// Severity of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For the plugin's author.
    Debug,
    /// Worth knowing.
    Info,
    /// Needs attention.
    Warn,
    /// Something failed.
    Error,
}

/// Writes a line with fields: `write(Level::Info, "image rewritten", &[("image", "nginx")])`.
pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
    #[cfg(target_arch = "wasm32")]
    {
        let fields: Vec<(String, String)> =
            fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let level = match level {
            Level::Debug => host::Level::Debug,
            Level::Info => host::Level::Info,
            Level::Warn => host::Level::Warn,
            Level::Error => host::Level::Error,
        };
        host::write(level, message, &fields);
    }
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::record_line(level, message, fields);
}

/// Writes a line at the level `Debug`.
#[macro_export]
macro_rules! debug {
    ($($text:tt)*) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($text)*), &[]) };
}

/// Writes a line at the level `Info`.
#[macro_export]
macro_rules! info {
    ($($text:tt)*) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($text)*), &[]) };
}

/// Writes a line at the level `Warn`.
#[macro_export]
macro_rules! warn {
    ($($text:tt)*) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($text)*), &[]) };
}

/// Writes a line at the level `Error`.
#[macro_export]
macro_rules! error {
    ($($text:tt)*) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($text)*), &[]) };
}

pub use crate::{debug, error, info, warn};

/// Logs the message of a panic before it becomes a trap, which carries nothing but an address.
pub(crate) fn log_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| write(Level::Error, &panic.to_string(), &[])));
}

//! Cargo, called by a program that cargo has started.

use tokio::process::Command;

/// Variables that cargo sets for the programs that it starts, about their package.
const OF_A_PACKAGE: [&str; 2] = ["CARGO_MANIFEST_", "CARGO_PKG_"];

/// The cargo that runs us, as from a shell.
///
/// Build scripts that read these variables (that of `ring` does) would run again if they were another package's, and
/// all that depends on them would be compiled again.
pub fn command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if OF_A_PACKAGE.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

//! `weft completion`: scripts that complete commands and flags in a shell.

use std::process::ExitCode;

use clap::{Args, Command, ValueEnum};
use clap_complete::{Shell, generate};

use crate::cli::output;

#[derive(Debug, Args)]
#[command(after_help = "\
bash:  source <(weft completion bash)
zsh:   weft completion zsh > \"${fpath[1]}/_weft\"
fish:  weft completion fish | source")]
pub(super) struct Completion {
    /// The shell.
    #[arg(value_enum)]
    shell: Known,
}

/// A shell that people use kubectl in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn completion(arguments: &Completion, mut program: Command) -> ExitCode {
    let shell = match arguments.shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut program, "weft", &mut script);
    output::print(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}

//! `rollcall check config`: says what is wrong with a file before a daemon says it.
//!
//! Prints as `promtool` does. Ends with 0 if every file can be used, with 1 if not, and with 3 if
//! only `--lint-fatal` stands against it.

use std::path::Path;
use std::process::ExitCode;

use kit::Chain;

use crate::cli::CheckConfigFlags;
use crate::config::{Config, Depth, Files};

/// What `promtool` ends with when lint is fatal.
const LINT_EXIT_CODE: u8 = 3;

/// Checks each file.
pub(crate) fn configs(flags: &CheckConfigFlags) -> ExitCode {
    let (mut broken, mut suspicious) = (false, false);
    for file in &flags.files {
        println!("Checking {}", file.display());
        match check(file, flags) {
            Ok(complaints) => {
                println!(" SUCCESS: {} is a valid configuration file", file.display());
                for complaint in &complaints {
                    println!(" LINT: {complaint}");
                    suspicious = true;
                }
            }
            Err(error) => {
                broken = true;
                eprintln!("  FAILED: {error}");
            }
        }
        println!();
    }
    match (broken, suspicious && flags.lint_fatal) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(LINT_EXIT_CODE),
        (false, false) => ExitCode::SUCCESS,
    }
}

/// What is suspicious about the file.
fn check(file: &Path, flags: &CheckConfigFlags) -> Result<Vec<String>, String> {
    let files = Files { main: file.to_owned(), routing: flags.routing_file.clone() };
    let depth = if flags.syntax_only { Depth::Syntax } else { Depth::Everything };
    let config = Config::check(&files, depth).map_err(|error| Chain(&error).to_string())?;
    Ok(if flags.lint { config.lint() } else { Vec::new() })
}

//! The `rollcall` program: reads the command line and does what it says.

mod cli;
mod logging;
mod simulate;
mod stop_signal;

use std::process::ExitCode;

use cli::{Command, Parsed};
use logging::{LogFormat, LogLevel};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Parsed { cli, flags, ignored } = match cli::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(error.exit_code().clamp(0, 255) as u8);
        }
    };
    let done = match cli.command {
        Some(Command::Simulate(flags)) => {
            logging::start(LogLevel::Info, LogFormat::Logfmt);
            simulate::run(&flags.options, &flags.targets_file)
        }
        _ => Ok(()),
    };
    let _ = (flags, ignored);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollcall: {}", kit::Chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

//! The `rollcall` program: reads the command line and does what it says.

mod admin;
mod check;
mod cli;
mod config;
mod daemon;
mod demo;
mod logging;
mod reload;
mod server;
mod simulate;
mod stop_signal;
mod web_config;

use std::process::ExitCode;

use cli::{CheckCommand, Command, Parsed};
use logging::{LogFormat, LogLevel};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let parsed = match cli::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(error.exit_code().clamp(0, 255) as u8);
        }
    };
    // One provider for the process; the second of two installations is refused, and there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Each target's connection is one.
    kit::open_files::raise();
    let in_json = parsed.cli.command.is_none() && parsed.cli.daemon.log_format == LogFormat::Json;
    let done = match parsed.cli.command {
        Some(Command::Check(CheckCommand::Config(flags))) => return check::configs(&flags),
        Some(Command::Modules) => return cli::list_modules(),
        Some(Command::Simulate(flags)) => {
            logging::start(LogLevel::Info, LogFormat::Logfmt);
            simulate::run(&flags.options, &flags.targets_file)
        }
        Some(Command::Demo(options)) => {
            logging::start(LogLevel::Info, LogFormat::Logfmt);
            demo::run(options)
        }
        None => run_daemon(parsed),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads the log as JSON reads this line too.
        Err(error) if in_json => {
            tracing::error!(error = %kit::Chain(error.as_ref()), "ending");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("rollcall: {}", kit::Chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run_daemon(Parsed { cli, flags, ignored }: Parsed) -> anyhow::Result<()> {
    logging::start(cli.daemon.log_level, cli.daemon.log_format);
    cli::warn_about(&ignored);
    cli::warn_of_features(&cli.daemon);
    let on_ready = Box::new(|| ());
    daemon::run(daemon::Options { flags: cli.daemon, flags_text: flags, on_ready })
}

//! The command line: the daemon with Prometheus' own flags, and a few commands beside it.

mod daemon_flags;
mod server_flags;

pub(crate) use daemon_flags::DaemonFlags;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::{demo, simulate};

/// Scrapes a fleet as Prometheus does, routes every sample by its data type, and knows what
/// everything is doing now.
///
/// Without a command it is the daemon, started with the flags of a Prometheus agent.
#[derive(Debug, Parser)]
#[command(name = "rollcall", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// What to do in place of running the daemon.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// How to run the daemon.
    #[command(flatten)]
    pub(crate) daemon: DaemonFlags,
}

/// What to do in place of running the daemon.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Says what is wrong with a file.
    #[command(subcommand)]
    Check(CheckCommand),
    /// Runs a fleet of simulated hosts.
    Simulate(SimulateFlags),
    /// Runs a simulated fleet and the daemon that watches it.
    Demo(demo::Options),
    /// Lists the modules that a destination can be of.
    Modules,
}

/// What to check.
#[derive(Debug, Subcommand)]
pub(crate) enum CheckCommand {
    /// Checks a configuration file: 0 if it can be used, 1 if not.
    Config(CheckConfigFlags),
}

/// Flags of `rollcall check config`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckConfigFlags {
    /// The file.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Looks at the files only, not at what they name (certificates, target files).
    #[arg(long)]
    pub(crate) syntax_only: bool,
    /// Also says what is suspicious: routes that never match, kinds that no route feeds.
    #[arg(long)]
    pub(crate) lint: bool,
    /// Ends with 3 if `--lint` has something to say.
    #[arg(long, requires = "lint")]
    pub(crate) lint_fatal: bool,
    /// The file with our sections, if they do not stand in FILE.
    #[arg(long = "routing.file", value_name = "FILE")]
    pub(crate) routing_file: Option<PathBuf>,
    /// Accepted for scripts that have it: what is checked always is an agent's file.
    #[arg(long)]
    pub(crate) agent: bool,
}

/// Flags of `rollcall simulate`.
#[derive(Debug, clap::Args)]
pub(crate) struct SimulateFlags {
    /// How large the fleet is, and where it listens.
    #[command(flatten)]
    pub(crate) options: simulate::Options,
    /// Writes the file_sd file of the fleet here.
    #[arg(long, value_name = "FILE", default_value = "hosts.json")]
    pub(crate) targets_file: PathBuf,
}

/// The command line, read.
pub(crate) struct Parsed {
    /// What was asked.
    pub(crate) cli: Cli,
    /// Every flag of the daemon as text, for `/api/v1/status/flags`.
    pub(crate) flags: Vec<(String, String)>,
    /// Flags that only mean something to a Prometheus server: accepted, and without effect.
    pub(crate) ignored: Vec<String>,
}

/// Reads the arguments of the process.
///
/// # Errors
/// What clap has to say: a mistake, the help text or the version.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Parsed, clap::Error> {
    let arguments = daemon_flags::without_negations(arguments);
    let (arguments, ignored) = server_flags::take_out(arguments);
    let mut matches = Cli::command().try_get_matches_from(arguments)?;
    let flags = flags_as_text(&matches);
    let cli = Cli::from_arg_matches_mut(&mut matches)?;
    Ok(Parsed { cli, flags, ignored })
}

/// Says once which flags have no effect.
pub(crate) fn warn_about(ignored: &[String]) {
    if !ignored.is_empty() {
        let flags = ignored.join(", ");
        tracing::warn!(flags, "flags of a Prometheus server have no effect here");
    }
}

/// Says once which features have no effect.
pub(crate) fn warn_of_features(flags: &DaemonFlags) {
    for name in flags.features() {
        match name {
            // What is on anyway, or is about what an agent does not have.
            "auto-reload-config" | "agent" | "exemplar-storage" | "native-histograms" => {}
            "extra-scrape-metrics" => tracing::warn!(
                feature = name,
                "features have no effect here: set extra_scrape_metrics in the configuration"
            ),
            _ => tracing::warn!(feature = name, "features have no effect here"),
        }
    }
}

/// Prints the modules, in the order of the documentation.
pub(crate) fn list_modules() -> ExitCode {
    for module in forwarder::MODULES {
        println!("{:<16}{}", module.name, module.about);
    }
    ExitCode::SUCCESS
}

fn flags_as_text(matches: &ArgMatches) -> Vec<(String, String)> {
    let command = Cli::command();
    let value = |id: &str| -> String {
        let raw = matches.get_raw(id).into_iter().flatten();
        raw.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(",")
    };
    let named = command.get_arguments().filter_map(|argument| {
        let name = argument.get_long()?;
        name.contains('.').then(|| (name.to_owned(), value(argument.get_id().as_str())))
    });
    let mut flags: Vec<(String, String)> = named.collect();
    flags.push(("agent".to_owned(), "true".to_owned()));
    flags.push(("enable-feature".to_owned(), value("enable_feature")));
    flags.sort();
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Parsed {
        let arguments = ["rollcall"].iter().chain(arguments).map(OsString::from);
        parse(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_defaults_are_those_of_prometheus() {
        let flags = parsed(&[]).flags;
        let value = |name: &str| &flags.iter().find(|(flag, _)| flag == name).unwrap().1;
        assert_eq!(value("config.file"), "prometheus.yml");
        assert_eq!(value("web.listen-address"), "0.0.0.0:9090");
        assert_eq!(value("web.max-connections"), "512");
        assert_eq!(value("web.read-timeout"), "5m");
        assert_eq!(value("storage.remote.flush-deadline"), "1m");
        assert_eq!(value("log.level"), "info");
        assert_eq!(value("agent"), "true");
    }

    #[test]
    fn flags_are_written_as_prometheus_allows() {
        let cli = parsed(&[
            "--config.file=a.yml",
            "--web.listen-address",
            "127.0.0.1:1",
            "--web.listen-address=127.0.0.1:2",
            "--web.enable-lifecycle",
            "--no-storage.agent.wal-compression",
            "--enable-feature=agent",
        ])
        .cli;
        assert_eq!(cli.daemon.config_file.to_str(), Some("a.yml"));
        assert_eq!(cli.daemon.listen_addresses.len(), 2);
        assert!(cli.daemon.enable_lifecycle);
    }

    #[test]
    fn flags_of_a_server_do_no_harm() {
        let parsed = parsed(&[
            "--storage.tsdb.path=/data",
            "--storage.tsdb.retention.time",
            "15d",
            "--web.console.templates=/c",
            "--web.enable-admin-api",
            "--config.file=a.yml",
        ]);
        assert_eq!(parsed.cli.daemon.config_file.to_str(), Some("a.yml"));
        let names = [
            "storage.tsdb.path",
            "storage.tsdb.retention.time",
            "web.console.templates",
            "web.enable-admin-api",
        ];
        assert_eq!(parsed.ignored, names);
    }

    #[test]
    fn an_unknown_flag_is_refused() {
        assert!(parse(["rollcall", "--no.such.flag"].map(OsString::from).into_iter()).is_err());
    }
}

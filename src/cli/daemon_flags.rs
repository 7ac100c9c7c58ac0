//! The daemon's flags: names, defaults and meaning are Prometheus' (`cmd/prometheus/main.go`),
//! except those of which the text says so.

use std::ffi::OsString;
use std::path::PathBuf;

use kit::config::Duration;
use model::GoRegex;

use crate::logging::{LogFormat, LogLevel};

/// Flags of the daemon.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DaemonFlags {
    /// The configuration file.
    #[arg(long = "config.file", value_name = "FILE", default_value = "prometheus.yml")]
    pub(crate) config_file: PathBuf,
    /// Our own: a second file with the sections that Prometheus does not have (data_types, routes,
    /// forwarders, status), so that the first one still loads in Prometheus.
    #[arg(long = "routing.file", value_name = "FILE")]
    pub(crate) routing_file: Option<PathBuf>,
    /// Reloads the configuration when its files change.
    #[arg(long = "config.auto-reload", num_args = 0..=1, require_equals = true,
        default_value_t = false, default_missing_value = "true")]
    pub(crate) auto_reload: bool,
    /// How often --config.auto-reload looks at the files.
    #[arg(long = "config.auto-reload-interval", value_name = "DURATION", default_value = "30s")]
    pub(crate) auto_reload_interval: Duration,

    /// Address to serve on. May be given several times.
    #[arg(long = "web.listen-address", value_name = "ADDRESS", default_value = "0.0.0.0:9090")]
    pub(crate) listen_addresses: Vec<String>,
    /// File that turns on TLS or asks for a password.
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub(crate) web_config_file: Option<PathBuf>,
    /// The URL under which others reach this server, such as a reverse proxy's.
    #[arg(long = "web.external-url", value_name = "URL")]
    pub(crate) external_url: Option<String>,
    /// Prefix of all paths; by default the path of --web.external-url.
    #[arg(long = "web.route-prefix", value_name = "PATH")]
    pub(crate) route_prefix: Option<String>,
    /// Allows POST to /-/reload and /-/quit.
    #[arg(long = "web.enable-lifecycle", num_args = 0..=1, require_equals = true,
        default_value_t = false, default_missing_value = "true")]
    pub(crate) enable_lifecycle: bool,
    /// Origins whose pages may ask the API: a regular expression for the whole of them.
    #[arg(long = "web.cors.origin", value_name = "REGEX", default_value = ".*",
        value_parser = origins)]
    pub(crate) cors_origin: GoRegex,
    /// Connections served at a time; further ones wait. Watches count too.
    #[arg(long = "web.max-connections", value_name = "N", default_value_t = 512,
        value_parser = positive)]
    pub(crate) max_connections: usize,
    /// How long a request may take to arrive, and an idle connection may stay.
    #[arg(long = "web.read-timeout", value_name = "DURATION", default_value = "5m")]
    pub(crate) read_timeout: Duration,

    /// Accepted for scripts that have it: rollcall always is an agent.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true,
        default_missing_value = "true", hide = true)]
    pub(crate) agent: bool,
    /// Where destinations with `disk` keep what they could not send yet.
    #[arg(long = "storage.agent.path", value_name = "PATH", default_value = "data-agent/")]
    pub(crate) storage_path: PathBuf,
    /// How long queues may take to empty after SIGTERM.
    #[arg(long = "storage.remote.flush-deadline", value_name = "DURATION", default_value = "1m")]
    pub(crate) flush_deadline: Duration,
    #[command(flatten)]
    pub(crate) without_effect: WithoutEffect,

    /// Names of features, separated by commas. `auto-reload-config` is `--config.auto-reload`; any
    /// other that would change something is named in a warning.
    #[arg(long = "enable-feature", value_name = "NAMES")]
    pub(crate) enable_feature: Vec<String>,
    /// What to log.
    #[arg(long = "log.level", value_name = "LEVEL", value_enum, default_value = "info")]
    pub(crate) log_level: LogLevel,
    /// How to log it.
    #[arg(long = "log.format", value_name = "FORMAT", value_enum, default_value = "logfmt")]
    pub(crate) log_format: LogFormat,
}

/// Flags of a Prometheus agent that have nothing to change here: there is no write-ahead log.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WithoutEffect {
    #[arg(long = "storage.agent.wal-segment-size", hide = true)]
    wal_segment_size: Option<String>,
    #[arg(long = "storage.agent.wal-compression", num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true", hide = true)]
    wal_compression: bool,
    #[arg(long = "storage.agent.wal-compression-type", hide = true)]
    wal_compression_type: Option<String>,
    #[arg(long = "storage.agent.wal-truncate-frequency", hide = true)]
    wal_truncate_frequency: Option<Duration>,
    #[arg(long = "storage.agent.retention.min-time", hide = true)]
    retention_min_time: Option<Duration>,
    #[arg(long = "storage.agent.retention.max-time", hide = true)]
    retention_max_time: Option<Duration>,
    #[arg(long = "storage.agent.no-lockfile", num_args = 0..=1, require_equals = true,
        default_value_t = false, default_missing_value = "true", hide = true)]
    no_lockfile: bool,
    #[arg(long = "storage.agent.use-lockfile", num_args = 0..=1, require_equals = true,
        default_value_t = false, default_missing_value = "true", hide = true)]
    use_lockfile: bool,
    #[arg(long = "auto-gomaxprocs", num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true", hide = true)]
    auto_gomaxprocs: bool,
    #[arg(long = "auto-gomemlimit", num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true", hide = true)]
    auto_gomemlimit: bool,
    #[arg(long = "auto-gomemlimit.ratio", hide = true)]
    auto_gomemlimit_ratio: Option<f64>,
}

// === impl DaemonFlags ===

impl DaemonFlags {
    /// The features that were asked for.
    pub(super) fn features(&self) -> impl Iterator<Item = &str> {
        let names = self.enable_feature.iter().flat_map(|names| names.split(','));
        names.map(str::trim).filter(|name| !name.is_empty())
    }

    /// Whether the configuration is read again when its files change.
    pub(crate) fn auto_reloads(&self) -> bool {
        self.auto_reload || self.features().any(|name| name == "auto-reload-config")
    }
}

/// Flags that `--no-…` turns off.
const SWITCHES: [&str; 9] = [
    "config.auto-reload",
    "web.enable-lifecycle",
    "agent",
    "storage.agent.wal-compression",
    "storage.agent.no-lockfile",
    "storage.agent.use-lockfile",
    "auto-gomaxprocs",
    "auto-gomemlimit",
    "scrape.adjust-timestamps",
];

/// Writes `--no-switch` as `--switch=false`.
pub(super) fn without_negations(
    arguments: impl Iterator<Item = OsString>,
) -> impl Iterator<Item = OsString> {
    arguments.map(|argument| {
        let switch = argument.to_str().and_then(|text| text.strip_prefix("--no-"));
        match switch.filter(|switch| SWITCHES.contains(switch)) {
            Some(switch) => format!("--{switch}=false").into(),
            None => argument,
        }
    })
}

fn origins(text: &str) -> Result<GoRegex, String> {
    GoRegex::new(text).map_err(|error| kit::Chain(&error).to_string())
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

//! Starts the parts that the configuration asks for, and stops them in the order of the data.
//!
//! The only place where parts meet. Data has threads of its own, for half of the cores: they scrape,
//! and they send what was scraped, so that a page and its requests need no other thread. 256 scrapes
//! that fall together do not delay an event on its way to a listener.
//! What holds at the end: first no new batches, then empty queues, and listeners hear of it last.

use std::hash::BuildHasher as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use forwarder::Forwarder;
use kit::metrics::SelfMetrics;
use kit::{Chain, Clock, SystemClock};
use model::Symbols;
use scraper::Scraper;
use status_sink::StatusSink;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tracing::{info, warn};
use url::Url;

use crate::admin::{self, Admin, GlobalUrl, Quit, Readiness, Stage};
use crate::cli::DaemonFlags;
use crate::config::{Config, Files, STATUS_DESTINATION};
use crate::reload::{Parts, Reloader};
use crate::server::{Bound, Limits, Server, ServerMetrics};
use crate::stop_signal::StopSignals;
use crate::web_config::WebConfig;

/// How long requests under way may take at the end, when everything else has stopped.
const CONNECTIONS_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether there are many label pairs that no series has any more.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// A reason to stop that is an error.
const SCRAPING_FAILED: &str = "scraping hit a bug and has ended";

/// How to run.
pub(crate) struct Options {
    /// The daemon's flags.
    pub(crate) flags: DaemonFlags,
    /// The same as text, for the API.
    pub(crate) flags_text: Vec<(String, String)>,
    /// Called once, when everything was scraped once and readers are let in.
    pub(crate) on_ready: OnReady,
}

/// Called when the daemon is ready.
pub(crate) type OnReady = Box<dyn FnOnce() + Send>;

/// Everything that runs, in the order in which it is stopped.
struct Daemon {
    parts: Parts,
    server: Server,
    readiness: Arc<Readiness>,
    quit: Arc<Quit>,
    flush_deadline: Duration,
    /// Reloads and what is done now and then: ended when dropped.
    chores: JoinSet<()>,
}

/// What every part is given.
struct Tools {
    /// Where destinations keep what must outlast the process.
    storage: PathBuf,
    clock: Arc<dyn Clock>,
    metrics: SelfMetrics,
    symbols: Arc<Symbols>,
}

/// Runs the daemon until it is asked to stop.
///
/// # Errors
/// It cannot start, was told a second time to stop before its queues were empty, or cannot scrape
/// any more.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let data = runtime("data", cores.div_ceil(2));
    let data = data.context("start the threads that scrape and send")?;
    let serving = runtime("serve", cores).context("start the threads that serve")?;
    let result = serving.block_on(async {
        let mut signals = StopSignals::listen().context("listen for signals")?;
        let daemon = Daemon::start(options, &data).await?;
        let reason = daemon.asked_to_stop(&mut signals).await;
        info!(reason, "stopping");
        tokio::select! {
            () = daemon.stop() => match reason {
                SCRAPING_FAILED => Err(anyhow!(SCRAPING_FAILED)),
                _ => Ok(()),
            },
            signal = signals.next() => Err(anyhow!("aborted by a second signal ({signal})")),
        }
    });
    // What still runs was asked to stop long ago.
    data.shutdown_background();
    serving.shutdown_background();
    result
}

fn runtime(name: &str, workers: usize) -> std::io::Result<Runtime> {
    Builder::new_multi_thread().thread_name(name).worker_threads(workers).enable_all().build()
}

// === impl Daemon ===

impl Daemon {
    async fn start(options: Options, data: &Runtime) -> anyhow::Result<Daemon> {
        let Options { flags, flags_text, on_ready } = options;
        let files = Files { main: flags.config_file.clone(), routing: flags.routing_file.clone() };
        let config = Arc::new(Config::load(&files)?);
        info!(file = %files.main.display(), "configuration loaded");
        let web_config = flags.web_config_file.as_deref().map(WebConfig::open).transpose()?;
        let bound = Bound::to(&flags.listen_addresses).await?;

        let tools = Tools {
            storage: flags.storage_path.clone(),
            clock: SystemClock::shared(),
            metrics: SelfMetrics::new(),
            symbols: Symbols::new(),
        };
        let parts = tools.start_parts(&config, data)?;
        let (clock, has_kinds) = (Arc::clone(&tools.clock), !config.status().is_empty());
        let fed = config.status().warm_up(config.scraper().jobs.is_empty());
        let reloader = Reloader::new(files, config, parts.clone(), clock, &tools.metrics);
        let reloader = Arc::new(reloader);
        let mut chores = JoinSet::new();
        tools.spawn_chores(&mut chores, &reloader, &flags);

        let (readiness, quit) = (Arc::new(Readiness::default()), Arc::new(Quit::default()));
        let fed = has_kinds.then_some(fed);
        chores.spawn(warm_up(parts.clone(), fed, Arc::clone(&readiness), on_ready));
        let addresses = bound.addresses();
        let external = external_url(&flags, &addresses)?;
        let prefix = route_prefix(&flags, &external);
        let admin = Admin {
            started_ms: tools.clock.unix_ms(),
            clock: tools.clock,
            metrics: tools.metrics.clone(),
            flags: flags_text,
            lifecycle_enabled: flags.enable_lifecycle,
            cors_origin: flags.cors_origin.clone(),
            global_url: GlobalUrl::new(external, addresses.first().map(SocketAddr::port)),
            readiness: Arc::clone(&readiness),
            quit: Arc::clone(&quit),
            reloader,
            scraper: Arc::clone(&parts.scraper),
            forwarder: Arc::clone(&parts.forwarder),
        };
        let router = admin::router(admin, parts.status.routes(), &prefix);
        let limits = Limits {
            connections_max: flags.max_connections,
            read_timeout: flags.read_timeout.to_std(),
        };
        let server_metrics = ServerMetrics::register(&tools.metrics);
        let server = bound.serve(router, limits, server_metrics, web_config);
        for address in addresses {
            info!(%address, "listening");
        }
        let flush_deadline = flags.flush_deadline.to_std();
        Ok(Daemon { parts, server, readiness, quit, flush_deadline, chores })
    }

    /// Waits until somebody wants the daemon to end; who.
    async fn asked_to_stop(&self, signals: &mut StopSignals) -> &'static str {
        tokio::select! {
            signal = signals.next() => signal,
            () = self.quit.asked() => "/-/quit",
            () = self.parts.scraper.failed() => SCRAPING_FAILED,
        }
    }

    /// Stops in the order of the data.
    async fn stop(mut self) {
        self.readiness.reached(Stage::Stopping);
        self.chores.shutdown().await; // no reload starts anything again
        self.parts.scraper.stop().await; // no new batches
        self.parts.forwarder.drained(self.flush_deadline).await; // then the queues empty
        self.parts.status.stop().await; // listeners hear the end last
        self.server.stop(CONNECTIONS_PATIENCE).await;
        info!("stopped");
    }
}

/// Lets readers of the status center in as soon as everything was scraped once. Without kinds
/// there is nothing to wait for, and the first round takes as long as the longest interval.
/// `fed` is how long those who feed us get to say everything.
async fn warm_up(
    parts: Parts,
    fed: Option<Duration>,
    readiness: Arc<Readiness>,
    on_ready: OnReady,
) {
    if let Some(fed) = fed {
        tokio::join!(parts.scraper.first_round(), tokio::time::sleep(fed));
    }
    parts.status.warmed_up();
    readiness.reached(Stage::Working);
    info!("ready");
    on_ready();
}

// === impl Tools ===

impl Tools {
    fn start_parts(&self, config: &Config, data: &Runtime) -> anyhow::Result<Parts> {
        let (clock, metrics) = (|| Arc::clone(&self.clock), || self.metrics.clone());
        let instance = std::hash::RandomState::new().hash_one("instance");
        let status = StatusSink::start(
            config.status(),
            status_sink::Parts { clock: clock(), metrics: metrics(), instance },
        );
        let builtin = vec![(STATUS_DESTINATION, status.sink())];
        let storage = self.storage.clone();
        let _on_the_threads_of_data = data.enter();
        let forwarder = Forwarder::start(
            config.forwarder(),
            forwarder::Parts { clock: clock(), metrics: metrics(), builtin, storage },
        );
        let forwarder = forwarder.context("start the destinations")?;
        let scraper = Scraper::start(
            config.scraper(),
            scraper::Parts {
                clock: clock(),
                metrics: metrics(),
                symbols: Arc::clone(&self.symbols),
                sink: forwarder.router(),
            },
        );
        let (status, forwarder) = (Arc::new(status), Arc::new(forwarder));
        Ok(Parts { scraper: Arc::new(scraper), forwarder, status })
    }

    fn spawn_chores(
        &self,
        chores: &mut JoinSet<()>,
        reloader: &Arc<Reloader>,
        flags: &DaemonFlags,
    ) {
        let hangups = Arc::clone(reloader).reload_on_hangup();
        chores.spawn(async move {
            if let Err(error) = hangups.await {
                warn!(error = %Chain(&error), "SIGHUP does not reload");
            }
        });
        if flags.auto_reloads() {
            let interval = flags.auto_reload_interval.to_std();
            chores.spawn(Arc::clone(reloader).reload_on_change(interval));
        }
        let symbols = Arc::clone(&self.symbols);
        chores.spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                let symbols = Arc::clone(&symbols);
                // Waits for layouts under way: not on a thread that serves.
                let _ = tokio::task::spawn_blocking(move || symbols.sweep_if_grown()).await;
            }
        });
    }
}

/// The URL under which others reach us: what the flag says, or our host name and port.
fn external_url(flags: &DaemonFlags, addresses: &[SocketAddr]) -> anyhow::Result<Url> {
    let port = addresses.first().map_or(0, SocketAddr::port);
    let text = match &flags.external_url {
        Some(text) if text.contains("://") => text.clone(),
        Some(path) if !path.is_empty() => format!("http://{}:{port}/{path}", host_name()),
        _ => format!("http://{}:{port}/", host_name()),
    };
    let mut url = Url::parse(&text).with_context(|| format!("--web.external-url {text:?}"))?;
    let path = url.path().trim_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn host_name() -> String {
    let name = kit::host_name();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// The path that all paths start with: empty, or with a slash in front and none behind.
fn route_prefix(flags: &DaemonFlags, external: &Url) -> String {
    let prefix = flags.route_prefix.as_deref().unwrap_or_else(|| external.path());
    match prefix.trim_matches('/') {
        "" => String::new(),
        prefix => format!("/{prefix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(external: Option<&str>, prefix: Option<&str>, want_url: &str, want_prefix: &str) {
        let arguments = [("--web.external-url", external), ("--web.route-prefix", prefix)];
        let arguments =
            arguments.iter().filter_map(|(flag, value)| Some(format!("{flag}={}", (*value)?)));
        let arguments = std::iter::once("rollcall".to_owned()).chain(arguments);
        let flags = crate::cli::parse(arguments.map(Into::into)).unwrap().cli.daemon;
        let url = external_url(&flags, &["0.0.0.0:9091".parse().unwrap()]).unwrap();
        assert_eq!(url.as_str().replace(&host_name(), "HOST"), want_url);
        assert_eq!(route_prefix(&flags, &url), want_prefix);
    }

    #[test]
    fn paths_start_with_the_path_of_the_external_url() {
        check(None, None, "http://HOST:9091/", "");
        check(Some("https://a.example/roll/"), None, "https://a.example/roll", "/roll");
        check(Some("https://a.example/roll"), Some("/"), "https://a.example/roll", "");
        check(Some("roll"), None, "http://HOST:9091/roll", "/roll");
        check(None, Some("x/y/"), "http://HOST:9091/", "/x/y");
    }
}

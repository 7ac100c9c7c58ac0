//! `rollcall demo`: a simulated fleet, a receiver that counts, and the daemon that watches the one
//! and sends to the other, in one process.
//!
//! Everything listens on loopback and writes into one folder.

mod receiver;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;

use crate::cli::{self, DaemonFlags};
use crate::daemon;
use crate::simulate::{self, Simulation};

/// The configuration that the demo runs on.
const CONFIG: &str = include_str!("../configs/rollcall.yml");
const CONFIG_FILE: &str = "rollcall.yml";
/// The name that the configuration has for the file of targets.
const TARGETS_FILE: &str = "hosts.json";
/// Where the configuration sends reports.
const REPORTS: &str = "127.0.0.1:9009";
/// Threads of the fleet and the receiver: they must not take those of the daemon.
const FLEET_WORKERS: usize = 2;

/// Flags of `rollcall demo`.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub(crate) struct Options {
    /// How large the fleet is, and where it listens.
    #[command(flatten)]
    fleet: simulate::Options,
    /// Folder for the configuration, the list of targets and what the demo writes; by default
    /// `rollcall-demo` in the folder for temporary files.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Address of the daemon.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    listen_address: SocketAddr,
    /// Address of the receiver that counts reports.
    #[arg(long, value_name = "ADDRESS", default_value = REPORTS)]
    reports_address: SocketAddr,
}

/// Runs the demo until it is asked to stop.
///
/// # Errors
/// A part of it cannot start.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let began = Instant::now();
    let folder = options.folder.unwrap_or_else(|| std::env::temp_dir().join("rollcall-demo"));
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let config_file = folder.join(CONFIG_FILE);
    let reports = options.reports_address;
    let written = fs::write(&config_file, CONFIG.replace(REPORTS, &reports.to_string()));
    written.with_context(|| format!("write {}", config_file.display()))?;

    let fleet = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(FLEET_WORKERS)
        .thread_name("fleet")
        .enable_all()
        .build()
        .context("start the threads of the fleet")?;
    let simulation = fleet.block_on(async {
        let simulation = Simulation::start(&options.fleet, &folder.join(TARGETS_FILE)).await?;
        receiver::start(reports).await.with_context(|| {
            format!("listen on {reports} (is another demo running? try --reports-address)")
        })?;
        anyhow::Ok(simulation)
    })?;

    let (first, last) = simulation.addresses();
    println!("folder   {}", folder.display());
    println!("fleet    {} hosts, http://{first}/metrics to {last}", options.fleet.hosts);
    println!("reports  http://{reports}/ counts what arrives by remote write");
    let address = options.listen_address;
    let control = simulation.control();
    let on_ready = move || {
        println!("ready    after {:.1} s; try:\n", began.elapsed().as_secs_f64());
        print!("{}", commands(address, control));
    };
    let (flags, flags_text) = daemon_flags(&config_file, address)?;
    let result = daemon::run(daemon::Options { flags, flags_text, on_ready: Box::new(on_ready) });
    fleet.block_on(simulation.stop());
    fleet.shutdown_background();
    result
}

/// The daemon's flags, as if somebody had written them.
fn daemon_flags(
    config_file: &std::path::Path,
    address: SocketAddr,
) -> anyhow::Result<(DaemonFlags, Vec<(String, String)>)> {
    let mut config = std::ffi::OsString::from("--config.file=");
    config.push(config_file);
    let address = format!("--web.listen-address={address}").into();
    let arguments = ["rollcall".into(), config, address, "--web.enable-lifecycle".into()];
    let parsed = cli::parse(arguments.into_iter())?;
    Ok((parsed.cli.daemon, parsed.flags))
}

/// Three things to try.
fn commands(daemon: SocketAddr, control: SocketAddr) -> String {
    format!(
        "  curl -s http://{daemon}/apis/status.rollcall/v1/virtualmachines | jq '.items|length'\n  \
         kubectl --server=http://{daemon} get vm --field-selector status.state=crashed -w\n  \
         curl -X POST http://{control}/vms/100003/crash\n\n"
    )
}

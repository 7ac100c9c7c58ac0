//! A fleet of hosts to try rollcall on: one exporter a host, each on a loopback address of its own.
//!
//! `fleet.rs` and `host.rs` are the state, `page.rs` and what it is filled from are the text,
//! `exporter.rs` and `control.rs` are the ports.

mod control;
mod exporter;
mod fleet;
mod host;
mod motion;
mod node_page;
mod page;
mod resource_page;
mod targets_file;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use kit::{Shutdown, Stopper, SystemClock};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::stop_signal::StopSignals;
use fleet::{Fleet, HOSTS_MAX, Size};

/// Threads of `rollcall simulate`: one can write pages while the other accepts.
const WORKERS: usize = 2;

/// What `rollcall simulate` can be told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Hosts of the fleet.
    #[arg(long, value_name = "N", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(HOSTS_MAX)))]
    pub(crate) hosts: u32,
    /// Virtual machines on each host.
    #[arg(long, value_name = "N", default_value_t = 200,
        value_parser = clap::value_parser!(u32).range(0..=200_000))]
    pub(crate) vms: u32,
    /// Port of every exporter, on addresses from 127.1.0.1 on.
    #[arg(long, value_name = "PORT", default_value_t = 9100,
        value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// Address of the control port; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9199")]
    pub(crate) control: SocketAddr,
    /// What chance starts from: the same seed prints the same values.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Share of a page's series, in percent, that are other ones each second.
    #[arg(long, value_name = "PERCENT", default_value_t = 0,
        value_parser = clap::value_parser!(u32).range(0..=90))]
    pub(crate) churn: u32,
}

/// Why there is no simulation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("listen on {address} (is another exporter or simulation running? try another --port)")]
    Exporter { address: SocketAddr, source: io::Error },
    #[error("listen on {address} for control requests (try another --control)")]
    Control { address: SocketAddr, source: io::Error },
    #[error("write {}", path.display())]
    TargetsFile { path: PathBuf, source: io::Error },
}

/// A running simulation. Ends when dropped.
pub(crate) struct Simulation {
    fleet: Arc<Fleet>,
    control: SocketAddr,
    tasks: JoinSet<()>,
    stopper: Stopper,
}

// === impl Simulation ===

impl Simulation {
    /// Starts all exporters on the current runtime, writes the `file_sd` file of the fleet, and
    /// answers on the control port when that is done.
    ///
    /// # Errors
    /// An address is taken, or the file cannot be written.
    pub(crate) async fn start(
        options: &Options,
        targets_file: &Path,
    ) -> Result<Simulation, StartError> {
        let size = Size {
            hosts: options.hosts,
            vms_per_host: options.vms,
            seed: options.seed,
            churn_percent: options.churn,
        };
        let fleet = Arc::new(Fleet::new(size, SystemClock::shared(), options.port));
        let (stopper, stop) = Stopper::new();
        let mut tasks = JoinSet::new();
        for host in fleet.hosts() {
            let address = host.address;
            let bound = exporter::bind(host).await;
            let listener = bound.map_err(|source| StartError::Exporter { address, source })?;
            let (fleet, host) = (Arc::clone(&fleet), Arc::clone(host));
            tasks.spawn(exporter::serve(fleet, host, listener, stop.clone()));
        }
        let failed = |source| StartError::TargetsFile { path: targets_file.to_owned(), source };
        targets_file::write(&fleet, targets_file).map_err(failed)?;
        let control = serve_control(options.control, &fleet, stop, &mut tasks);
        let address = options.control;
        let control = control.await.map_err(|source| StartError::Control { address, source })?;
        Ok(Simulation { fleet, control, tasks, stopper })
    }

    /// Where the control port listens.
    pub(crate) fn control(&self) -> SocketAddr {
        self.control
    }

    /// First and last exporter.
    pub(crate) fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let hosts = self.fleet.hosts();
        (hosts[0].address, hosts[hosts.len() - 1].address)
    }

    /// Ends the simulation and waits for its tasks.
    pub(crate) async fn stop(mut self) {
        self.stopper.stop();
        self.tasks.shutdown().await;
    }
}

async fn serve_control(
    address: SocketAddr,
    fleet: &Arc<Fleet>,
    stop: Shutdown,
    tasks: &mut JoinSet<()>,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let router = control::router(Arc::clone(fleet));
    tasks.spawn(async move {
        let served = axum::serve(listener, router)
            .with_graceful_shutdown(async move { stop.requested().await })
            .await;
        if let Err(error) = served {
            tracing::error!(error = %kit::Chain(&error), "control port ended");
        }
    });
    Ok(address)
}

/// Runs `rollcall simulate` until it is asked to stop.
///
/// # Errors
/// The fleet cannot be started.
pub(crate) fn run(options: &Options, targets_file: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("start the threads of the simulation")?;
    runtime.block_on(async {
        let mut signals = StopSignals::listen().context("listen for signals")?;
        let simulation = Simulation::start(options, targets_file).await?;
        let (first, last) = simulation.addresses();
        println!("fleet    {} hosts, http://{first}/metrics to {last}", options.hosts);
        println!("targets  {}", targets_file.display());
        println!("control  http://{}/", simulation.control());
        signals.next().await;
        simulation.stop().await;
        Ok(())
    })
}

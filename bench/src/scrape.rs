//! CPU per sample and memory of every agent on the same fleet, in turn.
//!
//! Each agent runs alone beside the fleet and the sink. After a warm-up of whole rounds the
//! kernel's counters are read at both ends of a window of whole intervals; the sink's count over
//! the same window says whether every sample arrived.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::agents::{Agent, Job};
use crate::fleet::{Fleet, Received, Shape, Sink};
use crate::process::Process;
use crate::table;

/// Rounds before the window: caches are full, shards have settled.
const WARM_UP_ROUNDS: u64 = 4;
/// A window may miss this share of the expected samples: rounds cut at its ends.
const MISSING_SHARE_MAX: f64 = 0.02;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    shape: Shape,
    /// Ask targets for plain text instead of gzip.
    #[arg(long)]
    no_gzip: bool,
    /// Remote write 2.0, for agents that can.
    #[arg(long)]
    second: bool,
    /// Only rollcall.
    #[arg(long)]
    alone: bool,
    /// Another binary to measure: NAME=PATH, e.g. `vmagent-new=/opt/vmagent`. May be repeated.
    #[arg(long)]
    rival: Vec<String>,
    /// A configuration whose routes and kinds rollcall follows too, to measure status routes; its
    /// jobs and receivers are left out.
    #[arg(long)]
    routing: Option<PathBuf>,
    /// Passed to `rollcall simulate` as it is. May be repeated.
    #[arg(long, allow_hyphen_values = true)]
    fleet: Vec<String>,
}

/// What one agent cost.
#[derive(Debug)]
struct Cost {
    name: String,
    cpu_s: f64,
    window_s: f64,
    rss_bytes: u64,
    rss_peak_bytes: u64,
    received: Received,
    fleet_cpu_s: f64,
}

/// Measures every agent and prints the table.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let routing = options.routing.as_deref().map(std::fs::read_to_string).transpose()?;
    let routing = routing.as_deref().map(our_sections);
    let mut agents = vec![Agent::rollcall(&options.shape.rollcall)];
    if !options.alone {
        agents.extend(Agent::rivals(&options.rival)?);
    }
    let mut costs = Vec::new();
    for agent in &agents {
        eprintln!("measuring {} …", agent.name);
        costs.push(measure(agent, options, routing.as_deref())?);
    }
    println!(
        "{} hosts, {} VMs a host, every {} s, {}, remote write {}\n",
        options.shape.hosts,
        options.shape.vms,
        options.shape.interval,
        if options.no_gzip { "plain text" } else { "gzip" },
        if options.second { "2.0 (rivals 1.0)" } else { "1.0" },
    );
    print_table(&costs, options)
}

fn measure(agent: &Agent, options: &Options, routing: Option<&str>) -> anyhow::Result<Cost> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(
        &options.shape.rollcall,
        options.shape.hosts,
        options.shape.vms,
        &options.fleet,
        folder.path(),
    )?;
    let sink = Sink::start(folder.path())?;
    let job = Job {
        targets_file: &fleet.targets_file,
        interval_s: options.shape.interval,
        gzip: !options.no_gzip,
        remote_write_url: &sink.url(),
        second: options.second && agent.is_rollcall(),
        destinations: None,
        routing: routing.filter(|_| agent.is_rollcall()),
    };
    let process = agent.start(&job, folder.path())?;
    sleep(Duration::from_secs(options.shape.interval * WARM_UP_ROUNDS));
    let result = observe(agent, &process, &fleet, &sink, options);
    if result.is_err() {
        show_log(folder.path());
    }
    process.stop(Duration::from_secs(5))?;
    result
}

fn observe(
    agent: &Agent,
    process: &Process,
    fleet: &Fleet,
    sink: &Sink,
    options: &Options,
) -> anyhow::Result<Cost> {
    let rounds = options.shape.window.div_ceil(options.shape.interval);
    let (before, fleet_before) = (process.usage()?, fleet.cpu_s()?);
    let (received_before, start) = (sink.received()?, Instant::now());
    let mut rss_bytes = 0;
    while start.elapsed() < Duration::from_secs(rounds * options.shape.interval) {
        sleep(Duration::from_millis(500));
        rss_bytes = rss_bytes.max(process.usage()?.rss_bytes);
    }
    let (after, received_after) = (process.usage()?, sink.received()?);
    if received_after.samples == received_before.samples {
        anyhow::bail!("{} sent nothing", agent.name);
    }
    let received = Received {
        samples: received_after.samples - received_before.samples,
        requests: received_after.requests - received_before.requests,
        body_bytes: received_after.body_bytes - received_before.body_bytes,
        refused: received_after.refused,
        delays_ms: received_after.delays_ms,
    };
    Ok(Cost {
        name: agent.name.clone(),
        cpu_s: after.cpu_s - before.cpu_s,
        window_s: start.elapsed().as_secs_f64(),
        rss_bytes,
        rss_peak_bytes: after.rss_peak_bytes,
        received,
        fleet_cpu_s: fleet.cpu_s()? - fleet_before,
    })
}

/// One line an agent; ratios to rollcall first.
fn print_table(costs: &[Cost], options: &Options) -> anyhow::Result<()> {
    let ours = costs.first().context("nothing was measured")?;
    let per_sample = |cost: &Cost| cost.cpu_s / cost.received.samples.max(1) as f64 * 1e6;
    let most = costs.iter().map(|cost| cost.received.samples).max().unwrap_or(0);
    let mut rows = Vec::new();
    for cost in costs {
        let samples = cost.received.samples;
        let missing = 1.0 - samples as f64 / most.max(1) as f64;
        let complete = missing <= MISSING_SHARE_MAX && cost.received.refused == 0;
        rows.push(vec![
            cost.name.clone(),
            format!("{:.1}×", per_sample(cost) / per_sample(ours)),
            format!("{:.1}×", cost.rss_bytes as f64 / ours.rss_bytes as f64),
            format!("{:.3}", per_sample(cost)),
            format!("{:.3}", cost.cpu_s / cost.window_s),
            format!("{:.0}", cost.rss_bytes as f64 / 1e6),
            format!("{:.0}", cost.rss_peak_bytes as f64 / 1e6),
            format!("{:.0}", samples as f64 / cost.window_s / 1e3),
            format!("{:.1}", cost.received.body_bytes as f64 / samples.max(1) as f64),
            format!("{:.0}", samples as f64 / cost.received.requests.max(1) as f64),
            format!("{} / {}", percentile(&cost.received, 50), percentile(&cost.received, 99)),
            format!("{:.3}", cost.fleet_cpu_s / cost.window_s),
            if complete { "yes".into() } else { format!("NO ({:.1} % fewer)", missing * 100.0) },
        ]);
    }
    let header = [
        "agent",
        "CPU",
        "memory",
        "µs/sample",
        "cores",
        "MB",
        "peak MB",
        "k samples/s",
        "B/sample",
        "samples/req",
        "delay ms p50 / p99",
        "fleet cores",
        "all arrived",
    ];
    table::print(&header, &rows);
    println!("\nwindow {} s; CPU = user + system of the whole process", options.shape.window);
    Ok(())
}

/// The sections of a configuration that are rollcall's own. They begin at the start of a line.
fn our_sections(config: &str) -> String {
    let mut ours = String::new();
    let mut within = false;
    for line in config.lines() {
        if let Some((key, _)) = line.split_once(':')
            && !line.starts_with([' ', '#', '-'])
        {
            within = ["data_types", "routes", "forwarders", "status"].contains(&key);
        }
        if within {
            ours.push_str(line);
            ours.push('\n');
        }
    }
    ours
}

/// How long samples were under way, in milliseconds.
fn percentile(received: &Received, percent: usize) -> u64 {
    let mut delays = received.delays_ms.clone();
    delays.sort_unstable();
    delays.get(delays.len() * percent / 100).copied().unwrap_or(0)
}

fn show_log(folder: &Path) {
    for name in ["rollcall.log", "vmagent.log", "prometheus.log", "simulate.log"] {
        if let Ok(text) = std::fs::read_to_string(folder.join(name)) {
            let tail: Vec<&str> = text.lines().rev().take(10).collect();
            for line in tail.iter().rev() {
                eprintln!("{name}: {line}");
            }
        }
    }
}

//! What queues cost rollcall, on the same fleet: in memory, on disk, written to or not, shared by
//! two, beside many idle ones.
//!
//! The first row is what the others are compared with. The kernel counts CPU in hundredths of a
//! second: a window of a minute tells one per cent apart.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::agents::{Agent, Job};
use crate::fleet::{Fleet, Shape, Sink};
use crate::table;

/// Rounds before the window.
const WARM_UP_ROUNDS: u64 = 4;
/// Destinations that are given nothing.
const IDLE: usize = 40;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    shape: Shape,
}

/// A way to keep what waits.
struct Variant {
    name: &'static str,
    /// Destinations that are given everything.
    destinations: usize,
    delivery: &'static str,
    idle: usize,
}

const VARIANTS: [Variant; 6] = [
    Variant { name: "memory", destinations: 1, delivery: "{}", idle: 0 },
    Variant { name: "disk", destinations: 1, delivery: DISK, idle: 0 },
    Variant { name: "disk, all written", destinations: 1, delivery: DISK_AT_ONCE, idle: 0 },
    Variant { name: "memory, two", destinations: 2, delivery: "{}", idle: 0 },
    Variant { name: "disk, two that share", destinations: 2, delivery: DISK, idle: 0 },
    Variant { name: "memory, beside 40 idle", destinations: 1, delivery: "{}", idle: IDLE },
];

const DISK: &str = "{ durability: disk, disk: { path: QUEUE } }";
/// As if no receiver ever kept up: what is delivered in time is written too.
const DISK_AT_ONCE: &str = "{ durability: disk, disk: { path: QUEUE, write_interval: 0s } }";

/// What one variant cost.
struct Cost {
    cpu_s: f64,
    rss_bytes: u64,
    samples: u64,
    disk_bytes_per_s: f64,
    window_s: f64,
}

/// Measures every variant and prints the table.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut first = None;
    for variant in &VARIANTS {
        eprintln!("measuring {} …", variant.name);
        let cost = measure(variant, options)?;
        let memory_cpu = *first.get_or_insert(cost.cpu_s / cost.window_s);
        let cores = cost.cpu_s / cost.window_s;
        rows.push(vec![
            variant.name.to_owned(),
            format!("{:.2}×", cores / memory_cpu),
            format!("{cores:.4}"),
            format!("{:.3}", cost.cpu_s / cost.samples.max(1) as f64 * 1e6),
            format!("{:.0}", cost.rss_bytes as f64 / 1e6),
            format!("{:.2}", cost.disk_bytes_per_s / 1e6),
            format!("{:.0}", cost.samples as f64 / cost.window_s / 1e3),
        ]);
    }
    println!(
        "\n{} hosts, {} VMs a host, every {} s\n",
        options.shape.hosts, options.shape.vms, options.shape.interval
    );
    let header =
        ["queue", "CPU", "cores", "µs/sample sent", "MB", "MB/s written", "k samples/s sent"];
    table::print(&header, &rows);
    Ok(())
}

fn measure(variant: &Variant, options: &Options) -> anyhow::Result<Cost> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(
        &options.shape.rollcall,
        options.shape.hosts,
        options.shape.vms,
        &[],
        folder.path(),
    )?;
    let sink = Sink::start(folder.path())?;
    let destinations = variant.config(&sink.url(), folder.path());
    let job = Job {
        targets_file: &fleet.targets_file,
        interval_s: options.shape.interval,
        gzip: true,
        remote_write_url: &sink.url(),
        second: false,
        destinations: Some(&destinations),
        routing: None,
    };
    let process = Agent::rollcall(&options.shape.rollcall).start(&job, folder.path())?;
    sleep(Duration::from_secs(options.shape.interval * WARM_UP_ROUNDS));
    let (before, written_before) = (process.usage()?, process.written_bytes()?);
    let (received, start) = (sink.received()?.samples, Instant::now());
    let rounds = options.shape.window.div_ceil(options.shape.interval);
    sleep(Duration::from_secs(rounds * options.shape.interval));
    let (after, written) = (process.usage()?, process.written_bytes()?);
    let samples = sink.received()?.samples - received;
    let window_s = start.elapsed().as_secs_f64();
    process.stop(Duration::from_secs(5))?;
    (samples > 0).then_some(()).context("nothing was sent")?;
    Ok(Cost {
        cpu_s: after.cpu_s - before.cpu_s,
        rss_bytes: after.rss_bytes,
        samples,
        disk_bytes_per_s: (written - written_before) as f64 / window_s,
        window_s,
    })
}

impl Variant {
    /// The sections of its destinations.
    fn config(&self, url: &str, folder: &Path) -> String {
        let delivery = self.delivery.replace("QUEUE", &format!("{:?}", folder.join("queue")));
        let mut text = "remote_write:\n".to_owned();
        for nth in 0..self.destinations {
            text.push_str(&format!(
                "  - {{ name: reports{nth}, url: '{url}', delivery: {delivery} }}\n"
            ));
        }
        text.push_str("forwarders:\n");
        for nth in 0..self.idle {
            text.push_str(&format!("  - {{ name: idle{nth}, module: http, url: '{url}' }}\n"));
        }
        if self.idle == 0 { text.replace("forwarders:\n", "") } else { text }
    }
}

//! The status center beside etcd and Redis: update to notified, deliveries, lists, memory.
//!
//! Load generator and server share the machine. Every update carries the time it was sent, so a
//! listener knows how late it hears of it; all in one process, hence one clock.

mod alone;
mod ears;
mod etcd;
mod load;
mod redis;
mod rollcall;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use crate::table;
use alone::Alone;
use load::{Report, Scenario, System};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The rollcall binary.
    #[arg(long, default_value = "target/release/rollcall")]
    rollcall: PathBuf,
    /// Objects in the store.
    #[arg(long, default_value_t = 51_200)]
    objects: usize,
    /// Seconds each scenario runs.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Only rollcall.
    #[arg(long)]
    alone: bool,
    /// Connections that write when saturated.
    #[arg(long, default_value_t = 32)]
    writers: usize,
    /// Objects of the row about memory; 0 leaves out the rows that only rollcall has.
    #[arg(long, default_value_t = 1_000_000)]
    million: usize,
    /// The program that measures how fast batches are taken:
    /// `cargo build --release -p status-sink --example rates`.
    #[arg(long, default_value = "target/release/examples/rates")]
    rates: PathBuf,
    /// Listeners of the fan-out of one event.
    #[arg(long, default_value_t = 10_000)]
    crowd: usize,
}

/// Measures every system that is installed and prints the table.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let mut reports = Vec::new();
    let alone = runtime.block_on(async {
        let mut alone = None;
        if options.million > 0 {
            eprintln!("rollcall: start, a million objects, batches …");
            let Options { rollcall, rates, million, .. } = options;
            alone = Some(alone::measure(rollcall, rates, *million, folder.path()).await?);
        }
        let rollcall = rollcall::Server::start(&options.rollcall, folder.path()).await?;
        reports.push(measure("rollcall", &rollcall, options).await?);
        if !options.alone && etcd::installed() {
            let etcd = etcd::Server::start(folder.path()).await?;
            reports.push(measure("etcd (Debian)", &etcd, options).await?);
        }
        if !options.alone && redis::installed() {
            let redis = redis::Server::start(folder.path()).await?;
            reports.push(measure("Redis (Debian)", &redis, options).await?);
        }
        anyhow::Ok(alone)
    })?;
    print_table(&reports, options);
    if let Some(alone) = alone {
        print_alone(&alone, options);
    }
    Ok(())
}

async fn measure(
    name: &str,
    system: &impl System,
    options: &Options,
) -> anyhow::Result<(String, Report)> {
    let for_time = Duration::from_secs(options.seconds);
    let scenario = |listeners, rate, writers| Scenario { listeners, rate, writers, for_time };
    eprintln!("{name}: filling {} objects …", options.objects);
    let mut report =
        Report { fill: load::fill(system, options.objects).await?, ..Report::default() };
    report.rss_bytes = system.usage()?.rss_bytes;
    eprintln!("{name}: lists …");
    report.list_all = load::median_of(5, || system.list_all(options.objects)).await?;
    report.list_host = load::median_of(20, || system.list_host(7)).await?;
    eprintln!("{name}: 500 updates/s to 40 listeners …");
    report.calm = load::run(system, &scenario(40, Some(500), 8)).await?;
    eprintln!("{name}: saturated, 40 listeners …");
    report.saturated = load::run(system, &scenario(40, None, options.writers)).await?;
    eprintln!("{name}: 50 updates/s to 1,000 listeners …");
    report.wide = load::run(system, &scenario(1000, Some(50), 4)).await?;
    if options.crowd > 0 && system.takes_crowds() {
        eprintln!("{name}: one event to {} listeners …", options.crowd);
        report.crowd = Some(load::one_event(system, options.crowd).await?);
    }
    report.rss_loaded_bytes = system.usage()?.rss_peak_bytes;
    Ok((name.to_owned(), report))
}

/// One row a figure, one column a system.
fn print_table(reports: &[(String, Report)], options: &Options) {
    let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    let optional = |time: Option<Duration>| time.map_or_else(|| "–".into(), ms);
    let thousands = |rate: f64| format!("{:.1} k/s", rate / 1e3);
    let megabytes = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
    let row = |name: &str, cell: &dyn Fn(&Report) -> String| {
        let cells = reports.iter().map(|(_, report)| cell(report));
        [name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let mut header = vec!["figure"];
    header.extend(reports.iter().map(|(name, _)| name.as_str()));
    let crowd = format!("one event to {} listeners, last one", options.crowd);
    let rows = [
        row("update → notified p50, 500/s × 40", &|r| ms(r.calm.p50)),
        row("update → notified p99, 500/s × 40", &|r| ms(r.calm.p99)),
        row("updates/s, 40 listeners, saturated", &|r| thousands(r.saturated.updates_per_s)),
        row("deliveries/s, saturated", &|r| thousands(r.saturated.deliveries_per_s)),
        row("update → notified p99, saturated", &|r| ms(r.saturated.p99)),
        row("update → notified p99, 50/s × 1,000", &|r| ms(r.wide.p99)),
        row(&crowd, &|r| optional(r.crowd)),
        row("list of all, last byte", &|r| optional(r.list_all)),
        row("list of one host's 200", &|r| optional(r.list_host)),
        row("creates/s", &|r| thousands(r.fill)),
        row("memory with all objects", &|r| megabytes(r.rss_bytes)),
        row("memory, most under load", &|r| megabytes(r.rss_loaded_bytes)),
        row("every update reached everyone", &|r| {
            let all = [&r.calm, &r.saturated, &r.wide].iter().all(|run| run.missing == 0);
            if all { "yes".into() } else { "NO".into() }
        }),
    ];
    println!("{} objects of about 480 bytes, load generator beside the server\n", options.objects);
    table::print(&header, &rows);
}

/// The rows without rivals.
fn print_alone(alone: &Alone, options: &Options) {
    let per_s = |rate: Option<f64>| match rate {
        Some(rate) => format!("{:.0} k/s", rate / 1e3),
        None => "– (build the example `rates`)".to_owned(),
    };
    let row = |name: &str, cell: String| vec![name.to_owned(), cell];
    let memory = format!("memory with {} objects", options.million);
    let rows = [
        row("start to ready, 256 hosts pulled", format!("{:.2} s", alone.ready.as_secs_f64())),
        row(&memory, format!("{:.0} MB", alone.million_rss_bytes as f64 / 1e6)),
        row("scraped changes applied, one core", per_s(alone.rates.map(|(changed, _)| changed))),
        row("unchanged samples, one core", per_s(alone.rates.map(|(_, unchanged)| unchanged))),
    ];
    println!();
    table::print(&["figure", "rollcall"], &rows);
}

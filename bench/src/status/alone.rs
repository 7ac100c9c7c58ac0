//! What only rollcall has: a million objects, a start with everything pulled from all hosts, and
//! how fast it takes batches.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::rollcall::{Server, VMS};
use super::wire::Connection;
use crate::fleet::{self, Fleet, free_port};
use crate::process::Process;

/// Objects of one bulk request.
const BULK_OBJECTS: usize = 10_000;
/// How long the fleet may take until all of it is there.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// The figures.
#[derive(Debug, Default)]
pub(super) struct Alone {
    /// Resident memory with a million objects of about 480 bytes of JSON.
    pub(super) million_rss_bytes: u64,
    /// From the start of the process until the first list has all VMs of all hosts.
    pub(super) ready: Duration,
    /// Objects and samples a second on one thread; none if the program that measures them has
    /// not been built.
    pub(super) rates: Option<(f64, f64)>,
}

/// Measures it.
pub(super) async fn measure(
    rollcall: &Path,
    rates: &Path,
    million: usize,
    folder: &Path,
) -> anyhow::Result<Alone> {
    let ready = ready(rollcall, folder).await.context("measure the start")?;
    let million_rss_bytes = memory(rollcall, million, folder).await.context("measure memory")?;
    let rates = rates.exists().then(|| run_rates(rates)).transpose()?;
    Ok(Alone { million_rss_bytes, ready, rates })
}

async fn memory(rollcall: &Path, objects: usize, folder: &Path) -> anyhow::Result<u64> {
    let server = Server::start(rollcall, folder).await?;
    let mut connection = Connection::open(server.address()).await?;
    for first in (0..objects).step_by(BULK_OBJECTS) {
        let lines: String = (first..objects.min(first + BULK_OBJECTS)).map(line).collect();
        let request = format!(
            "POST {VMS}/bulk HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-ndjson\r\n\
             Content-Length: {}\r\n\r\n{lines}",
            lines.len(),
        );
        let (status, _) = connection.http(request.as_bytes()).await?;
        ensure!(status == 200, "bulk: {status}");
    }
    Ok(server.process_usage()?.rss_bytes)
}

fn line(number: usize) -> String {
    let (host, note) = (number / 200, format!("{:.<100}", "note"));
    format!(
        "{{\"metadata\":{{\"name\":\"vm-{number}\"}},\"status\":{{\"state\":\"running\",\
         \"host\":\"host-{host}\",\"stamp\":\"stamp-{number:020}\",\"note\":\"{note}\"}}}}\n"
    )
}

/// Starts it on 256 hosts of 200 VMs; the time until a list is answered, which is whole.
async fn ready(rollcall: &Path, folder: &Path) -> anyhow::Result<Duration> {
    let fleet = Fleet::start(rollcall, 256, 200, &[], folder)?;
    fleet.warm_up().context("warm the fleet up")?;
    let config = folder.join("ready.yml");
    std::fs::write(&config, CONFIG.replace("TARGETS", &fleet.targets_file.display().to_string()))?;
    let port = free_port()?;
    let mut command = Command::new(rollcall);
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let start = Instant::now();
    let _process = Process::start("rollcall", command, &folder.join("ready.log"))?;
    let address = ([127, 0, 0, 1], port).into();
    let count = format!("{VMS}/summary?by=state");
    loop {
        // The answer of a center that is not warm has no total.
        let answer = fleet::get(address, &count).unwrap_or_default();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
        if let Some(total) = answer["total"].as_u64() {
            ensure!(total == 51_200, "the first answer has {total} VMs");
            return Ok(start.elapsed());
        }
        ensure!(start.elapsed() < READY_PATIENCE, "not ready: {answer}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const CONFIG: &str = "
global: { scrape_interval: 5s }
scrape_configs:
  - job_name: hosts
    file_sd_configs: [{ files: ['TARGETS'] }]
data_types: [{ name: vms, match: ['{__name__=~\"hci_vm_.+\"}'] }]
routes: [{ data_types: [vms], to: [status] }]
status:
  kinds:
    - kind: VirtualMachine
      name: \"{vmid}\"
      fields:
        state: { metric: hci_vm_state, from_label: state }
        cpu:   { metric: hci_vm_cpu_usage_ratio, change: 0.05 }
        host:  { label: host }
      index: [state, host]
";

fn run_rates(program: &Path) -> anyhow::Result<(f64, f64)> {
    let output = Command::new(program).output().context("run the program that takes batches")?;
    ensure!(output.status.success(), "{}: {}", program.display(), output.status);
    let rates: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let rate = |key: &str| rates[key].as_f64().with_context(|| format!("no {key}"));
    Ok((rate("changed_objects_per_s")?, rate("unchanged_samples_per_s")?))
}

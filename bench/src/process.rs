//! One measured process: started, read from `/proc`, ended by its id.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

/// Kernel ticks a second (`USER_HZ`), as `/proc/PID/stat` counts: 100 on every Linux we know.
const TICKS_PER_S: f64 = 100.0;

/// A running process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
}

/// What the kernel says about a process at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// User + system CPU since its start, in seconds.
    pub(crate) cpu_s: f64,
    /// Resident memory, in bytes.
    pub(crate) rss_bytes: u64,
    /// The most resident memory so far, in bytes.
    pub(crate) rss_peak_bytes: u64,
}

impl Process {
    /// Starts `command`; what it prints goes to `log`.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Process> {
        let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("start {name}: {command:?}"))?;
        Ok(Process { child, name: name.to_owned() })
    }

    /// CPU and memory so far.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let pid = self.child.id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("{} has ended", self.name))?;
        let after_name = stat.rsplit_once(')').context("read /proc/PID/stat")?.1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok());
        let user = ticks(11).context("read utime")?;
        let system = ticks(12).context("read stime")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(Usage {
            cpu_s: (user + system) / TICKS_PER_S,
            rss_bytes: kilobytes(&status, "VmRSS:") * 1024,
            rss_peak_bytes: kilobytes(&status, "VmHWM:") * 1024,
        })
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Open files.
    pub(crate) fn files(&self) -> anyhow::Result<usize> {
        self.entries("fd")
    }

    /// Threads.
    pub(crate) fn threads(&self) -> anyhow::Result<usize> {
        self.entries("task")
    }

    /// Bytes that it had written to disks, or will when the system likes to.
    pub(crate) fn written_bytes(&self) -> anyhow::Result<u64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.child.id()))
            .with_context(|| format!("{} has ended", self.name))?;
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        line.and_then(|bytes| bytes.trim().parse().ok()).context("read write_bytes")
    }

    fn entries(&self, of: &str) -> anyhow::Result<usize> {
        let folder = format!("/proc/{}/{of}", self.child.id());
        Ok(fs::read_dir(folder).with_context(|| format!("{} has ended", self.name))?.count())
    }

    /// Asks it to stop (SIGTERM), and kills it when it does not within `patience`.
    pub(crate) fn stop(mut self, patience: Duration) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().context("run kill")?;
        for _ in 0..patience.as_millis() / 50 {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_reaped = self.child.wait();
    }
}

fn kilobytes(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

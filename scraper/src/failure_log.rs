//! `scrape_failure_log_file`: one JSON line for each failed scrape, written off the scraping threads.
//!
//! All jobs that name the same file share it. A file is opened again on each reload, so that it
//! can be rotated. Lines that find no room in the queue are dropped and counted.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use kit::Chain;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use tokio::sync::mpsc;
use tracing::error;

/// Lines that wait for the disk. At 256 targets failing every second: four seconds.
const QUEUE_LINES: usize = 1024;

/// The open files, by path as configured.
#[derive(Default)]
pub(crate) struct FailureLogs(BTreeMap<String, Lines>);

/// Where one job's failures go: nowhere, or the file that the latest configuration names. All
/// loops of the job share it.
#[derive(Clone)]
pub(crate) struct FailureLog {
    job: Arc<str>,
    lines: Arc<ArcSwapOption<Lines>>,
    dropped: Counter,
}

/// The queue before one file.
type Lines = mpsc::Sender<Box<str>>;

#[derive(Serialize)]
struct Line<'l> {
    time: String,
    level: &'static str,
    msg: &'l str,
    job_name: &'l str,
    target: &'l str,
}

// === impl FailureLogs ===

impl FailureLogs {
    /// Opens `paths`, each once. One that cannot be opened is logged and left out.
    pub(crate) fn open<'p>(paths: impl Iterator<Item = &'p str>) -> FailureLogs {
        let mut logs = BTreeMap::new();
        for path in paths.filter(|path| !path.is_empty()) {
            if logs.contains_key(path) {
                continue;
            }
            match OpenOptions::new().append(true).create(true).open(path) {
                Ok(file) => {
                    logs.insert(path.to_owned(), writer(file, PathBuf::from(path)));
                }
                Err(failure) => {
                    error!(path, error = %Chain(&failure), "scrape failure log cannot be opened");
                }
            }
        }
        FailureLogs(logs)
    }

    /// Makes the log at `path`, or none if it is not open, that of a job.
    pub(crate) fn give(&self, path: &str, to: &FailureLog) {
        to.lines.store(self.0.get(path).cloned().map(Arc::new));
    }
}

/// A thread that writes lines; it ends when nobody can send any more.
fn writer(mut file: File, path: PathBuf) -> Lines {
    let (lines, mut waiting) = mpsc::channel::<Box<str>>(QUEUE_LINES);
    tokio::task::spawn_blocking(move || {
        let mut failing = false;
        while let Some(line) = waiting.blocking_recv() {
            match file.write_all(line.as_bytes()) {
                Ok(()) => failing = false,
                Err(_) if failing => {}
                Err(failure) => {
                    failing = true;
                    let (path, error) = (path.display(), Chain(&failure));
                    error!(%path, %error, "scrape failure log cannot be written");
                }
            }
        }
    });
    lines
}

// === impl FailureLog ===

impl FailureLog {
    /// The log of `job`: none yet.
    pub(crate) fn new(job: &Arc<str>, dropped: &Counter) -> FailureLog {
        FailureLog { job: Arc::clone(job), lines: Arc::default(), dropped: dropped.clone() }
    }

    /// Writes one line, soon; does nothing if the job has no log.
    pub(crate) fn write(&self, unix_ms: i64, message: &str, target: &str) {
        let Some(lines) = self.lines.load_full() else { return };
        let line = Line {
            time: rfc3339(unix_ms),
            level: "ERROR",
            msg: message,
            job_name: &self.job,
            target,
        };
        let Ok(mut text) = serde_json::to_string(&line) else { return };
        text.push('\n');
        if lines.try_send(text.into()).is_err() {
            self.dropped.inc();
        }
    }
}

fn rfc3339(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn failures_are_json_lines_in_the_file_that_is_configured_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("failures.json");
        let name = path.to_str().unwrap();
        let log = FailureLog::new(&Arc::from("node"), &Counter::default());
        log.write(0, "nowhere", "http://h/metrics");
        {
            let logs = FailureLogs::open([name, "", name].into_iter());
            logs.give(name, &log);
            log.write(1_700_000_000_123, "Get \"x\": refused", "http://h/metrics");
            logs.give("", &log);
            log.write(0, "nowhere", "http://h/metrics");
        }
        let want = concat!(
            r#"{"time":"2023-11-14T22:13:20.123Z","level":"ERROR","msg":"Get \"x\": refused","#,
            r#""job_name":"node","target":"http://h/metrics"}"#,
            "\n"
        );
        let written = async {
            while std::fs::read_to_string(&path).unwrap_or_default() != want {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), written).await.unwrap();
    }
}

//! The real kubectl, with a home of its own, so that it neither reads nor leaves anything.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::process::Process;
use crate::wait::DEADLINE;

/// A kubectl that speaks to one server.
#[derive(Debug)]
pub struct Kubectl {
    binary: PathBuf,
    server: String,
    home: TempDir,
    n_started: AtomicUsize,
    variables: Vec<(String, String)>,
}

/// What one run of kubectl printed.
#[derive(Debug, Clone)]
pub struct Printed {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

// === impl Kubectl ===

impl Kubectl {
    /// This binary against this server (`http://host:port`).
    pub fn new(binary: &Path, server: &str) -> Kubectl {
        let missing = "run `make tools` first, which fetches it";
        assert!(binary.exists(), "no kubectl at {}: {missing}", binary.display());
        Kubectl {
            binary: binary.to_owned(),
            server: server.to_owned(),
            home: tempfile::tempdir().expect("create a temporary folder"),
            n_started: AtomicUsize::new(0),
            variables: Vec::new(),
        }
    }

    /// With one more environment variable.
    pub fn variable(mut self, name: &str, value: &str) -> Kubectl {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The folder that it runs in: files for `-f` go there.
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    /// Runs it to its end.
    pub async fn run(&self, arguments: &[&str]) -> Printed {
        self.run_within(DEADLINE, arguments).await
    }

    /// Runs it to its end, which must come within this time.
    pub async fn run_within(&self, within: Duration, arguments: &[&str]) -> Printed {
        let mut command = self.command(arguments);
        let output = timeout(within, command.kill_on_drop(true).output()).await;
        let output = output.unwrap_or_else(|_| panic!("kubectl {arguments:?} took {within:?}"));
        let output = output.expect("start kubectl");
        Printed {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs it, and expects success.
    pub async fn prints(&self, arguments: &[&str]) -> String {
        let printed = self.run(arguments).await;
        assert_eq!(printed.code, Some(0), "kubectl {arguments:?}: {printed:?}");
        printed.out
    }

    /// Starts it and lets it run, for `--watch`.
    pub fn start(&self, arguments: &[&str]) -> Process {
        let nth = self.n_started.fetch_add(1, Ordering::Relaxed);
        let log = self.home.path().join(format!("kubectl-{nth}.log"));
        Process::start("kubectl", self.command(arguments), &log)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg(format!("--server={}", self.server))
            .args(arguments)
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("none"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.home.path());
        command
    }
}

//! A program that a test started: its log in a file, its end by pid, at the latest when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::wait::wait_until;

/// A running program. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

// === impl Process ===

impl Process {
    /// Starts `command`, with what it prints (both streams) in `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Process {
        let file = File::create(log).expect("create the log file of a program");
        let both = file.try_clone().expect("share the log file of a program");
        command.stdin(Stdio::null()).stdout(file).stderr(both).kill_on_drop(true);
        let child = command.spawn().unwrap_or_else(|error| panic!("start {name}: {error}"));
        Process { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap_or_else(|| panic!("{} has ended:\n{}", self.name, self.log()))
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ask for the exit status of a child")
    }

    /// Sends a signal by its name without `SIG`: `TERM`, `HUP`, `STOP`, `KILL` …
    pub async fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.id());
        let status = Command::new("sh").args(["-c", &kill]).status().await;
        let status = status.expect("run sh");
        assert!(status.success(), "{kill} ({}): {status}", self.name);
    }

    /// Waits until it ends.
    pub async fn exit(&mut self, within: Duration) -> ExitStatus {
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(status) => status.expect("wait for a child"),
            Err(_) => panic!("{} still runs after {within:?}:\n{}", self.name, self.log()),
        }
    }

    /// Waits until `GET url` is answered 200; a program that ends meanwhile is reported.
    pub async fn answers(&mut self, url: &str, within: Duration) {
        let client = reqwest::Client::new();
        let what = format!("{} answers {url}", self.name);
        let this = std::cell::RefCell::new(self);
        wait_until(&what, within, || async {
            let (ended, log) = {
                let mut this = this.borrow_mut();
                (this.ended(), this.log())
            };
            if let Some(status) = ended {
                panic!("it ended with {status}:\n{log}");
            }
            match client.get(url).send().await {
                Ok(response) if response.status() == 200 => Ok(()),
                Ok(response) => Err(format!("{}\n{log}", response.status())),
                Err(error) => Err(format!("{error:?}\n{log}")),
            }
        })
        .await;
    }
}

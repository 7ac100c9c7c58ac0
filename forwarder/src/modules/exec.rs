//! Feeds a child process with samples, one JSON object a line: a module in any language.
//!
//! A block is delivered when the child's pipe has taken all of it, or when the child says so
//! (`acknowledge: true`). A child that ends is started again for the next block, and the block
//! that broke off is sent again, whole.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use kit::Clock;
use kit::config::{Invalid, yaml::Section};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Mutex;
use tracing::info;

use crate::block::{Compression, Counts, Encoding, Format};
use crate::config::QueueConfig;
use crate::module::{Checked, Module, ModuleKind, Parcel, SendError, Verdict};

pub(super) const KIND: ModuleKind = ModuleKind {
    name: "exec",
    about: "feeds a child process with lines of JSON; started again when it ends",
    check,
};

/// How long a child may take to answer a block.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.Exec")]
struct Spec {
    /// The program and its arguments; no shell is involved.
    command: Vec<String>,
    /// Environment variables beside our own.
    env: BTreeMap<String, String>,
    /// Whether the child answers each block: an empty line follows the block, and then the child
    /// prints `ok`, `retry` or `refuse` and why. Default false: what its pipe takes is delivered.
    acknowledge: bool,
}

/// One child at a time.
struct Exec {
    spec: Spec,
    child: Mutex<Option<Fed>>,
}

/// A child and what it says.
struct Fed {
    child: Child,
    /// Only of one that acknowledges.
    answers: Option<Lines<BufReader<ChildStdout>>>,
}

fn check(section: &Section, _: &QueueConfig, _: &Path) -> Result<Checked, Invalid> {
    let spec: Spec = section.decode()?;
    if spec.command.first().is_none_or(String::is_empty) {
        return Err(Invalid::new("command", "exec forwarder has no command"));
    }
    let settings = Arc::new(spec.clone());
    let build = move |_: &Arc<dyn Clock>| -> Result<Box<dyn Module>, _> {
        Ok(Box::new(Exec { spec: spec.clone(), child: Mutex::new(None) }))
    };
    Ok(Checked::new(settings, Arc::new(build), Encoding::JsonLines))
}

impl Module for Exec {
    fn format(&self) -> Format {
        Format { encoding: Encoding::JsonLines, compression: Compression::None }
    }

    fn endpoint(&self) -> String {
        self.spec.command.join(" ")
    }

    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Verdict> {
        Box::pin(async {
            match self.feed(&parcel.bytes).await {
                Ok(None) => Verdict::Delivered { not_written: Counts::default() },
                Ok(Some(answer)) => self.judge(&answer),
                Err(source) => Verdict::Retry { after: None, why: self.failed(source) },
            }
        })
    }
}

impl Exec {
    /// What the child made of a block.
    fn judge(&self, answer: &str) -> Verdict {
        match answer.split_once(' ').map_or(answer, |(word, _)| word) {
            "ok" => Verdict::Delivered { not_written: Counts::default() },
            "refuse" => Verdict::Refused { why: self.failed(io::Error::other(answer.to_owned())) },
            _ => {
                let why = self.failed(io::Error::other(answer.to_owned()));
                Verdict::Retry { after: None, why }
            }
        }
    }

    fn failed(&self, source: io::Error) -> SendError {
        SendError::Write { path: self.endpoint(), source }
    }

    /// Writes the whole block into the child's pipe; what the child answers, if it does. The child
    /// is taken out while it is written to: if this is given up half way, the child ends with it
    /// and never sees a torn line twice.
    async fn feed(&self, bytes: &Bytes) -> io::Result<Option<String>> {
        let mut slot = self.child.lock().await;
        let mut fed = match slot.take() {
            Some(mut fed) => match fed.child.try_wait()? {
                None => fed,
                Some(status) => {
                    info!(command = %self.endpoint(), %status, "child ended, starting it again");
                    self.start()?
                }
            },
            None => self.start()?,
        };
        let pipe = fed.child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        pipe.write_all(bytes).await?;
        let mut answer = None;
        if let Some(answers) = &mut fed.answers {
            pipe.write_all(b"\n").await?;
            pipe.flush().await?;
            let line = tokio::time::timeout(ANSWERED_WITHIN, answers.next_line()).await;
            let line = line.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            answer = Some(line.ok_or(io::ErrorKind::UnexpectedEof)?);
        } else {
            pipe.flush().await?;
        }
        *slot = Some(fed);
        Ok(answer)
    }

    fn start(&self) -> io::Result<Fed> {
        let mut command = Command::new(&self.spec.command[0]);
        command.args(&self.spec.command[1..]).envs(&self.spec.env);
        let stdout = if self.spec.acknowledge { Stdio::piped() } else { Stdio::inherit() };
        command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::inherit());
        let mut child = command.kill_on_drop(true).spawn()?;
        let answers = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        Ok(Fed { child, answers })
    }
}

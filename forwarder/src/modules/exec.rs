//! Feeds a child process with samples, one JSON object a line: a module in any language.
//!
//! A block is delivered when the child's pipe has taken all of it, or when the child says so
//! (`acknowledge: true`). A child that ends is started again for the next block, and the block
//! that broke off is sent again, whole.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use kit::config::{Invalid, yaml::Section};
use kit::{Clock, open_files};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::secrets;
use crate::block::{Compression, Encoding, Format};
use crate::config::QueueConfig;
use crate::module::{Checked, Module, ModuleKind, Parcel, SendError, Verdict};

pub(super) const KIND: ModuleKind = ModuleKind {
    name: "exec",
    about: "feeds a child process with lines of JSON; started again when it ends",
    check,
};

/// How long a child may read nothing of what it is sent, and then take to answer.
const HEARD_WITHIN: Duration = Duration::from_secs(30);
/// How long a child that is sent nothing more may take for what is in its pipe.
const ENDED_WITHIN: Duration = Duration::from_secs(10);
/// A child's answer is no longer than this.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.Exec")]
struct Spec {
    /// The program and its arguments; no shell is involved.
    command: Vec<String>,
    /// Environment variables beside our own.
    #[serde(serialize_with = "secrets::hide")]
    env: BTreeMap<String, String>,
    /// Whether the child answers each block: an empty line follows the block, and then the child
    /// prints `ok`, `retry` or `refuse` and why. Default false: what its pipe takes is delivered.
    acknowledge: bool,
}

/// One child at a time.
struct Exec {
    spec: Spec,
    child: Mutex<Option<Fed>>,
    /// Children that are let go.
    leaving: TaskTracker,
}

/// A child and what it says. One that is let go has some time for what is in its pipe.
struct Fed {
    child: Option<Child>,
    leaving: TaskTracker,
    /// Only of one that acknowledges.
    answers: Option<FramedRead<ChildStdout, LinesCodec>>,
}

fn check(section: &Section, _: &QueueConfig, _: &Path) -> Result<Checked, Invalid> {
    let spec: Spec = section.decode()?;
    if spec.command.first().is_none_or(String::is_empty) {
        return Err(Invalid::new("command", "exec forwarder has no command"));
    }
    let settings = Arc::new(spec.clone());
    let build = move |_: &Arc<dyn Clock>| -> Result<Box<dyn Module>, _> {
        let (spec, child, leaving) = (spec.clone(), Mutex::new(None), TaskTracker::new());
        Ok(Box::new(Exec { spec, child, leaving }))
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
                Ok(None) => Verdict::DELIVERED,
                Ok(Some(answer)) => self.judge(&answer),
                Err(source) => Verdict::Retry { after: None, why: self.failed(source) },
            }
        })
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            drop(self.child.lock().await.take());
            self.leaving.close();
            self.leaving.wait().await;
        })
    }
}

impl Exec {
    /// What the child made of a block.
    fn judge(&self, answer: &str) -> Verdict {
        let failed = |why: String| self.failed(io::Error::other(why));
        let why = match answer.split_once(' ').map_or(answer, |(word, _)| word) {
            "ok" => return Verdict::DELIVERED,
            "refuse" => return Verdict::Refused { why: failed(answer.to_owned()) },
            "retry" => failed(answer.to_owned()),
            _ => failed(format!("the answer is none of ok, retry and refuse: {answer:?}")),
        };
        Verdict::Retry { after: None, why }
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
            Some(mut fed) => match fed.ended()? {
                // What it said unasked would count as its answer to this block.
                None if fed.says_something() => {
                    info!(command = %self.endpoint(), "child talks unasked, starting another one");
                    drop(fed);
                    self.start()?
                }
                None => fed,
                Some(status) => {
                    info!(command = %self.endpoint(), %status, "child ended, starting it again");
                    self.start()?
                }
            },
            None => self.start()?,
        };
        let answer = fed.take(bytes).await.inspect_err(|error| {
            if error.kind() == io::ErrorKind::TimedOut {
                fed.kill();
            }
        })?;
        // One that says something else is out of step: its next answer would be to this block.
        if answer.as_deref().is_none_or(is_answer) {
            *slot = Some(fed);
        }
        Ok(answer)
    }

    fn start(&self) -> io::Result<Fed> {
        let mut command = Command::new(&self.spec.command[0]);
        command.args(&self.spec.command[1..]).envs(&self.spec.env);
        let stdout = if self.spec.acknowledge { Stdio::piped() } else { Stdio::inherit() };
        command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::inherit());
        command.kill_on_drop(true); // when there is no time to let it go
        let mut child = command.spawn()?;
        open_files::restore_for(child.id());
        let lines = || LinesCodec::new_with_max_length(ANSWER_BYTES_MAX);
        let answers = child.stdout.take().map(|stdout| FramedRead::new(stdout, lines()));
        Ok(Fed { child: Some(child), leaving: self.leaving.clone(), answers })
    }
}

/// Whether a child's line is one of those that it may answer.
fn is_answer(line: &str) -> bool {
    matches!(line.split(' ').next(), Some("ok" | "retry" | "refuse"))
}

/// Writes all of it, however slowly it is read.
async fn write(pipe: &mut ChildStdin, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        let n_bytes = heard(pipe.write(rest)).await?;
        if n_bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        rest = &rest[n_bytes..];
    }
    heard(pipe.flush()).await
}

async fn heard<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let done = tokio::time::timeout(HEARD_WITHIN, step).await;
    done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

// === impl Fed ===

impl Fed {
    /// How it ended, if it has.
    fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.as_mut().map_or(Ok(None), Child::try_wait)
    }

    /// Writes a block; what it answers, if it does.
    async fn take(&mut self, block: &[u8]) -> io::Result<Option<String>> {
        let pipe = self.child.as_mut().and_then(|child| child.stdin.as_mut());
        let pipe = pipe.ok_or(io::ErrorKind::BrokenPipe)?;
        write(pipe, block).await?;
        let Some(answers) = &mut self.answers else { return Ok(None) };
        write(pipe, b"\n").await?;
        let line =
            heard(async { answers.next().await.transpose().map_err(io::Error::other) }).await?;
        line.ok_or(io::ErrorKind::UnexpectedEof.into()).map(Some)
    }

    /// Whether it says more than it was asked for, or nothing any more.
    fn says_something(&mut self) -> bool {
        self.answers.as_mut().is_some_and(|answers| answers.next().now_or_never().is_some())
    }

    /// It does nothing more.
    fn kill(&mut self) {
        if let Some(Err(error)) = self.child.as_mut().map(Child::start_kill) {
            warn!(%error, "a child that does not read can not be ended");
        }
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        if let (Some(child), Ok(runtime)) = (self.child.take(), Handle::try_current()) {
            self.leaving.spawn_on(let_go(child, self.answers.take()), &runtime);
        }
    }
}

/// Ends a child's input, and the child if it does not. What it says until then goes nowhere, but
/// it may say it.
async fn let_go(mut child: Child, answers: Option<FramedRead<ChildStdout, LinesCodec>>) {
    drop(child.stdin.take());
    if tokio::time::timeout(ENDED_WITHIN, child.wait()).await.is_err() {
        let _ended_meanwhile = child.start_kill();
        // One that hangs in the kernel is not waited for.
        let _reaped = tokio::time::timeout(ENDED_WITHIN, child.wait()).await;
    }
    drop(answers);
}

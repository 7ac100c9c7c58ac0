//! Feeds a child process with samples, one JSON object a line: a module in any language.
//!
//! A block is delivered when the child's pipe has taken all of it. A child that ends is started
//! again for the next block, and the block that broke off is sent again, whole.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use kit::Clock;
use kit::config::{Invalid, yaml::Section};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tracing::info;

use crate::block::{Compression, Counts, Encoding, Format};
use crate::config::QueueConfig;
use crate::module::{Checked, Module, ModuleKind, Parcel, SendError, Verdict, Wants};

pub(super) const KIND: ModuleKind = ModuleKind {
    name: "exec",
    about: "feeds a child process with lines of JSON; started again when it ends",
    check,
};

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.Exec")]
struct Spec {
    /// The program and its arguments; no shell is involved.
    command: Vec<String>,
    /// Environment variables beside our own.
    env: BTreeMap<String, String>,
}

/// One child at a time.
struct Exec {
    spec: Spec,
    child: Mutex<Option<Child>>,
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
    Ok(Checked { settings, build: Arc::new(build), wants: Wants::ALL, metadata: None })
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
                Ok(()) => Verdict::Delivered { not_written: Counts::default() },
                Err(source) => {
                    let why = SendError::Write { path: self.endpoint(), source };
                    Verdict::Retry { after: None, why }
                }
            }
        })
    }
}

impl Exec {
    /// Writes the whole block into the child's pipe. The child is taken out while it is written
    /// to: if this is given up half way, the child ends with it and never sees a torn line twice.
    async fn feed(&self, bytes: &Bytes) -> io::Result<()> {
        let mut slot = self.child.lock().await;
        let mut child = match slot.take() {
            Some(mut child) => match child.try_wait()? {
                None => child,
                Some(status) => {
                    info!(command = %self.endpoint(), %status, "child ended, starting it again");
                    self.start()?
                }
            },
            None => self.start()?,
        };
        let pipe = child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        pipe.write_all(bytes).await?;
        pipe.flush().await?;
        *slot = Some(child);
        Ok(())
    }

    fn start(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.spec.command[0]);
        command.args(&self.spec.command[1..]).envs(&self.spec.env);
        command.stdin(Stdio::piped()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        command.kill_on_drop(true).spawn()
    }
}

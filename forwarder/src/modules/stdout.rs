//! Prints samples on the standard output, one JSON object a line: to see what a route takes.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use kit::Clock;
use kit::config::{Invalid, yaml::Section};
use serde::{Deserialize, Serialize};

use crate::block::{Compression, Encoding, Format};
use crate::config::QueueConfig;
use crate::module::{Checked, Module, ModuleKind, Parcel, SendError, Verdict};

pub(super) const KIND: ModuleKind =
    ModuleKind { name: "stdout", about: "prints samples, one JSON object a line", check };

/// It has no keys of its own.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.Stdout")]
struct Spec {}

struct Stdout;

fn check(section: &Section, _: &QueueConfig, _: &Path) -> Result<Checked, Invalid> {
    let spec: Spec = section.decode()?;
    let build = |_: &Arc<dyn Clock>| -> Result<Box<dyn Module>, _> { Ok(Box::new(Stdout)) };
    let (settings, build) = (Arc::new(spec), Arc::new(build));
    Ok(Checked::new(settings, build, Encoding::JsonLines))
}

impl Module for Stdout {
    fn format(&self) -> Format {
        Format { encoding: Encoding::JsonLines, compression: Compression::None }
    }

    fn endpoint(&self) -> String {
        "stdout".into()
    }

    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Verdict> {
        Box::pin(async {
            let bytes = parcel.bytes.clone();
            let print = move || std::io::stdout().lock().write_all(&bytes);
            let printed = tokio::task::spawn_blocking(print).await;
            match printed.unwrap_or_else(|panic| Err(std::io::Error::other(panic))) {
                Ok(()) => Verdict::DELIVERED,
                Err(source) => {
                    let why = SendError::Write { path: self.endpoint(), source };
                    Verdict::Retry { after: None, why }
                }
            }
        })
    }
}

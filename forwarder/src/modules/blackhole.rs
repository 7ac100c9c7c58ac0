//! Takes every block and forgets it: what the way to a receiver costs without one.

use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use kit::Clock;
use kit::config::{Invalid, yaml::Section};
use serde::{Deserialize, Serialize};

use crate::block::{Compression, Encoding, Format};
use crate::config::QueueConfig;
use crate::module::{Checked, Module, ModuleKind, Parcel, Verdict};

pub(super) const KIND: ModuleKind =
    ModuleKind { name: "blackhole", about: "takes every block and forgets it", check };

#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.Blackhole")]
struct Spec {
    /// What samples are encoded as before they are forgotten.
    format: BlockFormat,
}

/// The encodings that there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum BlockFormat {
    #[default]
    RemoteWrite1,
    RemoteWrite2,
    Ndjson,
}

struct Blackhole {
    format: Format,
}

fn check(section: &Section, _: &QueueConfig, _: &Path) -> Result<Checked, Invalid> {
    let spec: Spec = section.decode()?;
    let (encoding, compression) = match spec.format {
        BlockFormat::RemoteWrite1 => (Encoding::RemoteWrite1, Compression::Snappy),
        BlockFormat::RemoteWrite2 => (Encoding::RemoteWrite2, Compression::Snappy),
        BlockFormat::Ndjson => (Encoding::JsonLines, Compression::None),
    };
    let format = Format { encoding, compression };
    let build = move |_: &Arc<dyn Clock>| -> Result<Box<dyn Module>, _> {
        Ok(Box::new(Blackhole { format }))
    };
    let (settings, build) = (Arc::new(spec), Arc::new(build));
    Ok(Checked::new(settings, build, encoding))
}

impl Module for Blackhole {
    fn format(&self) -> Format {
        self.format
    }

    fn endpoint(&self) -> String {
        "blackhole".into()
    }

    fn send<'a>(&'a self, _: &'a Parcel) -> BoxFuture<'a, Verdict> {
        Box::pin(async { Verdict::DELIVERED })
    }
}

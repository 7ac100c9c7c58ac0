//! Appends samples to a file, one JSON object a line; a full file is set aside, perhaps compressed.
//!
//! The file is opened for each block, so one that was moved away (logrotate) is begun anew. A
//! block is written whole or not at all: what a failed write left is cut off before the next try.

mod rotation;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use kit::Clock;
use kit::config::{Invalid, Size, resolve_path, yaml::Section};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::block::{Compression, Encoding, Format};
use crate::config::QueueConfig;
use crate::module::{Checked, Module, ModuleKind, OwnFile, Parcel, SendError, Verdict};
use crate::modules::packing::Packing;
use rotation::Rotation;

pub(super) const KIND: ModuleKind =
    ModuleKind { name: "file", about: "appends samples to a file, one JSON object a line", check };

/// Files set aside that are kept, if the file does not say.
const FILES_MAX_DEFAULT: i64 = 10;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.File")]
struct Spec {
    /// The file to append to; made if it is missing. Relative to the configuration's folder.
    path: String,
    /// A file that would get larger is set aside as `path.1`, one that was as `path.2`, and so on.
    /// 0, the default: never.
    max_size: Size,
    /// Files set aside that are kept. Default 10.
    max_files: i64,
    /// What is done to files set aside: `none` (the default), `gzip` (`path.1.gz`) or `zstd`.
    compression: String,
}

/// One file.
struct AppendToFile {
    path: PathBuf,
    rotation: Option<Rotation>,
    /// One block at a time, however many shards send.
    writing: Mutex<()>,
}

impl Default for Spec {
    fn default() -> Spec {
        let (path, max_size, compression) = (String::new(), Size::default(), "none".to_owned());
        Spec { path, max_size, max_files: FILES_MAX_DEFAULT, compression }
    }
}

fn check(section: &Section, _: &QueueConfig, folder: &Path) -> Result<Checked, Invalid> {
    let mut spec: Spec = section.decode()?;
    if spec.path.is_empty() {
        return Err(Invalid::new("path", "file forwarder has no path"));
    }
    resolve_path(&mut spec.path, folder);
    let path = PathBuf::from(&spec.path);
    let Some(files_max) = usize::try_from(spec.max_files).ok().filter(|files| *files > 0) else {
        return Err(Invalid::new("max_files", "max_files must be positive"));
    };
    let packing = Packing::named(&spec.compression)?;
    let rotation = (!spec.max_size.is_zero()).then(|| Rotation {
        path: path.clone(),
        bytes_max: spec.max_size.as_bytes(),
        files_max,
        packing,
    });
    let build = move |_: &Arc<dyn Clock>| -> Result<Box<dyn Module>, _> {
        let (path, rotation, writing) = (path.clone(), rotation.clone(), Mutex::new(()));
        Ok(Box::new(AppendToFile { path, rotation, writing }))
    };
    let set_aside_max = if spec.max_size.is_zero() { 0 } else { files_max };
    let file = OwnFile { path: PathBuf::from(&spec.path), set_aside_max };
    let settings = Arc::new(spec);
    let checked = Checked::new(settings, Arc::new(build), Encoding::JsonLines);
    Ok(Checked { file: Some(file), ..checked })
}

impl Module for AppendToFile {
    fn format(&self) -> Format {
        Format { encoding: Encoding::JsonLines, compression: Compression::None }
    }

    fn endpoint(&self) -> String {
        self.path.display().to_string()
    }

    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Verdict> {
        Box::pin(async {
            let _alone = self.writing.lock().await;
            let (path, bytes) = (self.path.clone(), parcel.bytes.clone());
            let rotation = self.rotation.clone();
            let written =
                tokio::task::spawn_blocking(move || append(&path, rotation.as_ref(), &bytes)).await;
            match written.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
                Ok(()) => Verdict::DELIVERED,
                Err(source) => {
                    let path = self.endpoint();
                    Verdict::Retry { after: None, why: SendError::Write { path, source } }
                }
            }
        })
    }
}

fn append(path: &Path, rotation: Option<&Rotation>, bytes: &Bytes) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let mut whole_bytes = file.metadata()?.len();
    if let Some(rotation) = rotation.filter(|r| r.is_due(whole_bytes, bytes.len())) {
        rotation.set_aside()?;
        file = OpenOptions::new().append(true).create(true).open(path)?;
        whole_bytes = file.metadata()?.len();
    }
    file.write_all(bytes).inspect_err(|_| cut_off(&file, whole_bytes))
}

/// Takes away a part of a block. A pipe or device cannot be cut; then the torn line stays.
fn cut_off(file: &File, whole_bytes: u64) {
    if let Err(error) = file.set_len(whole_bytes) {
        tracing::warn!(%error, "a torn line stays in the file");
    }
}

//! The file of samples that a receiver refused for good, one JSON object a line.
//!
//! `{"destination":…,"time":…,"error":…,"sample":{…}}`. What holds: the file never gets larger
//! than it may; lines are whole. A person reads it, mends the cause and empties it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use kit::Chain;
use serde_json::json;
use tokio::sync::Mutex;

use crate::block::{Block, Damaged};
use crate::config::DeadLetterConfig;
use crate::encode::as_json_lines;
use crate::module::SendError;

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetters {
    config: DeadLetterConfig,
    /// One writer at a time, however many shards send.
    writing: Arc<Mutex<()>>,
}

/// Why samples are not in the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeadLetterError {
    /// The block cannot be read.
    #[error("read a refused block")]
    Damaged(#[from] Damaged),
    /// The file is as large as it may be.
    #[error("keep {path} within {bytes_max} bytes")]
    Full { path: PathBuf, bytes_max: u64 },
    /// The file system refused.
    #[error("append to {path}")]
    Write { path: PathBuf, source: io::Error },
}

// === impl DeadLetters ===

impl DeadLetters {
    pub(crate) fn new(config: DeadLetterConfig) -> DeadLetters {
        DeadLetters { config, writing: Arc::default() }
    }

    /// Appends every sample of the block, with the reason.
    pub(crate) async fn put(
        &self,
        block: Block,
        destination: &str,
        why: &SendError,
        unix_ms: i64,
    ) -> Result<(), DeadLetterError> {
        let (destination, error) = (destination.to_owned(), Chain(why).to_string());
        let config = self.config.clone();
        let writing = self.writing.lock().await;
        let path = config.path.clone();
        let written = tokio::task::spawn_blocking(move || {
            let mut lines = Vec::new();
            for sample in as_json_lines(&block)? {
                let time = jiff::Timestamp::from_millisecond(unix_ms).unwrap_or_default();
                let time = time.to_string();
                let line = json!({
                    "destination": destination, "time": time, "error": error, "sample": sample,
                });
                lines.extend_from_slice(line.to_string().as_bytes());
                lines.push(b'\n');
            }
            append(&config, &lines)
        })
        .await;
        drop(writing);
        written.unwrap_or_else(|panic| {
            Err(DeadLetterError::Write { path, source: io::Error::other(panic) })
        })
    }
}

fn append(config: &DeadLetterConfig, lines: &[u8]) -> Result<(), DeadLetterError> {
    let DeadLetterConfig { path, bytes_max } = config;
    let failed = |source| DeadLetterError::Write { path: path.clone(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
    let whole_bytes = file.metadata().map_err(failed)?.len();
    if whole_bytes + lines.len() as u64 > *bytes_max {
        return Err(DeadLetterError::Full { path: path.clone(), bytes_max: *bytes_max });
    }
    file.write_all(lines).map_err(|source| {
        let _torn_line_stays = file.set_len(whole_bytes);
        failed(source)
    })
}

//! `file_sd_configs`: targets in JSON or YAML files, read again whenever their folder changes.
//!
//! Folders are watched, not files, because files are replaced by renaming; a poll every
//! `refresh_interval` covers file systems without notification. A file that cannot be read keeps
//! the groups of its last good reading; a file that is gone loses them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use globset::{GlobBuilder, GlobMatcher};
use kit::Chain;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use super::group_list::{self, ListError};
use super::{Found, Group, Mechanism, Provider, Tools, Wanted};
use crate::config::{FileSdConfig, JobConfig};

/// One write to a file is several events; this long after the first one the folder is read.
const SETTLE: Duration = Duration::from_millis(50);

/// Bytes of one file of targets. A hundred thousand targets are about 10 MB.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

const FILEPATH_LABEL: &str = "__meta_filepath";

pub(super) const MECHANISM: Mechanism = Mechanism { name: "file", wanted };

fn wanted(job: &JobConfig) -> Vec<Arc<dyn Wanted>> {
    job.file_sd().iter().map(|section| Arc::new(section.clone()) as Arc<dyn Wanted>).collect()
}

impl Provider for FileSdConfig {
    fn run(self: Arc<Self>, found: Arc<Found>, tools: Tools) -> BoxFuture<'static, ()> {
        Box::pin(watch(self, found, tools))
    }
}

/// Why a file gave no groups.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("read file")]
    Read { source: io::Error },
    #[error("read a file of more than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    #[error("file is not UTF-8")]
    NotUtf8,
    #[error("invalid target groups")]
    Groups { source: ListError },
}

/// What has been read, and what went wrong with it.
struct Files {
    patterns: Vec<Pattern>,
    /// By path: the groups of the last good reading, and the error of the last reading, if any.
    known: BTreeMap<PathBuf, Known>,
}

#[derive(Default)]
struct Known {
    groups: Vec<Group>,
    failure: Option<String>,
}

/// A path whose last part may contain `*`.
struct Pattern {
    folder: PathBuf,
    name: String,
    matcher: Option<GlobMatcher>,
}

async fn watch(config: Arc<FileSdConfig>, found: Arc<Found>, tools: Tools) {
    let (wake, mut woken) = mpsc::channel(1);
    let mut folders = Folders { watcher: watcher(wake, &tools), failing: BTreeSet::new() };
    let mut files = Files::new(config.files());
    let mut ticks = tokio::time::interval(config.refresh_interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(()) = woken.recv() => {
                tokio::time::sleep(SETTLE).await;
                while woken.try_recv().is_ok() {}
            }
        }
        // Watch first: a change between reading and watching would be missed.
        folders.watch(&files, &tools);
        let reading = tools.clone();
        let read = tokio::task::spawn_blocking(move || {
            files.read(&reading);
            files
        });
        match read.await {
            Ok(read) => files = read,
            Err(stopped) => {
                error!(error = %Chain(&stopped), "reading target files ended early");
                files = Files::new(config.files());
                continue;
            }
        }
        found.replace(files.groups());
    }
}

fn watcher(wake: mpsc::Sender<()>, tools: &Tools) -> Option<RecommendedWatcher> {
    let metrics = tools.metrics.clone();
    let told =
        notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            // A wake-up that is already waiting does for this event too.
            Ok(event) if changes_files(&event.kind) => drop(wake.try_send(())),
            Ok(_) => {}
            Err(failure) => {
                metrics.file_watcher_errors.inc();
                warn!(error = %Chain(&failure), "watching target files failed");
            }
        });
    told.map_err(|failure| {
        tools.metrics.file_watcher_errors.inc();
        error!(error = %Chain(&failure), "target files cannot be watched, only polled");
    })
    .ok()
}

/// Everything but a change of permissions, and our own reading, is a reason to read again.
fn changes_files(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => false,
        _ => true,
    }
}

/// The watched folders.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    /// Folders that could not be watched the last time; logged when that begins.
    failing: BTreeSet<PathBuf>,
}

// === impl Folders ===

impl Folders {
    /// Watches every folder; again each time, because a folder may have been replaced.
    fn watch(&mut self, files: &Files, tools: &Tools) {
        let Some(watcher) = &mut self.watcher else { return };
        for Pattern { folder, .. } in &files.patterns {
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.failing.remove(folder)),
                Err(failure) if self.failing.insert(folder.clone()) => {
                    tools.metrics.file_watcher_errors.inc();
                    let error = Chain(&failure);
                    warn!(folder = %folder.display(), %error, "folder cannot be watched");
                }
                Err(_) => {}
            }
        }
    }
}

// === impl Files ===

impl Files {
    fn new(paths: &[String]) -> Files {
        let patterns = paths.iter().map(|path| Pattern::new(path)).collect();
        Files { patterns, known: BTreeMap::new() }
    }

    /// Everything that was read well, at the last or an earlier time.
    fn groups(&self) -> Vec<Group> {
        self.known.values().flat_map(|known| known.groups.iter().cloned()).collect()
    }

    fn read(&mut self, tools: &Tools) {
        let started = tools.clock.now();
        let paths: BTreeSet<PathBuf> = self.patterns.iter().flat_map(Pattern::paths).collect();
        let gone = |path: &&PathBuf| !paths.contains(*path);
        for path in self.known.keys().filter(gone) {
            tools.metrics.file_gone(path);
        }
        self.known.retain(|path, _| paths.contains(path));
        for path in paths {
            let read = read_file(&path, tools);
            self.known.entry(path.clone()).or_default().note(&path, read, tools);
        }
        tools.metrics.file_scan(tools.clock.now().since(started));
    }
}

// === impl Known ===

impl Known {
    fn note(&mut self, path: &Path, read: Result<Vec<Group>, FileError>, tools: &Tools) {
        match read {
            Ok(groups) => {
                if self.failure.take().is_some() {
                    info!(path = %path.display(), "target file can be read again");
                }
                self.groups = groups;
            }
            Err(failure) => {
                tools.metrics.file_read_errors.inc();
                let text = Chain(&failure).to_string();
                if self.failure.as_ref() != Some(&text) {
                    error!(path = %path.display(), error = text, "target file cannot be used");
                }
                self.failure = Some(text);
            }
        }
    }
}

// === impl Pattern ===

impl Pattern {
    fn new(path: &str) -> Pattern {
        let whole = Path::new(path);
        let folder = match whole.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("./"),
        };
        let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Braces mean nothing in Prometheus' patterns.
        let glob = name.replace('{', "[{]").replace('}', "[}]");
        let is_pattern = name.contains(['*', '?', '[']);
        let matcher = is_pattern.then(|| GlobBuilder::new(&glob).literal_separator(true).build());
        Pattern { folder, matcher: matcher.and_then(Result::ok).map(|g| g.compile_matcher()), name }
    }

    /// The files there are now, in the order of names.
    fn paths(&self) -> Vec<PathBuf> {
        let joined = |name: &str| match self.folder.to_str() {
            Some("./") => PathBuf::from(name),
            _ => self.folder.join(name),
        };
        let Some(matcher) = &self.matcher else {
            let path = joined(&self.name);
            return if path.exists() { vec![path] } else { Vec::new() };
        };
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| matcher.is_match(name)).map(|name| joined(&name)).collect()
    }
}

fn read_file(path: &Path, tools: &Tools) -> Result<Vec<Group>, FileError> {
    let read = |source| FileError::Read { source };
    let meta = std::fs::metadata(path).map_err(read)?;
    if meta.len() > FILE_BYTES_MAX {
        return Err(FileError::TooLarge { limit_bytes: FILE_BYTES_MAX });
    }
    let text = std::fs::read(path).map_err(read)?;
    let name = path.to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    let groups = if extension == "json" {
        group_list::from_json(&text, &name, FILEPATH_LABEL)
    } else {
        let text = std::str::from_utf8(&text).map_err(|_| FileError::NotUtf8)?;
        group_list::from_yaml(text, &name, FILEPATH_LABEL)
    };
    let groups = groups.map_err(|source| FileError::Groups { source })?;
    if let Ok(changed) = meta.modified() {
        tools.metrics.file_read(path, changed);
    }
    Ok(groups)
}

#[cfg(test)]
mod tests;

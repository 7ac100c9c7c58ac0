//! `file_sd_configs`: targets in files.

use std::path::Path;

use kit::config::{Duration, Invalid, resolve_path};
use serde::{Deserialize, Serialize};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "file.plain")]
pub struct FileSdSpec {
    /// Paths; `*` may stand in the last part.
    pub files: Vec<String>,
    /// Time after which files are read even if nothing seems to have changed. Default 5m.
    pub refresh_interval: Duration,
}

/// Checked.
#[derive(Debug, Clone, PartialEq)]
pub struct FileSdConfig {
    files: Vec<String>,
    refresh_interval: Duration,
}

const REFRESH_DEFAULT: Duration = Duration::from_secs(300);

// === impl FileSdSpec ===

impl Default for FileSdSpec {
    fn default() -> FileSdSpec {
        FileSdSpec { files: Vec::new(), refresh_interval: REFRESH_DEFAULT }
    }
}

impl FileSdSpec {
    pub(super) fn resolve_paths(&mut self, dir: &Path) {
        self.files.iter_mut().for_each(|path| resolve_path(path, dir));
    }

    pub(super) fn check(&mut self) -> Result<FileSdConfig, Invalid> {
        if self.files.is_empty() {
            let message = "file service discovery config must contain at least one path name";
            return Err(Invalid::new("files", message));
        }
        for (at, path) in self.files.iter().enumerate() {
            if !is_pattern(path) {
                let message = format!("path name {path:?} is not valid for file discovery");
                return Err(Invalid::new(format!("files[{at}]"), message));
            }
        }
        let refresh_interval = self.refresh_interval.or(REFRESH_DEFAULT);
        Ok(FileSdConfig { files: self.files.clone(), refresh_interval })
    }
}

/// At most one `*`, in the last part, and a name that says which format the file has.
fn is_pattern(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let known = ["json", "yml", "yaml", "JSON", "YML", "YAML"];
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let stars = path.matches('*').count();
    known.contains(&ending)
        && !stem.is_empty()
        && (stars == 0 || (stars == 1 && stem.contains('*')))
}

// === impl FileSdConfig ===

impl FileSdConfig {
    /// Paths; `*` may stand in the last part.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// Time after which files are read even if nothing seems to have changed.
    pub fn refresh_interval(&self) -> std::time::Duration {
        self.refresh_interval.to_std()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_their_format_and_have_a_star_only_in_the_name() {
        let check = |path: &str, want: bool| assert_eq!(is_pattern(path), want, "{path}");
        check("a.json", true);
        check("a/*.yml", true);
        check("a/b*.YAML", true);
        check("a/*/b.yml", false);
        check("a/**.yml", false);
        check("a.txt", false);
        check("a.Json", false);
        check(".json", false);
    }
}

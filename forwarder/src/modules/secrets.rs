//! Secrets in settings: those that stand in a file of their own, and those that nobody shall see.

use std::collections::BTreeMap;
use std::path::Path;

use kit::config::{Invalid, resolve_path};
use serde::Serializer;

/// Words in the names of settings, headers and variables whose values nobody shall read.
const SECRET_WORDS: [&str; 11] =
    ["pass", "pwd", "secret", "token", "key", "auth", "cred", "cookie", "pem", "jaas", "dsn"];

/// The settings, secrets hidden.
pub(super) fn hide<S: Serializer>(
    settings: &BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(settings.iter().map(|(name, value)| {
        let lower = name.to_ascii_lowercase();
        let has_user = value.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
        let is_secret = has_user || SECRET_WORDS.iter().any(|word| lower.contains(word));
        (name, if is_secret { "<secret>" } else { value })
    }))
}

/// What the file says that `path` names, without the line break at its end; none if it is empty.
/// It is read with the configuration: a reload takes what it says by then.
pub(super) fn read(
    key: &'static str,
    path: &mut String,
    folder: &Path,
) -> Result<Option<String>, Invalid> {
    if path.is_empty() {
        return Ok(None);
    }
    resolve_path(path, folder);
    let read = std::fs::read_to_string(&*path);
    let text = read.map_err(|error| Invalid::new(key, format!("read {path}: {error}")))?;
    Ok(Some(text.trim_end().to_owned()))
}

/// The URL of a server: `url`, or what stands in `url_file`.
pub(super) fn url(url: &str, url_file: &mut String, folder: &Path) -> Result<String, Invalid> {
    match read("url_file", url_file, folder)? {
        Some(_) if !url.is_empty() => {
            Err(Invalid::new("url_file", "at most one of url & url_file must be configured"))
        }
        Some(read) => Ok(read),
        None => Ok(url.to_owned()),
    }
}

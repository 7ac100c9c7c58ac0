//! The pieces of configuration that several sections share, and how every section is read.
//!
//! Each part has a `config.rs` with two stages. `Spec` is what the file says: serde, with
//! Prometheus' key names, `#[serde(default, deny_unknown_fields)]`, and nothing checked but the
//! grammar of single values ([`Duration`], [`Size`], [`Secret`]). `Config` is checked; the only
//! way from one to the other is `Spec::check(self) -> Result<Config, Invalid>`.
//!
//! What [`yaml`] gives to every `Spec`, as `yaml.UnmarshalStrict` gives it to Prometheus:
//! - An unknown key, a key given twice or a value of the wrong type is an error with file, line,
//!   column and key path. A type's name in such errors is its serde name: `#[serde(rename =
//!   "config.plain")]`.
//! - `key:` with nothing behind it is the empty value of its type: `""`, `0`, `false`, `[]`; a
//!   struct made of its defaults. A list item that is null is only seen by `Vec<Option<T>>`; see
//!   [`no_null_items`].
//! - **Keys of another struct written in line** (the HTTP client's keys stand directly in
//!   `remote_write`, `http_sd_configs`, …) are a last field of that struct's type, named
//!   [`INLINE`]:
//!   ```
//!   # use kit::config::HttpClientSpec;
//!   #[derive(serde::Deserialize, serde::Serialize, Default)]
//!   #[serde(default, deny_unknown_fields)]
//!   struct Spec {
//!       url: String,
//!       #[serde(rename = "<inline>")]
//!       http: HttpClientSpec,
//!   }
//!   ```
//!   The keys that `Spec` does not name go to that field, and are unknown only if it does not
//!   know them either. [`yaml::to_string`] writes them in line again. Serde's own `flatten` would
//!   lose positions and strictness.
//! - A field of type [`yaml::Section`] keeps its part of the file undecoded, with positions,
//!   until it is known which type it has (`module:` of a forwarder). It may be the [`INLINE`]
//!   field.
//!
//! Paths in a file are relative to that file's folder: a `Spec` with paths has
//! `resolve_paths(&mut self, dir: &Path)`, made of [`resolve_path`], called before `check`.

mod duration;
mod http;
mod label;
mod relabel;
mod secret;
mod size;
pub mod yaml;

pub use duration::Duration;
pub use http::{
    AssertionConfig, Auth, AuthorizationSpec, BasicAuthSpec, Credentials, HeaderConfig, HeaderSpec,
    HttpClientConfig, HttpClientSpec, OAuth2Config, OAuth2Spec, ProxyConfig, ProxySpec,
    SignatureAlgorithm, TlsConfig, TlsSpec, TlsVersion, check_own_headers,
};
pub use label::{LabelName, LabelValue};
pub use relabel::RelabelSpec;
pub use secret::{Secret, serialize_url};
pub use size::Size;

use std::fmt;
use std::path::Path;

/// Name of the field whose struct's keys stand in line with those of the struct around it.
pub const INLINE: &str = "<inline>";

/// A value that the grammar allows and the meaning does not. Printed as `key: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Where: `scrape_configs[0].job_name`. Empty: the whole of what was checked.
    pub key: String,
    /// What is wrong, in Prometheus' words where Prometheus has the check.
    pub message: String,
}

// === impl Invalid ===

impl Invalid {
    /// `key` is relative to what is checked; who checks the larger thing puts it [`under`] its
    /// own key.
    ///
    /// [`under`]: Invalid::under
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Invalid {
        Invalid { key: key.into(), message: message.into() }
    }

    /// The same, seen from outside: `prefix.key`, `prefix[0].key`, or `prefix` alone.
    pub fn under(self, prefix: impl fmt::Display) -> Invalid {
        let dot = if self.key.is_empty() || self.key.starts_with('[') { "" } else { "." };
        Invalid { key: format!("{prefix}{dot}{}", self.key), message: self.message }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.key.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.key, self.message)
    }
}

impl std::error::Error for Invalid {}

/// The items of the list at `key`; a null among them is refused with `message`.
///
/// # Errors
/// `key[i]: message` for the first null item.
pub fn no_null_items<T>(
    items: Vec<Option<T>>,
    key: &str,
    message: &str,
) -> Result<Vec<T>, Invalid> {
    let numbered = items.into_iter().enumerate();
    numbered
        .map(|(at, item)| item.ok_or_else(|| Invalid::new(format!("{key}[{at}]"), message)))
        .collect()
}

/// Makes a path from a file relative to that file's folder, as Prometheus' `JoinDir` does:
/// empty and absolute paths stay as they are.
pub fn resolve_path(path: &mut String, dir: &Path) {
    if path.trim().is_empty() || Path::new(path.as_str()).is_absolute() {
        return;
    }
    let mut joined = std::path::PathBuf::new();
    for part in dir.join(path.as_str()).components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir if ends_in_name(&joined) => {
                joined.pop();
            }
            part => joined.push(part),
        }
    }
    *path = joined.to_string_lossy().into_owned();
}

fn ends_in_name(path: &Path) -> bool {
    matches!(path.components().next_back(), Some(std::path::Component::Normal(_)))
}

/// Whether a value is its type's default: `skip_serializing_if` for keys that Prometheus omits
/// when they are empty.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_joined_as_they_are_written_in_a_path() {
        let inner = Invalid::new("job_name", "is empty");
        assert_eq!(
            inner.under("scrape_configs[0]").to_string(),
            "scrape_configs[0].job_name: is empty"
        );
        assert_eq!(Invalid::new("[1]", "x").under("a").key, "a[1]");
        assert_eq!(Invalid::new("", "x").under("a").key, "a");
    }

    #[test]
    fn relative_paths_start_at_the_folder_of_the_file() {
        let check = |path: &str, want: &str| {
            let mut path = path.to_owned();
            resolve_path(&mut path, Path::new("etc/rollcall"));
            assert_eq!(path, want);
        };
        check("token", "etc/rollcall/token");
        check("./a/../b", "etc/rollcall/b");
        check("../../../up", "../up");
        check("/abs/x", "/abs/x");
        check("", "");
    }
}

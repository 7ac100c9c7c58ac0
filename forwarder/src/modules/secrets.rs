//! Settings of somebody else's making, for people: without what looks like a secret.

use std::collections::BTreeMap;

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

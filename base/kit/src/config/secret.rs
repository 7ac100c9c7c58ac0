//! A text that is never printed: passwords, tokens, keys.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A secret. `Debug`, `Display` and `Serialize` give `<secret>`, and nothing if it is empty.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Secret(String);

const SHOWN: &str = "<secret>";

// === impl Secret ===

impl Secret {
    /// Keeps `text` secret.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for who sends it where it belongs.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn shown(&self) -> &'static str {
        if self.0.is_empty() { "" } else { SHOWN }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

/// Serializes a URL with `xxxxx` for the password in it, if there is one, as Go does.
///
/// # Errors
/// Those of the serializer.
pub fn serialize_url<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match without_password(url) {
        Some(shown) => serializer.serialize_str(&shown),
        None => serializer.serialize_str(url),
    }
}

/// None if there is no password in it.
fn without_password(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, host) = authority.rsplit_once('@')?;
    let (name, _password) = user.split_once(':')?;
    Some(format!("{scheme}://{name}:xxxxx@{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "<secret> <secret>");
        assert_eq!(serde_json::to_string(&secret).unwrap(), r#""<secret>""#);
        assert_eq!(Secret::default().to_string(), "");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn urls_are_shown_without_their_passwords() {
        let check = |url: &str, want: Option<&str>| {
            assert_eq!(without_password(url).as_deref(), want, "{url}");
        };
        check("http://u:p@h:1/x?y#z", Some("http://u:xxxxx@h:1/x?y#z"));
        check("http://u:p@q@h", Some("http://u:xxxxx@h"));
        check("http://u:@h", Some("http://u:xxxxx@h"));
        check("http://u@h/a:b@c", None);
        check("http://h/a:b@c", None);
        check("h:1", None);
    }
}

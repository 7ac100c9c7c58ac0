//! Basic authentication against bcrypt hashes.
//!
//! A hash is slow to check on purpose, so what was found out is remembered: a password that fits
//! is checked once, not with every scrape of a dashboard. An unknown user costs as much as a wrong
//! password, so that the time says nothing about who exists.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::config::{Invalid, Secret};

/// Answers remembered. When it is full it is emptied: there are few users, and guesses are not
/// worth keeping.
const REMEMBERED_MAX: usize = 128;
/// Cost of the hash that an unknown user's password is held against: the usual one.
const COST_FOR_NOBODY: u32 = 10;

/// Checks passwords, and remembers what fitted.
#[derive(Default)]
pub(super) struct Passwords {
    /// Keyed by a number that stands for hash and password together; its key is random.
    /// A lock, held for a look.
    remembered: Mutex<BTreeMap<u64, bool>>,
    state: RandomState,
}

/// Whether all hashes are bcrypt's.
pub(super) fn check(users: &BTreeMap<String, Secret>) -> Result<(), Invalid> {
    for (user, hash) in users {
        if hash.reveal().parse::<bcrypt::HashParts>().is_err() {
            let key = format!("basic_auth_users.{user}");
            return Err(Invalid::new(key, "is not a bcrypt hash"));
        }
    }
    Ok(())
}

/// User and password of an `Authorization` header.
pub(super) fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

// === impl Passwords ===

impl Passwords {
    /// Whether `password` fits `hash`; never if there is no hash.
    pub(super) async fn fits(&self, password: String, hash: Option<Secret>) -> bool {
        let key = self.state.hash_one((&password, hash.as_ref().map(Secret::reveal)));
        if let Some(known) = self.remembered().get(&key) {
            return *known;
        }
        let check = move || match hash {
            Some(hash) => bcrypt::verify(password, hash.reveal()).unwrap_or(false),
            None => {
                // For the time it takes.
                let _ = bcrypt::hash(password, COST_FOR_NOBODY);
                false
            }
        };
        let fits = tokio::task::spawn_blocking(check).await.unwrap_or(false);
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(key, fits);
        fits
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, bool>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_names_a_user_and_a_password_with_colons() {
        let parsed = basic("Basic YWxpY2U6YTpi");
        assert_eq!(parsed, Some(("alice".to_owned(), "a:b".to_owned())));
        assert_eq!(basic("Bearer YWxpY2U6YTpi"), None);
        assert_eq!(basic("Basic ###"), None);
    }

    #[tokio::test]
    async fn only_the_right_password_fits_and_it_is_remembered() {
        let passwords = Passwords::default();
        let hash = Secret::new(bcrypt::hash("open", 4).unwrap());
        for _ in 0..2 {
            assert!(passwords.fits("open".to_owned(), Some(hash.clone())).await);
            assert!(!passwords.fits("close".to_owned(), Some(hash.clone())).await);
        }
        assert_eq!(passwords.remembered().len(), 2);
        assert!(!passwords.fits("open".to_owned(), None).await);
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        let users = BTreeMap::from([("bob".to_owned(), Secret::new("plain"))]);
        let error = check(&users).unwrap_err();
        assert_eq!(error.to_string(), "basic_auth_users.bob: is not a bcrypt hash");
    }
}

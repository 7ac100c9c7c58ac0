//! The token that leads from one page of a list to the next.
//!
//! Opaque to clients: base64 of the version and key to go on from, as the API server has it. All
//! pages come from the one snapshot that the token names.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use super::failure::Failure;

/// Bytes of a token that are looked at; longer ones are none of ours.
const TOKEN_BYTES_MAX: usize = 4096;

/// Where the next page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageToken {
    /// Version of the snapshot.
    pub(crate) version: u64,
    /// The last key of the page before.
    pub(crate) after: String,
    /// Objects on the pages before.
    pub(crate) skipped: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    v: String,
    rv: u64,
    start: String,
    n: usize,
}

impl PageToken {
    /// Reads a token that [`PageToken`]'s `Display` wrote.
    ///
    /// # Errors
    /// 400 if it is none.
    pub(crate) fn parse(text: &str) -> Result<PageToken, Failure> {
        let refused = || Failure::bad_request("continue key is not valid");
        if text.len() > TOKEN_BYTES_MAX {
            return Err(refused());
        }
        let json = BASE64.decode(text.trim_end_matches('=')).map_err(|_| refused())?;
        let wire: Wire = serde_json::from_slice(&json).map_err(|_| refused())?;
        if wire.v != "meta.k8s.io/v1" {
            return Err(refused());
        }
        Ok(PageToken { version: wire.rv, after: wire.start, skipped: wire.n })
    }
}

impl fmt::Display for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wire = Wire {
            v: "meta.k8s.io/v1".to_owned(),
            rv: self.version,
            start: self.after.clone(),
            n: self.skipped,
        };
        let json = serde_json::to_vec(&wire).map_err(|_| fmt::Error)?;
        f.write_str(&BASE64.encode(json))
    }
}

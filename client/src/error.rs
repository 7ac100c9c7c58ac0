//! What can go wrong, by what the caller can do about it.

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An endpoint is not a URL, or there is none.
    #[error("use endpoint `{endpoint}`: it must be a URL such as http://control-1:9090")]
    Endpoint {
        /// As it was given.
        endpoint: String,
    },
    /// No object can be called that.
    #[error("use the name {name:?}: no object can have it")]
    Name {
        /// As it was given.
        name: String,
    },
    /// No endpoint answered. Trying later may help.
    #[error("reach any endpoint of the status center")]
    Unreachable {
        /// What the last one tried met.
        source: reqwest::Error,
    },
    /// An endpoint is connected, and silent. Trying another, or later, may help.
    #[error("wait for {endpoint}: it has said nothing for {patience:?}")]
    Silent {
        /// Which one.
        endpoint: String,
        /// How long it was waited for.
        patience: std::time::Duration,
    },
    /// The server refused: the object does not exist (404), was changed meanwhile (409), the
    /// condition cannot be evaluated (400) …
    #[error("the status center answered {code}: {message}")]
    Refused {
        /// HTTP status.
        code: u16,
        /// Its `reason` word: `NotFound`, `Conflict`, …
        reason: String,
        /// Its sentence.
        message: String,
    },
    /// The answer is not what the type says.
    #[error("read the answer")]
    Answer(#[from] serde_json::Error),
}

impl Error {
    /// Whether the object (or the kind) does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Refused { code: 404, .. })
    }

    /// Whether the object was changed since it was read: read it again and retry.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Error::Refused { code: 409, .. })
    }

    /// Whether another endpoint, or a later try, may answer otherwise.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Error::Unreachable { .. } | Error::Silent { .. } => true,
            Error::Refused { code, .. } => matches!(code, 429 | 500 | 502 | 503 | 504),
            Error::Endpoint { .. } | Error::Name { .. } | Error::Answer(_) => false,
        }
    }
}

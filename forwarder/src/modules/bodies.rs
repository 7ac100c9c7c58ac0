//! Blocks turned into what a receiver reads: made once, off the threads that serve, and kept for
//! their retries.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::web::unsent;
use crate::block::Counts;
use crate::module::{Parcel, Verdict};

/// Bodies kept for retries: shards that wait at the same time. Of more the oldest goes, and is made
/// again: it may be of a block that was given up.
const KEPT_MAX: usize = 64;

/// What is sent.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    /// Of the parcel's samples, what has no place in the format.
    pub(super) not_sent: Counts,
}

/// Bodies of parcels that are tried again, by the parcel's bytes.
#[derive(Debug, Default)]
pub(super) struct Bodies(Mutex<VecDeque<(Bytes, Body)>>);

// === impl Bodies ===

impl Bodies {
    /// Delivers a parcel: `make` makes a body of its bytes, `send` sends it to `url` and judges.
    pub(super) async fn deliver<F: Future<Output = Verdict>>(
        &self,
        parcel: &Parcel,
        url: &str,
        make: impl FnOnce(Bytes) -> io::Result<Body> + Send + 'static,
        send: impl FnOnce(Body) -> F,
    ) -> Verdict {
        let body = match self.of(parcel, make).await {
            Ok(body) => body,
            Err(source) => return Verdict::Refused { why: unsent(url, source) },
        };
        let not_written = body.not_sent;
        let verdict = if !not_written.is_empty() && not_written == parcel.counts {
            // Nothing is left to send.
            Verdict::Delivered { not_written, remark: None }
        } else {
            send(body).await
        };
        if !matches!(verdict, Verdict::Retry { .. }) {
            self.forget(parcel);
        }
        verdict
    }

    /// The body for a parcel: the one that was made for its first try, or a new one, which `make`
    /// makes of the parcel's bytes.
    async fn of(
        &self,
        parcel: &Parcel,
        make: impl FnOnce(Bytes) -> io::Result<Body> + Send + 'static,
    ) -> io::Result<Body> {
        let known = self.find(parcel);
        if let Some(body) = known {
            return Ok(body);
        }
        let plain = parcel.bytes.clone();
        // A millisecond or more of work: not on a thread that serves.
        let made = tokio::task::spawn_blocking(move || make(plain));
        let body = made.await.map_err(io::Error::other)??;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back((parcel.bytes.clone(), body.clone()));
        Ok(body)
    }

    /// The parcel is not tried again.
    fn forget(&self, parcel: &Parcel) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(bytes, _)| bytes.as_ptr() != parcel.bytes.as_ptr());
    }

    fn find(&self, parcel: &Parcel) -> Option<Body> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|(bytes, _)| bytes.as_ptr() == parcel.bytes.as_ptr());
        found.map(|(_, body)| body.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Compression, Encoding, Format};

    fn parcel(text: &'static str) -> Parcel {
        Parcel {
            bytes: Bytes::copy_from_slice(text.as_bytes()),
            format: Format { encoding: Encoding::JsonLines, compression: Compression::None },
            counts: Counts::NONE,
            families: 0,
            attempt: 0,
            part: 0,
        }
    }

    async fn body(bodies: &Bodies, parcel: &Parcel, made: &'static str) -> Bytes {
        let make = move |_| Ok(Body { bytes: made.into(), not_sent: Counts::NONE });
        bodies.of(parcel, make).await.unwrap().bytes
    }

    #[tokio::test]
    async fn a_body_is_made_once_until_its_block_is_at_its_end() {
        let (bodies, parcel) = (Bodies::default(), parcel("block"));
        assert_eq!(body(&bodies, &parcel, "first").await, "first");
        assert_eq!(body(&bodies, &parcel, "second").await, "first");
        bodies.forget(&parcel);
        assert_eq!(body(&bodies, &parcel, "third").await, "third");
    }

    #[tokio::test]
    async fn blocks_that_were_given_up_make_room() {
        let bodies = Bodies::default();
        let given_up: Vec<Parcel> = (0..KEPT_MAX).map(|_| parcel("block")).collect();
        for parcel in &given_up {
            body(&bodies, parcel, "old").await;
        }
        let parcel = parcel("new");
        assert_eq!(body(&bodies, &parcel, "first").await, "first");
        assert_eq!(body(&bodies, &parcel, "second").await, "first");
        assert_eq!(body(&bodies, &given_up[0], "again").await, "again");
    }
}

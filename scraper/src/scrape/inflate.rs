//! The body of an answer, inflated in one call into memory that the whole thread shares.
//!
//! The sender says how long the page is (gzip's last four bytes), so one call does it. What does
//! not fit that picture (several members, a wrong length) goes the slow way, with the same result.
//! Nothing grows beyond the limit that the caller gives, whatever the sender says.

use std::cell::RefCell;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use libdeflater::Decompressor;
use memchr::memmem;

/// Deflate cannot do better than this: a length that claims more is a lie.
const RATIO_MAX: u64 = 1032;

/// Header and trailer of a gzip member.
const MEMBER_BYTES_MIN: usize = 18;

/// A page that was larger than this is not kept in memory once it was read.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How a gzip member starts.
const MAGIC: [u8; 3] = [0x1f, 0x8b, 0x08];

/// Why a body was not inflated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InflateError {
    #[error("body size limit exceeded")]
    TooLarge,
    #[error("gzip: invalid data")]
    Invalid { source: Option<std::io::Error> },
}

struct Inflater {
    decompressor: Decompressor,
    /// Only grows (up to [`KEPT_BYTES_MAX`]), so that it is not zeroed for each page.
    page: Vec<u8>,
}

thread_local! {
    static INFLATER: RefCell<Inflater> =
        RefCell::new(Inflater { decompressor: Decompressor::new(), page: Vec::new() });
}

/// Inflates `body` and lends the page to `read`. A page of `limit_bytes` or more is refused.
///
/// # Errors
/// When the page is too large or `body` is no gzip.
pub(crate) fn with_page<R>(
    body: &[u8],
    limit_bytes: u64,
    read: impl FnOnce(&[u8]) -> R,
) -> Result<R, InflateError> {
    INFLATER.with_borrow_mut(|inflater| {
        let length = inflater.inflate(body, limit_bytes)?;
        let result = read(&inflater.page[..length]);
        if inflater.page.len() > KEPT_BYTES_MAX {
            inflater.page = Vec::new();
        }
        Ok(result)
    })
}

// === impl Inflater ===

impl Inflater {
    /// The length of the page, which is at the start of `self.page`.
    fn inflate(&mut self, body: &[u8], limit_bytes: u64) -> Result<usize, InflateError> {
        if body.len() < MEMBER_BYTES_MIN {
            return Err(InflateError::Invalid { source: None });
        }
        let (_, said) = body.split_last_chunk::<4>().unwrap_or((body, &[0; 4]));
        let said = u64::from(u32::from_le_bytes(*said));
        if said <= body.len() as u64 * RATIO_MAX && said < limit_bytes && !is_several(body) {
            let said = said as usize;
            if self.page.len() <= said {
                self.page.resize(said + 1, 0);
            }
            let written = self.decompressor.gzip_decompress(body, &mut self.page[..said + 1]);
            if written.is_ok_and(|written| written == said) {
                return Ok(said);
            }
        }
        self.inflate_slowly(body, limit_bytes)
    }

    fn inflate_slowly(&mut self, body: &[u8], limit_bytes: u64) -> Result<usize, InflateError> {
        self.page.clear();
        let mut bounded = MultiGzDecoder::new(body).take(limit_bytes);
        let read = bounded.read_to_end(&mut self.page);
        let length = read.map_err(|source| InflateError::Invalid { source: Some(source) })?;
        if length as u64 >= limit_bytes { Err(InflateError::TooLarge) } else { Ok(length) }
    }
}

/// Whether there may be a second member: its first bytes occur. By chance they do in one body of
/// five hundred, which then takes the slow way.
fn is_several(body: &[u8]) -> bool {
    memmem::find(&body[MAGIC.len()..], &MAGIC).is_some()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(page: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(page).unwrap();
        encoder.finish().unwrap()
    }

    #[track_caller]
    fn check(body: &[u8], limit_bytes: u64, want: Result<&[u8], &str>) {
        let got = with_page(body, limit_bytes, <[u8]>::to_vec).map_err(|error| error.to_string());
        assert_eq!(got.as_deref().map_err(String::as_str), want);
    }

    #[test]
    fn a_page_comes_out_as_it_went_in() {
        let page: Vec<u8> = (0..100_000u32).flat_map(|n| n.to_string().into_bytes()).collect();
        check(&gzip(&page), u64::MAX, Ok(&page));
        check(&gzip(b"up 1\n"), u64::MAX, Ok(b"up 1\n"));
        check(&gzip(b""), u64::MAX, Ok(b""));
    }

    #[test]
    fn members_are_joined_even_if_they_are_equally_long() {
        let both = [gzip(b"up 1\n"), gzip(b"up 0\n")].concat();
        check(&both, u64::MAX, Ok(b"up 1\nup 0\n"));
        let both = [gzip(b"up 1\n"), gzip(b"longer 1\n")].concat();
        check(&both, u64::MAX, Ok(b"up 1\nlonger 1\n"));
    }

    #[test]
    fn a_page_as_large_as_the_limit_is_too_large() {
        check(&gzip(b"12345"), 6, Ok(b"12345"));
        check(&gzip(b"12345"), 5, Err("body size limit exceeded"));
        let bomb = gzip(&vec![b'1'; 10_000_000]);
        check(&bomb, 1000, Err("body size limit exceeded"));
    }

    #[test]
    fn what_is_not_gzip_is_refused() {
        check(b"", u64::MAX, Err("gzip: invalid data"));
        check(b"up 1\nup 1\nup 1\nup 1\n", u64::MAX, Err("gzip: invalid data"));
        let whole = gzip(b"up 1\nup 2\nup 3\n");
        check(&whole[..whole.len() - 1], u64::MAX, Err("gzip: invalid data"));
        check(&[&whole[..], b"rest of something"].concat(), u64::MAX, Err("gzip: invalid data"));
        let mut lying = whole.clone();
        let at = lying.len() - 4;
        lying[at..].copy_from_slice(&u32::MAX.to_le_bytes());
        check(&lying, u64::MAX, Err("gzip: invalid data"));
    }
}

//! What a fake server answers, whole or broken, byte by byte as a test wants it.

use std::time::Duration;

use bytes::Bytes;

/// One HTTP answer. Without more: status 200, `text/plain; version=0.0.4`, `Content-Length`.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) way: Way,
    pub(crate) delay: Duration,
}

/// How the answer travels.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// With its length.
    Whole,
    /// In chunks of this many bytes, with this pause after each.
    Chunked { bytes: usize, pause: Duration },
    /// With its length, but the connection closes after this many bytes of the body.
    Torn { after_bytes: usize },
    /// In chunks; the connection closes before the last one says that it is the last.
    Unfinished,
    /// Without a length: the end of the connection ends the body.
    UntilClosed,
    /// No byte of an answer; the connection stays open.
    Never,
    /// No byte of an answer; the connection closes.
    Closed,
    /// `body` is everything that is sent, status line and all; then the connection closes.
    Raw,
}

// === impl Reply ===

impl Reply {
    /// A page in the text format.
    pub fn page(body: impl Into<Bytes>) -> Reply {
        Reply::status(200).body(body).typed("text/plain; version=0.0.4; charset=utf-8")
    }

    /// An answer with this status, no body and no content type.
    pub fn status(status: u16) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            way: Way::Whole,
            delay: Duration::ZERO,
        }
    }

    /// Bytes that are everything the server sends.
    pub fn raw(bytes: impl Into<Bytes>) -> Reply {
        Reply { way: Way::Raw, ..Reply::status(200) }.body(bytes)
    }

    /// Never answers.
    pub fn never() -> Reply {
        Reply { way: Way::Never, ..Reply::status(200) }
    }

    /// Closes the connection instead of answering.
    pub fn closed() -> Reply {
        Reply { way: Way::Closed, ..Reply::status(200) }
    }

    /// With another status.
    pub fn with_status(self, status: u16) -> Reply {
        Reply { status, ..self }
    }

    /// With this body.
    pub fn body(self, body: impl Into<Bytes>) -> Reply {
        Reply { body: body.into(), ..self }
    }

    /// With this `Content-Type`; an empty one removes the header.
    pub fn typed(mut self, content_type: &str) -> Reply {
        self.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        if content_type.is_empty() {
            return self;
        }
        self.header("Content-Type", content_type)
    }

    /// With its body, if that is text, changed by `change`.
    pub fn rewritten(mut self, change: impl FnOnce(&str) -> String) -> Reply {
        if let Ok(text) = std::str::from_utf8(&self.body) {
            self.body = change(text).into();
        }
        self
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without this header.
    pub fn without(mut self, name: &str) -> Reply {
        self.headers.retain(|(found, _)| !found.eq_ignore_ascii_case(name));
        self
    }

    /// With the body of another answer behind its own.
    pub fn appended(self, other: Reply) -> Reply {
        let body = [self.body.as_ref(), other.body.as_ref()].concat();
        self.body(body)
    }

    /// Compressed, and saying so.
    pub fn gzip(self) -> Reply {
        let body = gzip(&self.body);
        self.body(body).header("Content-Encoding", "gzip")
    }

    /// In chunks of `bytes`.
    pub fn chunked(self, bytes: usize) -> Reply {
        Reply { way: Way::Chunked { bytes, pause: Duration::ZERO }, ..self }
    }

    /// In chunks of `bytes`, with a pause after each.
    pub fn trickling(self, bytes: usize, pause: Duration) -> Reply {
        Reply { way: Way::Chunked { bytes, pause }, ..self }
    }

    /// Cut off after `after_bytes` of the body.
    pub fn torn(self, after_bytes: usize) -> Reply {
        Reply { way: Way::Torn { after_bytes }, ..self }
    }

    /// Chunked, and cut off before the last chunk.
    pub fn unfinished(self) -> Reply {
        Reply { way: Way::Unfinished, ..self }
    }

    /// Without a length: ended by the end of the connection.
    pub fn until_closed(self) -> Reply {
        Reply { way: Way::UntilClosed, ..self }
    }

    /// Whether it tells a sender that its data was taken.
    pub(crate) fn accepts(&self) -> bool {
        let answered = !matches!(self.way, Way::Never | Way::Closed | Way::Raw);
        answered && (200..300).contains(&self.status)
    }

    /// After a pause.
    pub fn after(self, delay: Duration) -> Reply {
        Reply { delay, ..self }
    }
}

impl From<&str> for Reply {
    fn from(page: &str) -> Reply {
        Reply::page(page.to_owned())
    }
}

impl From<String> for Reply {
    fn from(page: String) -> Reply {
        Reply::page(page)
    }
}

/// `body` as gzip.
pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut out = vec![0; compressor.gzip_compress_bound(body.len())];
    let bytes = compressor.gzip_compress(body, &mut out).expect("the buffer has the bound's size");
    out.truncate(bytes);
    out
}

/// What `body` was before it became gzip. Its last four bytes say how long that is.
pub(crate) fn gunzip(body: &[u8]) -> Vec<u8> {
    let length = body.last_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let mut plain = vec![0; length as usize];
    let mut decompressor = libdeflater::Decompressor::new();
    decompressor.gzip_decompress(body, &mut plain).expect("a body of one gzip member");
    plain
}

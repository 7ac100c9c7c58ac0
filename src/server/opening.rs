//! A connection whose peer does not begin is closed.
//!
//! The HTTP layer times the head of a request only once it knows which HTTP it is, and it waits
//! for ever to learn that: whoever connects and says nothing would hold a connection for good, and
//! a few hundred of them all that there are.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What HTTP/2 begins with; anything else is HTTP/1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that has a time to show which HTTP it is.
#[derive(Debug)]
pub(super) struct Opening<S> {
    stream: S,
    /// None once it is known.
    unknown: Option<Unknown>,
}

#[derive(Debug)]
struct Unknown {
    timer: Pin<Box<Sleep>>,
    /// Bytes read, all of them of the preface.
    matched: usize,
}

// === impl Opening ===

impl<S> Opening<S> {
    /// `stream` must say something within `patience`.
    pub(super) fn new(stream: S, patience: Duration) -> Opening<S> {
        let timer = Box::pin(tokio::time::sleep(patience));
        Opening { stream, unknown: Some(Unknown { timer, matched: 0 }) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let known = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let Some(unknown) = &mut this.unknown else { return read };
        if read.is_pending() {
            ready!(unknown.timer.as_mut().poll(cx));
            let why = "the peer does not begin";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        let new = &buffer.filled()[known..];
        let wanted = &PREFACE[unknown.matched..];
        let is_preface = wanted.starts_with(new) && new.len() < wanted.len();
        unknown.matched += new.len().min(wanted.len());
        if !is_preface || new.is_empty() {
            this.unknown = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    /// What reading gives when the peer has said `said` and no more: nothing, for ever, or an end.
    async fn check(said: &[u8], is_closed: bool) {
        let (mine, mut theirs) = tokio::io::duplex(64);
        let mut stream = Opening::new(mine, SHORT);
        theirs.write_all(said).await.unwrap();
        let mut read = vec![0; said.len()];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(read, said);
        let next = tokio::time::timeout(SHORT * 10, stream.read(&mut [0; 8])).await;
        match next {
            Ok(Err(error)) => assert!(is_closed, "{error}: {said:?}"),
            Ok(Ok(n)) => panic!("{n} bytes of nothing"),
            Err(_) => assert!(!is_closed, "{said:?} may be all"),
        }
    }

    #[tokio::test]
    async fn who_does_not_begin_is_closed_and_who_has_begun_is_not() {
        check(b"", true).await;
        check(b"PRI * HT", true).await;
        check(&PREFACE[..PREFACE.len() - 1], true).await;
        check(b"G", false).await;
        check(b"PATCH", false).await;
        check(PREFACE, false).await;
    }
}

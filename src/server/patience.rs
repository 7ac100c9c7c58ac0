//! A connection whose peer stops reading is cut: a write that makes no progress for too long fails.
//!
//! Until then it holds what the kernel and the HTTP layer hold of one answer, and no more: what is
//! behind it (a list, the events of a watch) is only made when there is room.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A stream that does not wait for ever until it can be written to.
#[derive(Debug)]
pub(super) struct Impatient<S> {
    stream: S,
    patience: Duration,
    /// Runs while a write waits.
    timer: Option<Pin<Box<Sleep>>>,
    /// Connections that were cut.
    cut: Counter,
}

// === impl Impatient ===

impl<S> Impatient<S> {
    /// Writes to `stream` may wait for `patience`; `cut` counts those that did.
    pub(super) fn new(stream: S, patience: Duration, cut: Counter) -> Impatient<S> {
        Impatient { stream, patience, timer: None, cut }
    }

    /// The result of a write; an error, if it has waited for too long.
    fn judge<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.timer = None;
            return written;
        }
        let until = Instant::now() + self.patience;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        ready!(timer.as_mut().poll(cx));
        self.cut.inc();
        let why = "the peer reads nothing any more";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judge(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(shut, cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (mine, _theirs) = tokio::io::duplex(16);
        let cut = Counter::default();
        let mut stream = Impatient::new(mine, SHORT, cut.clone());
        let error = stream.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(cut.get(), 1);
    }

    #[tokio::test]
    async fn a_peer_that_reads_slowly_is_not() {
        let (mine, mut theirs) = tokio::io::duplex(16);
        let cut = Counter::default();
        let mut stream = Impatient::new(mine, Duration::from_secs(20), cut.clone());
        let writing = tokio::spawn(async move { stream.write_all(&[7; 4096]).await });
        let mut seen = 0;
        while seen < 4096 {
            seen += theirs.read(&mut [0; 5]).await.unwrap();
            tokio::task::yield_now().await;
        }
        writing.await.unwrap().unwrap();
        assert_eq!(cut.get(), 0);
    }
}

//! A connection whose socket can also be written to beside the HTTP layer, between two of its
//! writes: what thousands of listeners get alike goes out without waking a task for each.
//!
//! The HTTP layer owns the [`Plug`] and knows nothing of this. Whoever answers a request may hold
//! the [`Outlet`], and may [`Outlet::offer`] it whole chunks of a chunked body.
//! Invariant: bytes leave in the order in which they were given. An offer is taken only after the
//! HTTP layer has flushed all it had since the last [`Outlet::hold`]; what the socket does not
//! take of an offer leaves before anything else does.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Where answers leave. Held by whoever writes beside the HTTP layer.
#[derive(Debug)]
pub struct Outlet {
    stream: OwnedWriteHalf,
    /// A lock for the time of one write that does not wait.
    state: Mutex<State>,
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// All of it has left.
    Taken,
    /// It is taken, but has not left: the HTTP layer must be polled to flush it.
    Begun,
    /// Nothing of it is taken; it has to go through the HTTP layer.
    Refused,
}

/// The same connection, as the HTTP layer sees it.
#[derive(Debug)]
pub struct Plug {
    reader: OwnedReadHalf,
    outlet: Arc<Outlet>,
}

#[derive(Debug, Default)]
struct State {
    /// The HTTP layer has nothing under way.
    is_free: bool,
    /// What is left of an offer.
    rest: Bytes,
}

// === impl Outlet ===

impl Outlet {
    /// A connection, for both sides.
    pub fn split(stream: TcpStream) -> (Arc<Outlet>, Plug) {
        let (reader, stream) = stream.into_split();
        let outlet = Arc::new(Outlet { stream, state: Mutex::default() });
        (Arc::clone(&outlet), Plug { reader, outlet })
    }

    /// No offer is taken until the HTTP layer has flushed everything. Whoever is asked by it for
    /// the next part of a body calls this first.
    pub fn hold(&self) {
        self.lock().is_free = false;
    }

    /// Writes `bytes`, if that can be done now.
    pub fn offer(&self, bytes: &Bytes) -> Offer {
        let mut state = self.lock();
        if !state.is_free || !state.rest.is_empty() {
            return Offer::Refused;
        }
        match self.stream.try_write(bytes) {
            Ok(n) if n == bytes.len() => Offer::Taken,
            Ok(0) | Err(_) => Offer::Refused,
            Ok(n) => {
                state.rest = bytes.slice(n..);
                Offer::Begun
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes with `write` as soon as the socket takes something.
    fn poll_io<T>(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            ready!(self.stream.as_ref().poll_write_ready(cx))?;
            match write(self.stream.as_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_rest(&self, state: &mut State, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !state.rest.is_empty() {
            let written = ready!(self.poll_io(cx, |stream| stream.try_write(&state.rest)))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            state.rest.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

// === impl Plug ===

impl AsyncRead for Plug {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Plug {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.outlet.lock();
        state.is_free = false;
        ready!(self.outlet.poll_rest(&mut state, cx))?;
        self.outlet.poll_io(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.outlet.lock();
        state.is_free = false;
        ready!(self.outlet.poll_rest(&mut state, cx))?;
        self.outlet.poll_io(cx, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.outlet.lock();
        ready!(self.outlet.poll_rest(&mut state, cx))?;
        state.is_free = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.outlet.lock();
        state.is_free = false;
        ready!(self.outlet.poll_rest(&mut state, cx))?;
        Poll::Ready(SockRef::from(self.outlet.stream.as_ref()).shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Arc<Outlet>, Plug, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (outlet, plug) = Outlet::split(listener.accept().await.unwrap().0);
        (outlet, plug, theirs)
    }

    #[tokio::test]
    async fn an_offer_is_taken_between_what_is_flushed_and_the_next_hold() {
        let (outlet, mut plug, mut theirs) = pair().await;
        let offer = |text: &'static str| outlet.offer(&Bytes::from_static(text.as_bytes()));
        assert_eq!(offer("a"), Offer::Refused, "nothing was flushed yet");
        plug.write_all(b"1").await.unwrap();
        assert_eq!(offer("b"), Offer::Refused, "more may be under way");
        plug.flush().await.unwrap();
        assert_eq!(offer("c"), Offer::Taken);
        outlet.hold();
        assert_eq!(offer("d"), Offer::Refused);
        plug.write_all(b"2").await.unwrap();
        plug.flush().await.unwrap();
        assert_eq!(offer("e"), Offer::Taken);
        plug.shutdown().await.unwrap();
        let mut got = String::new();
        theirs.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "1c2e");
    }

    #[tokio::test]
    async fn what_is_left_of_an_offer_leaves_before_anything_else() {
        let (outlet, mut plug, mut theirs) = pair().await;
        plug.flush().await.unwrap();
        let chunk = Bytes::from(vec![7; 1 << 20]);
        let mut taken = 0;
        let last = loop {
            match outlet.offer(&chunk) {
                Offer::Taken => taken += 1,
                other => break other,
            }
        };
        assert_eq!(last, Offer::Begun, "the socket is full in the middle of a chunk");
        assert_eq!(outlet.offer(&chunk), Offer::Refused);
        let writing = tokio::spawn(async move {
            plug.write_all(b"end").await.unwrap();
            plug.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        writing.await.unwrap();
        assert_eq!(got.len(), (taken + 1) * chunk.len() + 3);
        assert!(got.ends_with(&[7, b'e', b'n', b'd']));
    }

    #[tokio::test]
    async fn a_connection_that_is_cut_refuses_offers() {
        let (outlet, mut plug, theirs) = pair().await;
        plug.flush().await.unwrap();
        SockRef::from(&theirs).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(theirs);
        assert!(plug.read_u8().await.is_err());
        assert_eq!(outlet.offer(&Bytes::from_static(b"a")), Offer::Refused);
    }
}

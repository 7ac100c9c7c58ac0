//! Listeners on plain sockets: one thread, one epoll, one buffer for all of them, so that what a
//! delivery costs the load generator is little beside what it costs the server. Every byte is
//! read, and every event counted.

use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use super::load::Tally;
use super::wire::{READ_BYTES, find_stamps};

/// The token of the waker; sockets have those below.
const WAKE: Token = Token(usize::MAX);

/// Sockets that are listened on until it is dropped.
#[derive(Debug)]
pub(super) struct Ears {
    shared: Arc<Shared>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stops: AtomicBool,
    /// Sockets to listen on from now on.
    new: Mutex<Vec<std::net::TcpStream>>,
}

/// One socket, and the end of what was read of it: perhaps the beginning of a stamp.
#[derive(Debug)]
struct Ear {
    socket: TcpStream,
    rest: Vec<u8>,
}

// === impl Ears ===

impl Ears {
    /// Nothing is listened on yet; what is heard goes to `tally`.
    pub(super) fn start(tally: Arc<Tally>) -> io::Result<Ears> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new().name("ears".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                if let Err(error) = listen(poll, &shared, &tally) {
                    eprintln!("listening broke off: {error}");
                }
            }
        })?;
        Ok(Ears { shared, waker, thread: Some(thread) })
    }

    /// Listens on one more socket.
    pub(super) fn add(&self, socket: std::net::TcpStream) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let mut new = self.shared.new.lock().unwrap_or_else(PoisonError::into_inner);
        new.push(socket);
        drop(new);
        self.waker.wake()
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::Release);
        let _the_thread_may_have_ended = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _it_has_said_why = thread.join();
        }
    }
}

fn listen(mut poll: Poll, shared: &Shared, tally: &Tally) -> io::Result<()> {
    let mut ears: Vec<Ear> = Vec::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; READ_BYTES];
    let mut stamps = Vec::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            done => done?,
        }
        for event in &events {
            if let Some(ear) = ears.get_mut(event.token().0) {
                ear.hear(&mut buffer, &mut stamps, tally)?;
            }
        }
        if shared.stops.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut new = shared.new.lock().unwrap_or_else(PoisonError::into_inner);
        for socket in new.drain(..) {
            let mut ear = Ear { socket: TcpStream::from_std(socket), rest: Vec::new() };
            let token = Token(ears.len());
            poll.registry().register(&mut ear.socket, token, Interest::READABLE)?;
            ears.push(ear);
        }
    }
}

// === impl Ear ===

impl Ear {
    /// Reads until there is nothing more.
    fn hear(&mut self, buffer: &mut [u8], stamps: &mut Vec<u64>, tally: &Tally) -> io::Result<()> {
        loop {
            let before = self.rest.len();
            buffer[..before].copy_from_slice(&self.rest);
            let n_read = match self.socket.read(&mut buffer[before..]) {
                Ok(0) => return Err(io::Error::other("the server ended a stream")),
                Ok(n_read) => n_read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let filled = before + n_read;
            stamps.clear();
            let used = find_stamps(&buffer[..filled], stamps);
            self.rest.clear();
            self.rest.extend_from_slice(&buffer[used..filled]);
            tally.events(stamps);
            if filled < buffer.len() {
                return Ok(());
            }
        }
    }
}

//! A receiver of remote write that misbehaves as it is told, and keeps a book of what it took.
//!
//! Speaks HTTP/1.1 by hand: it must be able to stop in the middle of an answer. What it refuses
//! for good (400) is in its book too: the sender has done its duty.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::book::{Book, Series};
use crate::sink::{Fields, timestamp_ms};

/// A request is at most this long.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a slow receiver takes for an answer.
const SLOW: Duration = Duration::from_millis(300);

/// What a receiver does to requests just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// 204.
    Well,
    /// This status; 429 and 503 with `Retry-After: 1`.
    Status(u16),
    /// Takes the request and never answers.
    Hangs,
    /// Half of an answer, and the connection is closed.
    Half,
    /// 204, after a while.
    Slow,
    /// Nobody listens: connections are closed at once.
    Gone,
}

/// One receiver.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) name: &'static str,
    address: SocketAddr,
    /// Locks: connections note what they take, and the faults change the mood.
    mood: Mutex<Mood>,
    book: Mutex<Book>,
    series: Arc<Mutex<Series>>,
    /// Samples that were answered 400.
    refused: AtomicU64,
    requests: AtomicU64,
    unreadable: AtomicU64,
}

// === impl Mood ===

impl Mood {
    /// In which a receiver may be for a few seconds.
    pub(crate) const FAULTS: [Mood; 7] = [
        Mood::Status(500),
        Mood::Status(429),
        Mood::Status(503),
        Mood::Status(400),
        Mood::Hangs,
        Mood::Half,
        Mood::Slow,
    ];
}

// === impl Receiver ===

impl Receiver {
    /// Listens on a free port. `series` is what all receivers know.
    pub(crate) async fn start(
        name: &'static str,
        series: Arc<Mutex<Series>>,
    ) -> anyhow::Result<Arc<Receiver>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen")?;
        let receiver = Arc::new(Receiver {
            name,
            address: listener.local_addr()?,
            mood: Mutex::new(Mood::Well),
            book: Mutex::default(),
            series,
            refused: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&receiver);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&accepting).serve(stream));
            }
        });
        Ok(receiver)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    pub(crate) fn mood(&self) -> Mood {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Samples refused with 400, requests, and requests that could not be read.
    pub(crate) fn counts(&self) -> [u64; 3] {
        [&self.refused, &self.requests, &self.unreadable].map(|one| one.load(Ordering::Relaxed))
    }

    async fn serve(self: Arc<Receiver>, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        let _the_sender_goes_on = stream.set_nodelay(true);
        while self.mood() != Mood::Gone {
            let Some(body) = read_request(&mut stream, &mut buffer).await else { return };
            self.requests.fetch_add(1, Ordering::Relaxed);
            let mood = self.mood();
            let answer = match mood {
                Mood::Gone => return,
                Mood::Well => self.take(&body, false),
                Mood::Slow => {
                    tokio::time::sleep(SLOW).await;
                    self.take(&body, false)
                }
                Mood::Status(400) => self.take(&body, true),
                Mood::Status(status @ (429 | 503)) => {
                    format!(
                        "HTTP/1.1 {status} Later\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
                    )
                }
                Mood::Status(status) => {
                    format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n")
                }
                Mood::Hangs => {
                    while self.mood() == Mood::Hangs {
                        tokio::time::sleep(SLOW).await;
                    }
                    return;
                }
                Mood::Half => "HTTP/1.1 20".to_owned(),
            };
            if stream.write_all(answer.as_bytes()).await.is_err() || mood == Mood::Half {
                return;
            }
        }
    }

    /// Notes the samples of a request, and answers it.
    fn take(&self, body: &[u8], refuses: bool) -> String {
        let Some(samples) = self.note(body) else {
            self.unreadable.fetch_add(1, Ordering::Relaxed);
            return "HTTP/1.1 500 Unreadable\r\nContent-Length: 0\r\n\r\n".to_owned();
        };
        if refuses {
            self.refused.fetch_add(samples, Ordering::Relaxed);
            return "HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n".to_owned();
        }
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned()
    }

    /// Notes every sample of a `prometheus.WriteRequest`.
    fn note(&self, body: &[u8]) -> Option<u64> {
        let plain = snap::raw::Decoder::new().decompress_vec(body).ok()?;
        let (mut labels, mut samples) = (Vec::new(), 0);
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let mut book = self.book();
        for (_, message) in Fields(&plain).filter(|(field, _)| *field == 1) {
            labels.clear();
            let mut host: &[u8] = &[];
            for (_, pair) in Fields(message).filter(|(field, _)| *field == 1) {
                labels.extend_from_slice(pair);
                let mut texts = Fields(pair);
                if texts.next().is_some_and(|(_, name)| name == b"instance") {
                    host = texts.next().map_or(&[], |(_, value)| value);
                }
            }
            for (_, sample) in Fields(message).filter(|(field, _)| *field == 2) {
                let ms = i64::try_from(timestamp_ms(sample)?).ok()?;
                book.note(&mut series, &labels, host, ms);
                samples += 1;
            }
        }
        Some(samples)
    }
}

/// The body of the next request; `None` when there is none.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut looked_at = 0;
    let head = loop {
        let from = buffer.len().min(looked_at);
        if let Some(at) = memchr::memmem::find(&buffer[from..], b"\r\n\r\n") {
            break from + at + 4;
        }
        looked_at = buffer.len().saturating_sub(3);
        if buffer.len() > REQUEST_BYTES_MAX || stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let end = head + length.trim().parse::<usize>().ok().filter(|n| *n < REQUEST_BYTES_MAX)?;
    while buffer.len() < end {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer[head..end].to_vec();
    buffer.drain(..end);
    Some(body)
}

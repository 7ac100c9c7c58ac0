//! Plain sockets: requests written as they are, answers read to their end, stamps found in a
//! stream of bytes. A client library would cost more than what is measured.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What stands before the digits of a stamp in every payload.
pub(super) const STAMP: &[u8] = b"stamp-";
/// Digits of a stamp.
const STAMP_DIGITS: usize = 20;
/// Bytes that are read at once, where much is read.
pub(super) const READ_BYTES: usize = 256 * 1024;

/// How a chunked body ends.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// The text that an update carries.
pub(super) fn stamp_text(stamp: u64) -> String {
    format!("stamp-{stamp:0STAMP_DIGITS$}")
}

/// A connection that sends a request and reads its answer.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, answer: Vec::new() })
    }

    /// Sends `request` and returns the HTTP status and the body.
    pub(super) async fn http(&mut self, request: &[u8]) -> anyhow::Result<(u16, &[u8])> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        let head_end = self.read_until(b"\r\n\r\n").await?;
        let head = Head::read(&self.answer[..head_end])?;
        match head.length {
            Some(length) => {
                while self.answer.len() < head_end + length {
                    self.read_more().await?;
                }
            }
            None => {
                while !self.answer.ends_with(LAST_CHUNK) {
                    self.read_more().await?;
                }
            }
        }
        Ok((head.status, &self.answer[head_end..]))
    }

    /// Only sends.
    pub(super) async fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(request).await?)
    }

    /// Sends `request` and reads one line (Redis' simple answers).
    pub(super) async fn line(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        let end = self.read_until(b"\r\n").await?;
        Ok(&self.answer[..end])
    }

    /// The socket alone, to listen on.
    pub(super) fn into_socket(self) -> anyhow::Result<std::net::TcpStream> {
        Ok(self.stream.into_std()?)
    }

    async fn read_until(&mut self, end: &[u8]) -> anyhow::Result<usize> {
        loop {
            if let Some(at) = memmem::find(&self.answer, end) {
                return Ok(at + end.len());
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> anyhow::Result<()> {
        self.answer.reserve(4096);
        match self.stream.read_buf(&mut self.answer).await? {
            0 => bail!("the server closed the connection"),
            _ => Ok(()),
        }
    }
}

/// What the head of an answer says.
#[derive(Debug)]
struct Head {
    status: u16,
    /// None: the body is chunked.
    length: Option<usize>,
}

impl Head {
    fn read(bytes: &[u8]) -> anyhow::Result<Head> {
        const LENGTH: &[u8] = b"content-length: ";
        let text = std::str::from_utf8(bytes)?;
        let status = text.get(9..12).and_then(|s| s.parse().ok()).context("read the status")?;
        let length = match memmem::find(bytes, LENGTH) {
            Some(at) => {
                let digits = text[at + LENGTH.len()..].split('\r').next().unwrap_or_default();
                Some(digits.parse().context("read the length of an answer")?)
            }
            None if memmem::find(bytes, b"chunked").is_some() => None,
            None => bail!("an answer without length: {text}"),
        };
        Ok(Head { status, length })
    }
}

/// A long answer, read to its last byte and forgotten as it comes.
#[derive(Debug)]
pub(super) struct Swallowed {
    pub(super) status: u16,
    /// From sending the request to the last byte.
    pub(super) took: Duration,
    /// How often `needle` was in it.
    pub(super) n_found: usize,
}

/// Sends `request` on a connection of its own and reads the answer, counting what is in it.
pub(super) fn swallow(
    address: SocketAddr,
    request: &[u8],
    needle: &[u8],
) -> anyhow::Result<Swallowed> {
    let mut socket = std::net::TcpStream::connect(address).context("connect")?;
    socket.set_nodelay(true)?;
    let finder = memmem::Finder::new(needle);
    let mut buffer = vec![0; READ_BYTES];
    let start = Instant::now();
    socket.write_all(request)?;
    let (mut kept, mut total, mut n_found) = (0, 0, 0);
    let mut head: Option<(Head, usize)> = None;
    loop {
        let filled = kept + socket.read(&mut buffer[kept..])?;
        ensure!(filled > kept, "the server closed the connection");
        total += filled - kept;
        let bytes = &buffer[..filled];
        if head.is_none() {
            let end = memmem::find(bytes, b"\r\n\r\n").context("a head in several pieces")? + 4;
            head = Some((Head::read(&bytes[..end])?, end));
        }
        n_found += finder.find_iter(bytes).count();
        let Some((Head { status, length }, head_bytes)) = &head else { continue };
        let is_whole = match length {
            Some(length) => total >= head_bytes + length,
            None => bytes.ends_with(LAST_CHUNK),
        };
        if is_whole {
            return Ok(Swallowed { status: *status, took: start.elapsed(), n_found });
        }
        // What may be the beginning of a needle, or of the end, is looked at again; less than a
        // needle is counted once.
        kept = (needle.len() - 1).max(LAST_CHUNK.len() - 1).min(filled);
        let seen_again = &buffer[filled - kept..filled];
        n_found -= finder.find_iter(seen_again).count();
        buffer.copy_within(filled - kept..filled, 0);
    }
}

/// Collects the stamps in `bytes`; returns how many bytes need not be seen again.
pub(super) fn find_stamps(bytes: &[u8], stamps: &mut Vec<u64>) -> usize {
    let mut at = 0;
    for found in memmem::find_iter(bytes, STAMP) {
        let start = found + STAMP.len();
        let Some(digits) = bytes.get(start..start + STAMP_DIGITS) else { return found };
        stamps.push(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')));
        at = start + STAMP_DIGITS;
    }
    at.max(bytes.len().saturating_sub(STAMP.len() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_cut_in_two_is_found_once() {
        let text = format!("xx{}yy{}", stamp_text(7), stamp_text(12));
        for cut in 0..text.len() {
            let (mut stamps, mut buffer) = (Vec::new(), text.as_bytes()[..cut].to_vec());
            let used = find_stamps(&buffer, &mut stamps);
            buffer.drain(..used);
            buffer.extend_from_slice(&text.as_bytes()[cut..]);
            find_stamps(&buffer, &mut stamps);
            assert_eq!(stamps, [7, 12], "cut at {cut}");
        }
    }
}

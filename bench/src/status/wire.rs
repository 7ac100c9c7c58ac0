//! Plain sockets: requests written as they are, answers read to their end, stamps found in a
//! stream of bytes. A client library would cost more than what is measured.

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::load::Heard;

/// What stands before the digits of a stamp in every payload.
pub(super) const STAMP: &[u8] = b"stamp-";
/// Digits of a stamp.
const STAMP_DIGITS: usize = 20;
/// Bytes a listener reads at once.
const READ_BYTES: usize = 256 * 1024;

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
    pub(super) async fn open(address: std::net::SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, answer: Vec::new() })
    }

    /// Sends `request` and returns the HTTP status and the body.
    pub(super) async fn http(&mut self, request: &[u8]) -> anyhow::Result<(u16, &[u8])> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        let head_end = self.read_until(b"\r\n\r\n").await?;
        let head = std::str::from_utf8(&self.answer[..head_end])?.to_ascii_lowercase();
        let status = head.get(9..12).and_then(|s| s.parse().ok()).context("read the status")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        match length {
            Some(length) => {
                let end = head_end + length.trim().parse::<usize>()?;
                while self.answer.len() < end {
                    self.read_more().await?;
                }
            }
            None if head.contains("chunked") => {
                while !self.answer.ends_with(b"\r\n0\r\n\r\n") {
                    self.read_more().await?;
                }
            }
            None => bail!("an answer without length: {head}"),
        }
        Ok((status, &self.answer[head_end..]))
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

    /// Reads events for ever and reports the stamps in them.
    pub(super) async fn listen(mut self, heard: Heard) -> anyhow::Result<()> {
        let mut buffer = std::mem::take(&mut self.answer);
        let mut stamps = Vec::new();
        loop {
            buffer.reserve(READ_BYTES.saturating_sub(buffer.capacity() - buffer.len()).min(16_384));
            if self.stream.read_buf(&mut buffer).await? == 0 {
                bail!("the server ended the stream");
            }
            stamps.clear();
            let used = find_stamps(&buffer, &mut stamps);
            buffer.drain(..used);
            heard.events(&stamps);
        }
    }

    async fn read_until(&mut self, end: &[u8]) -> anyhow::Result<usize> {
        loop {
            if let Some(at) = self.answer.windows(end.len()).position(|window| window == end) {
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

/// Collects the stamps in `bytes`; returns how many bytes need not be seen again.
fn find_stamps(bytes: &[u8], stamps: &mut Vec<u64>) -> usize {
    let mut at = 0;
    for found in memchr::memmem::find_iter(bytes, STAMP) {
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

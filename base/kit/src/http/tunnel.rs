//! Asking a proxy for a way through: `CONNECT`, or SOCKS 5 (RFC 1928, RFC 1929).

use std::io;
use std::net::IpAddr;

use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::Io;

/// Bytes of a proxy's answer to `CONNECT`.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Why a proxy does not let us through.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The connection broke.
    #[error("talk to the proxy")]
    Io(#[from] io::Error),
    /// The answer to `CONNECT` was not 200.
    #[error("{0}")]
    Refused(String),
    /// The answer makes no sense.
    #[error("malformed answer")]
    Malformed,
    /// The proxy wants a name and password that we do not have, or other ones.
    #[error("socks: authentication failed")]
    Authentication,
    /// The SOCKS reply was not 0.
    #[error("socks: {}", reason(*.0))]
    Socks(u8),
}

/// Asks an HTTP proxy. Afterwards the stream leads to `host`.
pub(super) async fn connect(
    io: &mut Box<dyn Io>,
    host: &str,
    port: u16,
    headers: &HeaderMap,
) -> Result<(), TunnelError> {
    let authority = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
    for (name, value) in headers {
        request.extend_from_slice(name.as_str().as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    io.write_all(&request).await?;
    io.flush().await?;
    let mut answer = Vec::new();
    // Byte by byte: what follows the head belongs to the tunnel.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= ANSWER_BYTES_MAX {
            return Err(TunnelError::Malformed);
        }
        answer.push(io.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&answer);
    let status = head.lines().next().unwrap_or_default();
    let mut words = status.splitn(3, ' ');
    let (version, code) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !version.starts_with("HTTP/1.") {
        return Err(TunnelError::Malformed);
    }
    if code == "200" {
        return Ok(());
    }
    Err(TunnelError::Refused(words.next().unwrap_or(code).to_owned()))
}

/// Asks a SOCKS 5 proxy, which resolves names itself.
pub(super) async fn socks5(
    io: &mut Box<dyn Io>,
    host: &str,
    port: u16,
    user: Option<(String, String)>,
) -> Result<(), TunnelError> {
    let methods: &[u8] = if user.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
    io.write_all(methods).await?;
    io.flush().await?;
    let mut chosen = [0; 2];
    io.read_exact(&mut chosen).await?;
    match (chosen, user) {
        ([5, 0], _) => {}
        ([5, 2], Some((username, password))) => log_in(io, &username, &password).await?,
        ([5, _], _) => return Err(TunnelError::Authentication),
        _ => return Err(TunnelError::Malformed),
    }
    let mut request = vec![5, 1, 0];
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            request.push(1);
            request.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(4);
            request.extend_from_slice(&address.octets());
        }
        Err(_) => {
            let length = u8::try_from(host.len()).map_err(|_| TunnelError::Malformed)?;
            request.extend_from_slice(&[3, length]);
            request.extend_from_slice(host.as_bytes());
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    io.write_all(&request).await?;
    io.flush().await?;
    let mut reply = [0; 4];
    io.read_exact(&mut reply).await?;
    if reply[0] != 5 {
        return Err(TunnelError::Malformed);
    }
    if reply[1] != 0 {
        return Err(TunnelError::Socks(reply[1]));
    }
    let address_bytes = match reply[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(io.read_u8().await?),
        _ => return Err(TunnelError::Malformed),
    };
    let mut bound = vec![0; address_bytes + 2];
    io.read_exact(&mut bound).await?;
    Ok(())
}

async fn log_in(io: &mut Box<dyn Io>, username: &str, password: &str) -> Result<(), TunnelError> {
    let mut request = vec![1];
    for text in [username, password] {
        request.push(u8::try_from(text.len()).map_err(|_| TunnelError::Authentication)?);
        request.extend_from_slice(text.as_bytes());
    }
    io.write_all(&request).await?;
    io.flush().await?;
    let mut reply = [0; 2];
    io.read_exact(&mut reply).await?;
    if reply[1] == 0 { Ok(()) } else { Err(TunnelError::Authentication) }
}

fn reason(code: u8) -> &'static str {
    match code {
        1 => "general SOCKS server failure",
        2 => "connection not allowed by ruleset",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown failure",
    }
}

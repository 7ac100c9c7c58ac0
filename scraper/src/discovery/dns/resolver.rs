//! Asking name servers as Prometheus does: the search path of `resolv.conf`, one name after the
//! other, one server after the other, over TCP when UDP is too small.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::message::{Answer, Code, MessageError, Question, Record, UDP_BYTES_MAX};

/// How long one server may take for one question.
const TIMEOUT: Duration = Duration::from_secs(2);

const PORT: u16 = 53;

/// What `resolv.conf` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolver {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    /// A name with at least this many dots is asked for as it is before the search path is tried.
    pub(super) n_dots: usize,
}

/// Why a name has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error("read {path}")]
    Read { path: String, source: io::Error },
    #[error(
        "could not resolve {name:?}: all servers responded with errors to at least one search domain"
    )]
    NoServer { name: String, source: ServerError },
}

/// Why one server has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerError {
    #[error("no name server is configured")]
    None,
    #[error("ask {server}")]
    Ask { server: SocketAddr, source: io::Error },
    #[error("understand {server}")]
    Message { server: SocketAddr, source: MessageError },
    #[error("{server} answers with code {code}")]
    Code { server: SocketAddr, code: u16 },
    #[error("{server} does not answer within {} s", TIMEOUT.as_secs())]
    TimedOut { server: SocketAddr },
}

// === impl Resolver ===

impl Resolver {
    /// Reads a `resolv.conf`.
    pub(super) fn from_file(path: &Path) -> Result<Resolver, LookupError> {
        let text = std::fs::read_to_string(path);
        let path = || path.display().to_string();
        Ok(Resolver::parse(&text.map_err(|source| LookupError::Read { path: path(), source })?))
    }

    fn parse(text: &str) -> Resolver {
        let mut resolver = Resolver { servers: Vec::new(), search: Vec::new(), n_dots: 1 };
        for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    resolver.servers.extend(server.map(|ip| SocketAddr::new(ip, PORT)));
                }
                Some("domain") => resolver.search = words.take(1).map(str::to_owned).collect(),
                Some("search") => resolver.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    for dots in words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok()) {
                        resolver.n_dots = usize::min(dots, 15);
                    }
                }
                _ => {}
            }
        }
        resolver
    }

    /// All records of `name`. That no server knows the name is an answer without records.
    pub(super) async fn lookup(
        &self,
        name: &str,
        question: Question,
    ) -> Result<Vec<Record>, LookupError> {
        let mut failure = None;
        for candidate in self.candidates(name) {
            match self.ask_any(&candidate, question).await {
                Ok(Answer { code: Code::Success, records, .. }) => return Ok(records),
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            None => Ok(Vec::new()),
            Some(source) => Err(LookupError::NoServer { name: name.to_owned(), source }),
        }
    }

    /// The names to ask for, in order.
    fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let rooted = format!("{name}.");
        let n_labels = name.split('.').count();
        let searched = self.search.iter().map(|domain| match domain.trim_end_matches('.') {
            "" => rooted.clone(),
            domain => format!("{name}.{domain}."),
        });
        let mut names: Vec<String> = searched.collect();
        let at = if n_labels > self.n_dots { 0 } else { names.len() };
        names.insert(at, rooted);
        names
    }

    /// The first answer of a server that knows whether the name exists.
    async fn ask_any(&self, name: &str, question: Question) -> Result<Answer, ServerError> {
        let mut failure = ServerError::None;
        for server in &self.servers {
            let asked = tokio::time::timeout(TIMEOUT, ask(*server, name, question)).await;
            failure = match asked.unwrap_or(Err(ServerError::TimedOut { server: *server })) {
                Ok(Answer { code: Code::Other(code), .. }) => {
                    ServerError::Code { server: *server, code }
                }
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
        }
        Err(failure)
    }
}

async fn ask(server: SocketAddr, name: &str, question: Question) -> Result<Answer, ServerError> {
    let id: u16 = rand::random();
    let misunderstood = |source| ServerError::Message { server, source };
    let unreachable = |source| ServerError::Ask { server, source };
    let message = question.ask(id, name).map_err(misunderstood)?;
    let answer = ask_udp(server, &message).await.map_err(unreachable)?;
    let answer = Answer::read(&answer, id).map_err(misunderstood)?;
    if !answer.truncated {
        return Ok(answer);
    }
    let answer = ask_tcp(server, &message).await.map_err(unreachable)?;
    Answer::read(&answer, id).map_err(misunderstood)
}

async fn ask_udp(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connected: only this server's answers arrive.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(message).await?;
    let mut answer = vec![0; usize::from(UDP_BYTES_MAX)];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}

async fn ask_tcp(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_u16(message.len() as u16).await?;
    stream.write_all(message).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read_as_far_as_it_matters() {
        let text = concat!(
            "# comment\n; another\nnameserver 10.0.0.1\nnameserver ::1\nnameserver nonsense\n",
            "domain old.example\nsearch a.example b.example\noptions rotate ndots:2 timeout:1\n"
        );
        let want = Resolver {
            servers: vec!["10.0.0.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()],
            search: vec!["a.example".to_owned(), "b.example".to_owned()],
            n_dots: 2,
        };
        assert_eq!(Resolver::parse(text), want);
    }

    #[test]
    fn names_are_searched_in_the_order_of_their_dots() {
        let check = |name: &str, n_dots: usize, want: &[&str]| {
            let search = vec!["a.".to_owned(), "b".to_owned()];
            let resolver = Resolver { servers: Vec::new(), search, n_dots };
            assert_eq!(resolver.candidates(name), want);
        };
        check("host", 1, &["host.a.", "host.b.", "host."]);
        check("host.x", 1, &["host.x.", "host.x.a.", "host.x.b."]);
        check("host.x", 5, &["host.x.a.", "host.x.b.", "host.x."]);
        check("host.x.", 5, &["host.x."]);
    }
}

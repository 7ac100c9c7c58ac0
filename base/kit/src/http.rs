//! HTTP clients, made as a [`HttpClientConfig`] says.
//!
//! - [`Client::send`] is for everything: keeps connections per host, speaks HTTP/2 where both
//!   sides want it, follows redirects, goes through proxies. Send a
//!   `http::Request<bytes::Bytes>` with an absolute URI; timeouts are the caller's
//!   (`tokio::time::timeout`).
//! - Who wants a connection of its own (a scrape loop) takes [`Client::open`] for a stream (and
//!   [`Http2`], if that is what both sides agreed on) and [`Client::sign`] for the headers of each
//!   request, as long as [`Client::is_direct`] says that
//!   no proxy stands between; an answer that is a redirect is handed to [`Client::follow`].
//!
//! Credentials and certificates in files are read again for every request, as Prometheus does:
//! a changed certificate closes the connections that were made with the old one.

mod assertion;
mod connect;
mod credentials;
mod http2;
mod oauth2;
mod proxy;
mod redirect;
mod response;
mod roots;
mod service;
mod tls;
mod tunnel;
mod userinfo;

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Uri};
use http_body_util::Full;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::config::HttpClientConfig;

pub use assertion::AssertionError;
pub use connect::{ConnectError, Heard, Stream};
pub use credentials::CredentialsError;
pub use http2::Http2;
pub use oauth2::TokenError;
pub use response::{BodyError, Response};
pub use tls::TlsError;

use connect::{Connector, Endpoints, Turn};
use oauth2::Tokens;
use proxy::Proxies;
use redirect::Hop;
use tls::{Protocols, TlsSource};

/// Sends requests. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

/// Tells apart what connections were made with: when it changes, close them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(u64);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The URL has no host, or a scheme that is not `http` or `https`.
    #[error("unsupported URL {url:?}")]
    Url {
        /// The URL.
        url: String,
    },
    /// Credentials or a header could not be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// There is no token.
    #[error("oauth2: cannot fetch token")]
    Token(#[from] TokenError),
    /// Certificates or keys cannot be used.
    #[error("load TLS configuration")]
    Tls(#[from] TlsError),
    /// The request could not be sent, or its answer not be read.
    #[error("{verb} {url:?}")]
    Exchange {
        /// `Get`, `Post`, …
        verb: String,
        /// The URL.
        url: String,
        /// Why.
        source: ExchangeError,
    },
    /// Redirects go round in circles.
    #[error("stopped after {0} redirects")]
    TooManyRedirects(usize),
}

/// What went wrong on the way there or back.
#[derive(Debug)]
pub struct ExchangeError(Box<dyn Error + Send + Sync>);

struct Inner {
    config: HttpClientConfig,
    user_agent: HeaderValue,
    endpoints: Arc<Endpoints>,
    /// Every connection begins with HTTP/2, also one without TLS, on which nobody agrees on it.
    http2_only: bool,
    tls: TlsSource,
    tokens: Option<Tokens>,
    /// The connections, and the certificates that they were made with. A lock, because a changed
    /// certificate replaces both; held for a copy.
    pool: Mutex<Option<(Generation, Pool)>>,
}

type Pool = legacy::Client<Connector, Full<Bytes>>;

/// An idle connection is closed after this long, as in Prometheus.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// An HTTP/2 connection that says nothing for this long is asked whether it still lives.
const PING_INTERVAL: Duration = Duration::from_secs(60);

/// Idle connections to one host. More are closed when they are done.
const IDLE_PER_HOST_MAX: usize = 100;

// === impl Client ===

impl Client {
    /// A client that introduces itself as `user_agent`. Reads no file yet.
    pub fn new(config: HttpClientConfig, user_agent: &str) -> Client {
        Client::make(config, user_agent, None, false)
    }

    /// The same for servers that speak nothing but HTTP/2, and are not asked whether they do.
    pub fn http2_only(config: HttpClientConfig, user_agent: &str) -> Client {
        Client::make(config, user_agent, None, true)
    }

    /// The same, with all connections going to a Unix socket, whatever host a URL names.
    pub fn over_unix_socket(config: HttpClientConfig, user_agent: &str, socket: &Path) -> Client {
        Client::make(config, user_agent, Some(socket.to_owned()), false)
    }

    fn make(
        config: HttpClientConfig,
        user_agent: &str,
        socket: Option<PathBuf>,
        http2_only: bool,
    ) -> Client {
        let proxies = Proxies::new(&config.proxy);
        let tokens = match &config.auth {
            crate::config::Auth::OAuth2(oauth2) => Some(Tokens::new(oauth2, user_agent)),
            _ => None,
        };
        let user_agent = HeaderValue::from_str(user_agent);
        Client(Arc::new(Inner {
            tls: TlsSource::new(config.tls.clone()),
            user_agent: user_agent.unwrap_or_else(|_| HeaderValue::from_static("rollcall")),
            endpoints: Arc::new(Endpoints {
                proxies,
                socket,
                turn: config.round_robin_dns.then(Turn::default),
            }),
            http2_only,
            tokens,
            pool: Mutex::new(None),
            config,
        }))
    }

    /// Sends `request`, with what the configuration adds to it, and follows redirects if the
    /// configuration says so. The whole body must be there, because it may be sent again.
    ///
    /// # Errors
    /// When there is no answer. Any status is an answer.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response, SendError> {
        self.send_from(Hop::first(request)).await
    }

    /// The same for a request that is nothing without its body: a redirect that would turn it
    /// into a GET is the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn deliver(&self, request: Request<Bytes>) -> Result<Response, SendError> {
        self.send_from(Hop::first_that_must_arrive(request)).await
    }

    /// Goes where `answer` leads, which came to `request` over a connection of the caller's own
    /// ([`Client::open`]). `None` if it leads nowhere: it is the last answer.
    ///
    /// # Errors
    /// When there is no last answer.
    pub async fn follow(
        &self,
        request: Request<Bytes>,
        answer: &http::response::Parts,
    ) -> Result<Option<Response>, SendError> {
        match Hop::first(request).next(answer.status, &answer.headers)? {
            Some(next) => self.send_from(next).await.map(Some),
            None => Ok(None),
        }
    }

    async fn send_from(&self, mut hop: Hop) -> Result<Response, SendError> {
        loop {
            let response = self.send_once(&hop).await?;
            if !self.0.config.follow_redirects {
                return Ok(response);
            }
            match hop.next(response.status(), response.headers())? {
                Some(next) => hop = next,
                None => return Ok(response),
            }
        }
    }

    async fn send_once(&self, hop: &Hop) -> Result<Response, SendError> {
        let secure = check_uri(&hop.uri)?;
        let mut headers = hop.headers.clone();
        add_userinfo(&mut headers, hop.userinfo.clone());
        self.add_headers(&mut headers, hop.trusted).await?;
        if let Some(proxy) = self.0.endpoints.proxy_of(&hop.uri)
            && !secure
            && let Some(authorization) = proxy.authorization()
        {
            headers.insert(PROXY_AUTHORIZATION, authorization);
        }
        let pool = self.pool(secure).await?;
        let mut request = Request::new(Full::new(hop.body.clone()));
        *request.method_mut() = hop.method.clone();
        *request.uri_mut() = hop.uri.clone();
        *request.headers_mut() = headers;
        let sent = pool.request(request).await;
        let response = sent.map_err(|error| SendError::Exchange {
            verb: title_case(hop.method.as_str()),
            url: hop.uri.to_string(),
            source: ExchangeError(error.into()),
        })?;
        Ok(Response::new(hop.uri.clone(), response))
    }

    /// Adds what the configuration adds to every request: user agent, headers, authorization.
    /// The result says what connections must have been made with.
    ///
    /// # Errors
    /// When credentials, certificates or a token cannot be had.
    pub async fn sign(&self, uri: &Uri, headers: &mut HeaderMap) -> Result<Generation, SendError> {
        add_userinfo(headers, userinfo::take_off(uri.clone()).1);
        self.add_headers(headers, true).await?;
        if check_uri(uri)? { Ok(self.0.tls.current().await?.0) } else { Ok(Generation(0)) }
    }

    /// Whether a connection to this URL's host is a connection to the host itself: no proxy
    /// stands between.
    pub fn is_direct(&self, uri: &Uri) -> bool {
        self.0.endpoints.proxy_of(uri).is_none()
    }

    /// Whether 3xx answers are followed.
    pub fn follows_redirects(&self) -> bool {
        self.0.config.follow_redirects
    }

    /// Opens a connection to the host of `uri`, or to the Unix socket at `socket`; with TLS if the
    /// scheme is `https`, and then perhaps for HTTP/2 ([`Stream::is_http2`]). No proxy is used.
    ///
    /// # Errors
    /// When nobody answers there, or not the one we trust.
    pub async fn open(&self, uri: &Uri, socket: Option<&Path>) -> Result<Stream, SendError> {
        let secure = check_uri(uri)?;
        let tls = match secure {
            true => Some(self.0.tls.current().await?.1),
            false => None,
        };
        let socket = socket.or(self.0.endpoints.socket.as_deref());
        let protocols = tls.map(|tls| Protocols::new(tls, self.0.config.http2));
        let opened = connect::open_direct(uri, socket, None, protocols).await;
        opened.map_err(|source| SendError::Exchange {
            verb: "Get".to_owned(),
            url: userinfo::take_off(uri.clone()).0.to_string(),
            source: ExchangeError(source.into()),
        })
    }

    async fn add_headers(&self, headers: &mut HeaderMap, trusted: bool) -> Result<(), SendError> {
        if !headers.contains_key(USER_AGENT) {
            headers.insert(USER_AGENT, self.0.user_agent.clone());
        }
        let Inner { config, tokens, .. } = &*self.0;
        credentials::add_headers(&config.headers, headers, trusted).await?;
        if !trusted || headers.contains_key(AUTHORIZATION) {
            return Ok(());
        }
        let authorization = match tokens {
            Some(tokens) => Some(tokens.authorization().await?),
            None => credentials::authorization(&config.auth).await?,
        };
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        Ok(())
    }

    /// The connections; new ones if the certificates have changed.
    async fn pool(&self, secure: bool) -> Result<Pool, SendError> {
        let known = || self.0.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let proxy_speaks_tls = self.0.endpoints.proxies.speak_tls();
        let (generation, tls) = match secure || proxy_speaks_tls {
            true => self.0.tls.current().await.map(|(at, tls)| (at, Some(tls)))?,
            false => {
                // A request without TLS goes over whatever connections there are.
                if let Some((_, pool)) = &*known() {
                    return Ok(pool.clone());
                }
                (Generation(0), None)
            }
        };
        let mut known = known();
        if let Some((made_with, pool)) = &*known
            && *made_with == generation
        {
            return Ok(pool.clone());
        }
        let http2 = self.0.config.http2 || self.0.http2_only;
        let protocols = tls.map(|tls| Protocols::new(tls, http2));
        let connector = Connector::new(Arc::clone(&self.0.endpoints), protocols);
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_only(self.0.http2_only)
            .build(connector);
        *known = Some((generation, Pool::clone(&pool)));
        Ok(pool)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.config).finish()
    }
}

/// User and password of the URL, unless the request says itself who sends it.
fn add_userinfo(headers: &mut HeaderMap, userinfo: Option<HeaderValue>) {
    if let Some(userinfo) = userinfo
        && !headers.contains_key(AUTHORIZATION)
    {
        headers.insert(AUTHORIZATION, userinfo);
    }
}

/// Whether the URL asks for TLS.
fn check_uri(uri: &Uri) -> Result<bool, SendError> {
    match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(_)) => Ok(false),
        (Some("https"), Some(_)) => Ok(true),
        _ => Err(SendError::Url { url: userinfo::take_off(uri.clone()).0.to_string() }),
    }
}

/// `GET` as Go prints it: `Get`.
fn title_case(method: &str) -> String {
    let mut letters = method.chars();
    let first = letters.next().into_iter();
    first.chain(letters.map(|letter| letter.to_ascii_lowercase())).collect()
}

// === impl ExchangeError ===

impl ExchangeError {
    /// The part that says something: the library's own layer only says "client error".
    fn cause(&self) -> &(dyn Error + 'static) {
        match self.0.source() {
            Some(source) if self.0.is::<legacy::Error>() => source,
            _ => &*self.0,
        }
    }
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.cause(), f)
    }
}

impl Error for ExchangeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause().source()
    }
}

#[cfg(test)]
mod tests;

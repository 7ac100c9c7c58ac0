//! Which proxy a request goes through, by the rules of `golang.org/x/net/http/httpproxy`.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use url::Url;

use crate::config::{ProxyConfig, Secret};

/// The proxies of one client.
#[derive(Debug)]
pub(super) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Exceptions,
}

/// One proxy.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    pub(super) url: Url,
    /// For the proxy itself, in `CONNECT` requests.
    connect_headers: Vec<(HeaderName, Secret)>,
}

/// Hosts that are asked without a proxy.
#[derive(Debug, Default)]
struct Exceptions {
    /// `localhost` and loopback addresses: an exception wherever exceptions can be made.
    local: bool,
    everything: bool,
    rules: Vec<Rule>,
}

#[derive(Debug)]
enum Rule {
    Network {
        address: IpAddr,
        bits: u8,
        port: Option<u16>,
    },
    /// A name, and those below it.
    Domain {
        name: String,
        itself: bool,
        port: Option<u16>,
    },
}

// === impl Proxies ===

impl Proxies {
    pub(super) fn new(config: &ProxyConfig) -> Proxies {
        let proxy =
            |url: &Url| Proxy { url: url.clone(), connect_headers: config.connect_headers.clone() };
        if config.from_environment {
            let variable = |upper: &str| {
                let lower = upper.to_lowercase();
                let value = std::env::var(upper).or_else(|_| std::env::var(lower));
                value.ok().filter(|value| !value.is_empty())
            };
            let from = |name: &str| variable(name).and_then(|text| parse(&text));
            return Proxies {
                http: from("HTTP_PROXY").map(|url| proxy(&url)),
                https: from("HTTPS_PROXY").map(|url| proxy(&url)),
                exceptions: Exceptions::parse(&variable("NO_PROXY").unwrap_or_default()),
            };
        }
        let configured = config.url.as_ref().map(proxy);
        let exceptions = match &*config.no_proxy {
            // Without exceptions, even loopback goes through the proxy.
            "" => Exceptions::default(),
            text => Exceptions::parse(text),
        };
        Proxies { http: configured.clone(), https: configured, exceptions }
    }

    /// The proxy for requests to `uri`.
    pub(super) fn of(&self, uri: &Uri) -> Option<&Proxy> {
        let proxy = match uri.scheme_str() {
            Some("https") => self.https.as_ref()?,
            _ => self.http.as_ref()?,
        };
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        let port = super::connect::port_of(uri);
        (!self.exceptions.contain(host, port)).then_some(proxy)
    }

    /// Whether a connection to one of them needs TLS.
    pub(super) fn speak_tls(&self) -> bool {
        let mut both = self.http.iter().chain(&self.https);
        both.any(|proxy| proxy.url.scheme() == "https")
    }
}

/// A proxy's URL; without a scheme it is one for HTTP.
fn parse(text: &str) -> Option<Url> {
    match text.contains("://") {
        true => Url::parse(text).ok(),
        false => Url::parse(&format!("http://{text}")).ok(),
    }
}

// === impl Proxy ===

impl Proxy {
    /// Name and password in its URL, as `Proxy-Authorization`.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let (username, password) = self.user()?;
        let encoded = STANDARD.encode(format!("{username}:{password}"));
        let mut value = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Name and password in its URL.
    pub(super) fn user(&self) -> Option<(String, String)> {
        let decoded = |text: &str| {
            let pair = format!("x={}", text.replace('+', "%2B"));
            let value = url::form_urlencoded::parse(pair.as_bytes()).next();
            value.map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let (username, password) = (self.url.username(), self.url.password().unwrap_or_default());
        let given = !username.is_empty() || !password.is_empty();
        given.then(|| (decoded(username), decoded(password)))
    }

    /// What a `CONNECT` request carries.
    pub(super) fn connect_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.connect_headers {
            if let Ok(value) = HeaderValue::from_str(value.reveal()) {
                headers.append(name.clone(), value);
            }
        }
        headers
    }
}

// === impl Exceptions ===

impl Exceptions {
    fn parse(text: &str) -> Exceptions {
        let mut exceptions = Exceptions { local: true, ..Exceptions::default() };
        for rule in text.split(',').map(|rule| rule.trim().to_lowercase()) {
            match &*rule {
                "" => {}
                "*" => exceptions.everything = true,
                rule => exceptions.rules.extend(Rule::parse(rule)),
            }
        }
        exceptions
    }

    fn contain(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_lowercase();
        let address = host.parse::<IpAddr>().ok();
        let loopback = address.map_or(host == "localhost", |address| address.is_loopback());
        self.everything
            || (self.local && loopback)
            || self.rules.iter().any(|rule| rule.matches(&host, address, port))
    }
}

// === impl Rule ===

impl Rule {
    fn parse(text: &str) -> Option<Rule> {
        if let Some((network, bits)) = text.split_once('/') {
            let address = network.parse().ok()?;
            return Some(Rule::Network { address, bits: bits.parse().ok()?, port: None });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
                (name, port.parse().ok())
            }
            _ => (text, None),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = name.parse::<IpAddr>() {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            return Some(Rule::Network { address, bits, port });
        }
        let name = name.strip_prefix('*').unwrap_or(name);
        let (itself, name) = match name.strip_prefix('.') {
            Some(name) => (false, name),
            None => (true, name),
        };
        (!name.is_empty()).then(|| Rule::Domain { name: name.to_owned(), itself, port })
    }

    fn matches(&self, host: &str, address: Option<IpAddr>, asked_port: u16) -> bool {
        let port_fits = |port: &Option<u16>| port.is_none_or(|port| port == asked_port);
        match self {
            Rule::Network { address: network, bits, port } => {
                port_fits(port) && address.is_some_and(|address| within(address, *network, *bits))
            }
            Rule::Domain { name, itself, port } => {
                let below = host.strip_suffix(&**name).is_some_and(|rest| rest.ends_with('.'));
                port_fits(port) && (below || (*itself && host == name))
            }
        }
    }
}

fn within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits.into())).unwrap_or(0);
            a.to_bits() & mask == n.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits.into())).unwrap_or(0);
            a.to_bits() & mask == n.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(no_proxy: &str, url: &str, proxied: bool) {
        let config = ProxyConfig {
            url: Url::parse("http://proxy:3128").ok(),
            no_proxy: no_proxy.to_owned(),
            ..ProxyConfig::default()
        };
        let uri: Uri = url.parse().unwrap();
        assert_eq!(Proxies::new(&config).of(&uri).is_some(), proxied, "{no_proxy} {url}");
    }

    #[test]
    fn exceptions_are_names_networks_and_ports() {
        check("", "http://127.0.0.1:9100/", true);
        check("x", "http://127.0.0.1:9100/", false);
        check("x", "http://localhost/", false);
        check("*", "http://a.com/", false);
        check("a.com", "http://a.com/", false);
        check("a.com", "http://b.a.com/", false);
        check("a.com", "http://ba.com/", true);
        check(".a.com", "http://a.com/", true);
        check("*.a.com", "http://b.a.com/", false);
        check("a.com:81", "http://a.com/", true);
        check("a.com:80", "http://a.com/", false);
        check("10.0.0.0/8", "http://10.1.2.3:9100/", false);
        check("10.0.0.0/8", "http://11.1.2.3:9100/", true);
        check("10.1.2.3", "http://10.1.2.3/", false);
        check("fd00::/8", "http://[fd01::1]:9100/", false);
        check("b.com, a.com", "https://a.com/", false);
    }
}

//! The URL of a target as others can reach it: `localhost` means nothing to them.

use url::Url;

/// What Prometheus takes for "this machine".
const LOCAL_HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// How others reach us.
#[derive(Debug, Clone)]
pub(crate) struct GlobalUrl {
    external: Url,
    listen_port: Option<u16>,
}

// === impl GlobalUrl ===

impl GlobalUrl {
    /// `external`: the URL under which others reach this process, which listens on `listen_port`.
    pub(crate) fn new(external: Url, listen_port: Option<u16>) -> GlobalUrl {
        GlobalUrl { external, listen_port }
    }

    /// `scrape_url` as others can reach it: with our name for a target on this machine, and all
    /// of our external address if the target is this process.
    pub(crate) fn of(&self, scrape_url: &str) -> String {
        let Ok(mut url) = Url::parse(scrape_url) else {
            return scrape_url.to_owned();
        };
        if !url.host_str().is_some_and(|host| LOCAL_HOSTS.contains(&host)) {
            return scrape_url.to_owned();
        }
        let is_us = self.listen_port.is_some() && url.port() == self.listen_port;
        let _ = url.set_host(self.external.host_str());
        if is_us {
            let _ = url.set_port(self.external.port());
            let _ = url.set_scheme(self.external.scheme());
        }
        url.into()
    }

    /// The URL under which others reach us.
    pub(crate) fn external(&self) -> &Url {
        &self.external
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scrape_url: &str, want: &str) {
        let external = Url::parse("https://status.example.org/rollcall").unwrap();
        assert_eq!(GlobalUrl::new(external, Some(9090)).of(scrape_url), want);
    }

    #[test]
    fn only_local_targets_get_another_name() {
        check("http://10.0.0.7:9100/metrics", "http://10.0.0.7:9100/metrics");
        check("http://localhost:9100/metrics?a=b", "http://status.example.org:9100/metrics?a=b");
        check("http://[::1]:9100/m", "http://status.example.org:9100/m");
    }

    #[test]
    fn our_own_process_is_reached_at_its_external_address() {
        check("http://127.0.0.1:9090/metrics", "https://status.example.org/metrics");
    }
}

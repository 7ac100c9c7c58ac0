//! `dns_sd_configs`: targets in the domain name system.

use kit::config::{Duration, Invalid};
use serde::{Deserialize, Serialize};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "dns.plain")]
pub struct DnsSdSpec {
    /// Names to ask for.
    pub names: Vec<String>,
    /// Time between questions. Default 30s.
    pub refresh_interval: Duration,
    /// `SRV` (default), `A`, `AAAA`, `MX` or `NS`.
    #[serde(rename = "type")]
    pub record: String,
    /// The port, which only `SRV` records have.
    pub port: u16,
}

/// Checked: there is a port if the records have none.
#[derive(Debug, Clone, PartialEq)]
pub struct DnsSdConfig {
    names: Vec<String>,
    refresh_interval: Duration,
    record: DnsRecord,
    port: u16,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsRecord {
    /// A service's hosts and ports.
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail servers.
    Mx,
    /// Name servers.
    Ns,
}

const REFRESH_DEFAULT: Duration = Duration::from_secs(30);

// === impl DnsSdSpec ===

impl Default for DnsSdSpec {
    fn default() -> DnsSdSpec {
        DnsSdSpec {
            names: Vec::new(),
            refresh_interval: REFRESH_DEFAULT,
            record: "SRV".to_owned(),
            port: 0,
        }
    }
}

impl DnsSdSpec {
    pub(super) fn check(&mut self) -> Result<DnsSdConfig, Invalid> {
        if self.names.is_empty() {
            let message = "DNS-SD config must contain at least one SRV record name";
            return Err(Invalid::new("names", message));
        }
        let record = match &*self.record.to_uppercase() {
            "SRV" => DnsRecord::Srv,
            "A" => DnsRecord::A,
            "AAAA" => DnsRecord::Aaaa,
            "MX" => DnsRecord::Mx,
            "NS" => DnsRecord::Ns,
            _ => {
                let message = format!("invalid DNS-SD records type {}", self.record);
                return Err(Invalid::new("type", message));
            }
        };
        if record != DnsRecord::Srv && self.port == 0 {
            let message = "a port is required in DNS-SD configs for all record types except SRV";
            return Err(Invalid::new("port", message));
        }
        let refresh_interval = self.refresh_interval.or(REFRESH_DEFAULT);
        Ok(DnsSdConfig { names: self.names.clone(), refresh_interval, record, port: self.port })
    }
}

// === impl DnsSdConfig ===

impl DnsSdConfig {
    /// Names to ask for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Time between questions.
    pub fn refresh_interval(&self) -> std::time::Duration {
        self.refresh_interval.to_std()
    }

    /// What is asked for.
    pub fn record(&self) -> DnsRecord {
        self.record
    }

    /// The port of targets that are not found by `SRV` records.
    pub fn port(&self) -> u16 {
        self.port
    }
}

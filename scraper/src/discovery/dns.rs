//! `dns_sd_configs`: targets from the records of names.
//!
//! A name that no server knows has no targets; a name whose servers fail keeps those it had.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures::future::{BoxFuture, join_all};
use kit::Chain;
use model::Labels;
use prometheus_client::metrics::counter::Counter;
use tracing::warn;

use super::refresh::{Refresh, poll};
use super::{Found, Group, Mechanism, Provider, Tools, Wanted};
use crate::config::{DnsRecord, DnsSdConfig, JobConfig};
use message::{Question, Record};
use resolver::{LookupError, Resolver};

mod message;
mod resolver;

const RESOLV_CONF: &str = "/etc/resolv.conf";

pub(super) const MECHANISM: Mechanism = Mechanism { name: "dns", wanted };

fn wanted(job: &JobConfig) -> Vec<Arc<dyn Wanted>> {
    job.dns_sd().iter().map(|section| Arc::new(section.clone()) as Arc<dyn Wanted>).collect()
}

impl Provider for DnsSdConfig {
    fn run(self: Arc<Self>, found: Arc<Found>, tools: Tools) -> BoxFuture<'static, ()> {
        let interval = self.refresh_interval();
        let names = Names {
            config: self,
            resolver: || Resolver::from_file(Path::new(RESOLV_CONF)),
            known: BTreeMap::new(),
            lookups: tools.metrics.dns_lookups.clone(),
            failures: tools.metrics.dns_lookup_failures.clone(),
        };
        Box::pin(poll(names, interval, found, tools))
    }
}

/// The names of one section, and what they were last resolved to.
struct Names<R> {
    config: Arc<DnsSdConfig>,
    /// Read again each time, because the file may change.
    resolver: R,
    known: BTreeMap<String, Group>,
    lookups: Counter,
    failures: Counter,
}

impl<R> Refresh for Names<R>
where
    R: Fn() -> Result<Resolver, LookupError> + Send,
{
    type Error = LookupError;

    async fn refresh(&mut self) -> Result<Vec<Group>, LookupError> {
        let resolver = (self.resolver)()?;
        let question = question(self.config.record());
        let names = self.config.names();
        let lookups = names.iter().map(|name| resolver.lookup(name, question));
        for (name, answer) in names.iter().zip(join_all(lookups).await) {
            self.lookups.inc();
            match answer {
                Ok(records) => {
                    let group = group(name, records, self.config.port());
                    self.known.insert(name.clone(), group);
                }
                Err(failure) => {
                    self.failures.inc();
                    warn!(name, error = %Chain(&failure), "DNS discovery failed");
                }
            }
        }
        Ok(self.known.values().cloned().collect())
    }
}

fn question(kind: DnsRecord) -> Question {
    match kind {
        DnsRecord::A => Question::A,
        DnsRecord::Aaaa => Question::Aaaa,
        DnsRecord::Mx => Question::Mx,
        DnsRecord::Ns => Question::Ns,
        DnsRecord::Srv => Question::Srv,
    }
}

/// The targets that `records` name. `port` is for records that have none.
fn group(name: &str, records: Vec<Record>, port: u16) -> Group {
    let named = |host: &str, port: u16| format!("{}:{port}", host.trim_end_matches('.'));
    let targets = records.into_iter().map(|record| {
        let (address, own) = match record {
            Record::A(ip) => (format!("{ip}:{port}"), Vec::new()),
            Record::Aaaa(ip) => (format!("[{ip}]:{port}"), Vec::new()),
            Record::Mx(host) => (named(&host, port), vec![("__meta_dns_mx_record_target", host)]),
            Record::Ns(host) => (named(&host, port), vec![("__meta_dns_ns_record_target", host)]),
            Record::Srv { target, port } => {
                let own = vec![
                    ("__meta_dns_srv_record_target", target.clone()),
                    ("__meta_dns_srv_record_port", port.to_string()),
                ];
                (named(&target, port), own)
            }
        };
        let common = [("__address__", address), ("__meta_dns_name", name.to_owned())];
        Labels::from_iter(common.into_iter().chain(own))
    });
    Group { source: Arc::from(name), targets: targets.collect(), labels: Labels::default() }
}

#[cfg(test)]
mod tests;

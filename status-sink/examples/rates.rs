//! How fast the status center takes batches, on one thread and without listeners: changed objects
//! a second, and samples a second when nothing changes. Prints one line of JSON.
//!
//! `cargo run --release -p status-sink --example rates`; `bench status` shows its figures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kit::SystemClock;
use kit::metrics::SelfMetrics;
use model::{
    Batch, BatchSink, Family, Labels, Layout, LayoutBuilder, Memo, Moment, Outcome, Role, Samples,
    Selection, Source, Symbols,
};
use status_sink::{Parts, Spec, StatusSink};

const HOSTS: usize = 256;
const VMS: usize = 200;
const STATES: [&str; 3] = ["running", "stopped", "crashed"];
const FOR: Duration = Duration::from_secs(3);

const KINDS: &str = r#"
kinds:
  - kind: VirtualMachine
    name: "{vmid}"
    labels: { host: "{host}" }
    fields:
      state:  { metric: hci_vm_state, from_label: state }
      ha:     { metric: hci_vm_ha_enabled, type: bool }
      power:  { metric: hci_vm_power, map: { 0: "off", 1: "on" } }
      cpu:    { metric: hci_vm_cpu_usage_ratio, change: 0.05 }
      memory: { metric: hci_vm_memory_bytes }
      host:   { label: host }
    index: [state, host]
"#;

/// A host: its page, and what the status center remembers of it.
struct Host {
    source: Arc<Source>,
    layout: Arc<Layout>,
    memo: Memo,
}

impl Host {
    fn new(nth: usize, symbols: &Arc<Symbols>) -> Host {
        let name = format!("host-{nth:03}");
        let family = Arc::new(Family::default());
        let mut builder = LayoutBuilder::new(symbols);
        for vm in 0..VMS {
            let vmid = format!("{}", 100_000 + nth * VMS + vm);
            let plain = |metric: &'static str| {
                vec![("__name__", metric), ("host", name.as_str()), ("vmid", vmid.as_str())]
            };
            for state in STATES {
                let mut labels = plain("hci_vm_state");
                labels.insert(2, ("state", state));
                builder.push(labels.into_iter(), &family);
            }
            for metric in [
                "hci_vm_ha_enabled",
                "hci_vm_power",
                "hci_vm_cpu_usage_ratio",
                "hci_vm_memory_bytes",
            ] {
                builder.push(plain(metric).into_iter(), &family);
            }
        }
        let labels: Labels = [("instance", name.as_str()), ("job", "hosts")].into_iter().collect();
        Host { source: Source::new(labels), layout: builder.build(), memo: Memo::default() }
    }

    /// Says everything, with states and loads of this round.
    fn scrape(&mut self, round: usize, sink: &dyn BatchSink) {
        let mut values = Vec::with_capacity(self.layout.len());
        for vm in 0..VMS {
            let state = (round + vm) % STATES.len();
            values.extend((0..STATES.len()).map(|at| f64::from(u8::from(at == state))));
            values.extend([1.0, 1.0, (round % 7) as f64 / 7.0, 4e9]);
        }
        let page = Samples::plain(Role::Page, Arc::clone(&self.layout), values);
        let batch = Batch {
            source: Arc::clone(&self.source),
            sent: Moment(1 + round as u64),
            timestamp_ms: round as i64,
            outcome: Outcome::Complete,
            samples: vec![page],
        };
        sink.accept(&batch, &[Selection::All], &mut self.memo);
    }
}

/// Rounds over all hosts for a while; how many, and how long they took.
fn rounds(hosts: &mut [Host], sink: &dyn BatchSink, first: usize, step: usize) -> (usize, f64) {
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < FOR {
        done += 1;
        hosts.iter_mut().for_each(|host| host.scrape(first + done * step, sink));
    }
    (done, start.elapsed().as_secs_f64())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let spec: Spec = kit::config::yaml::from_str("rates.yml", KINDS).expect("it is YAML");
    let config = Arc::new(spec.check().expect("the kind is right"));
    let parts = Parts { clock: SystemClock::shared(), metrics: SelfMetrics::new(), instance: 1 };
    let center = StatusSink::start(config, parts);
    let (sink, symbols) = (center.sink(), Symbols::new());
    let mut hosts: Vec<Host> = (0..HOSTS).map(|nth| Host::new(nth, &symbols)).collect();
    hosts.iter_mut().for_each(|host| host.scrape(0, &*sink));
    let (changed, changed_s) = rounds(&mut hosts, &*sink, 0, 1);
    hosts.iter_mut().for_each(|host| host.scrape(0, &*sink));
    let (quiet, quiet_s) = rounds(&mut hosts, &*sink, 0, 0);
    let objects = (changed * HOSTS * VMS) as f64 / changed_s;
    let samples = (quiet * HOSTS * VMS * (STATES.len() + 4)) as f64 / quiet_s;
    println!("{{\"changed_objects_per_s\":{objects:.0},\"unchanged_samples_per_s\":{samples:.0}}}");
    center.stop().await;
}

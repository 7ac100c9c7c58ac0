//! What a sample costs on its way through router and queue: prints nanoseconds a sample.
//!
//! `cargo run --release -p forwarder --example encode_cost`. A fleet of hosts that print 3,311
//! series each is given to the router as the scraper would; a receiver on loopback answers 204.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use forwarder::config::{Common, ForwarderSpec, RemoteWriteSpec, Spec};
use forwarder::{Forwarder, Parts};
use kit::config::yaml;
use kit::metrics::SelfMetrics;
use kit::{Clock, SystemClock};
use model::{
    Batch, BatchSink, Family, Labels, Layout, LayoutBuilder, Memo, MetricType, Outcome, Role,
    Samples, Selection, Source, Symbols,
};

const HOSTS: usize = 256;
const ROUNDS: usize = 10;

struct Host {
    source: Arc<Source>,
    layout: Arc<Layout>,
    memo: Memo,
}

fn main() {
    let body = Arc::new(Mutex::new(Vec::new()));
    let address = receive(Arc::clone(&body));
    let symbols = Symbols::new();
    let before = resident_bytes();
    let mut hosts: Vec<Host> = (0..HOSTS).map(|host| new_host(&symbols, host)).collect();
    let series = HOSTS * hosts[0].layout.len();
    let held = resident_bytes().saturating_sub(before) / series;
    println!("{series} series of {} hosts: {held} bytes a series in layouts", hosts.len());
    let v1 = format!("remote_write: [{{ name: r, url: 'http://{address}/' }}]");
    let v2 = v1.replace(" }]", ", protobuf_message: io.prometheus.write.v2.Request }]");
    let external = format!("external_labels: {{ cluster: c1 }}\n{v1}");
    let folder = std::env::temp_dir().join(format!("encode-cost-{}", std::process::id()));
    let disk = format!("{{ durability: disk, disk: {{ path: {folder:?} }} }}");
    let on_disk = v1.replace(" }]", &format!(", delivery: {disk} }}]"));
    let rows = [
        ("1.0", v1),
        ("1.0, an external label", external),
        ("1.0, on disk too", on_disk),
        ("2.0", v2),
    ];
    for (name, config) in rows {
        measure(name, &config, &mut hosts, &body);
    }
    let _left_to_the_system = std::fs::remove_dir_all(folder);
}

/// One configuration: the first round makes plans, the others are the steady state.
fn measure(name: &str, config: &str, hosts: &mut [Host], body: &Mutex<Vec<u8>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let _inside = runtime.enter();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (metrics, storage) = (SelfMetrics::new(), "no-storage".into());
    let parts = Parts { clock, metrics, builtin: Vec::new(), storage };
    let forwarder = Forwarder::start(read(config), parts).expect("it starts");
    let router = forwarder.router();
    hosts.iter_mut().for_each(|host| host.memo.clear());
    let before = resident_bytes();
    let plan = round(&*router, hosts, 0);
    let series: usize = hosts.iter().map(|host| host.layout.len()).sum();
    let grown = resident_bytes().saturating_sub(before) / series;
    let cpu = cpu_time();
    let mut took = Duration::MAX;
    let mut rounds = Duration::ZERO;
    for at in 1..=ROUNDS {
        let one = round(&*router, hosts, at);
        (took, rounds) = (took.min(one), rounds + one);
        // As scrapes would leave it time to.
        std::thread::sleep(Duration::from_millis(150));
    }
    runtime.block_on(forwarder.drained(Duration::from_secs(60)));
    let all = cpu_time().saturating_sub(cpu);
    let view = &forwarder.destinations()[0];
    let ns = |took: Duration, rounds: usize| took.as_nanos() as f64 / (series * rounds) as f64;
    println!(
        "{name}: plan {:.1}, encode {:.1} (mean {:.1}) ns a sample; {grown} bytes a series",
        ns(plan, 1),
        ns(took, 1),
        ns(rounds, ROUNDS)
    );
    println!(
        "  with snappy, HTTP and the receiver: {:.1} ns a sample; {:.1} bytes a sample sent; {}",
        ns(all, ROUNDS),
        view.sent_bytes as f64 / view.account.delivered.total().max(1) as f64,
        if view.account.delivered == view.account.accepted {
            "all delivered"
        } else {
            "NOT ALL DELIVERED"
        },
    );
    println!("  snappy alone: {:.1} ns a sample", snappy(&body.lock().expect("no panic")));
}

fn round(router: &dyn BatchSink, hosts: &mut [Host], round: usize) -> Duration {
    let mut values = Vec::new();
    let mut took = Duration::ZERO;
    for host in hosts {
        let len = host.layout.len();
        values.clear();
        values
            .extend((0..len).map(|at| if at % 3 == 0 { 0.0 } else { (at * round) as f64 * 1.37 }));
        let layout = Arc::clone(&host.layout);
        let samples = vec![Samples::plain(Role::Page, layout, std::mem::take(&mut values))];
        let timestamp_ms = 1_767_268_800_000 + round as i64 * 5000;
        let (source, outcome) = (Arc::clone(&host.source), Outcome::Complete);
        let sent = model::Moment(1 + round as u64);
        let mut batch = Batch { source, sent, timestamp_ms, outcome, samples };
        let began = thread_time();
        router.accept(&batch, &[Selection::All], &mut host.memo);
        took += thread_time() - began;
        values = std::mem::take(&mut batch.samples[0].values);
    }
    took
}

/// Time that this thread has been running: other processes do not count.
fn thread_time() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

/// A node exporter's page and the status of 200 virtual machines.
fn new_host(symbols: &Arc<Symbols>, host: usize) -> Host {
    let instance = format!("127.1.{}.{}:9100", host / 250, 1 + host % 250);
    let mut builder = LayoutBuilder::new(symbols);
    let push = |name: &str, labels: &[(&str, &str)]| {
        let family = Family { name: name.into(), kind: MetricType::Counter, ..Family::default() };
        let mut all = vec![("__name__", name), ("instance", &*instance), ("job", "hosts")];
        all.extend_from_slice(labels);
        all.sort();
        (all.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>(), family)
    };
    let mut series = Vec::new();
    for cpu in 0..64 {
        for mode in ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"] {
            series
                .push(push("node_cpu_seconds_total", &[("cpu", &cpu.to_string()), ("mode", mode)]));
        }
    }
    for metric in 0..40 {
        let name = format!("node_disk_metric_{metric}_total");
        for disk in 0..12 {
            series.push(push(&name, &[("device", &format!("sd{disk}"))]));
        }
    }
    for metric in 0..19 {
        let name = format!("node_network_metric_{metric}_total");
        for nic in 0..16 {
            series.push(push(&name, &[("device", &format!("eth{nic}"))]));
        }
    }
    for metric in 0..10 {
        let name = format!("hci_vm_metric_{metric}");
        for vm in 0..200 {
            let vmid = (host * 200 + vm).to_string();
            series.push(push(&name, &[("vmid", &vmid), ("host", &instance)]));
        }
    }
    let plain = 3_311 - series.len();
    for metric in 0..plain {
        series.push(push(&format!("node_plain_metric_{metric}"), &[]));
    }
    let mut family = Arc::new(Family::default());
    for (labels, of) in &series {
        if family.name != of.name {
            family = Arc::new(of.clone());
        }
        builder.push(labels.iter().map(|(n, v)| (&**n, &**v)), &family);
    }
    let source = Source::new([("instance", &*instance), ("job", "hosts")].into_iter().collect());
    Host { source, layout: builder.build(), memo: Memo::default() }
}

fn read(text: &str) -> Arc<forwarder::Config> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct File {
        external_labels: std::collections::BTreeMap<String, String>,
        remote_write: Vec<Option<RemoteWriteSpec>>,
        forwarders: Vec<Option<ForwarderSpec>>,
    }
    let file: File = yaml::from_str("example", text).expect("it is YAML");
    let external_labels: Labels =
        file.external_labels.iter().map(|(name, value)| (&**name, &**value)).collect();
    let File { remote_write, forwarders, .. } = file;
    let spec = Spec { remote_write, forwarders, ..Spec::default() };
    let common =
        Common { external_labels: &external_labels, names: Default::default(), elsewhere: &[] };
    Arc::new(spec.check(&common).expect("it is right"))
}

/// Takes every request apart by its length and confirms it; keeps the last body.
fn receive(last: Arc<Mutex<Vec<u8>>>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let last = Arc::clone(&last);
            std::thread::spawn(move || serve(connection, &last));
        }
    });
    address
}

fn serve(mut connection: TcpStream, last: &Mutex<Vec<u8>>) {
    const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\
        X-Prometheus-Remote-Write-Samples-Written: 1000000000\r\n\r\n";
    let (mut buffer, mut chunk) = (Vec::new(), vec![0; 256 * 1024]);
    while let Ok(read @ 1..) = connection.read(&mut chunk) {
        buffer.extend_from_slice(&chunk[..read]);
        while let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            if buffer.len() < head + 4 + length {
                break;
            }
            *last.lock().expect("no panic") = buffer[head + 4..head + 4 + length].to_vec();
            buffer.drain(..head + 4 + length);
            if connection.write_all(ANSWER).is_err() {
                return;
            }
        }
    }
}

/// Nanoseconds a sample of compressing a block like the last one, of 2,000 samples or fewer.
fn snappy(packed: &[u8]) -> f64 {
    let Ok(plain) = snap::raw::Decoder::new().decompress_vec(packed) else { return f64::NAN };
    let mut out = vec![0; snap::raw::max_compress_len(plain.len())];
    let mut encoder = snap::raw::Encoder::new();
    let times = 200;
    let began = Instant::now();
    for _ in 0..times {
        encoder.compress(&plain, &mut out).expect("room for it");
    }
    began.elapsed().as_nanos() as f64 / (times * 2_000) as f64
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = behind_name.split(' ').skip(12).take(2).filter_map(|text| text.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

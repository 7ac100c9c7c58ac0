//! How fast a backlog on disk goes to a receiver that only answers 204: prints samples a second.
//!
//! `cargo run --release -p forwarder --example drain_rate [millions of samples]`. The backlog is
//! written by one forwarder while nobody listens, and sent by another one, as after a restart.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forwarder::config::{Common, RemoteWriteSpec, Spec};
use forwarder::{Forwarder, Parts};
use kit::config::yaml;
use kit::metrics::SelfMetrics;
use kit::{Clock, SystemClock};
use model::{
    Batch, BatchSink, Family, Labels, LayoutBuilder, Memo, MetricType, Outcome, Role, Samples,
    Selection, Source, Symbols,
};

const SERIES: usize = 3_000;

fn main() {
    let millions = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(20_usize);
    let folder = std::env::temp_dir().join(format!("drain-rate-{}", std::process::id()));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let _inside = runtime.enter();
    let delivery = format!("{{ durability: disk, disk: {{ path: {folder:?}, max_size: 100GB }} }}");
    let queue = "{ min_shards: 4, max_samples_per_send: 2000, max_backoff: 100ms }";
    let text = |url: &str| {
        format!("[{{ name: r, url: '{url}', queue_config: {queue}, delivery: {delivery} }}]")
    };

    let forwarder = start(&text("http://127.0.0.1:9/"), &folder);
    let began = Instant::now();
    fill(&*forwarder.router(), millions * 1_000_000);
    runtime.block_on(forwarder.drained(Duration::from_secs(60)));
    drop(forwarder);
    println!("{millions} M samples written in {:.1} s", began.elapsed().as_secs_f64());

    std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
    let cpu = cpu_time();
    let began = Instant::now();
    let forwarder = start(&text(&format!("http://{address}/")), &folder);
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let account = forwarder.destinations()[0].account;
        if account.recovered.samples > 0 && account.queued.total() == 0 {
            assert_eq!(account.delivered, account.accepted, "some were lost");
            let took = began.elapsed().as_secs_f64();
            let samples = account.delivered.samples as f64;
            println!(
                "{:.1} M samples sent in {took:.1} s: {:.2} M a second, {:.2} M a second of CPU \
                 with the receiver",
                samples / 1e6,
                samples / took / 1e6,
                samples / (cpu_time() - cpu).as_secs_f64() / 1e6,
            );
            break;
        }
    }
    runtime.block_on(forwarder.drained(Duration::from_secs(60)));
    let _left_to_the_system = std::fs::remove_dir_all(&folder);
}

fn start(remote_write: &str, storage: &Path) -> Forwarder {
    let remote_write: Vec<Option<RemoteWriteSpec>> =
        yaml::from_str("f", remote_write).expect("it is right");
    let labels = Labels::default();
    let common = Common { external_labels: &labels, names: Default::default(), elsewhere: &[] };
    let spec = Spec { remote_write, ..Spec::default() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (metrics, builtin, storage) = (SelfMetrics::new(), Vec::new(), storage.to_owned());
    let parts = Parts { clock, metrics, builtin, storage };
    Forwarder::start(Arc::new(spec.check(&common).expect("it is right")), parts).expect("it starts")
}

/// Pages of 256 hosts that print the same series.
fn fill(router: &dyn BatchSink, samples: usize) {
    let symbols = Symbols::new();
    let family = Family { name: "cpu".into(), kind: MetricType::Counter, ..Family::default() };
    let family = Arc::new(family);
    let mut hosts: Vec<_> = (0..256)
        .map(|host| {
            let instance = format!("127.1.0.{host}:9100");
            let mut builder = LayoutBuilder::new(&symbols);
            for core in 0..SERIES {
                let core = core.to_string();
                let labels = [
                    ("__name__", "node_cpu_seconds_total"),
                    ("core", &*core),
                    ("instance", &*instance),
                    ("job", "hosts"),
                    ("mode", "idle"),
                ];
                builder.push(labels.into_iter(), &family);
            }
            let source = Source::new([("instance", &*instance)].into_iter().collect());
            (source, builder.build(), Memo::default())
        })
        .collect();
    for page in 0..samples / SERIES {
        let (source, layout, memo) = &mut hosts[page % 256];
        let values = (0..SERIES).map(|at| (at * page) as f64 * 1.37).collect();
        let samples = vec![Samples::plain(Role::Page, Arc::clone(layout), values)];
        let timestamp_ms = 1_767_268_800_000 + (page / 256) as i64 * 5000;
        let (source, outcome) = (Arc::clone(source), Outcome::Complete);
        let sent = model::Moment(1 + page as u64);
        let batch = Batch { source, sent, timestamp_ms, outcome, samples };
        router.accept(&batch, &[Selection::All], memo);
        if page % 64 == 63 {
            std::thread::sleep(Duration::from_millis(20)); // as scrapes would leave it time to
        }
    }
}

/// Reads requests and answers 204, until the connection ends.
fn answer(mut stream: TcpStream) {
    std::thread::spawn(move || {
        let (mut buffer, mut have) = (vec![0_u8; 1 << 20], 0);
        loop {
            let Some(head) = buffer[..have].windows(4).position(|end| end == b"\r\n\r\n") else {
                match stream.read(&mut buffer[have..]) {
                    Ok(0) | Err(_) => return,
                    Ok(read) => have += read,
                }
                continue;
            };
            let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let end = head + 4 + length.and_then(|length| length.parse().ok()).unwrap_or(0_usize);
            while have < end {
                match stream.read(&mut buffer[have..]) {
                    Ok(0) | Err(_) => return,
                    Ok(read) => have += read,
                }
            }
            buffer.copy_within(end..have, 0);
            have -= end;
            if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                return;
            }
        }
    });
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |nth: usize| after_name.split_whitespace().nth(nth)?.parse::<u64>().ok();
    Duration::from_millis(10 * (ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0)))
}

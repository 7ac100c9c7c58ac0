//! What a sample costs the page reader: nanoseconds and bytes, on one core.
//!
//! `cargo run --release -p scraper --example page_cost [WORD]` measures what has the word in its
//! name, or everything.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use scraper::lab::{Lab, PageFormat, Reader};

/// Pages of a kind, all printed before the clock starts.
const PAGES: usize = 40;

/// How long each kind is measured; the best round counts, as the others share the machine.
const MEASURED: Duration = Duration::from_millis(1500);

fn main() {
    let pages: Vec<String> = (0..PAGES).map(|tick| page(tick, 0, false)).collect();
    let samples = pages[0].lines().filter(|line| !line.starts_with('#')).count();
    println!("page: {samples} samples, {} bytes", pages[0].len());

    report("hash of every byte", samples, || {
        for page in &pages {
            black_box(rapidhash::v3::rapidhash_v3(page.as_bytes()));
        }
    });
    let mut reader = steady(&pages);
    report("steady", samples, || read_all(&mut reader, &pages));
    let fresh_lab = Lab::new();
    report("fresh parse, labels known", samples, || {
        for page in &pages {
            read(&mut target(&fresh_lab), page);
        }
    });
    report("fresh parse, labels new", samples, || {
        for page in &pages {
            read(&mut target(&Lab::new()), page);
        }
    });
    let reordered: Vec<String> = (0..PAGES).map(|tick| page(tick, 0, tick % 2 == 1)).collect();
    let mut reader = steady(&reordered);
    report("reordered each time", samples, || read_all(&mut reader, &reordered));
    for churn in [1, 5, 20] {
        let churned: Vec<String> = (0..PAGES).map(|tick| page(tick, tick * churn, false)).collect();
        let mut reader = steady(&churned);
        report(&format!("churn of {churn} of 200 VMs each time"), samples, || {
            read_all(&mut reader, &churned);
        });
    }
    memory(samples);
}

fn memory(samples: usize) {
    let lab = Lab::new();
    let mut readers: Vec<Reader> = (0..64)
        .map(|host| {
            let labels = [("instance", format!("127.0.0.{host}:9100")), ("job", "hosts".into())];
            lab.target(labels.into_iter().collect())
        })
        .collect();
    for (host, reader) in readers.iter_mut().enumerate() {
        read(reader, &page_of_host(0, host * 200));
    }
    let series = (samples * readers.len()) as f64;
    let total: usize = readers.iter().map(Reader::memory_bytes).sum();
    let layouts: usize = readers.iter().map(Reader::layout_bytes).sum();
    println!("memory, {} targets, bytes a series:", readers.len());
    println!("  layout {:.1}", layouts as f64 / series);
    println!("  lines {:.1}", (total - layouts) as f64 / series);
    println!("  symbols {:.1}", lab.symbol_bytes() as f64 / series);
}

fn target(lab: &Lab) -> Reader {
    lab.target([("instance", "127.0.0.1:9100"), ("job", "hosts")].into_iter().collect())
}

fn steady(pages: &[String]) -> Reader {
    let mut reader = target(&Lab::new());
    read(&mut reader, &pages[0]);
    reader
}

fn read_all(reader: &mut Reader, pages: &[String]) {
    for page in pages {
        read(reader, page);
    }
}

fn read(reader: &mut Reader, page: &str) {
    black_box(reader.read(page.as_bytes(), PageFormat::Text).expect("the page is good"));
}

fn report(what: &str, samples: usize, mut run: impl FnMut()) {
    if std::env::args().nth(1).is_some_and(|word| !what.contains(&word)) {
        return;
    }
    run();
    let begun = Instant::now();
    let mut best = Duration::MAX;
    while begun.elapsed() < MEASURED {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed());
    }
    let nanos = best.as_nanos() as f64 / (samples * PAGES) as f64;
    println!("{what:40} {nanos:7.1} ns a sample");
}

/// A host's page: CPUs, disks, NICs, and 200 VMs with 10 series each.
fn page(tick: usize, first_vm: usize, swapped: bool) -> String {
    let mut out = String::with_capacity(256 * 1024);
    let parts: [fn(&mut String, usize, usize); 2] = [devices, vms];
    let order: [usize; 2] = if swapped { [1, 0] } else { [0, 1] };
    for part in order {
        parts[part](&mut out, tick, first_vm);
    }
    out
}

fn page_of_host(tick: usize, first_vm: usize) -> String {
    page(tick, first_vm, false)
}

fn family(out: &mut String, name: &str, kind: &str) {
    writeln!(out, "# HELP {name} What {name} says about this host.\n# TYPE {name} {kind}").ok();
}

fn devices(out: &mut String, tick: usize, _: usize) {
    family(out, "node_cpu_seconds_total", "counter");
    for cpu in 0..64 {
        for mode in ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"] {
            let seconds = (cpu * 7919 + mode.len() * 104_729 + tick * 31) as f64 / 100.0;
            writeln!(out, "node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}} {seconds}").ok();
        }
    }
    for at in 0..16 {
        let name = format!("node_disk_metric_{at}_bytes_total");
        family(out, &name, "counter");
        for disk in 0..12 {
            let bytes = (disk + 1) * 918_273_645 + at * 1_234_567 + tick * 4096;
            writeln!(out, "{name}{{device=\"sd{disk}\"}} {:e}", bytes as f64).ok();
        }
    }
    for at in 0..20 {
        let name = format!("node_network_metric_{at}_total");
        family(out, &name, "counter");
        for nic in 0..16 {
            let packets = (nic * 31_337 + at * 17 + tick * 3) % 1_000_000;
            writeln!(out, "{name}{{device=\"eth{nic}\"}} {packets}").ok();
        }
    }
    for at in 0..287 {
        let name = format!("node_memory_Number{at}_bytes");
        family(out, &name, "gauge");
        writeln!(out, "{name} {}", at * 65_536 + tick * 4096).ok();
    }
}

fn vms(out: &mut String, tick: usize, first_vm: usize) {
    for at in 0..10 {
        let name = format!("hci_vm_metric_number_{at}_ratio");
        family(out, &name, "gauge");
        for vm in first_vm..first_vm + 200 {
            let value = ((vm * 131 + at * 7 + tick * 13) % 1000) as f64 / 1000.0;
            writeln!(out, "{name}{{vmid=\"vm-{vm:08}\",project=\"p{}\"}} {value}", vm % 10).ok();
        }
    }
}

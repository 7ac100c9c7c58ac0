//! A page as a host of the fleet prints it: 3,311 samples, a little different each time.

use std::fmt::Write as _;

/// A host's page: CPUs, disks, NICs, and 200 VMs with 10 series each.
pub(super) fn page(tick: usize, first_vm: usize, swapped: bool) -> String {
    let mut out = String::with_capacity(256 * 1024);
    let parts: [fn(&mut String, usize, usize); 2] = [devices, vms];
    let order: [usize; 2] = if swapped { [1, 0] } else { [0, 1] };
    for part in order {
        parts[part](&mut out, tick, first_vm);
    }
    out
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

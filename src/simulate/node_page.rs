//! What the operating system of a simulated host prints: a node exporter's families.
//!
//! Tables of names and ranges; the numbers come from the host's dice, so that two hosts print the
//! same lines with different values.

use super::host::Parts;
use super::motion::{Dice, Motion};
use super::page::{Page, Value};

/// Logical CPUs of a host.
const CPUS: usize = 64;
/// Modes, and the share of the time in each, in ten-thousandths.
const CPU_MODES: [(&str, u64); 8] = [
    ("idle", 7_100),
    ("iowait", 120),
    ("irq", 3),
    ("nice", 1),
    ("softirq", 130),
    ("steal", 1),
    ("system", 640),
    ("user", 2_150),
];

/// A family of which each disk, NIC, … has one series.
struct Family {
    name: &'static str,
    help: &'static str,
    /// Digits behind the point.
    decimals: u8,
    /// A counter that grows by up to this many last places a second; 0 = stays at zero.
    per_second: u64,
}

/// A family with one series that swings around a value.
type Level = (&'static str, &'static str, u64);

const fn family(name: &'static str, decimals: u8, per_second: u64, help: &'static str) -> Family {
    Family { name, help, decimals, per_second }
}

const DISK_FAMILIES: [Family; 17] = [
    family("node_disk_discard_time_seconds_total", 3, 0, "Time spent discarding."),
    family("node_disk_discarded_sectors_total", 0, 0, "Sectors discarded."),
    family("node_disk_discards_completed_total", 0, 0, "Discards done."),
    family("node_disk_discards_merged_total", 0, 0, "Discards that were merged."),
    family("node_disk_flush_requests_time_seconds_total", 3, 40, "Time spent flushing."),
    family("node_disk_flush_requests_total", 0, 20, "Flushes done."),
    family("node_disk_io_now", 0, 0, "Requests under way."),
    family("node_disk_io_time_seconds_total", 3, 800, "Time with at least one request."),
    family("node_disk_io_time_weighted_seconds_total", 3, 2_500, "Time times requests."),
    family("node_disk_read_bytes_total", 0, 90_000_000, "Bytes read."),
    family("node_disk_read_time_seconds_total", 3, 700, "Time spent reading."),
    family("node_disk_reads_completed_total", 0, 2_000, "Reads done."),
    family("node_disk_reads_merged_total", 0, 300, "Reads that were merged."),
    family("node_disk_write_time_seconds_total", 3, 900, "Time spent writing."),
    family("node_disk_writes_completed_total", 0, 1_500, "Writes done."),
    family("node_disk_writes_merged_total", 0, 900, "Writes that were merged."),
    family("node_disk_written_bytes_total", 0, 60_000_000, "Bytes written."),
];

const NIC_FAMILIES: [Family; 16] = [
    family("node_network_receive_bytes_total", 0, 40_000_000, "Bytes received."),
    family("node_network_receive_compressed_total", 0, 0, "Compressed packets received."),
    family("node_network_receive_drop_total", 0, 1, "Received packets dropped."),
    family("node_network_receive_errs_total", 0, 0, "Errors in receiving."),
    family("node_network_receive_fifo_total", 0, 0, "Receive buffer overruns."),
    family("node_network_receive_frame_total", 0, 0, "Framing errors."),
    family("node_network_receive_multicast_total", 0, 12, "Multicast packets received."),
    family("node_network_receive_packets_total", 0, 60_000, "Packets received."),
    family("node_network_transmit_bytes_total", 0, 30_000_000, "Bytes sent."),
    family("node_network_transmit_carrier_total", 0, 0, "Carrier losses."),
    family("node_network_transmit_colls_total", 0, 0, "Collisions."),
    family("node_network_transmit_compressed_total", 0, 0, "Compressed packets sent."),
    family("node_network_transmit_drop_total", 0, 0, "Packets dropped in sending."),
    family("node_network_transmit_errs_total", 0, 0, "Errors in sending."),
    family("node_network_transmit_fifo_total", 0, 0, "Send buffer overruns."),
    family("node_network_transmit_packets_total", 0, 50_000, "Packets sent."),
];

/// Counters that a host has one of.
const HOST_COUNTERS: [Family; 36] = [
    family("node_context_switches_total", 0, 900_000, "Context switches."),
    family("node_forks_total", 0, 120, "Processes started."),
    family("node_intr_total", 0, 700_000, "Interrupts served."),
    family("node_vmstat_oom_kill", 0, 0, "Processes killed for memory."),
    family("node_vmstat_pgfault", 0, 400_000, "Page faults."),
    family("node_vmstat_pgmajfault", 0, 20, "Page faults that read from disk."),
    family("node_vmstat_pgpgin", 0, 300_000, "Pages read in."),
    family("node_vmstat_pgpgout", 0, 500_000, "Pages written out."),
    family("node_vmstat_pswpin", 0, 0, "Pages swapped in."),
    family("node_vmstat_pswpout", 0, 0, "Pages swapped out."),
    family("node_pressure_cpu_waiting_seconds_total", 3, 90, "Time waiting for a CPU."),
    family("node_pressure_io_stalled_seconds_total", 3, 30, "Time all waited for I/O."),
    family("node_pressure_io_waiting_seconds_total", 3, 60, "Time some waited for I/O."),
    family("node_pressure_memory_stalled_seconds_total", 3, 0, "Time all waited for memory."),
    family("node_pressure_memory_waiting_seconds_total", 3, 1, "Time some waited for memory."),
    family("node_netstat_Icmp_InErrors", 0, 0, "ICMP errors received."),
    family("node_netstat_Icmp_InMsgs", 0, 2, "ICMP messages received."),
    family("node_netstat_Icmp_OutMsgs", 0, 2, "ICMP messages sent."),
    family("node_netstat_IpExt_InOctets", 0, 70_000_000, "IP bytes received."),
    family("node_netstat_IpExt_OutOctets", 0, 60_000_000, "IP bytes sent."),
    family("node_netstat_TcpExt_ListenDrops", 0, 0, "Connections dropped in the backlog."),
    family("node_netstat_TcpExt_ListenOverflows", 0, 0, "Backlog overflows."),
    family("node_netstat_TcpExt_SyncookiesSent", 0, 0, "SYN cookies sent."),
    family("node_netstat_TcpExt_TCPSynRetrans", 0, 3, "SYNs sent again."),
    family("node_netstat_TcpExt_TCPTimeouts", 0, 4, "TCP timeouts."),
    family("node_netstat_Tcp_ActiveOpens", 0, 90, "Connections opened."),
    family("node_netstat_Tcp_InErrs", 0, 0, "TCP errors received."),
    family("node_netstat_Tcp_InSegs", 0, 80_000, "TCP segments received."),
    family("node_netstat_Tcp_OutRsts", 0, 11, "TCP resets sent."),
    family("node_netstat_Tcp_OutSegs", 0, 90_000, "TCP segments sent."),
    family("node_netstat_Tcp_PassiveOpens", 0, 110, "Connections accepted."),
    family("node_netstat_Tcp_RetransSegs", 0, 7, "TCP segments sent again."),
    family("node_netstat_Udp_InDatagrams", 0, 600, "UDP datagrams received."),
    family("node_netstat_Udp_InErrors", 0, 0, "UDP errors received."),
    family("node_netstat_Udp_NoPorts", 0, 1, "UDP datagrams for nobody."),
    family("node_netstat_Udp_OutDatagrams", 0, 700, "UDP datagrams sent."),
];

const MEMORY_MIB: [Level; 48] = [
    ("Active_anon", "used by processes, lately", 210_000),
    ("Active", "used lately", 260_000),
    ("Active_file", "page cache, used lately", 50_000),
    ("AnonHugePages", "huge pages of processes", 130_000),
    ("AnonPages", "pages of processes", 230_000),
    ("Bounce", "bounce buffers", 0),
    ("Buffers", "block device buffers", 2_100),
    ("Cached", "page cache", 90_000),
    ("CmaFree", "contiguous area, free", 0),
    ("CmaTotal", "contiguous area", 0),
    ("CommitLimit", "most that may be promised", 420_000),
    ("Committed_AS", "promised to processes", 390_000),
    ("DirectMap1G", "mapped in 1 GiB pages", 500_000),
    ("DirectMap2M", "mapped in 2 MiB pages", 28_000),
    ("DirectMap4k", "mapped in 4 KiB pages", 1_500),
    ("Dirty", "waiting to be written", 130),
    ("FileHugePages", "huge pages of files", 0),
    ("FilePmdMapped", "mapped huge pages of files", 0),
    ("HardwareCorrupted", "given up after faults", 0),
    ("HugePages_Free", "huge pages free", 0),
    ("HugePages_Rsvd", "huge pages reserved", 0),
    ("HugePages_Surp", "huge pages beyond the pool", 0),
    ("HugePages_Total", "huge pages", 0),
    ("Hugepagesize", "size of a huge page", 2),
    ("Hugetlb", "in huge pages", 0),
    ("Inactive_anon", "of processes, not used lately", 18_000),
    ("Inactive", "not used lately", 60_000),
    ("Inactive_file", "page cache, not used lately", 42_000),
    ("KReclaimable", "kernel memory that can be freed", 4_400),
    ("KernelStack", "kernel stacks", 120),
    ("Mapped", "mapped files", 3_300),
    ("MemAvailable", "available", 160_000),
    ("MemFree", "free", 70_000),
    ("MemTotal", "of the host", 524_288),
    ("Mlocked", "locked", 40),
    ("NFS_Unstable", "sent to NFS, not stable", 0),
    ("PageTables", "page tables", 900),
    ("Percpu", "per-CPU areas", 600),
    ("SReclaimable", "slabs that can be freed", 4_300),
    ("SUnreclaim", "slabs that cannot", 2_700),
    ("ShmemHugePages", "huge shared pages", 0),
    ("Shmem", "shared", 5_100),
    ("Slab", "slabs", 7_000),
    ("SwapCached", "swapped, and in memory too", 0),
    ("SwapFree", "swap free", 8_000),
    ("SwapTotal", "swap", 8_192),
    ("Unevictable", "cannot be evicted", 60),
    ("WritebackTmp", "written back for FUSE", 0),
];

const LEVELS: [Level; 21] = [
    ("node_arp_entries", "Entries of the ARP table.", 260),
    ("node_entropy_available_bits", "Bits of entropy.", 256),
    ("node_filefd_allocated", "Files open.", 41_000),
    ("node_filefd_maximum", "Most files that may be open.", 900_000),
    ("node_nf_conntrack_entries", "Connections tracked.", 18_000),
    ("node_nf_conntrack_entries_limit", "Most connections tracked.", 262_144),
    ("node_procs_blocked", "Processes waiting for I/O.", 3),
    ("node_procs_running", "Processes running.", 24),
    ("node_sockstat_sockets_used", "Sockets in use.", 2_400),
    ("node_sockstat_TCP_alloc", "TCP sockets.", 1_700),
    ("node_sockstat_TCP_inuse", "TCP sockets in use.", 900),
    ("node_sockstat_TCP_mem", "Pages of TCP buffers.", 310),
    ("node_sockstat_TCP_orphan", "TCP sockets without an owner.", 2),
    ("node_sockstat_TCP_tw", "TCP sockets waiting for stragglers.", 140),
    ("node_sockstat_UDP_inuse", "UDP sockets in use.", 40),
    ("node_sockstat_UDP_mem", "Pages of UDP buffers.", 12),
    ("node_time_zone_offset_seconds", "Offset of the time zone.", 0),
    ("node_timex_sync_status", "Whether the clock is in step.", 1),
    ("node_netstat_Tcp_CurrEstab", "TCP connections.", 780),
    ("node_hwmon_sensors", "Sensors found.", 18),
    ("node_scrape_collector_failures", "Collectors that failed.", 0),
];

const FILESYSTEMS: [(&str, &str, &str, u64); 8] = [
    ("/dev/nvme0n1p2", "ext4", "/", 96_000_000_000),
    ("/dev/nvme0n1p1", "vfat", "/boot/efi", 535_805_952),
    ("/dev/mapper/vg0-var", "ext4", "/var", 210_000_000_000),
    ("/dev/mapper/vg0-log", "ext4", "/var/log", 52_000_000_000),
    ("/dev/mapper/vg0-images", "xfs", "/srv/images", 3_800_000_000_000),
    ("/dev/mapper/vg1-pool", "xfs", "/srv/pool", 15_000_000_000_000),
    ("tmpfs", "tmpfs", "/run", 54_000_000_000),
    ("tmpfs", "tmpfs", "/run/lock", 5_242_880),
];

/// Seconds that a counter has been growing when the simulation starts: 40 to 200 days.
const UPTIME_S: (u64, u64) = (3_456_000, 17_280_000);

/// Writes everything that the operating system of the host says.
pub(super) fn write(page: &mut Page, host: &Parts<'_>) {
    cpus(page, host);
    disks(page, host);
    filesystems(page, host);
    nics(page, host);
    memory(page, host);
    system(page, host);
}

fn cpus(page: &mut Page, host: &Parts<'_>) {
    let name = "node_cpu_seconds_total";
    page.family(name, "counter", "Seconds that a CPU spent in a mode.");
    for cpu in 0..CPUS {
        let number = cpu.to_string();
        for (mode_at, (mode, share)) in CPU_MODES.iter().enumerate() {
            let mut dice = host.dice(&[1, cpu, mode_at]);
            // Hundredths of a second a second: all modes of a CPU together give about 100.
            let per_second = (share + dice.below(share / 5 + 1)) / 100;
            let start = dice.between(UPTIME_S.0, UPTIME_S.1) * share / 100;
            let motion = Motion::Counter { start, per_second };
            let labels = [("cpu", number.as_str()), ("mode", mode)];
            page.series(name, &labels, Value { motion, decimals: 2 });
        }
    }
}

fn disks(page: &mut Page, host: &Parts<'_>) {
    for (family_at, family) in DISK_FAMILIES.iter().enumerate() {
        page.family(family.name, "counter", family.help);
        for (disk, name) in host.disks() {
            let value = family.value(host.dice(&[2, family_at, disk]));
            page.series(family.name, &[("device", name)], value);
        }
    }
    page.family("node_disk_info", "gauge", "What a disk is.");
    for (disk, name) in host.disks() {
        let number = disk.to_string();
        let labels = [("device", name), ("major", "259"), ("minor", number.as_str())];
        page.series("node_disk_info", &labels, Value::flag(true));
    }
}

fn nics(page: &mut Page, host: &Parts<'_>) {
    for (family_at, family) in NIC_FAMILIES.iter().enumerate() {
        page.family(family.name, "counter", family.help);
        for (nic, name, up) in host.nics() {
            let mut value = family.value(host.dice(&[3, family_at, nic]));
            if !up {
                value.motion = Motion::Still(value.motion.at(0));
            }
            page.series(family.name, &[("device", name)], value);
        }
    }
    let gauges = [
        ("node_network_carrier", "Whether there is a signal.", None),
        ("node_network_flags", "Flags of the interface.", Some(4_099)),
        ("node_network_mtu_bytes", "Largest packet.", Some(9_000)),
        ("node_network_protocol_type", "Kind of link.", Some(1)),
        ("node_network_speed_bytes", "Bytes a second.", Some(3_125_000_000)),
        ("node_network_transmit_queue_length", "Packets that may wait.", Some(1_000)),
        ("node_network_up", "Whether the NIC is in operation.", None),
    ];
    for (family, help, fixed) in gauges {
        page.family(family, "gauge", help);
        for (_, name, up) in host.nics() {
            let value = fixed.unwrap_or(u64::from(up));
            page.series(family, &[("device", name)], Value::still(value));
        }
    }
}

fn filesystems(page: &mut Page, host: &Parts<'_>) {
    // The last number: how many hundredths of the size.
    let families = [
        ("node_filesystem_avail_bytes", "Bytes that users may take.", 44),
        ("node_filesystem_device_error", "Whether asking failed.", 0),
        ("node_filesystem_files", "Files there is room for.", 1),
        ("node_filesystem_files_free", "Files there still is room for.", 1),
        ("node_filesystem_free_bytes", "Bytes free.", 49),
        ("node_filesystem_readonly", "Whether it cannot be written.", 0),
        ("node_filesystem_size_bytes", "Its size.", 100),
    ];
    for (family_at, (family, help, hundredths)) in families.into_iter().enumerate() {
        page.family(family, "gauge", help);
        for (at, (device, fstype, mountpoint, size)) in FILESYSTEMS.iter().enumerate() {
            let middle = size / 100 * hundredths;
            let moves = matches!(hundredths, 44 | 49);
            let motion = level(middle, moves, host.dice(&[4, family_at, at]));
            let labels = [("device", *device), ("fstype", *fstype), ("mountpoint", *mountpoint)];
            page.series(family, &labels, Value::whole(motion));
        }
    }
}

fn memory(page: &mut Page, host: &Parts<'_>) {
    for (at, (name, help, mib)) in MEMORY_MIB.into_iter().enumerate() {
        let family = format!("node_memory_{name}_bytes");
        page.family(&family, "gauge", &format!("Memory: {help}."));
        let moves = mib > 100 && !name.contains("Total") && !name.starts_with("DirectMap");
        let motion = level(mib << 20, moves, host.dice(&[5, at]));
        page.series(&family, &[], Value::whole(motion));
    }
}

fn system(page: &mut Page, host: &Parts<'_>) {
    for (at, family) in HOST_COUNTERS.iter().enumerate() {
        page.family(family.name, "counter", family.help);
        page.series(family.name, &[], family.value(host.dice(&[6, at])));
    }
    for (at, (name, help, middle)) in LEVELS.into_iter().enumerate() {
        page.family(name, "gauge", help);
        let moves = middle > 2 && !name.contains("maximum") && !name.contains("limit");
        let motion = level(middle, moves, host.dice(&[7, at]));
        page.series(name, &[], Value::whole(motion));
    }
    for (at, name) in ["node_load1", "node_load15", "node_load5"].into_iter().enumerate() {
        page.family(name, "gauge", "Processes that want a CPU, on average.");
        let motion = level(2_350, true, host.dice(&[8, at]));
        page.series(name, &[], Value { motion, decimals: 2 });
    }
    page.family("node_boot_time_seconds", "gauge", "When the host started.");
    page.series("node_boot_time_seconds", &[], Value::still(1_760_000_000));
    page.family("node_exporter_build_info", "gauge", "The exporter.");
    let labels = [("goversion", "simulated"), ("version", env!("CARGO_PKG_VERSION"))];
    page.series("node_exporter_build_info", &labels, Value::flag(true));
    page.family("node_uname_info", "gauge", "The kernel.");
    let labels = [
        ("domainname", "(none)"),
        ("machine", "x86_64"),
        ("nodename", host.name),
        ("release", "6.1.0-42-amd64"),
        ("sysname", "Linux"),
    ];
    page.series("node_uname_info", &labels, Value::flag(true));
    page.family("node_os_info", "gauge", "The distribution.");
    let labels = [("id", "debian"), ("version_codename", "bookworm"), ("version_id", "12")];
    page.series("node_os_info", &labels, Value::flag(true));
}

/// A gauge around `middle`; a tenth of it to either side if it moves.
fn level(middle: u64, moves: bool, mut dice: Dice) -> Motion {
    if !moves {
        return Motion::Still(middle);
    }
    let middle = middle - middle / 20 + dice.below(middle / 10 + 1);
    let period_s = 600 + dice.below(3_000) as u32;
    let (phase, noise) = (dice.below(u64::from(period_s)) as u32, middle / 100);
    Motion::Gauge { middle, swing: middle / 10, period_s, phase, noise }
}

// === impl Family ===

impl Family {
    /// The value of one of the family's series.
    fn value(&self, mut dice: Dice) -> Value {
        let per_second = match self.per_second {
            0 => 0,
            most => dice.between(most / 3, most),
        };
        let start = per_second * dice.between(UPTIME_S.0, UPTIME_S.1);
        Value { motion: Motion::Counter { start, per_second }, decimals: self.decimals }
    }
}

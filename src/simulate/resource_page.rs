//! What a simulated host says about its resources: VMs, NICs, disks and USB devices.
//!
//! These are the status series; what they are for, the configuration says.

use super::host::{Parts, Vm};
use super::motion::{Dice, Motion};
use super::page::{Page, Value};

/// A family with one series a VM: name, type, help, what the VM's value is.
type VmFamily = (&'static str, &'static str, &'static str, fn(&Parts<'_>, &Vm) -> Value);

const VM_FAMILIES: [VmFamily; 8] = [
    ("hci_vm_ha_enabled", "gauge", "Whether it is started elsewhere if its host dies.", |_, vm| {
        Value::flag(vm.ha_enabled())
    }),
    ("hci_vm_power", "gauge", "Whether it has power.", |_, vm| Value::flag(vm.state.has_power())),
    ("hci_vm_cpu_usage_ratio", "gauge", "Share of its CPUs in use.", |host, vm| usage(host, vm, 1)),
    ("hci_vm_memory_usage_ratio", "gauge", "Share of its memory in use.", |host, vm| {
        usage(host, vm, 2)
    }),
    ("hci_vm_memory_bytes", "gauge", "Its memory.", |_, vm| {
        Value::still((2 + u64::from(vm.number % 15)) << 30)
    }),
    ("hci_vm_disk_read_bytes_total", "counter", "Bytes read from its disks.", |host, vm| {
        counter(host, vm, 3)
    }),
    ("hci_vm_disk_written_bytes_total", "counter", "Bytes written to its disks.", |host, vm| {
        counter(host, vm, 4)
    }),
    ("hci_vm_network_receive_bytes_total", "counter", "Bytes received.", |host, vm| {
        counter(host, vm, 5)
    }),
];

const ROLES: [&str; 5] = ["web", "database", "cache", "desktop", "worker"];
const OPERATING_SYSTEMS: [&str; 3] = ["debian-12", "windows-server-2022", "ubuntu-24.04"];
/// Digits of a ratio behind the point: as many as a float of the Go client library shows.
const RATIO_DIGITS: u8 = 16;

/// Writes everything that the host says about its resources.
pub(super) fn write(page: &mut Page, host: &Parts<'_>) {
    this_host(page, host);
    vms(page, host);
    devices(page, host);
}

fn this_host(page: &mut Page, host: &Parts<'_>) {
    page.family("hci_host_info", "gauge", "What the host is.");
    let labels = [("model", "R4240"), ("serial", host.serial)];
    page.series("hci_host_info", &labels, Value::flag(true));
    page.family("hci_host_phase", "gauge", "What the host is doing.");
    page.series("hci_host_phase", &[("phase", "ready")], Value::flag(true));
    page.family("hci_host_vms", "gauge", "VMs on the host.");
    page.series("hci_host_vms", &[], Value::still(host.vms.len() as u64));
}

fn vms(page: &mut Page, host: &Parts<'_>) {
    page.family("hci_vm_state", "gauge", "What a VM is doing.");
    for vm in host.vms {
        let labels = [("vmid", vm.id.as_str()), ("state", vm.state.name())];
        page.series("hci_vm_state", &labels, Value::flag(true));
    }
    page.family("hci_vm_info", "gauge", "What a VM is.");
    for vm in host.vms {
        let name = format!("{}-{:05}", ROLES[vm.number as usize % ROLES.len()], vm.number);
        let project = format!("p{}", vm.number % 40);
        let uuid = uuid(host.vm_dice(vm, 0));
        let labels = [
            ("vmid", vm.id.as_str()),
            ("name", &name),
            ("project", &project),
            ("os", OPERATING_SYSTEMS[vm.number as usize % OPERATING_SYSTEMS.len()]),
            ("uuid", &uuid),
        ];
        page.series("hci_vm_info", &labels, Value::flag(true));
    }
    for (name, kind, help, value) in VM_FAMILIES {
        page.family(name, kind, help);
        for vm in host.vms {
            page.series(name, &[("vmid", vm.id.as_str())], value(host, vm));
        }
    }
}

fn devices(page: &mut Page, host: &Parts<'_>) {
    page.family("hci_nic_up", "gauge", "Whether a NIC works.");
    for (_, name, up) in host.nics() {
        page.series("hci_nic_up", &[("nic", name)], Value::flag(up));
    }
    page.family("hci_disk_present", "gauge", "The disks that are plugged.");
    for (_, name) in host.disks() {
        page.series("hci_disk_present", &[("disk", name)], Value::flag(true));
    }
    page.family("hci_disk_health", "gauge", "How a disk is.");
    for (_, name) in host.disks() {
        let labels = [("disk", name), ("health", "good")];
        page.series("hci_disk_health", &labels, Value::flag(true));
    }
    page.family("hci_usb_device", "gauge", "The USB devices that are plugged.");
    for (_, name) in host.usb_devices() {
        let labels = [("device", name), ("vendor", "0951"), ("product", "1666")];
        page.series("hci_usb_device", &labels, Value::flag(true));
    }
}

/// A ratio. It drifts slowly, so that few VMs change noticeably in a scrape.
fn usage(host: &Parts<'_>, vm: &Vm, what: usize) -> Value {
    if !vm.state.has_power() {
        return Value { motion: Motion::Still(0), decimals: 0 };
    }
    let mut dice = host.vm_dice(vm, what);
    let hundredth = 10_u64.pow(u32::from(RATIO_DIGITS) - 2);
    let middle = dice.between(7 * hundredth, 85 * hundredth);
    let period_s = 2_400 + dice.below(4_800) as u32;
    let phase = dice.below(u64::from(period_s)) as u32;
    let motion = Motion::Gauge { middle, swing: 4 * hundredth, period_s, phase, noise: hundredth };
    Value { motion, decimals: RATIO_DIGITS }
}

/// Bytes that a VM moved so far; they stand still while it has no power.
fn counter(host: &Parts<'_>, vm: &Vm, what: usize) -> Value {
    let mut dice = host.vm_dice(vm, what);
    let rate = dice.between(4_096, 9_000_000);
    let start = rate * dice.between(90_000, 900_000);
    let per_second = if vm.state.has_power() { rate } else { 0 };
    Value::whole(Motion::Counter { start, per_second })
}

fn uuid(mut dice: Dice) -> String {
    let (high, low) = (dice.next(), dice.next());
    let groups = [high >> 32, (high >> 16) & 0xffff, high & 0x0fff, (low >> 48) & 0x3fff];
    let [a, b, c, d] = groups;
    format!("{a:08x}-{b:04x}-4{c:03x}-{:04x}-{:012x}", d | 0x8000, low & 0xffff_ffff_ffff)
}

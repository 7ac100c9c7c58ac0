//! The hosts of a simulation, and everything that can happen to them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use kit::Clock;
use model::Moment;

use super::host::{DeviceKind, FIRST_VM_ID, Host, VmState};

/// Hosts per last-but-one number of an address: `127.1.0.1` to `127.1.0.250`, then `127.1.1.1`.
const HOSTS_PER_BLOCK: u32 = 250;
/// As many hosts as have addresses in `127.1.0.0/16`.
pub(crate) const HOSTS_MAX: u32 = HOSTS_PER_BLOCK * 256;

/// How large a fleet is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Number of hosts.
    pub(crate) hosts: u32,
    /// VMs on each host.
    pub(crate) vms_per_host: u32,
    /// What chance starts from.
    pub(crate) seed: u64,
    /// Share of a page's series that are other ones each second.
    pub(crate) churn_percent: u32,
}

/// All hosts. Pure state: `exporter.rs` shows it, `control.rs` changes it.
pub(crate) struct Fleet {
    hosts: Vec<Arc<Host>>,
    /// On which host each VM is, by number. A lock, so that two moves of a VM do not mix.
    places: Mutex<Vec<u32>>,
    clock: Arc<dyn Clock>,
    started: Moment,
}

/// Why something cannot happen.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unknown {
    #[error("no host {0:?}")]
    Host(String),
    #[error("no virtual machine {0:?}")]
    Vm(String),
    #[error("no such device {device:?} on {host}")]
    Device { host: String, device: String },
}

// === impl Fleet ===

impl Fleet {
    /// A fleet in good health; every host's exporter on `port` of its own address.
    pub(crate) fn new(size: Size, clock: Arc<dyn Clock>, port: u16) -> Fleet {
        let host = |number| {
            let address = SocketAddr::new(address(number).into(), port);
            Arc::new(Host::new(number, address, &size))
        };
        let places = (0..size.hosts * size.vms_per_host).map(|vm| vm / size.vms_per_host.max(1));
        Fleet {
            hosts: (0..size.hosts).map(host).collect(),
            places: Mutex::new(places.collect()),
            started: clock.now(),
            clock,
        }
    }

    /// All hosts, in order.
    pub(crate) fn hosts(&self) -> &[Arc<Host>] {
        &self.hosts
    }

    /// Seconds since the fleet started: what pages show is a function of it.
    pub(crate) fn second(&self) -> u64 {
        self.clock.now().since(self.started).as_secs()
    }

    /// The host with this name.
    pub(crate) fn host(&self, name: &str) -> Result<&Arc<Host>, Unknown> {
        let found = self.hosts.iter().find(|host| host.name == name);
        found.ok_or_else(|| Unknown::Host(name.to_owned()))
    }

    /// The host that a VM is on.
    pub(crate) fn host_of(&self, vm: &str) -> Result<&Arc<Host>, Unknown> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let number = vm_number(vm).filter(|number| *number < places.len());
        let place = number.map(|number| places[number] as usize);
        place.map(|at| &self.hosts[at]).ok_or_else(|| Unknown::Vm(vm.to_owned()))
    }

    /// A VM crashes, stops or starts. Where it is.
    pub(crate) fn set_vm(&self, vm: &str, state: VmState) -> Result<&Arc<Host>, Unknown> {
        let host = self.host_of(vm)?;
        if !host.set_vm(vm, state) {
            return Err(Unknown::Vm(vm.to_owned()));
        }
        Ok(host)
    }

    /// A VM moves: its new host shows it before the old one stops to. Where it was.
    pub(crate) fn move_vm(&self, vm: &str, to: &str) -> Result<&Arc<Host>, Unknown> {
        let target = self.hosts.iter().position(|host| host.name == to);
        let target = target.ok_or_else(|| Unknown::Host(to.to_owned()))?;
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let number = vm_number(vm).filter(|number| *number < places.len());
        let number = number.ok_or_else(|| Unknown::Vm(vm.to_owned()))?;
        let source = std::mem::replace(&mut places[number], target as u32) as usize;
        let from = &self.hosts[source];
        if source != target {
            let moving = from.vm(vm).ok_or_else(|| Unknown::Vm(vm.to_owned()))?;
            self.hosts[target].take_in(moving);
            from.let_go(vm);
        }
        Ok(from)
    }

    /// A device is plugged, unplugged, taken up or down.
    pub(crate) fn set_device(
        &self,
        host: &str,
        kind: DeviceKind,
        device: &str,
        present: bool,
    ) -> Result<&Arc<Host>, Unknown> {
        let host = self.host(host)?;
        if !host.set_device(kind, device, present) {
            let (host, device) = (host.name.clone(), device.to_owned());
            return Err(Unknown::Device { host, device });
        }
        Ok(host)
    }
}

/// The address of host `number`.
pub(crate) fn address(number: u32) -> Ipv4Addr {
    let block = u8::try_from(number / HOSTS_PER_BLOCK).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 1, block, (number % HOSTS_PER_BLOCK + 1) as u8)
}

fn vm_number(id: &str) -> Option<usize> {
    id.parse::<usize>().ok()?.checked_sub(FIRST_VM_ID as usize)
}

#[cfg(test)]
mod tests {
    use kit::ManualClock;

    use super::*;

    fn fleet() -> Fleet {
        let size = Size { hosts: 3, vms_per_host: 200, seed: 1, churn_percent: 0 };
        Fleet::new(size, ManualClock::at(0), 9100)
    }

    fn page(host: &Host) -> String {
        String::from_utf8(host.page(1, false).to_vec()).unwrap()
    }

    #[test]
    fn a_page_has_the_size_that_is_promised() {
        let fleet = fleet();
        let host = &fleet.hosts()[1];
        let text = page(host);
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(series, 3_311);
        assert_eq!(host.series_count(1), 3_311);
        let gzip = host.page(1, true).len();
        assert!((208_000..216_000).contains(&text.len()), "{} bytes, {gzip} packed", text.len());
        assert!((33_000..39_000).contains(&gzip), "{gzip} bytes of gzip");
    }

    #[test]
    fn hosts_print_the_same_lines_with_other_values() {
        let fleet = fleet();
        let lines = |host: &Host| -> Vec<String> {
            let text = page(host);
            let names = text.lines().filter(|line| line.starts_with("node_cpu"));
            names.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
        };
        assert_eq!(lines(&fleet.hosts()[0]), lines(&fleet.hosts()[1]));
        assert_ne!(page(&fleet.hosts()[0]), page(&fleet.hosts()[1]));
    }

    #[test]
    fn no_series_is_printed_twice() {
        let text = page(&fleet().hosts()[0]);
        let mut names: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.rsplit_once(' ').unwrap().0)
            .collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn a_crash_shows_in_the_state_and_the_power() {
        let fleet = fleet();
        let host = fleet.set_vm("100003", VmState::Crashed).unwrap();
        let text = page(host);
        assert!(text.contains("hci_vm_state{vmid=\"100003\",state=\"crashed\"} 1\n"));
        assert!(text.contains("hci_vm_power{vmid=\"100003\"} 0\n"));
        assert_eq!(fleet.set_vm("7", VmState::Crashed).err(), Some(Unknown::Vm("7".to_owned())));
    }

    #[test]
    fn a_move_takes_the_vm_with_its_values() {
        let fleet = fleet();
        let line = |host: &Host| -> Option<String> {
            let start = "hci_vm_disk_read_bytes_total{vmid=\"100003\"}";
            page(host).lines().find(|line| line.starts_with(start)).map(str::to_owned)
        };
        let before = line(&fleet.hosts()[0]).unwrap();
        let from = fleet.move_vm("100003", "host-003").unwrap();
        assert_eq!(from.name, "host-001");
        assert_eq!(line(&fleet.hosts()[0]), None);
        assert_eq!(line(&fleet.hosts()[2]), Some(before));
        assert_eq!(fleet.host_of("100003").unwrap().name, "host-003");
    }

    #[test]
    fn an_unplugged_disk_takes_its_lines_with_it() {
        let fleet = fleet();
        fleet.set_device("host-002", DeviceKind::Disk, "nvme3n1", false).unwrap();
        assert!(!page(&fleet.hosts()[1]).contains("nvme3n1"));
        fleet.set_device("host-002", DeviceKind::Nic, "eth2", false).unwrap();
        assert!(page(&fleet.hosts()[1]).contains("hci_nic_up{nic=\"eth2\"} 0\n"));
        assert!(fleet.set_device("host-002", DeviceKind::Usb, "9-9", true).is_err());
    }

    #[test]
    fn each_host_has_an_address_of_its_own() {
        let mut addresses: Vec<Ipv4Addr> = (0..HOSTS_MAX).map(address).collect();
        assert_eq!(addresses[0].to_string(), "127.1.0.1");
        assert_eq!(addresses[256].to_string(), "127.1.1.7");
        addresses.dedup();
        assert_eq!(addresses.len(), HOSTS_MAX as usize);
    }
}

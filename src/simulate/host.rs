//! One simulated host: its resources, and the page that shows them.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use libdeflater::{CompressionLvl, Compressor};
use tokio::sync::watch;

use super::fleet::Size;
use super::motion::Dice;
use super::page::Page;
use super::{node_page, resource_page};

/// The id of the fleet's first VM.
pub(super) const FIRST_VM_ID: u32 = 100_000;
const DISKS: usize = 12;
const NICS: usize = 16;
const USB_DEVICES: usize = 4;
/// The fastest: the simulation must be cheap, not its pages small.
const COMPRESSION_LEVEL: i32 = 1;

/// A host. Shared by its exporter and by whoever makes things happen to it.
pub(crate) struct Host {
    /// Its name, such as `host-001`.
    pub(crate) name: String,
    /// The rack it stands in.
    pub(crate) rack: String,
    /// Where its exporter listens.
    pub(crate) address: SocketAddr,
    /// Whether it answers.
    pub(super) alive: watch::Sender<bool>,
    serial: String,
    seed: u64,
    churn_percent: u32,
    /// A lock, because a scrape and a control request may meet; held for one page at most.
    body: Mutex<Body>,
}

/// What a VM does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VmState {
    /// It works.
    Running,
    /// Somebody stopped it.
    Stopped,
    /// It died.
    Crashed,
}

/// A virtual machine.
#[derive(Debug, Clone)]
pub(crate) struct Vm {
    /// Counted from zero over the whole fleet.
    pub(crate) number: u32,
    /// Its id in labels.
    pub(crate) id: String,
    /// What it does.
    pub(crate) state: VmState,
}

/// A kind of device that a host has several of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceKind {
    /// A disk: plugged or not.
    Disk,
    /// A USB device: plugged or not.
    Usb,
    /// A NIC: up or down.
    Nic,
}

/// What may change of a host, and the page made from it.
struct Body {
    vms: Vec<Vm>,
    disks: Devices,
    nics: Devices,
    usb_devices: Devices,
    /// None when the lines must be laid out again.
    page: Option<Page>,
    /// The page compressed, if somebody asked for it since it changed.
    gzip: Option<Bytes>,
}

/// Devices of one kind: their names, and whether each is plugged or up.
struct Devices(Vec<(String, bool)>);

/// What the page is written from.
pub(super) struct Parts<'h> {
    pub(super) name: &'h str,
    pub(super) serial: &'h str,
    pub(super) vms: &'h [Vm],
    disks: &'h Devices,
    nics: &'h Devices,
    usb_devices: &'h Devices,
    seed: u64,
    fleet_seed: u64,
}

// === impl Host ===

impl Host {
    /// Host number `number` (from zero) with VMs `first_vm..first_vm + vms`, alive.
    pub(super) fn new(number: u32, address: SocketAddr, size: &Size) -> Host {
        let first_vm = number * size.vms_per_host;
        let vms = (first_vm..first_vm + size.vms_per_host).map(Vm::new).collect();
        Host {
            name: format!("host-{:03}", number + 1),
            rack: format!("r{}", number / 16 + 1),
            serial: format!("S{:07}", 4_100_000 + number),
            address,
            alive: watch::Sender::new(true),
            seed: size.seed,
            churn_percent: size.churn_percent,
            body: Mutex::new(Body {
                vms,
                disks: Devices::named((0..DISKS).map(|at| format!("nvme{at}n1"))),
                nics: Devices::named((0..NICS).map(|at| format!("eth{at}"))),
                usb_devices: Devices::named((0..USB_DEVICES).map(|at| format!("1-{}", at + 1))),
                page: None,
                gzip: None,
            }),
        }
    }

    /// Whether its exporter answers.
    pub(crate) fn is_alive(&self) -> bool {
        *self.alive.borrow()
    }

    /// The page at `second`, as text or compressed with gzip.
    pub(crate) fn page(&self, second: u64, gzip: bool) -> Bytes {
        let mut body = self.lock();
        let body = &mut *body;
        self.bring_to(body, second);
        let text = body.page.as_ref().expect("the page was just made").text();
        if !gzip {
            return Bytes::copy_from_slice(text);
        }
        if let Some(ready) = &body.gzip {
            return ready.clone();
        }
        let packed = compressed(text);
        body.gzip = Some(packed.clone());
        packed
    }

    /// Number of series on its page at `second`.
    pub(crate) fn series_count(&self, second: u64) -> usize {
        let mut body = self.lock();
        self.bring_to(&mut body, second);
        body.page.as_ref().map_or(0, Page::series_count)
    }

    /// Its VMs: id and state.
    pub(crate) fn vms(&self) -> Vec<(String, &'static str)> {
        self.lock().vms.iter().map(|vm| (vm.id.clone(), vm.state.name())).collect()
    }

    /// Devices of a kind: name, and whether it is plugged or up.
    pub(crate) fn devices(&self, kind: DeviceKind) -> Vec<(String, bool)> {
        self.lock().devices(kind).0.clone()
    }

    /// Sets the state of a VM that is here. Says whether it is.
    pub(crate) fn set_vm(&self, id: &str, state: VmState) -> bool {
        let mut body = self.lock();
        let Some(vm) = body.vms.iter_mut().find(|vm| vm.id == id) else {
            return false;
        };
        vm.state = state;
        body.lines_changed();
        true
    }

    /// A copy of a VM that is here.
    pub(crate) fn vm(&self, id: &str) -> Option<Vm> {
        self.lock().vms.iter().find(|vm| vm.id == id).cloned()
    }

    /// Takes in a VM that came from another host.
    pub(crate) fn take_in(&self, vm: Vm) {
        let mut body = self.lock();
        body.vms.retain(|known| known.id != vm.id);
        body.vms.push(vm);
        body.lines_changed();
    }

    /// Forgets a VM that went to another host.
    pub(crate) fn let_go(&self, id: &str) {
        let mut body = self.lock();
        body.vms.retain(|vm| vm.id != id);
        body.lines_changed();
    }

    /// Plugs or unplugs a device, or takes a NIC up or down. Says whether there is such a device.
    pub(crate) fn set_device(&self, kind: DeviceKind, name: &str, present: bool) -> bool {
        let mut body = self.lock();
        let devices = match kind {
            DeviceKind::Disk => &mut body.disks,
            DeviceKind::Usb => &mut body.usb_devices,
            DeviceKind::Nic => &mut body.nics,
        };
        let Some(device) = devices.0.iter_mut().find(|(known, _)| known == name) else {
            return false;
        };
        device.1 = present;
        body.lines_changed();
        true
    }

    /// Lets the exporter answer, or not.
    pub(crate) fn set_alive(&self, alive: bool) {
        self.alive.send_replace(alive);
    }

    fn bring_to(&self, body: &mut Body, second: u64) {
        let fits = match &mut body.page {
            None => false,
            Some(page) if page.second() == second => return,
            Some(page) => page.advance(second).is_ok(),
        };
        body.gzip = None;
        if !fits {
            let bytes = body.page.as_ref().map_or(0, |page| page.text().len() + 1024);
            body.page = Some(self.lay_out(body, second, bytes));
        }
    }

    fn lay_out(&self, body: &Body, second: u64, bytes: usize) -> Page {
        let mut page = Page::new(second, bytes);
        let parts = Parts {
            name: &self.name,
            serial: &self.serial,
            vms: &body.vms,
            disks: &body.disks,
            nics: &body.nics,
            usb_devices: &body.usb_devices,
            seed: Dice::new(self.seed, u64::from(self.address.port())).next()
                ^ name_number(&self.name),
            fleet_seed: self.seed,
        };
        node_page::write(&mut page, &parts);
        resource_page::write(&mut page, &parts);
        page.churn(self.churn_percent);
        page
    }

    fn lock(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl VmState ===

impl VmState {
    /// The word in labels.
    pub(crate) fn name(self) -> &'static str {
        match self {
            VmState::Running => "running",
            VmState::Stopped => "stopped",
            VmState::Crashed => "crashed",
        }
    }

    /// Whether it has power.
    pub(crate) fn has_power(self) -> bool {
        self == VmState::Running
    }
}

// === impl Vm ===

impl Vm {
    fn new(number: u32) -> Vm {
        // Each eleventh VM is not in use.
        let state = if number % 11 == 10 { VmState::Stopped } else { VmState::Running };
        Vm { number, id: (FIRST_VM_ID + number).to_string(), state }
    }

    /// Whether it is started elsewhere when its host dies.
    pub(super) fn ha_enabled(&self) -> bool {
        !self.number.is_multiple_of(5)
    }
}

// === impl Body ===

impl Body {
    fn lines_changed(&mut self) {
        self.page = None;
        self.gzip = None;
    }

    fn devices(&self, kind: DeviceKind) -> &Devices {
        match kind {
            DeviceKind::Disk => &self.disks,
            DeviceKind::Usb => &self.usb_devices,
            DeviceKind::Nic => &self.nics,
        }
    }
}

// === impl Devices ===

impl Devices {
    fn named(names: impl Iterator<Item = String>) -> Devices {
        Devices(names.map(|name| (name, true)).collect())
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        self.0.iter().enumerate().map(|(at, (name, present))| (at, name.as_str(), *present))
    }
}

// === impl Parts ===

impl Parts<'_> {
    /// Disks that are plugged: number and name.
    pub(super) fn disks(&self) -> impl Iterator<Item = (usize, &str)> {
        self.disks.iter().filter(|(_, _, present)| *present).map(|(at, name, _)| (at, name))
    }

    /// USB devices that are plugged: number and name.
    pub(super) fn usb_devices(&self) -> impl Iterator<Item = (usize, &str)> {
        self.usb_devices.iter().filter(|(_, _, present)| *present).map(|(at, name, _)| (at, name))
    }

    /// NICs: number, name, and whether it is up.
    pub(super) fn nics(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        self.nics.iter()
    }

    /// Dice for one thing of this host.
    pub(super) fn dice(&self, thing: &[usize]) -> Dice {
        let number = thing.iter().fold(0, |number, part| number * 1_000 + *part as u64);
        Dice::new(self.seed, number)
    }

    /// Dice for one thing of a VM: the same on every host, so that a move changes no values.
    pub(super) fn vm_dice(&self, vm: &Vm, what: usize) -> Dice {
        Dice::new(self.fleet_seed, u64::from(vm.number) << 8 | what as u64)
    }
}

/// `text` as gzip.
fn compressed(text: &[u8]) -> Bytes {
    thread_local! {
        /// A compressor is larger than a page, so hosts share those of the threads.
        static COMPRESSOR: RefCell<Compressor> = RefCell::new(Compressor::new(
            CompressionLvl::new(COMPRESSION_LEVEL).expect("the level is one that exists"),
        ));
    }
    COMPRESSOR.with_borrow_mut(|compressor| {
        let mut packed = vec![0; compressor.gzip_compress_bound(text.len())];
        let len = compressor
            .gzip_compress(text, &mut packed)
            .expect("the buffer has the size that the compressor asked for");
        // A copy of the right size: the buffer is as large as the text.
        Bytes::copy_from_slice(&packed[..len])
    })
}

/// The name as a number: FNV-1a.
fn name_number(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

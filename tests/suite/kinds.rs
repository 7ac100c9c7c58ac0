//! The kinds and routes that several stories use: virtual machines and hosts, as a fleet has them.

/// VMs that a fake target tells of by `vm_state{vmid,state}` and `vm_cpu{vmid}`, and the hosts
/// that report them: status series, which go to the status center alone.
pub(crate) const VMS: &str = r#"
data_types:
  - { name: vm_status, match: ['{__name__=~"vm_.+"}'] }
  - { name: host_status, match: ['up'] }
routes:
  - { data_types: [vm_status], to: [status] }
  - { data_types: [host_status], to: [status] }
status:
  kinds:
    - kind: VirtualMachine
      short_names: [vm]
      name: "{vmid}"
      labels: { instance: "{instance}" }
      fields:
        state: { metric: vm_state, from_label: state }
        cpu: { metric: vm_cpu, change: 0.05 }
        host: { label: instance }
      index: [state, host]
      columns: [state, host, cpu]
      stale_after: 600ms
    - kind: Host
      name: "{instance}"
      fields:
        up: { metric: up, type: bool }
      index: [up]
      stale_after: 600ms
"#;

/// The collection of the VMs.
pub(crate) const VMS_PATH: &str = "/apis/status.rollcall/v1/virtualmachines";

/// The kinds of a simulated fleet, beside a destination named `receiver`.
pub(crate) const FLEET: &str = r#"
data_types:
  - { name: vm_status, match: ['{__name__=~"hci_vm_(state|ha_enabled|cpu_usage_ratio)"}'] }
  - { name: devices, match: ['{__name__=~"hci_(nic|disk|usb)_.+"}'] }
  - { name: hosts, match: ['{__name__="hci_host_phase"}', 'up'] }
routes:
  - { data_types: [vm_status, devices], to: [status] }
  - { data_types: [hosts], to: [status, receiver] }
status:
  warm_up: 0s
  kinds:
    - kind: Host
      name: "{host}"
      fields:
        up: { metric: up, type: bool }
        phase: { metric: hci_host_phase, from_label: phase }
      index: [up]
      stale_after: 3s
    - kind: VirtualMachine
      short_names: [vm]
      name: "{vmid}"
      labels: { host: "{host}" }
      fields:
        state: { metric: hci_vm_state, from_label: state }
        haEnabled: { metric: hci_vm_ha_enabled, type: bool }
        cpuUsage: { metric: hci_vm_cpu_usage_ratio, change: 0.05 }
        host: { label: host }
        hostUp: { mirror: { kind: Host, name: "{host}", field: up } }
      index: [state, host]
      columns: [state, host]
      absent: delete
      absent_after: 2s
      stale_after: 3s
    - kind: Disk
      name: "{host}-{disk}"
      fields:
        present: { metric: hci_disk_present, type: bool }
        disk: { label: disk }
        host: { label: host }
      index: [present, host]
      absent: delete
      stale_after: 3s
    - kind: Nic
      name: "{host}-{nic}"
      fields:
        up: { metric: hci_nic_up, type: bool }
        host: { label: host }
      index: [up]
      stale_after: 3s
"#;

/// `vm_state` lines: one VM each, in its state.
pub(crate) fn vms(states: &[(&str, &str)]) -> String {
    let line =
        |(vm, state): &(&str, &str)| format!("vm_state{{vmid=\"{vm}\",state=\"{state}\"}} 1\n");
    states.iter().map(line).collect()
}

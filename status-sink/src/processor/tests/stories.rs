//! One rule a story.

use std::time::Duration;

use kit::Clock;

use crate::scripted::{KINDS, Scripted};
use crate::store::WriteError;

const RUNNING: &str = "hci_vm_state{vmid=1,state=running} 1";
const STOPPED: &str = "hci_vm_state{vmid=1,state=stopped} 1";

/// What a state set prints when the VM is in `state`.
fn state_set(vmid: &str, state: &str) -> String {
    let states = ["running", "stopped", "crashed"];
    let line =
        |it: &&str| format!("hci_vm_state{{vmid={vmid},state={it}}} {}\n", u8::from(*it == state));
    states.iter().map(line).collect()
}

#[track_caller]
fn expect(script: &mut Scripted, events: &[&str]) {
    assert_eq!(script.events(), events);
}

#[test]
fn a_page_makes_objects_with_all_their_fields_in_one_event_each() {
    let mut script = Scripted::new();
    let page = "hci_vm_state{vmid=1,state=running} 1\n\
                hci_vm_state{vmid=2,state=stopped} 1\n\
                hci_vm_ha_enabled{vmid=1} 1\n\
                hci_vm_power{vmid=1} 1\n\
                hci_vm_power{vmid=2} 0\n\
                hci_vm_cpu_usage_ratio{vmid=1} 0.25\n\
                node_load1{} 3";
    script.scrape("h1", page);
    expect(
        &mut script,
        &[
            "+h1: up=true",
            "+1: state=running haEnabled=true power=on cpuUsage=0.25 host=h1 hostUp=true",
            "+2: state=stopped power=off host=h1 hostUp=true",
        ],
    );
    let object = script.get("VirtualMachine", "1").unwrap();
    assert_eq!(object.labels.get("host"), Some("h1"));
    assert_eq!(object.condition("Fresh").unwrap().status.word(), "True");
}

#[test]
fn a_page_that_says_the_same_makes_no_event() {
    let mut script = Scripted::new();
    script.scrape("h1", RUNNING);
    script.events();
    for _ in 0..3 {
        script.wait(5.0);
        script.scrape("h1", RUNNING);
    }
    expect(&mut script, &[]);
}

#[test]
fn a_state_set_that_changes_is_one_event() {
    let mut script = Scripted::new();
    script.scrape("h1", &state_set("1", "running"));
    script.events();
    script.scrape("h1", &state_set("1", "crashed"));
    expect(&mut script, &["1: state=crashed"]);
    script.scrape("h1", &state_set("1", "none of them"));
    expect(&mut script, &["1: no state"]);
    script.scrape("h1", &state_set("1", "stopped"));
    expect(&mut script, &["1: state=stopped"]);
}

#[test]
fn a_page_that_prints_only_the_state_that_holds_makes_one_event_too() {
    let mut script = Scripted::new();
    script.scrape("h1", RUNNING);
    script.events();
    script.scrape("h1", STOPPED);
    expect(&mut script, &["1: state=stopped"]);
}

#[test]
fn changes_of_several_fields_in_one_batch_are_one_event() {
    let mut script = Scripted::new();
    script.scrape("h1", &format!("{RUNNING}\nhci_vm_power{{vmid=1}} 1"));
    script.events();
    script.scrape("h1", &format!("{STOPPED}\nhci_vm_power{{vmid=1}} 0"));
    expect(&mut script, &["1: state=stopped power=off"]);
}

#[test]
fn a_number_that_moves_by_less_than_its_change_is_not_told() {
    let mut script = Scripted::new();
    let page = |cpu: f64| format!("hci_vm_cpu_usage_ratio{{vmid=1}} {cpu}");
    script.scrape("h1", &page(0.5));
    script.events();
    for cpu in [0.53, 0.47, 0.549] {
        script.scrape("h1", &page(cpu));
    }
    expect(&mut script, &[]);
    script.scrape("h1", &page(0.56));
    expect(&mut script, &["1: cpuUsage=0.56"]);
}

#[test]
fn a_field_whose_series_vanishes_is_no_longer_known() {
    let mut script = Scripted::new();
    script.scrape("h1", &format!("{RUNNING}\nhci_vm_power{{vmid=1}} 1"));
    script.events();
    script.scrape("h1", RUNNING);
    expect(&mut script, &["1: no power"]);
}

#[test]
fn a_value_that_the_map_does_not_have_is_shown_as_its_number() {
    let mut script = Scripted::new();
    script.scrape("h1", "hci_vm_power{vmid=1} 7");
    assert_eq!(script.show("VirtualMachine", "1"), "power=7 host=h1 hostUp=true");
    script.scrape("h1", "hci_vm_power{vmid=1} NaN");
    assert_eq!(script.show("VirtualMachine", "1"), "host=h1 hostUp=true");
}

#[test]
fn an_update_is_not_undone_by_a_scrape_that_was_under_way() {
    let mut script = Scripted::new();
    script.scrape("h1", STOPPED);
    script.events();
    script.wait(5.0);
    let sent = script.clock.now();
    script.wait(0.1);
    script.update("VirtualMachine", "1", "state=running").unwrap();
    expect(&mut script, &["1: state=running"]);
    script.wait(0.1);
    script.scrape_sent("h1", sent, STOPPED);
    expect(&mut script, &[]);
    script.wait(5.0);
    script.scrape("h1", RUNNING);
    expect(&mut script, &[]);
}

#[test]
fn the_next_scrape_corrects_an_update_that_was_wrong() {
    let mut script = Scripted::new();
    script.scrape("h1", STOPPED);
    script.events();
    script.wait(1.0);
    script.update("VirtualMachine", "1", "state=running").unwrap();
    script.wait(1.0);
    script.scrape("h1", STOPPED);
    expect(&mut script, &["1: state=running", "1: state=stopped"]);
}

#[test]
fn a_scrape_under_way_may_still_say_what_the_update_did_not() {
    let mut script = Scripted::new();
    let page = |state: &str, power: u8| format!("{state}\nhci_vm_power{{vmid=1}} {power}");
    script.scrape("h1", &page(STOPPED, 0));
    script.events();
    script.wait(1.0);
    let sent = script.clock.now();
    script.wait(1.0);
    script.update("VirtualMachine", "1", "state=running").unwrap();
    script.scrape_sent("h1", sent, &page("hci_vm_state{vmid=1,state=crashed} 1", 1));
    expect(&mut script, &["1: state=running", "1: power=on"]);
    script.wait(1.0);
    script.scrape("h1", &page("hci_vm_state{vmid=1,state=crashed} 1", 1));
    expect(&mut script, &["1: state=crashed"]);
}

#[test]
fn fields_that_only_the_api_sets_survive_scrapes() {
    let mut script = Scripted::new();
    script.scrape("h1", RUNNING);
    script.wait(1.0);
    script.update("VirtualMachine", "1", "note=checked").unwrap();
    script.events();
    script.wait(1.0);
    script.scrape("h1", STOPPED);
    expect(&mut script, &["1: state=stopped"]);
    assert_eq!(
        script.show("VirtualMachine", "1"),
        "state=stopped host=h1 hostUp=true note=checked"
    );
}

#[test]
fn an_update_that_changes_nothing_makes_no_event_and_still_counts_as_newer() {
    let mut script = Scripted::new();
    script.scrape("h1", RUNNING);
    script.events();
    script.wait(1.0);
    let sent = script.clock.now();
    script.wait(1.0);
    assert!(!script.update("VirtualMachine", "1", "state=running").unwrap().changed);
    script.scrape_sent("h1", sent, STOPPED);
    expect(&mut script, &[]);
    script.wait(1.0);
    script.scrape("h1", STOPPED);
    expect(&mut script, &["1: state=stopped"]);
}

#[test]
fn an_object_that_a_good_scrape_lacks_is_deleted() {
    let mut script = Scripted::new();
    let both = format!("{RUNNING}\nhci_vm_state{{vmid=2,state=running}} 1");
    script.scrape("h1", &both);
    script.events();
    script.scrape("h1", RUNNING);
    expect(&mut script, &["-2"]);
    script.scrape("h1", &both);
    expect(&mut script, &["+2: state=running host=h1 hostUp=true"]);
    script.scrape("h1", "");
    expect(&mut script, &["-1", "-2"]);
}

#[test]
fn a_machine_that_moves_is_the_new_hosts_and_the_old_host_deletes_nothing() {
    let mut script = Scripted::new();
    script.scrape("h1", RUNNING);
    script.scrape("h2", "");
    script.events();
    script.wait(1.0);
    script.scrape("h2", RUNNING);
    expect(&mut script, &["1: host=h2"]);
    script.wait(1.0);
    script.scrape("h1", RUNNING);
    script.scrape("h1", STOPPED);
    expect(&mut script, &[]);
    script.scrape("h1", "");
    expect(&mut script, &[]);
    assert_eq!(script.show("VirtualMachine", "1"), "state=running host=h2 hostUp=true");
    assert_eq!(script.get("VirtualMachine", "1").unwrap().labels.get("host"), Some("h2"));
    script.scrape("h2", "");
    expect(&mut script, &["-1"]);
}

#[test]
fn a_machine_whose_move_failed_is_the_old_hosts_again() {
    let mut script = Scripted::new();
    script.scrape("h1", RUNNING);
    script.wait(1.0);
    script.scrape("h2", STOPPED);
    script.events();
    script.wait(1.0);
    script.scrape("h2", "");
    expect(&mut script, &[]);
    script.wait(1.0);
    script.scrape("h1", RUNNING);
    expect(&mut script, &["1: state=running host=h1"]);
}

#[test]
fn a_machine_that_leaves_before_it_arrives_is_one_event_if_the_kind_gives_it_time() {
    let kinds = KINDS.replace("    stale_after: 15s", "    stale_after: 15s\n    absent_after: 5s");
    let mut script = Scripted::with_kinds(&kinds);
    script.scrape("h1", RUNNING);
    script.scrape("h2", "");
    script.events();
    script.wait(1.0);
    script.scrape("h1", "");
    script.wait(3.0);
    script.scrape("h2", RUNNING);
    expect(&mut script, &["1: host=h2"]);
    script.wait(10.0);
    expect(&mut script, &[]);
    script.scrape("h2", "");
    script.wait(4.0);
    expect(&mut script, &[]);
    script.wait(1.1);
    expect(&mut script, &["-1"]);
}

#[test]
fn a_failed_scrape_deletes_nothing_and_the_grace_later_says_so_once() {
    let mut script = Scripted::new();
    script.scrape("h1", RUNNING);
    script.events();
    for _ in 0..3 {
        script.wait(5.0);
        script.fail("h1", "connection refused");
    }
    expect(&mut script, &["h1: up=false", "1: hostUp=false"]);
    script.wait(5.0);
    script.fail("h1", "connection refused");
    expect(&mut script, &["1: stale:ScrapeFailed"]);
    let message = script.get("VirtualMachine", "1").unwrap();
    assert_eq!(message.condition("Fresh").unwrap().message.as_str(), "connection refused");
    script.wait(5.0);
    script.fail("h1", "no route to host");
    expect(&mut script, &[]);
    script.wait(5.0);
    script.scrape("h1", RUNNING);
    expect(&mut script, &["h1: up=true", "1: hostUp=true", "1: no stale"]);
}

#[test]
fn the_first_failed_scrape_is_the_edge_of_the_hosts_field() {
    let mut script = Scripted::new();
    script.fail("h1", "connection refused");
    expect(&mut script, &["+h1: up=false"]);
    script.scrape("h1", "");
    expect(&mut script, &["h1: up=true"]);
}

#[test]
fn when_the_host_of_a_moved_machine_dies_the_other_host_speaks_for_it() {
    let mut script = Scripted::new();
    script.scrape("h1", STOPPED);
    script.wait(1.0);
    script.scrape("h2", RUNNING);
    script.events();
    for _ in 0..4 {
        script.wait(5.0);
        script.scrape("h1", STOPPED);
        script.fail("h2", "timeout");
    }
    expect(&mut script, &["h2: up=false", "1: hostUp=false"]);
    script.scrape("h1", STOPPED);
    expect(&mut script, &["1: state=stopped host=h1 hostUp=true"]);
    // The other one comes back and still lists it: it is the newer one, as before.
    script.wait(5.0);
    script.scrape("h2", RUNNING);
    expect(&mut script, &["h2: up=true", "1: state=running host=h2"]);
}

#[test]
fn a_host_that_was_dead_comes_back_with_a_machine_that_others_run_by_now() {
    let mut script = Scripted::new();
    script.scrape("h1", RUNNING);
    script.events();
    for _ in 0..5 {
        script.wait(5.0);
        script.fail("h1", "timeout");
    }
    script.scrape("h2", RUNNING);
    script.events();
    script.wait(5.0);
    script.scrape("h1", STOPPED);
    expect(&mut script, &["h1: up=true"]);
    assert_eq!(script.show("VirtualMachine", "1"), "state=running host=h2 hostUp=true");
}

#[test]
fn a_target_that_is_removed_lists_nothing_any_more() {
    let mut script = Scripted::new();
    script.scrape("h1", RUNNING);
    script.scrape("h2", "hci_vm_state{vmid=2,state=running} 1");
    script.events();
    script.end("h1");
    let mut events = script.events();
    events.sort();
    assert_eq!(events, ["-1", "-h1"]);
    assert_eq!(script.center.look(|state| state.sources.len()), 1);
}

#[test]
fn a_deleted_machine_comes_back_with_the_next_scrape_and_not_with_one_under_way() {
    let mut script = Scripted::new();
    script.scrape("h1", RUNNING);
    script.events();
    script.wait(1.0);
    let sent = script.clock.now();
    script.wait(1.0);
    let uid = script.delete("VirtualMachine", "1").unwrap().uid;
    script.scrape_sent("h1", sent, RUNNING);
    expect(&mut script, &["-1"]);
    script.wait(1.0);
    script.scrape("h1", RUNNING);
    expect(&mut script, &["+1: state=running host=h1 hostUp=true"]);
    assert_ne!(script.get("VirtualMachine", "1").unwrap().uid, uid);
    assert_eq!(script.delete("VirtualMachine", "9").unwrap_err(), WriteError::NotFound);
}

#[test]
fn an_object_that_only_the_api_knows_stays() {
    let mut script = Scripted::new();
    script.create("VirtualMachine", "9", "state=starting host=h1").unwrap();
    assert_eq!(
        script.create("VirtualMachine", "9", "state=starting").unwrap_err(),
        WriteError::Exists
    );
    script.scrape("h1", RUNNING);
    script.scrape("h1", "");
    script.wait(1e6);
    expect(
        &mut script,
        &[
            "+9: state=starting host=h1",
            "+h1: up=true",
            "9: hostUp=true",
            "+1: state=running host=h1 hostUp=true",
            "-1",
        ],
    );
}

#[test]
fn an_object_of_the_api_is_its_hosts_once_a_host_lists_it() {
    let mut script = Scripted::new();
    let sent = script.clock.now();
    script.wait(0.1);
    script.create("VirtualMachine", "1", "state=starting").unwrap();
    script.scrape_sent("h1", sent, STOPPED);
    expect(&mut script, &["+1: state=starting", "+h1: up=true", "1: host=h1 hostUp=true"]);
    script.wait(1.0);
    script.scrape("h1", RUNNING);
    expect(&mut script, &["1: state=running"]);
    script.wait(1.0);
    script.scrape("h1", "");
    expect(&mut script, &["-1"]);
}

#[test]
fn a_machine_that_the_api_touched_is_not_deleted_by_a_scrape_that_was_under_way() {
    let mut script = Scripted::new();
    script.scrape("h1", RUNNING);
    script.events();
    script.wait(1.0);
    let sent = script.clock.now();
    script.wait(1.0);
    script.update("VirtualMachine", "1", "note=restored").unwrap();
    script.scrape_sent("h1", sent, "");
    expect(&mut script, &["1: note=restored"]);
    script.wait(1.0);
    script.scrape("h1", "");
    expect(&mut script, &["-1"]);
}

#[test]
fn the_time_of_an_object_of_the_api_is_over_when_its_ttl_ends() {
    let kinds = "kinds: [{ kind: Lease, fields: { owner: { type: string } }, ttl: 10s }]";
    let mut script = Scripted::with_kinds(kinds);
    script.create("Lease", "a", "owner=x").unwrap();
    script.events();
    script.wait(6.0);
    script.update("Lease", "a", "owner=x").unwrap();
    script.wait(6.0);
    expect(&mut script, &[]);
    script.wait(4.1);
    expect(&mut script, &["-a"]);
}

#[test]
fn a_kind_may_keep_what_is_absent_or_say_what_it_is_then() {
    let kinds = |absent: &str| {
        KINDS
            .replace("    stale_after: 15s", &format!("    stale_after: 15s\n    absent: {absent}"))
    };
    let mut script = Scripted::with_kinds(&kinds("keep"));
    script.scrape("h1", RUNNING);
    script.events();
    script.scrape("h1", "");
    expect(&mut script, &["1: stale:NotReported"]);
    script.scrape("h1", RUNNING);
    expect(&mut script, &["1: no stale"]);

    let mut script = Scripted::with_kinds(&kinds("{ set: { state: unknown } }"));
    script.scrape("h1", RUNNING);
    script.events();
    script.scrape("h1", "");
    expect(&mut script, &["1: state=unknown stale:NotReported"]);
    script.scrape("h1", RUNNING);
    expect(&mut script, &["1: state=running no stale"]);
}

#[test]
fn two_sources_may_say_different_fields_of_one_object() {
    let mut script = Scripted::new();
    script.scrape("h1", RUNNING);
    script.scrape("backup", "hci_vm_power{vmid=1,host=h1} 1");
    script.events();
    for power in [0, 1, 0] {
        script.wait(1.0);
        script.scrape("h1", RUNNING);
        script.scrape("backup", &format!("hci_vm_power{{vmid=1,host=h1}} {power}"));
    }
    expect(&mut script, &["1: power=off", "1: power=on", "1: power=off"]);
    script.scrape("backup", "");
    script.wait(1.0);
    script.scrape("h1", RUNNING);
    assert!(script.get("VirtualMachine", "1").is_some());
}

#[test]
fn an_owner_that_starts_afresh_changes_nothing() {
    let mut script = Scripted::new();
    script.scrape("h1", &format!("{RUNNING}\nhci_vm_state{{vmid=2,state=running}} 1"));
    script.events();
    script.wait(1.0);
    script.forget_memo("h1");
    script.scrape("h1", RUNNING);
    expect(&mut script, &["-2"]);
    script.forget_memo("h1");
    script.wait(59.0);
    script.wait(1.0);
    expect(&mut script, &[]);
    script.wait(60.0);
    let mut events = script.events();
    events.sort();
    assert_eq!(events, ["-1", "-h1"]);
}

#[test]
fn a_series_that_ends_by_a_stale_marker_ends_its_object() {
    let mut script = Scripted::new();
    script.scrape("h1", &format!("{RUNNING}\nhci_vm_power{{vmid=2}} 1"));
    script.events();
    let stale = format!("{RUNNING}\nhci_vm_power{{vmid=2}} NaN");
    script.scrape("h1", &stale);
    expect(&mut script, &["2: no power"]);
    script.clock.advance(Duration::from_secs(1));
    assert_eq!(script.show("VirtualMachine", "2"), "host=h1 hostUp=true");
}

#[test]
fn an_object_of_page_and_report_loses_what_only_the_page_says() {
    let mut script = Scripted::new();
    script.scrape("h1", "hci_host_phase{phase=ready} 1");
    expect(&mut script, &["+h1: up=true", "h1: phase=ready"]);
    script.scrape("h1", "");
    expect(&mut script, &["h1: no phase"]);
    script.scrape("h1", "hci_host_phase{phase=ready} 1");
    script.fail("h1", "timeout");
    expect(&mut script, &["h1: phase=ready", "h1: up=false"]);
}

#[test]
fn a_state_that_changes_its_series_does_not_make_a_claim_newer() {
    let mut script = Scripted::new();
    script.scrape("h1", RUNNING);
    script.wait(1.0);
    script.scrape("h2", RUNNING);
    script.wait(1.0);
    script.scrape("h1", STOPPED);
    script.events();
    for _ in 0..4 {
        script.wait(5.0);
        script.fail("h1", "timeout");
        script.scrape("h2", RUNNING);
    }
    script.scrape("h1", RUNNING);
    script.wait(1.0);
    script.scrape("h1", STOPPED);
    expect(&mut script, &["h1: up=false", "h1: up=true"]);
    assert_eq!(script.show("VirtualMachine", "1"), "state=running host=h2 hostUp=true");
}

#[test]
fn what_only_a_reporter_said_that_is_gone_is_no_longer_known() {
    let mut script = Scripted::new();
    script.scrape("h1", RUNNING);
    script.scrape("backup", "hci_vm_power{vmid=1,host=h1} 1");
    script.events();
    script.wait(1.0);
    script.scrape("backup", "");
    expect(&mut script, &[]);
    script.scrape("h1", RUNNING);
    expect(&mut script, &["1: no power"]);
}

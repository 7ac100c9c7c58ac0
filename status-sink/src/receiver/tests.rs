//! What senders say, and what becomes of it; in pieces, late, and in other orders.

mod pieces;

use std::sync::Arc;
use std::time::Duration;

use kit::Clock as _;
use model::STALE_MARKER;

use super::wire::tests::{Written, message};
use super::*;
use crate::scripted::Scripted;

/// A status center that is fed by remote write.
struct Fed {
    script: Scripted,
    receiver: Arc<Receiver>,
}

// === impl Fed ===

impl Fed {
    fn new() -> Fed {
        let script = Scripted::new();
        script.clock.advance(Duration::from_secs(10));
        let sink = Arc::new(Processor::new(Arc::clone(&script.center)));
        let receiver = Receiver::new(Arc::clone(&script.center), sink);
        Fed { script, receiver }
    }

    /// Sends samples that were all taken now.
    fn send(&self, host: &str, samples: &[(&str, f64)]) -> Taken {
        self.send_of(host, self.script.clock.unix_ms(), samples)
    }

    /// Sends samples of the target on `host`: `name{label=value}` and the value.
    fn send_of(&self, host: &str, at_ms: i64, samples: &[(&str, f64)]) -> Taken {
        let target = format!("instance={host}:9100,job=hosts,host={host}");
        let texts: Vec<(String, [(i64, f64); 1])> = samples
            .iter()
            .map(|(series, value)| {
                let series = series.replace('}', &format!(",{target}}}")).replace("{,", "{");
                (series, [(at_ms, *value)])
            })
            .collect();
        let series: Vec<Written<'_>> =
            texts.iter().map(|(text, sample)| (text.as_str(), sample.as_slice())).collect();
        let bytes = message(Version::One, &series);
        let message = Message::read(Version::One, &bytes).expect("it was written by us");
        self.receiver.take(&message)
    }

    /// The next scrape of the sender is due, and nothing has come yet.
    fn wait(&mut self, seconds: f64) {
        self.script.wait(seconds);
        self.receiver.tick();
    }

    #[track_caller]
    fn expect(&mut self, events: &[&str]) {
        assert_eq!(self.script.events(), events);
    }
}

const UP: (&str, f64) = ("up{}", 1.0);
const DOWN: (&str, f64) = ("up{}", 0.0);
const UP_ENDS: (&str, f64) = ("up{}", STALE_MARKER);
const RUNNING: (&str, f64) = ("hci_vm_state{vmid=1,state=running}", 1.0);
const RUNNING_ENDS: (&str, f64) = ("hci_vm_state{vmid=1,state=running}", STALE_MARKER);
const STOPPED: (&str, f64) = ("hci_vm_state{vmid=1,state=stopped}", 1.0);
const OTHER: (&str, f64) = ("hci_vm_power{vmid=2}", 1.0);
const OTHER_ENDS: (&str, f64) = ("hci_vm_power{vmid=2}", STALE_MARKER);

#[test]
fn a_round_makes_objects_as_a_scrape_does() {
    let mut fed = Fed::new();
    fed.send("h1", &[RUNNING, OTHER, ("node_load1{}", 3.0), UP]);
    fed.expect(&[
        "+h1: up=true",
        "+1: state=running host=h1 hostUp=true",
        "+2: power=on host=h1 hostUp=true",
    ]);
    fed.wait(5.0);
    fed.send("h1", &[RUNNING_ENDS, STOPPED, OTHER, UP]);
    fed.expect(&["1: state=stopped"]);
    fed.wait(5.0);
    fed.send("h1", &[STOPPED, OTHER_ENDS, UP]);
    fed.expect(&["-2"]);
}

#[test]
fn a_new_series_that_comes_twice_in_one_message_is_one() {
    let mut fed = Fed::new();
    let load = ("node_load1{}", 3.0);
    fed.send("h1", &[RUNNING, RUNNING, load, OTHER, UP]);
    fed.expect(&[
        "+h1: up=true",
        "+1: state=running host=h1 hostUp=true",
        "+2: power=on host=h1 hostUp=true",
    ]);
    fed.wait(5.0);
    fed.send("h1", &[RUNNING_ENDS, STOPPED, OTHER_ENDS, UP]);
    fed.expect(&["1: state=stopped", "-2"]);
}

#[test]
fn a_failed_scrape_of_the_sender_deletes_nothing_and_is_told_once() {
    let mut fed = Fed::new();
    fed.send("h1", &[RUNNING, OTHER, UP]);
    fed.script.events();
    for _ in 0..6 {
        fed.wait(5.0);
        fed.send("h1", &[RUNNING_ENDS, OTHER_ENDS, DOWN]);
    }
    fed.expect(&[
        "h1: up=false",
        "1: hostUp=false",
        "2: hostUp=false",
        "1: stale:ScrapeFailed",
        "2: stale:ScrapeFailed",
    ]);
    // Back without the second machine: that is certain once the next scrape begins.
    fed.wait(5.0);
    fed.send("h1", &[RUNNING, UP]);
    assert_eq!(fed.script.show("VirtualMachine", "1"), "state=running host=h1 hostUp=true");
    assert_ne!(fed.script.show("VirtualMachine", "2"), "-");
    fed.wait(5.0);
    fed.send("h1", &[RUNNING, UP]);
    assert_eq!(fed.script.show("VirtualMachine", "2"), "-");
}

#[test]
fn ends_that_come_before_the_news_of_the_failure_wait_for_it() {
    let mut fed = Fed::new();
    fed.send("h1", &[RUNNING, UP]);
    fed.script.events();
    fed.wait(5.0);
    fed.send("h1", &[RUNNING_ENDS]);
    fed.expect(&[]);
    fed.send("h1", &[DOWN]);
    fed.expect(&["h1: up=false", "1: hostUp=false"]);
    fed.wait(5.0);
    fed.send("h1", &[RUNNING_ENDS]);
    fed.send("h1", &[UP]);
    fed.wait(5.0);
    fed.send("h1", &[UP]);
    assert_eq!(fed.script.show("VirtualMachine", "1"), "-");
}

#[test]
fn an_update_is_not_undone_by_what_was_observed_before_it() {
    let mut fed = Fed::new();
    fed.send("h1", &[STOPPED, OTHER, UP]);
    fed.wait(5.0);
    let scraped_ms = fed.script.clock.unix_ms();
    fed.wait(0.1);
    fed.script.update("VirtualMachine", "1", "state=running").unwrap();
    fed.script.events();
    fed.wait(0.1);
    fed.send_of("h1", scraped_ms, &[STOPPED, OTHER, UP]);
    fed.expect(&[]);
    // The next scrape comes in two pieces; the first says nothing about the machine.
    fed.wait(5.0);
    fed.send("h1", &[OTHER, UP]);
    fed.expect(&[]);
    fed.send("h1", &[STOPPED]);
    fed.expect(&["1: state=stopped"]);
}

#[test]
fn a_sender_that_falls_silent_is_a_failure_of_all_its_targets() {
    let mut fed = Fed::new();
    fed.send("h1", &[RUNNING, UP]);
    fed.wait(5.0);
    fed.send("h1", &[RUNNING, UP]);
    fed.script.events();
    for _ in 0..10 {
        fed.wait(2.0);
    }
    fed.expect(&["1: stale:ScrapeFailed"]);
    fed.send("h1", &[RUNNING, UP]);
    assert_eq!(fed.script.show("VirtualMachine", "1"), "state=running host=h1 hostUp=true");
    for _ in 0..1300 {
        fed.wait(3.0);
    }
    assert_eq!(fed.script.show("VirtualMachine", "1"), "-", "an hour later it is gone");
    assert_eq!(fed.receiver.n_reporters(), 0);
}

#[test]
fn a_target_that_is_no_longer_scraped_lists_nothing_any_more() {
    let mut fed = Fed::new();
    fed.send("h1", &[RUNNING, OTHER, UP]);
    fed.script.events();
    fed.wait(5.0);
    let before_ms = fed.script.clock.unix_ms() - 1000;
    fed.send("h1", &[RUNNING_ENDS, UP_ENDS]);
    fed.expect(&["-1", "-2", "-h1"]);
    fed.send_of("h1", before_ms, &[OTHER]);
    fed.send("h1", &[OTHER_ENDS]);
    fed.expect(&[]);
    fed.wait(5.0);
    fed.send("h1", &[RUNNING, UP]);
    assert_eq!(fed.script.show("VirtualMachine", "1"), "state=running host=h1 hostUp=true");
}

#[test]
fn a_machine_that_moves_is_where_it_was_seen_last() {
    let mut fed = Fed::new();
    fed.send("h1", &[RUNNING, UP]);
    fed.send("h2", &[UP]);
    fed.script.events();
    fed.wait(5.0);
    fed.send("h2", &[RUNNING, UP]);
    fed.send("h1", &[RUNNING, UP]);
    fed.expect(&["1: host=h2"]);
    fed.wait(5.0);
    fed.send("h1", &[RUNNING_ENDS, UP]);
    fed.send("h2", &[RUNNING, UP]);
    fed.expect(&[]);
}

#[test]
fn a_series_that_ends_without_a_word_is_gone_after_a_while() {
    let mut fed = Fed::new();
    fed.send("h1", &[RUNNING, OTHER, UP]);
    for _ in 0..80 {
        fed.wait(5.0);
        fed.send("h1", &[RUNNING, UP]);
    }
    assert_eq!(fed.script.show("VirtualMachine", "2"), "-");
    assert_eq!(fed.script.show("VirtualMachine", "1"), "state=running host=h1 hostUp=true");
}

#[test]
fn a_target_that_is_asked_rarely_loses_nothing_between_two_pieces() {
    let mut fed = Fed::new();
    for _ in 0..4 {
        fed.send("h1", &[RUNNING, UP]);
        fed.send("h1", &[OTHER]);
        assert_eq!(fed.script.show("VirtualMachine", "2"), "power=on host=h1 hostUp=true");
        let events = fed.script.events();
        assert!(!events.iter().any(|it| it.starts_with('-')), "{events:?}");
        for _ in 0..120 {
            fed.wait(5.0);
        }
    }
}

#[test]
fn what_is_too_old_or_from_the_future_is_not_taken() {
    let mut fed = Fed::new();
    let now_ms = fed.script.clock.unix_ms();
    let old = fed.send_of("h1", now_ms - 400_000, &[RUNNING, UP]);
    assert_eq!(old, Taken::default(), "what is late is no mistake of the sender");
    let ahead = fed.send_of("h1", now_ms + 700_000, &[RUNNING, UP]);
    assert_eq!(ahead.n_refused, 2);
    assert!(ahead.why.unwrap().contains("future"));
    fed.expect(&[]);
    fed.send("h1", &[RUNNING, UP]);
    fed.send_of("h1", now_ms - 1000, &[("hci_vm_state{vmid=1,state=running}", 0.0)]);
    assert_eq!(fed.script.show("VirtualMachine", "1"), "state=running host=h1 hostUp=true");
}

#[test]
fn a_sender_cannot_forge_that_there_is_no_sample() {
    let fed = Fed::new();
    fed.send("h1", &[("hci_vm_power{vmid=2}", model::ABSENT), UP]);
    assert_eq!(fed.script.show("VirtualMachine", "2"), "host=h1 hostUp=true");
}

#[test]
fn a_reload_that_reads_more_is_fed_with_the_next_samples() {
    let mut fed = Fed::new();
    let load = ("hci_load{vmid=1}", 7.0);
    fed.send("h1", &[RUNNING, load, UP]);
    let kinds =
        crate::scripted::KINDS.replace("note:      { type: string }", "load: { metric: hci_load }");
    fed.script.reload(&kinds);
    fed.wait(5.0);
    fed.send("h1", &[RUNNING, load, UP]);
    assert_eq!(fed.script.show("VirtualMachine", "1"), "state=running host=h1 hostUp=true load=7");
}

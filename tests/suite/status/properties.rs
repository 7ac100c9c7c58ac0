//! A random history, written over the API while many look at it in every way there is; then
//! everything that they saw must be one and the same history.
//!
//! `ROLLCALL_SEED` repeats a run, as far as chance is ours; `ROLLCALL_PROPERTY_SECONDS` makes it
//! longer, in rounds of which each has a seed of its own.

mod history;
mod looking;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{DEADLINE, Rollcall, config, wait_until};

use self::history::{Change, History};
use self::looking::{Looked, cut_again_and_again, page_again_and_again, stream_again_and_again};
use crate::rollcall;

const NOTES: &str = "/apis/status.rollcall/v1/notes";
const KINDS: &str = "
status:
  warm_up: 0s
  kinds:
    - kind: Note
      fields: { state: { type: string }, load: { type: number } }
      index: [state]
      events_max: 1000000
";
const STATES: [&str; 3] = ["a", "b", "c"];
const N_NAMES: u64 = 40;
/// The last object that is made: whoever has seen it has seen everything.
const END: &str = "the-end";

/// Numbers that look like chance.
#[derive(Debug, Clone)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    /// Less than `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

pub(super) fn seed() -> u64 {
    let given = std::env::var("ROLLCALL_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1)
}

pub(super) fn duration() -> Duration {
    let given = std::env::var("ROLLCALL_PROPERTY_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(3))
}

/// Writes at random until told to stop; the versions that the answers said, with what was done.
async fn write(
    app: Arc<Rollcall>,
    mut chance: Chance,
    stop: Arc<AtomicBool>,
) -> Vec<(u64, String)> {
    let mut answered = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let name = format!("n{}", chance.below(N_NAMES));
        let state = STATES[chance.below(3) as usize];
        let status = json!({ "state": state, "load": chance.below(4) });
        let object = json!({ "metadata": { "name": name }, "status": status });
        let one = format!("{NOTES}/{name}");
        let (method, path, media, body) = match chance.below(10) {
            0..=2 => ("POST", NOTES.to_owned(), "application/json", object),
            3 => ("DELETE", one, "application/json", json!({})),
            4 => {
                let items = json!({ "items": [object, { "metadata": { "name": "n1" } }] });
                ("POST", format!("{NOTES}/bulk"), "application/json", items)
            }
            _ => ("PATCH", one, "application/merge-patch+json", json!({ "status": status })),
        };
        let (code, answer) = app.send(method, &path, media, &body).await;
        assert!(matches!(code, 200 | 201 | 404 | 409), "{method} {path}: {code} {answer}");
        if code < 300 && matches!(method, "POST" | "PATCH") && answer["kind"] == "Note" {
            let version = answer["metadata"]["resourceVersion"].as_str().unwrap();
            // Read your write: a list that is asked for afterwards is at least as new.
            if chance.below(20) == 0 {
                let list = app.json(&format!("{NOTES}?resourceVersion={version}")).await;
                assert!(version_of(&list) >= version.parse().unwrap(), "{version}: {list}");
            }
            answered.push((version.parse().unwrap(), name));
        }
    }
    answered
}

/// `metadata.resourceVersion` of a list or an object.
pub(super) fn version_of(object: &Value) -> u64 {
    let version = object["metadata"]["resourceVersion"].as_str();
    version.and_then(|version| version.parse().ok()).unwrap_or_else(|| panic!("{object}"))
}

type Holds = fn(&Change) -> bool;
/// Whether a change is told of an object that matched before and after it.
type Tells = fn(&Change, &Change) -> bool;

/// Filtered watches: the selector, and the same in Rust.
const SELECTORS: [(&str, Holds, Tells); 8] = [
    ("status.state=a", |it| it.state == "a", |_, _| true),
    ("status.state in (a,b),status.load>=1", |it| it.state != "c" && it.load >= 1, |_, _| true),
    ("status.state!=a", |it| it.state != "a", |_, _| true),
    (
        "cel:object.status.load == 2.0 || object.status.state == 'c'",
        |it| it.load == 2 || it.state == "c",
        |_, _| true,
    ),
    (
        "(status.state=b||status.load<2) && metadata.name!=n7",
        |it| (it.state == "b" || (0..2).contains(&it.load)) && it.name != "n7",
        |_, _| true,
    ),
    ("status.load>1@edge", |it| it.load > 1, |_, _| false),
    (
        "status.state notin (c)@on(status.load)",
        |it| it.state != "c",
        |old, new| old.load != new.load,
    ),
    (
        "cel:object.status.state.matches('^[ab]$')@on(status.state)",
        |it| it.state == "a" || it.state == "b",
        |old, new| old.state != new.state,
    ),
];

/// A round is no longer than this: what everybody saw of it is kept until its end.
const ROUND: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_sees_one_and_the_same_history() {
    let until = Instant::now() + duration();
    let mut seed = seed();
    loop {
        round(seed, ROUND.min(duration())).await;
        seed = seed.wrapping_add(0x1000);
        if Instant::now() >= until {
            return;
        }
    }
}

async fn round(seed: u64, duration: Duration) {
    println!("ROLLCALL_SEED={seed} ROLLCALL_PROPERTY_SECONDS={}", duration.as_secs());
    let app = Arc::new(rollcall().config(&config().section(KINDS)).start().await);
    let start = version_of(&app.json(NOTES).await);
    let whole = app.watch(&format!("{NOTES}?watch=1&resourceVersion={start}")).await;
    let mut filtered = Vec::new();
    for (selector, ..) in SELECTORS {
        let selector = super::refused::escape(selector);
        let path = format!("{NOTES}?watch=1&resourceVersion={start}&fieldSelector={selector}");
        filtered.push(app.watch(&path).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let place = || (app.client().clone(), app.url(NOTES));
    let cut = tokio::spawn(cut_again_and_again(place(), start, Chance(seed | 2)));
    let paging = tokio::spawn(page_again_and_again(place(), Arc::clone(&stop), Chance(seed)));
    let streaming = tokio::spawn(stream_again_and_again(place(), Arc::clone(&stop)));
    let writers: Vec<_> = (1..=3)
        .map(|n| tokio::spawn(write(Arc::clone(&app), Chance(seed ^ n << 40 | 1), stop.clone())))
        .collect();
    let until = Instant::now() + duration;
    wait_until("the time is over", duration + DEADLINE, || async {
        if Instant::now() >= until { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let mut answered = Vec::new();
    for writer in writers {
        answered.extend(writer.await.unwrap());
    }
    let end = json!({ "metadata": { "name": END }, "status": { "state": "a" } });
    assert_eq!(app.send("POST", NOTES, "application/json", &end).await.0, 201);
    whole.wait_for_event("ADDED", END).await;
    let history = History::of(&whole.events());
    println!("{} events, {} answers", history.len(), answered.len());
    for (version, name) in &answered {
        assert_eq!(history.name_at(*version), Some(name.as_str()), "the write {version} was told");
    }
    for ((selector, holds, tells), watch) in SELECTORS.into_iter().zip(&filtered) {
        let want = history.seen_by(holds, tells);
        let got = watch.wait_for_events(want.len()).await;
        assert_eq!(history::words(&got), want, "{selector}");
    }
    let cut = tokio::time::timeout(DEADLINE, cut).await.unwrap().unwrap();
    assert_eq!(cut, history.words(), "a watch that is cut and goes on misses and repeats nothing");
    let (pages, streams) = (paging.await.unwrap(), streaming.await.unwrap());
    println!("{} lists by pages, {} streaming lists", pages.len(), streams.len());
    for Looked { version, objects } in pages.into_iter().chain(streams) {
        assert_eq!(objects, history.objects_at(version), "what there was at {version}");
    }
    let now: BTreeMap<String, String> = looking::objects_of(&app.json(NOTES).await);
    assert_eq!(now, history.objects_at(u64::MAX));
    Arc::into_inner(app).unwrap().terminate().await;
}

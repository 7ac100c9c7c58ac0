//! What must hold whatever happens: random histories of a small fleet, seen through selectors.
//!
//! Filter, edges, order, uniqueness, resuming anywhere, and that a list and the events after it
//! are the list now. The evaluator here is another one than the selectors': it is told in closures.

use std::collections::BTreeMap;

use super::*;
use crate::api::accept::Form;
use crate::api::frames::Lens;
use crate::api::options::Options;
use crate::notifier::{Step, View};
use crate::object::ResourceVersion;

/// Random histories looked at.
const HISTORIES: u64 = 20;

/// Writes of one history: fewer than the event log holds.
const WRITES: usize = 55;

type Fleet = BTreeMap<String, Json>;

/// A selector, and the same in other words.
type Case = (&'static str, fn(&Json) -> bool);

const CASES: [Case; 6] = [
    ("", |_| true),
    ("status.state=running", |vm| vm["status"]["state"] == "running"),
    ("status.host=h1,status.cpuUsage>0.5", |vm| {
        vm["status"]["host"] == "h1" && vm["status"]["cpuUsage"].as_f64().is_some_and(|it| it > 0.5)
    }),
    ("status.state!=running||metadata.name in (vm-0,vm-1)", |vm| {
        vm["status"]["state"] != "running"
            || ["vm-0", "vm-1"].iter().any(|name| vm["metadata"]["name"] == *name)
    }),
    ("!status.cpuUsage", |vm| vm["status"].get("cpuUsage").is_none()),
    ("cel:has(object.status.cpuUsage) && object.status.cpuUsage > 0.5", |vm| {
        vm["status"]["cpuUsage"].as_f64().is_some_and(|it| it > 0.5)
    }),
];

/// Chance that is the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

async fn write_something(center: &Center, dice: &mut Dice) {
    let name = format!("vm-{}", dice.roll(5));
    let path = format!("{VMS}/{name}");
    let state = ["running", "stopped", "paused"][dice.roll(3) as usize];
    let host = ["h1", "h2"][dice.roll(2) as usize];
    match dice.roll(8) {
        0 => drop(center.delete(&path).await),
        1 | 2 => drop(center.post(VMS, vm(&name, state, host, 0.6)).await),
        3 => drop(center.merge(&path, json!({ "status": { "host": host } })).await),
        4 => drop(center.merge(&path, json!({ "status": { "cpuUsage": null } })).await),
        5 => {
            let load = dice.roll(10) as f64 / 10.0;
            drop(center.merge(&path, json!({ "status": { "cpuUsage": load } })).await);
        }
        _ => drop(center.merge(&path, json!({ "status": { "state": state } })).await),
    }
}

async fn fleet(center: &Center, selector: &str) -> (String, Fleet) {
    let query = selector.replace(' ', "%20").replace('&', "%26").replace('>', "%3E");
    let list = center.get(&format!("{VMS}?fieldSelector={query}")).await.json();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let name = |vm: &Json| vm["metadata"]["name"].as_str().unwrap().to_owned();
    let items = list["items"].as_array().unwrap();
    (version, items.iter().map(|vm| (name(vm), vm.clone())).collect())
}

/// Every event after `version`, as a watch of `selector` is told.
async fn events(center: &Center, selector: &str, version: u64) -> Vec<Json> {
    let api = &center.sink.api;
    let kinds = api.reader.kinds();
    let kind = kinds.iter().next().unwrap();
    let options = Options { fields: selector.to_owned(), ..Options::default() };
    let clock = Arc::clone(&api.clock);
    let lens = Arc::new(Lens::new(Arc::clone(kind), None, Form::Objects, &options, clock).unwrap());
    let view: Arc<dyn View> = lens;
    let mut watcher = api.reader.watch(kind, ResourceVersion(version), view).unwrap();
    let mut told = Vec::new();
    while let Ok(Step::Frames(frames)) =
        tokio::time::timeout(Duration::from_millis(1), watcher.next()).await
    {
        let lines = frames.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        told.extend(lines.map(|line| serde_json::from_slice::<Json>(line).unwrap()));
    }
    told
}

fn fold(fleet: &mut Fleet, event: &Json, wants: fn(&Json) -> bool) {
    let object = &event["object"];
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    match event["type"].as_str().unwrap() {
        "ADDED" => {
            assert!(wants(object), "{event}");
            assert!(fleet.insert(name, object.clone()).is_none(), "added twice: {event}");
        }
        "MODIFIED" => {
            assert!(wants(object), "{event}");
            assert!(fleet.insert(name, object.clone()).is_some(), "never added: {event}");
        }
        "DELETED" => {
            let last = fleet.remove(&name).expect("only what was there is deleted");
            assert!(wants(object), "it is shown as it was: {event}");
            assert_eq!(last["status"], object["status"]);
        }
        other => panic!("{other}"),
    }
}

fn version_of(event: &Json) -> u64 {
    event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

async fn check_history(seed: u64) {
    let center = Center::new();
    let mut dice = Dice(seed);
    for _ in 0..5 {
        write_something(&center, &mut dice).await;
    }
    let mut before = Vec::new();
    for (selector, _) in CASES {
        before.push(fleet(&center, selector).await);
    }
    for _ in 0..WRITES {
        write_something(&center, &mut dice).await;
    }
    for ((selector, wants), (version, fleet_then)) in CASES.into_iter().zip(before) {
        let version: u64 = version.parse().unwrap();
        let told = events(&center, selector, version).await;
        let versions: Vec<u64> = told.iter().map(version_of).collect();
        assert!(
            versions.windows(2).all(|pair| pair[0] < pair[1]),
            "{seed} {selector}: {versions:?}"
        );
        let mut folded = fleet_then;
        told.iter().for_each(|event| fold(&mut folded, event, wants));
        let (_, now) = fleet(&center, selector).await;
        assert_eq!(folded, now, "{seed} {selector}");
        // Resuming after any event gives the rest.
        for (at, version) in versions.iter().enumerate().step_by(7) {
            let rest = events(&center, selector, *version).await;
            assert_eq!(rest, told[at + 1..], "{seed} {selector} from {version}");
        }
    }
}

#[tokio::test]
async fn a_list_and_the_events_after_it_are_the_list_now() {
    for seed in 0..HISTORIES {
        check_history(seed).await;
    }
}

#[tokio::test]
async fn a_list_at_a_version_is_what_it_was() {
    let center = Center::new();
    let mut dice = Dice(99);
    let mut seen = Vec::new();
    for _ in 0..WRITES {
        write_something(&center, &mut dice).await;
        seen.push(fleet(&center, "").await);
    }
    for (version, then) in seen {
        let path = format!("{VMS}?resourceVersion={version}&resourceVersionMatch=Exact");
        let list = center.get(&path).await.json();
        let objects: Vec<&Json> = then.values().collect();
        assert_eq!(list["items"].as_array().unwrap().iter().collect::<Vec<_>>(), objects);
    }
}

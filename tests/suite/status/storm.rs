//! Real clients through a storm: scrapes, failures, moves, updates over the API, kills, restarts
//! and reloads, by chance. Whenever it calms down, every client must know exactly what there is.
//!
//! kubectl waits through all of it, with its informer in both of its ways to list: what it waits
//! for happens in the calm. `ROLLCALL_SEED` repeats a run, as far as chance is ours;
//! `ROLLCALL_PROPERTY_SECONDS` makes it longer.

mod clients;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Config, FakeTarget, Launch, Reply, Rollcall, config, wait_until};

use self::clients::{View, Waiting};
use super::properties::{Chance, duration, seed};
use crate::kinds::{VMS, VMS_PATH};
use crate::rollcall;

const N_TARGETS: usize = 3;
const N_VMS: u64 = 30;
const STATES: [&str; 4] = ["running", "crashed", "stopped", "crashed"];
/// What happens between two calms.
const N_BLOWS: u64 = 12;
/// The VM that kubectl waits for, and what all but the waiters are asked to show.
const MARKER: &str = "marker";
const CRASHED: &str = "status.state=crashed";
/// How long clients may take to be right again: an informer waits up to 30 s between two tries.
const CALM: Duration = Duration::from_secs(90);

/// Names and states.
type States = BTreeMap<String, String>;

struct Storm {
    chance: Chance,
    targets: Vec<FakeTarget>,
    /// What is on the page of each target.
    pages: Vec<States>,
    app: Option<Rollcall>,
    /// Whether the kind has one more field: a reload changes it.
    is_wide: bool,
    n_restarts: usize,
}

fn page(states: &States) -> String {
    let line = |(vm, state)| format!("vm_state{{vmid=\"{vm}\",state=\"{state}\"}} 1\n");
    states.iter().map(line).collect()
}

impl Storm {
    async fn start(seed: u64) -> Storm {
        let mut storm = Storm {
            chance: Chance(seed | 1),
            targets: Vec::new(),
            pages: vec![States::new(); N_TARGETS],
            app: None,
            is_wide: false,
            n_restarts: 0,
        };
        for vm in 0..N_VMS {
            let state = storm.state();
            let at = storm.chance.below(N_TARGETS as u64) as usize;
            storm.pages[at].insert(format!("vm-{vm}"), state);
        }
        storm.pages[0].insert(MARKER.to_owned(), "calm-0".to_owned());
        for at in 0..N_TARGETS {
            storm.targets.push(FakeTarget::serving(page(&storm.pages[at])).await);
        }
        storm.app = Some(storm.launch().start().await);
        storm
    }

    fn config(&self) -> Config {
        let kinds = match self.is_wide {
            true => VMS.replace("index: [state, host]", "index: [state, host, note]").replace(
                "host: { label: instance }",
                "host: { label: instance }\n        note: { type: string }",
            ),
            false => VMS.to_owned(),
        };
        let all = self.targets.iter().fold(config(), |config, target| config.scrape(target));
        all.section(&kinds)
    }

    fn launch(&self) -> Launch {
        rollcall().config(&self.config())
    }

    fn app(&self) -> &Rollcall {
        self.app.as_ref().expect("it runs between two blows")
    }

    fn state(&mut self) -> String {
        STATES[self.chance.below(STATES.len() as u64) as usize].to_owned()
    }

    fn vm(&mut self) -> String {
        format!("vm-{}", self.chance.below(N_VMS))
    }

    /// Everything that there is on pages.
    fn truth(&self) -> States {
        self.pages.iter().flatten().map(|(vm, state)| (vm.clone(), state.clone())).collect()
    }

    fn serve(&self, at: usize) {
        self.targets[at].serve(page(&self.pages[at]));
    }

    /// Something happens.
    async fn blow(&mut self) {
        let (vm, state) = (self.vm(), self.state());
        let at = self.chance.below(N_TARGETS as u64) as usize;
        match self.chance.below(20) {
            0..=6 => {
                if let Some(known) = self.pages[at].values_mut().find(|it| !it.contains("calm")) {
                    *known = state.clone();
                }
                if let Some(page) = self.pages.iter_mut().find(|page| page.contains_key(&vm)) {
                    page.insert(vm, state);
                }
                (0..N_TARGETS).for_each(|at| self.serve(at));
            }
            7..=9 => {
                for page in &mut self.pages {
                    page.remove(&vm);
                }
                // One time in three it is gone, otherwise elsewhere.
                if self.chance.below(3) > 0 {
                    self.pages[at].insert(vm, state);
                }
                (0..N_TARGETS).for_each(|at| self.serve(at));
            }
            10..=11 => self.targets[at].serve(Reply::status(500)),
            12 => self.targets[at].serve("not a page {{{\n"),
            13..=15 => {
                let change = json!({ "status": { "state": state } });
                let media = "application/merge-patch+json";
                let path = format!("{VMS_PATH}/{vm}");
                let (code, answer) = self.app().send("PATCH", &path, media, &change).await;
                assert!(matches!(code, 200 | 404 | 429), "{code} {answer}");
            }
            16 => {
                let path = format!("{VMS_PATH}/{vm}");
                let (code, answer) =
                    self.app().send("DELETE", &path, "application/json", &json!({})).await;
                assert!(matches!(code, 200 | 404 | 429), "{code} {answer}");
            }
            17 => {
                self.is_wide = !self.is_wide;
                let config = self.config();
                let (code, answer) = self.app().reload(&config).await;
                assert_eq!(code, 200, "{answer}");
            }
            kind => self.restart(kind == 18).await,
        }
        self.targets[0].wait_for_more_requests(1).await;
    }

    /// Waits until so many listen.
    async fn listeners(&self, n: usize) {
        wait_until(&format!("{n} listen"), CALM, || async {
            let open = self.app().metrics().await.sum("rollcall_status_watches", &[]);
            if open >= n as f64 { Ok(()) } else { Err(open.to_string()) }
        })
        .await;
    }

    async fn restart(&mut self, by_force: bool) {
        let app = self.app.take().expect("it runs");
        let address = app.address();
        let stopped = if by_force { app.kill().await } else { app.terminate().await };
        assert!(!stopped.log().contains("panicked"), "{}", stopped.log());
        self.n_restarts += 1;
        self.app = Some(self.launch().at(address).not_waiting_until_ready().start().await);
    }

    /// Everything is good again; the marker says how often. What there is now.
    async fn calm(&mut self, nth: usize) -> States {
        self.pages[0].insert(MARKER.to_owned(), format!("calm-{nth}"));
        (0..N_TARGETS).for_each(|at| self.serve(at));
        let truth = self.truth();
        wait_until("the status center knows what is on the pages", CALM, || async {
            let (code, body) = self.app().get(VMS_PATH).await;
            let known = if code == 200 { states_of(&body) } else { States::new() };
            if known == truth { Ok(()) } else { Err(format!("{code} {known:?}\nwant {truth:?}")) }
        })
        .await;
        truth
    }
}

fn states_of(body: &str) -> States {
    let list: Value = serde_json::from_str(body).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = |it: &Value| (text(&it["metadata"]["name"]), text(&it["status"]["state"]));
    list["items"].as_array().unwrap().iter().map(object).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_is_right_after_the_storm() {
    let (seed, duration) = (seed(), duration());
    println!("ROLLCALL_SEED={seed} ROLLCALL_PROPERTY_SECONDS={}", duration.as_secs());
    let mut storm = Storm::start(seed).await;
    let url = storm.app().url("");
    let views: [View; 4] = [
        clients::ours(&url),
        clients::kube_rs(&url, false),
        clients::kube_rs(&url, true),
        clients::python(&url),
    ];
    let until = Instant::now() + duration;
    let mut nth = 0;
    while nth < 2 || Instant::now() < until {
        nth += 1;
        let wanted = format!("calm-{nth}");
        let waiting = [true, false].map(|streaming| Waiting::start(&url, &wanted, streaming));
        // kubectl finds its way only while somebody answers; its informer needs nobody.
        storm.listeners(views.len() + waiting.len()).await;
        for _ in 0..N_BLOWS {
            storm.blow().await;
        }
        let truth = storm.calm(nth).await;
        let crashed: States = truth.into_iter().filter(|(_, state)| state == "crashed").collect();
        for view in &views {
            view.wait_for(&crashed).await;
        }
        for waiting in waiting {
            waiting.wait_for_end().await;
        }
    }
    let failures: Vec<usize> = views.iter().map(View::n_resets).collect();
    println!("{nth} calms, {} restarts, lists anew by client: {failures:?}", storm.n_restarts);
    let app = storm.app.take().unwrap().terminate().await;
    assert!(!app.log().contains("panicked"), "{}", app.log());
}

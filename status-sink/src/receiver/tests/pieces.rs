//! However the samples of scrapes are cut into messages and mixed, the objects end as if the
//! scrapes had been ours.

use proptest::prelude::*;

use super::*;

const STATES: [&str; 3] = ["running", "stopped", "crashed"];

/// One scrape: by machine, its state if it is on the page; none if the scrape fails.
type Scrape = Option<[Option<usize>; 3]>;

/// A sample on its way, in the shard of its series.
struct Travelling {
    series: String,
    at_ms: i64,
    value: f64,
}

fn series(vm: usize, state: usize) -> String {
    format!("hci_vm_state{{vmid={vm},state={}}}", STATES[state])
}

/// What a sender queues for one scrape: values, ends of what was there before, `up`.
fn samples_of(before: &mut Vec<String>, scrape: &Scrape) -> Vec<(String, f64)> {
    let mut said = Vec::new();
    let mut page = Vec::new();
    for (vm, state) in scrape.iter().flatten().enumerate() {
        if let Some(state) = state {
            page.push(series(vm, *state));
        }
    }
    said.extend(page.iter().map(|series| (series.clone(), 1.0)));
    let gone = before.iter().filter(|series| !page.contains(series));
    said.extend(gone.map(|series| (series.clone(), STALE_MARKER)));
    said.push(("up{}".to_owned(), if scrape.is_some() { 1.0 } else { 0.0 }));
    *before = page;
    said
}

/// Samples in shards by series: within one, order is kept.
fn shard_of(series: &str, n_shards: usize) -> usize {
    series.bytes().map(usize::from).sum::<usize>() % n_shards
}

fn scrapes() -> impl Strategy<Value = Vec<Scrape>> {
    let vm = prop::option::weighted(0.8, 0..STATES.len());
    let page = [vm.clone(), vm.clone(), vm];
    prop::collection::vec(prop::option::weighted(0.85, page), 1..12)
}

/// Scrapes as ours, in a status center of its own.
fn direct(scrapes: &[Scrape]) -> Scripted {
    let mut script = Scripted::new();
    script.clock.advance(Duration::from_secs(10));
    for scrape in scrapes {
        script.wait(5.0);
        match scrape {
            None => script.fail("h1", "timeout"),
            Some(page) => {
                let numbered = page.iter().enumerate();
                let line = |(vm, state): (usize, &Option<usize>)| {
                    state.map(|state| format!("{} 1\n", series(vm, state)))
                };
                let page: String = numbered.filter_map(line).collect();
                script.scrape("h1", &page);
            }
        }
    }
    script
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_in_any_order_end_as_scrapes_do(
        scrapes in scrapes(),
        n_shards in 1..4_usize,
        picks in prop::collection::vec(any::<u8>(), 1..200),
    ) {
        // Two good scrapes at the end: by then, what is in doubt is decided.
        let last = scrapes.iter().rev().flatten().next().copied().unwrap_or_default();
        let scrapes = [scrapes, vec![Some(last), Some(last)]].concat();
        let mut fed = Fed::new();
        let mut before = Vec::new();
        let mut picks = picks.iter().cycle();
        for scrape in &scrapes {
            fed.wait(5.0);
            let at_ms = fed.script.clock.unix_ms();
            let mut shards: Vec<Vec<Travelling>> = Vec::new();
            shards.resize_with(n_shards, Vec::new);
            for (series, value) in samples_of(&mut before, scrape) {
                shards[shard_of(&series, n_shards)].push(Travelling { series, at_ms, value });
            }
            while shards.iter().any(|shard| !shard.is_empty()) {
                let (at, n) = (picks.next().expect("for ever"), picks.next().expect("for ever"));
                shards.retain(|shard| !shard.is_empty());
                let at = usize::from(*at) % shards.len();
                let shard = &mut shards[at];
                let n = (1 + usize::from(*n) % 3).min(shard.len());
                for it in shard.drain(..n) {
                    fed.send_of("h1", it.at_ms, &[(&it.series, it.value)]);
                }
            }
            fed.script.check_whole();
        }
        let direct = direct(&scrapes);
        for vm in ["0", "1", "2"] {
            let want = direct.show("VirtualMachine", vm);
            prop_assert_eq!(fed.script.show("VirtualMachine", vm), want, "vm {}", vm);
        }
        prop_assert_eq!(fed.script.show("Host", "h1"), direct.show("Host", "h1"));
    }
}

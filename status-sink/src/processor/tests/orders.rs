//! Every order of scrapes, updates, failures, moves, removals and reloads, against a model that
//! remembers no plan and says everything about every object with every scrape.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kit::Clock;
use model::Moment;
use proptest::prelude::*;

use crate::scripted::{KINDS, Scripted};

const HOSTS: [&str; 3] = ["h1", "h2", "h3"];
const VMS: [&str; 3] = ["1", "2", "3"];
const STATES: [&str; 3] = ["running", "stopped", "crashed"];
const STALE_AFTER: Duration = Duration::from_secs(15);

/// What a host prints of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    vm: usize,
    state: Option<usize>,
    is_on: Option<bool>,
}

#[derive(Debug, Clone)]
enum Step {
    /// A host is asked, `under_way_ms` before its answer is here.
    Scrape {
        host: usize,
        lines: Vec<Line>,
        as_set: bool,
        under_way_ms: u64,
    },
    Fail {
        host: usize,
    },
    End {
        host: usize,
    },
    Forget {
        host: usize,
    },
    Update {
        vm: usize,
        state: Option<usize>,
        is_on: Option<bool>,
    },
    Create {
        vm: usize,
        state: usize,
    },
    Delete {
        vm: usize,
    },
    Reload,
    Wait {
        ms: u64,
    },
}

/// Who said what a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Api(Moment),
    Host(usize),
    /// A host that no longer listed the machine afterwards; it may have come back since.
    Nobody,
}

/// A machine as the model has it.
#[derive(Debug, Clone, Default)]
struct Machine {
    fields: BTreeMap<&'static str, (String, By)>,
    /// By the time of the claim.
    claims: BTreeSet<(Moment, usize)>,
    touched: Moment,
    /// Tells it from another one of the same name.
    born: usize,
    is_stale: bool,
}

#[derive(Debug, Default)]
struct Model {
    machines: BTreeMap<usize, Machine>,
    graves: BTreeMap<usize, Moment>,
    hosts: BTreeMap<usize, Host>,
    n_born: usize,
}

/// A host as the model has it.
#[derive(Debug, Clone, Default)]
struct Host {
    is_up: bool,
    /// What the last good page said of each machine, and since when it is listed.
    page: BTreeMap<usize, (BTreeMap<&'static str, String>, Moment)>,
    failing_since: Option<Moment>,
    /// Its machines have been marked.
    is_marked: bool,
    /// Machines that were not listed by a page that was older than the API's last word.
    lingering: BTreeMap<usize, usize>,
}

// === impl Model ===

impl Model {
    fn scrape(&mut self, host: usize, sent: Moment, lines: &[Line]) {
        let before = self.hosts.remove(&host).unwrap_or_default();
        let mut page = BTreeMap::new();
        for line in lines {
            let since = before.page.get(&line.vm).map_or(sent, |(_, since)| *since);
            page.insert(line.vm, (line.fields(host), since));
        }
        for (vm, (said, since)) in &page {
            let had = before.page.get(vm).map(|(said, _)| said.clone()).unwrap_or_default();
            self.report(host, sent, *vm, said, &had, *since);
        }
        let lists: BTreeSet<usize> = page.keys().copied().collect();
        let mut lingering = BTreeMap::new();
        for vm in before.page.keys().filter(|vm| !lists.contains(vm)) {
            lingering.extend(self.release(host, sent, *vm));
        }
        for (vm, born) in before.lingering {
            lingering.extend(self.linger(sent, vm, born));
        }
        let (failing_since, is_marked) = Default::default();
        self.hosts.insert(host, Host { is_up: true, page, failing_since, is_marked, lingering });
    }

    fn report(
        &mut self,
        host: usize,
        sent: Moment,
        vm: usize,
        said: &BTreeMap<&'static str, String>,
        had: &BTreeMap<&'static str, String>,
        since: Moment,
    ) {
        if !self.machines.contains_key(&vm)
            && self.graves.get(&vm).is_some_and(|deleted| sent <= *deleted)
        {
            return;
        }
        self.n_born += 1;
        let born = self.n_born;
        let new = || Machine { born, ..Machine::default() };
        let machine = self.machines.entry(vm).or_insert_with(new);
        machine.claims.retain(|(_, claimant)| *claimant != host);
        machine.claims.insert((since, host));
        machine.is_stale = false;
        let place = |claimant| machine.claims.iter().position(|(_, it)| *it == claimant);
        let may_say = |by: Option<&By>| match by {
            Some(By::Api(at)) => *at < sent,
            Some(By::Host(other)) => place(*other).is_none_or(|theirs| Some(theirs) <= place(host)),
            Some(By::Nobody) | None => true,
        };
        let mut names: BTreeSet<&'static str> = said.keys().chain(had.keys()).copied().collect();
        if machine.claims.last().is_some_and(|(_, newest)| *newest == host) {
            let orphans = machine.fields.iter().filter(|(_, (_, by))| *by == By::Nobody);
            names.extend(orphans.map(|(name, _)| *name));
        }
        for name in names {
            if !may_say(machine.fields.get(name).map(|(_, by)| by)) {
                continue;
            }
            match said.get(name) {
                Some(value) => drop(machine.fields.insert(name, (value.clone(), By::Host(host)))),
                None => drop(machine.fields.remove(name)),
            }
        }
    }

    /// The machine, if the API has touched it since.
    fn release(&mut self, host: usize, sent: Moment, vm: usize) -> Option<(usize, usize)> {
        let machine = self.machines.get_mut(&vm)?;
        if !machine.give_up(host) {
            return None;
        }
        let born = machine.born;
        self.linger(sent, vm, born)
    }

    fn linger(&mut self, sent: Moment, vm: usize, born: usize) -> Option<(usize, usize)> {
        let machine = self.machines.get(&vm)?;
        if !machine.claims.is_empty() || machine.born != born {
            return None;
        }
        if machine.touched >= sent {
            return Some((vm, born));
        }
        self.machines.remove(&vm);
        None
    }

    fn fail(&mut self, host: usize, now: Moment) {
        let it = self.hosts.entry(host).or_default();
        it.is_up = false;
        let since = *it.failing_since.get_or_insert(now);
        if now.since(since) < STALE_AFTER || it.is_marked {
            return;
        }
        it.is_marked = true;
        let marked: BTreeSet<usize> =
            self.hosts.iter().filter(|(_, it)| it.is_marked).map(|(host, _)| *host).collect();
        for machine in self.machines.values_mut() {
            if !machine.claims.iter().any(|(_, claimant)| *claimant == host) {
                continue;
            }
            if machine.claims.iter().any(|(_, claimant)| !marked.contains(claimant)) {
                machine.give_up(host);
            } else {
                machine.is_stale = true;
            }
        }
    }

    fn end(&mut self, host: usize, now: Moment) {
        let listed = self.hosts.remove(&host).map(|it| it.page).unwrap_or_default();
        for vm in listed.into_keys() {
            self.release(host, now, vm);
        }
    }

    fn update(&mut self, vm: usize, now: Moment, fields: BTreeMap<&'static str, String>) {
        let Some(machine) = self.machines.get_mut(&vm) else { return };
        machine.touched = now;
        for (name, value) in fields {
            machine.fields.insert(name, (value, By::Api(now)));
        }
    }

    fn delete(&mut self, vm: usize, now: Moment) {
        if self.machines.remove(&vm).is_some() {
            self.graves.insert(vm, now);
        }
    }

    /// As `Scripted::show` has it.
    fn show(&self, vm: usize) -> String {
        let Some(machine) = self.machines.get(&vm) else { return "-".to_owned() };
        let value = |name| machine.fields.get(name).map(|(value, _)| value.clone());
        let host = value("host");
        let of_host = host.as_deref().and_then(|host| HOSTS.iter().position(|it| *it == host));
        let host_up = of_host.and_then(|host| self.hosts.get(&host)).map(|it| it.is_up.to_string());
        let words = [
            ("state", value("state")),
            ("power", value("power")),
            ("host", host),
            ("hostUp", host_up),
        ];
        let words =
            words.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        let stale = machine.is_stale.then(|| "stale:ScrapeFailed".to_owned());
        words.chain(stale).collect::<Vec<_>>().join(" ")
    }
}

// === impl Machine ===

impl Machine {
    /// A host no longer claims it; what it said is nobody's now. False, if it did not claim it.
    fn give_up(&mut self, host: usize) -> bool {
        let n_claims = self.claims.len();
        self.claims.retain(|(_, claimant)| *claimant != host);
        let its = self.fields.values_mut().filter(|(_, by)| *by == By::Host(host));
        its.for_each(|(_, by)| *by = By::Nobody);
        self.claims.len() < n_claims
    }
}

// === impl Line ===

impl Line {
    fn fields(&self, host: usize) -> BTreeMap<&'static str, String> {
        let state = self.state.map(|state| ("state", STATES[state].to_owned()));
        let power = self.is_on.map(|is_on| ("power", power(is_on)));
        [state, power, Some(("host", HOSTS[host].to_owned()))].into_iter().flatten().collect()
    }

    fn print(&self, as_set: bool) -> String {
        let vm = VMS[self.vm];
        let mut text = String::new();
        for (at, state) in STATES.iter().enumerate() {
            let holds = self.state == Some(at);
            if self.state.is_some() && (holds || as_set) {
                text += &format!("hci_vm_state{{vmid={vm},state={state}}} {}\n", u8::from(holds));
            }
        }
        if let Some(is_on) = self.is_on {
            text += &format!("hci_vm_power{{vmid={vm}}} {}\n", u8::from(is_on));
        }
        text
    }
}

fn power(is_on: bool) -> String {
    (if is_on { "on" } else { "off" }).to_owned()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let line = (0..VMS.len(), prop::option::of(0..STATES.len()), prop::option::of(any::<bool>()));
    let line = line.prop_map(|(vm, state, is_on)| {
        // A line says something.
        let state = state.or(is_on.is_none().then_some(vm % STATES.len()));
        Line { vm, state, is_on }
    });
    let page = prop::collection::vec(line, 0..3).prop_map(|mut lines| {
        lines.sort_by_key(|line| line.vm);
        lines.dedup_by_key(|line| line.vm);
        lines
    });
    let host = || 0..HOSTS.len();
    let vm = || 0..VMS.len();
    let step = prop_oneof![
        12 => (host(), page, any::<bool>(), 0..3_000_u64).prop_map(
            |(host, lines, as_set, under_way_ms)| Step::Scrape { host, lines, as_set, under_way_ms }
        ),
        4 => host().prop_map(|host| Step::Fail { host }),
        1 => host().prop_map(|host| Step::End { host }),
        1 => host().prop_map(|host| Step::Forget { host }),
        5 => (vm(), prop::option::of(0..STATES.len()), prop::option::of(any::<bool>()))
            .prop_map(|(vm, state, is_on)| Step::Update { vm, state, is_on }),
        2 => (vm(), 0..STATES.len()).prop_map(|(vm, state)| Step::Create { vm, state }),
        2 => vm().prop_map(|vm| Step::Delete { vm }),
        1 => Just(Step::Reload),
        6 => (1..8_000_u64).prop_map(|ms| Step::Wait { ms }),
    ];
    prop::collection::vec(step, 1..60)
}

/// Takes one step with the status center and with the model.
fn step(script: &mut Scripted, model: &mut Model, asked: &mut Vec<(usize, Moment)>, step: &Step) {
    // Nothing happens twice at one moment.
    script.clock.advance(Duration::from_millis(1));
    let now = script.clock.now();
    match step {
        Step::Scrape { host, lines, as_set, under_way_ms } => {
            let last = asked.iter().filter(|(it, _)| it == host).map(|(_, at)| at.0 + 1).max();
            let mut sent = now.before(Duration::from_millis(*under_way_ms));
            sent = sent.max(Moment(last.unwrap_or_default()));
            while asked.iter().any(|(_, at)| *at == sent) {
                sent.0 += 1;
            }
            asked.push((*host, sent));
            let page: String = lines.iter().map(|line| line.print(*as_set)).collect();
            script.scrape_sent(HOSTS[*host], sent, &page);
            model.scrape(*host, sent, lines);
        }
        Step::Fail { host } => {
            asked.push((*host, now));
            script.fail(HOSTS[*host], "timeout");
            model.fail(*host, now);
        }
        Step::End { host } => {
            script.end(HOSTS[*host]);
            model.end(*host, now);
        }
        Step::Forget { host } => script.forget_memo(HOSTS[*host]),
        Step::Update { vm, state, is_on } => {
            let state = state.map(|state| ("state", STATES[state].to_owned()));
            let power = is_on.map(|is_on| ("power", power(is_on)));
            let fields: BTreeMap<_, _> = state.into_iter().chain(power).collect();
            let said: Vec<String> = fields.iter().map(|(n, v)| format!("{n}={v}")).collect();
            let done = script.update("VirtualMachine", VMS[*vm], &said.join(" "));
            assert_eq!(done.is_ok(), model.machines.contains_key(vm));
            model.update(*vm, now, fields);
        }
        Step::Create { vm, state } => {
            let said = format!("state={}", STATES[*state]);
            let done = script.create("VirtualMachine", VMS[*vm], &said);
            assert_eq!(done.is_ok(), !model.machines.contains_key(vm));
            model.n_born += 1;
            let born = model.n_born;
            model.machines.entry(*vm).or_insert_with(|| {
                let said = (STATES[*state].to_owned(), By::Api(now));
                let fields = BTreeMap::from([("state", said)]);
                Machine { fields, touched: now, born, ..Machine::default() }
            });
        }
        Step::Delete { vm } => {
            let done = script.delete("VirtualMachine", VMS[*vm]);
            assert_eq!(done.is_ok(), model.machines.contains_key(vm));
            model.delete(*vm, now);
        }
        Step::Reload => {
            let with = KINDS.replace("index: [state, host]", "index: [power]");
            script.reload(&with);
        }
        Step::Wait { ms } => script.wait(*ms as f64 / 1000.0),
    }
}

/// As many cases as `PROPTEST_CASES` says; 1500, if it says nothing.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let is_set = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if is_set { default.cases } else { 1500 };
    ProptestConfig { cases, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_order_of_steps_ends_as_the_model_says(steps in steps()) {
        let mut script = Scripted::new();
        let mut model = Model::default();
        let mut asked = Vec::new();
        script.clock.advance(Duration::from_secs(10));
        for (at, it) in steps.iter().enumerate() {
            step(&mut script, &mut model, &mut asked, it);
            for (vm, name) in VMS.iter().enumerate() {
                prop_assert_eq!(
                    script.show("VirtualMachine", name),
                    model.show(vm),
                    "vm {} after step {}: {:?}", name, at, it
                );
            }
            script.check_whole();
        }
    }
}

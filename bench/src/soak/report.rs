//! What is noted while it runs, and what is said of it at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::daemon::{Account, Daemon, Look};
use super::receiver::{Mood, Receiver};
use crate::table;

/// Memory is looked at in so many parts of the time.
const PARTS: usize = 12;
/// The last life may end with so much more memory than it had when it had settled.
const GROWTH_MAX: f64 = 1.15;
/// The same for open files: connections come and go.
const FILES_MORE_MAX: usize = 24;
/// A life has settled after this.
const SETTLED: Duration = Duration::from_secs(120);

/// Notes.
#[derive(Debug)]
pub(super) struct Report {
    has_small_disk: bool,
    looks: Vec<Seen>,
    faults: BTreeMap<String, u64>,
    pub(super) reloads: u64,
    kills: u64,
    stops: u64,
    windows: BTreeMap<&'static str, Vec<Window>>,
    unbalanced: Vec<String>,
    /// Of the lives before this one.
    before: BTreeMap<String, Account>,
    now: BTreeMap<String, Account>,
    began: Instant,
    life_began: Instant,
    drains_since: Option<Duration>,
    full_disk_looks: u64,
    pub(super) drained_s: f64,
    /// What was scraped later may still have been under way.
    pub(super) end_ms: i64,
}

/// Samples of this time may be missing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) since_ms: i64,
    pub(super) until_ms: i64,
}

/// One look.
#[derive(Debug, Clone, Copy)]
struct Seen {
    life: u32,
    life_age: Duration,
    rss_bytes: u64,
    files: usize,
    threads: usize,
    cpu_s: f64,
}

// === impl Report ===

impl Report {
    pub(super) fn new(has_small_disk: bool) -> Report {
        Report {
            has_small_disk,
            looks: Vec::new(),
            faults: BTreeMap::new(),
            reloads: 0,
            kills: 0,
            stops: 0,
            windows: BTreeMap::new(),
            unbalanced: Vec::new(),
            before: BTreeMap::new(),
            now: BTreeMap::new(),
            began: Instant::now(),
            life_began: Instant::now(),
            drains_since: None,
            full_disk_looks: 0,
            drained_s: 0.0,
            end_ms: i64::MAX,
        }
    }

    pub(super) fn fault(&mut self, mood: Mood) {
        *self.faults.entry(format!("{mood:?}")).or_insert(0) += 1;
    }

    pub(super) fn ended(&mut self, killed: bool) {
        *if killed { &mut self.kills } else { &mut self.stops } += 1;
        for (name, account) in std::mem::take(&mut self.now) {
            let before = self.before.entry(name).or_default();
            before.refused += account.refused;
            before.dropped += account.dropped;
            before.overflowed += account.overflowed;
            before.delivered += account.delivered;
        }
    }

    pub(super) fn life_began(&mut self, at: Instant) {
        self.life_began = at;
    }

    pub(super) fn may_miss(&mut self, name: &'static str, window: Window) {
        self.windows.entry(name).or_default().push(window);
    }

    pub(super) fn draining(&mut self) {
        self.drains_since = Some(self.began.elapsed());
    }

    pub(super) fn looked(&mut self, after: Duration, look: &Look, life: u32) {
        for (name, account) in look.accounts.iter().filter(|(_, one)| !one.is_balanced()) {
            self.unbalanced.push(format!("{after:?} {name}: {account:?}"));
        }
        self.full_disk_looks += u64::from(look.accounts.values().any(|one| one.disk_failing));
        self.now.clone_from(&look.accounts);
        let Look { rss_bytes, files, threads, cpu_s, .. } = *look;
        let life_age = self.life_began.elapsed();
        self.looks.push(Seen { life, life_age, rss_bytes, files, threads, cpu_s });
        if self.looks.len().is_multiple_of(60) {
            let queued = look.accounts.iter().map(|(name, one)| format!("{name} {}", one.queued));
            println!(
                "{:>5.0} s: life {life}, {:.0} MB, {files} files, {threads} threads, queued: {}",
                after.as_secs_f64(),
                rss_bytes as f64 / 1e6,
                queued.collect::<Vec<_>>().join(", "),
            );
        }
    }

    /// Prints everything.
    ///
    /// # Errors
    /// When something did not hold.
    pub(super) fn print(
        &mut self,
        receivers: &[Arc<Receiver>],
        daemon: &Daemon,
    ) -> anyhow::Result<()> {
        let mut wrong = std::mem::take(&mut self.unbalanced);
        wrong.truncate(10);
        println!(
            "\n{:.0} minutes; {} kills, {} stops, {} reloads, faults {:?}; the small disk {}",
            self.began.elapsed().as_secs_f64() / 60.0,
            self.kills,
            self.stops,
            self.reloads,
            self.faults,
            match self.has_small_disk {
                true =>
                    format!("was full in {} of {} looks", self.full_disk_looks, self.looks.len()),
                false => "was not there: mount needs root".to_owned(),
            }
        );
        println!("queues were empty {:.0} s after the last fault\n", self.drained_s);
        self.print_arrivals(receivers, daemon, &mut wrong);
        self.print_memory(&mut wrong);
        println!("\nerrors logged, by message: {:#?}", daemon.errors());
        anyhow::ensure!(wrong.is_empty(), "it did not hold:\n{}", wrong.join("\n"));
        println!("\nall of it held");
        Ok(())
    }

    fn print_arrivals(
        &self,
        receivers: &[Arc<Receiver>],
        daemon: &Daemon,
        wrong: &mut Vec<String>,
    ) {
        let books: Vec<_> = receivers.iter().map(|receiver| receiver.book()).collect();
        let shown: Vec<_> = books.iter().map(|book| &**book).collect();
        let mut rows = Vec::new();
        for (receiver, book) in receivers.iter().zip(&books) {
            let name = receiver.name;
            let windows = self.windows.get(name).map_or(&[][..], |windows| windows);
            let explained = |ms: i64| {
                ms >= self.end_ms
                    || windows.iter().any(|one| (one.since_ms..=one.until_ms).contains(&ms))
            };
            let missing = book.missing(&shown, explained);
            let [refused, requests, unreadable] = receiver.counts();
            let of = |accounts: &BTreeMap<String, Account>| accounts.get(name).copied();
            let (now, before) = (of(&self.now).unwrap_or_default(), of(&self.before));
            let before = before.unwrap_or_default();
            let dropped = now.dropped + before.dropped;
            let counted = now.refused + before.refused;
            let overflowed = now.overflowed + before.overflowed;
            let at_stops = daemon.left_at_stops(name);
            // One that was dropped may have arrived before: its answer had not.
            if missing.lost > overflowed + at_stops {
                let times = missing.lost_at_ms.iter().take(10).collect::<Vec<_>>();
                wrong.push(format!("{name} lost {} samples, of {times:?}", missing.lost));
            }
            if unreadable > 0 {
                wrong.push(format!("{name} could not read {unreadable} requests"));
            }
            if dropped != counted + overflowed {
                let why = "dropped samples that no receiver had refused and the queue had room for";
                wrong.push(format!("{name} {why}: {dropped}, {counted} and {overflowed}"));
            }
            rows.push(vec![
                name.to_owned(),
                missing.all.to_string(),
                book.first.to_string(),
                book.again.to_string(),
                missing.at_kills.to_string(),
                missing.lost.to_string(),
                format!("{overflowed} / {at_stops}"),
                format!("{counted} / {refused}"),
                requests.to_string(),
            ]);
        }
        let header = [
            "destination",
            "samples that any receiver got",
            "got",
            "got again",
            "missing around kills and the end",
            "missing else",
            "counted: queue full / at a stop",
            "refused: counted / answered",
            "requests",
        ];
        table::print(&header, &rows);
    }

    /// The last life, in parts.
    fn print_memory(&self, wrong: &mut Vec<String>) {
        let Some(last) = self.looks.last() else { return };
        let life: Vec<Seen> =
            self.looks.iter().filter(|seen| seen.life == last.life).copied().collect();
        println!("\nthe last life, {:.0} minutes:", last.life_age.as_secs_f64() / 60.0);
        let mut rows = Vec::new();
        for part in life.chunks(life.len().div_ceil(PARTS).max(1)) {
            let (first, end) = (part[0], part[part.len() - 1]);
            let cpu_s = end.cpu_s - first.cpu_s;
            let took_s = (end.life_age - first.life_age).as_secs_f64().max(1.0);
            rows.push(vec![
                format!("{:.0}", first.life_age.as_secs_f64() / 60.0),
                format!("{:.0}", median(part, |seen| seen.rss_bytes) as f64 / 1e6),
                format!("{:.0}", max(part, |seen| seen.rss_bytes) as f64 / 1e6),
                median(part, |seen| seen.files as u64).to_string(),
                max(part, |seen| seen.files as u64).to_string(),
                max(part, |seen| seen.threads as u64).to_string(),
                format!("{:.3}", cpu_s / took_s),
            ]);
        }
        let header = ["minute", "MB", "MB at most", "files", "files at most", "threads", "cores"];
        table::print(&header, &rows);
        let settled: Vec<Seen> = life.into_iter().filter(|one| one.life_age > SETTLED).collect();
        let third = settled.len() / 3;
        if third < 60 {
            println!("too short to say whether memory is flat");
            return;
        }
        let (early, late) = (&settled[..third], &settled[settled.len() - third..]);
        let memory = |part: &[Seen]| median(part, |seen| seen.rss_bytes) as f64;
        if memory(late) > memory(early) * GROWTH_MAX {
            let (early, late) = (memory(early) / 1e6, memory(late) / 1e6);
            wrong.push(format!("memory grew from {early:.0} to {late:.0} MB"));
        }
        let files = |part: &[Seen]| max(part, |seen| seen.files as u64) as usize;
        if files(late) > files(early) + FILES_MORE_MAX {
            wrong.push(format!("open files grew from {} to {}", files(early), files(late)));
        }
    }
}

fn median(part: &[Seen], of: impl Fn(&Seen) -> u64) -> u64 {
    let mut values: Vec<u64> = part.iter().map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

fn max(part: &[Seen], of: impl Fn(&Seen) -> u64) -> u64 {
    part.iter().map(of).max().unwrap_or(0)
}

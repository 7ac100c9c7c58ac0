//! One target as senders of remote write tell of it: from samples that arrive in any pieces to
//! the batches that a scrape would have given.
//!
//! - A *round* is what has the same timestamp: one scrape of the sender. Its pieces come in
//!   several requests, those of different series in any order.
//! - A round is *good* if `up` is 1, or any series of the page has a value in it; it is *bad* if
//!   `up` is 0. Series that end in a good round are no longer on the page. Those that end in a bad
//!   one are in doubt, and end if the next good round does not have them; since nothing says that
//!   a round is whole, that is decided when the round after it begins.
//! - What is said was observed at the time of the oldest live sample: as long as a round is not
//!   whole, nothing of the round before it passes for newer than it is.
//! - `up` itself ends: the target is gone.
//! - Nothing comes any more: after a while, that is as if every scrape failed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use model::{
    Batch, BatchSink, Family, Labels, Memo, Moment, NORMAL_NAN, Outcome, Role, Samples, Selection,
    Source, Symbols, is_stale_marker,
};

use super::page::{Fate, Page, SeriesKey};
use super::wire::Sample;
use crate::processor::Processor;

/// A series that has said nothing for so long, while its target answered, is no longer there:
/// how long Prometheus looks back.
pub(super) const LOOK_BACK: Duration = Duration::from_secs(300);

/// A sample may be so far ahead of our clock (Prometheus: the same for its own storage).
pub(super) const AHEAD_MAX: Duration = Duration::from_secs(600);

/// Nothing has come for so long: the target counts as gone. While a sender lives, it says at
/// least `up` of every target.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// How long an ended target is kept in mind, so that late pieces of what it said do not bring it
/// back.
const MOURNED_FOR: Duration = Duration::from_secs(600);

/// Silence of so many intervals is a failure.
const SILENT_INTERVALS: u32 = 3;

/// What counts as silence while the interval is not known, and bounds for when it is: senders
/// collect for 5 s, and wait as long before they try again.
const SILENCE: Duration = Duration::from_secs(60);
const SILENCE_MIN: Duration = Duration::from_secs(10);
const SILENCE_MAX: Duration = Duration::from_secs(1800);

/// Rounds whose outcome is remembered: pieces of earlier ones come too late.
const ROUNDS_MAX: usize = 16;

/// One series of a message, with what is known of its metric.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'m, 'b> {
    pub(super) key: SeriesKey,
    pub(super) labels: &'m [(&'b str, &'b str)],
    pub(super) samples: &'m [Sample],
    pub(super) role: Role,
    pub(super) is_up: bool,
    /// Some kind reads it.
    pub(super) is_read: bool,
}

/// What a reporter needs from the receiver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Desk<'r> {
    pub(super) now: Moment,
    pub(super) unix_ms: i64,
    pub(super) symbols: &'r Arc<Symbols>,
    pub(super) family: &'r Arc<Family>,
    pub(super) sink: &'r Processor,
    /// Series that may be added, over all reporters.
    pub(super) series_free: usize,
}

/// What became of the samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Older than what is known, or than anything that matters.
    pub(super) old: u64,
    /// Too far ahead of our clock.
    pub(super) ahead: u64,
    /// Of series for which there was no room.
    pub(super) no_room: u64,
    /// Series that were added, less those that were given up.
    pub(super) series: i64,
}

/// One target.
#[derive(Debug)]
pub(super) struct Reporter {
    source: Arc<Source>,
    memo: Memo,
    page: Page,
    report: Page,
    /// `(time, whether it was good)`, the latest known last.
    rounds: VecDeque<(i64, bool)>,
    /// Time between the last two rounds.
    interval: Option<Duration>,
    doubt: Option<Doubt>,
    swept_ms: i64,
    heard: Moment,
    ended_ms: Option<i64>,
    is_silent: bool,
}

/// A round was bad, and what it leaves in doubt is not decided.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    since_ms: i64,
    first_good_ms: Option<i64>,
}

/// A sample of a round.
#[derive(Debug, Clone, Copy)]
struct Said {
    at_ms: i64,
    item: usize,
    value: f64,
}

// === impl Reporter ===

impl Reporter {
    /// A target of which nothing is known but its labels.
    pub(super) fn new(labels: Labels, now: Moment) -> Reporter {
        let (memo, rounds, interval, doubt, ended_ms, is_silent) = Default::default();
        Reporter {
            source: Source::new(labels),
            memo,
            page: Page::new(Role::Page),
            report: Page::new(Role::Report),
            rounds,
            interval,
            doubt,
            swept_ms: i64::MIN,
            heard: now,
            ended_ms,
            is_silent,
        }
    }

    /// Takes what a message says of this target.
    pub(super) fn take(&mut self, items: &[Item<'_, '_>], desk: &Desk<'_>) -> Tally {
        let mut tally = Tally::default();
        self.heard = desk.now;
        self.is_silent = false;
        let before = self.len();
        let said = self.choose(items, desk, &mut tally);
        self.make_room(items, &said, desk, &mut tally);
        for round in said.chunk_by(|a, b| a.at_ms == b.at_ms) {
            self.round(round, items, desk, &mut tally);
        }
        tally.series = self.len() as i64 - before as i64;
        tally
    }

    /// Looks at the time. False: forget the target.
    pub(super) fn tick(&mut self, desk: &Desk<'_>) -> bool {
        let silence = desk.now.since(self.heard);
        if self.ended_ms.is_some() {
            return silence < MOURNED_FOR;
        }
        if silence >= FORGOTTEN_AFTER {
            self.send(desk, self.heard, desk.unix_ms, Outcome::Ended, Vec::new());
            return false;
        }
        let patience = self
            .interval
            .map_or(SILENCE, |it| (it * SILENT_INTERVALS).clamp(SILENCE_MIN, SILENCE_MAX));
        if silence >= patience {
            if !std::mem::replace(&mut self.is_silent, true) {
                self.begin_doubt(desk.unix_ms);
            }
            // Again and again: kinds have different patience.
            let why = "no samples come from the sender any more";
            self.send(desk, self.heard, desk.unix_ms, Outcome::Failed(why.into()), Vec::new());
        }
        true
    }

    /// Number of series that are held.
    pub(super) fn len(&self) -> usize {
        self.page.len() + self.report.len()
    }

    /// The samples that count, by time.
    fn choose(&self, items: &[Item<'_, '_>], desk: &Desk<'_>, tally: &mut Tally) -> Vec<Said> {
        let oldest = self.ended_ms.unwrap_or(i64::MIN).max(desk.unix_ms - ms(LOOK_BACK));
        let newest = desk.unix_ms + ms(AHEAD_MAX);
        let mut said = Vec::new();
        for (item, it) in items.iter().enumerate() {
            for sample in it.samples {
                match sample.timestamp_ms {
                    at_ms if at_ms <= oldest => tally.old += 1,
                    at_ms if at_ms > newest => tally.ahead += 1,
                    at_ms => said.push(Said { at_ms, item, value: plain(sample.value) }),
                }
            }
        }
        said.sort_by_key(|said| said.at_ms);
        said
    }

    /// Adds the series that are new and say something.
    fn make_room(
        &mut self,
        items: &[Item<'_, '_>],
        said: &[Said],
        desk: &Desk<'_>,
        tally: &mut Tally,
    ) {
        let mut free = desk.series_free;
        for role in [Role::Page, Role::Report] {
            let side = match role {
                Role::Page => &mut self.page,
                Role::Report => &mut self.report,
            };
            let mut new: Vec<usize> = Vec::new();
            for it in said.iter().filter(|it| !is_stale_marker(it.value)) {
                let item = &items[it.item];
                if item.role == role && item.is_read && !side.knows(item.key) {
                    new.push(it.item);
                }
            }
            new.sort_unstable();
            new.dedup();
            if new.len() > free {
                tally.no_room += (new.len() - free) as u64;
                new.truncate(free);
            }
            free -= new.len();
            if !new.is_empty() {
                let new = new.iter().map(|at| (items[*at].key, items[*at].labels.iter().copied()));
                side.add(new, desk.symbols, desk.family);
            }
        }
    }

    /// Takes the samples of one time.
    fn round(
        &mut self,
        round: &[Said],
        items: &[Item<'_, '_>],
        desk: &Desk<'_>,
        tally: &mut Tally,
    ) {
        let at_ms = round[0].at_ms;
        let (mut up, mut has_page, mut is_end) = (None, false, false);
        for said in round {
            let item = &items[said.item];
            let side = match item.role {
                Role::Page => &mut self.page,
                Role::Report => &mut self.report,
            };
            if is_stale_marker(said.value) {
                is_end |= item.is_up;
                side.end(item.key, at_ms);
                continue;
            }
            if item.is_up {
                up = Some(said.value != 0.0);
            }
            has_page |= item.role == Role::Page;
            if item.is_read && !side.say(item.key, at_ms, said.value) {
                tally.old += 1;
            }
        }
        if is_end {
            self.end(at_ms, desk);
            return;
        }
        if let Some(is_good) = up.or(has_page.then_some(true)) {
            self.note(at_ms, is_good);
        }
        self.settle();
        match self.outcome_at(at_ms) {
            Some(true) => self.complete(at_ms, desk),
            Some(false) => self.failed(at_ms, desk),
            None => {}
        }
    }

    /// Remembers how a round went; once bad, it stays bad.
    fn note(&mut self, at_ms: i64, is_good: bool) {
        match self.rounds.iter_mut().find(|(known, _)| *known == at_ms) {
            Some((_, known)) if is_good || !*known => return,
            Some((_, known)) => *known = false,
            None => {
                let newest = self.rounds.back().map(|(newest, _)| *newest);
                if let Some(since) = newest.map(|it| at_ms - it).filter(|since| *since > 0) {
                    self.interval = Some(Duration::from_millis(since as u64));
                }
                let at = self.rounds.partition_point(|(known, _)| *known < at_ms);
                self.rounds.insert(at, (at_ms, is_good));
                if self.rounds.len() > ROUNDS_MAX {
                    self.rounds.pop_front();
                }
            }
        }
        if is_good { self.pass_good(at_ms) } else { self.begin_doubt(at_ms) }
    }

    fn begin_doubt(&mut self, at_ms: i64) {
        self.page.doubt(at_ms);
        let since_ms = self.doubt.map_or(at_ms, |doubt| doubt.since_ms.max(at_ms));
        self.doubt = Some(Doubt { since_ms, first_good_ms: None });
    }

    fn pass_good(&mut self, at_ms: i64) {
        if let Some(doubt) = &mut self.doubt
            && at_ms > doubt.since_ms
        {
            match doubt.first_good_ms {
                None => doubt.first_good_ms = Some(at_ms),
                Some(first) if at_ms > first => {
                    self.page.end_doubtful(first);
                    self.doubt = None;
                }
                Some(_) => {}
            }
        }
        if self.swept_ms < at_ms - ms(LOOK_BACK) / 5 {
            self.swept_ms = at_ms;
            // Of a target that is asked more rarely, the last round is not too old.
            let look_back = self.interval.map_or(LOOK_BACK, |it| LOOK_BACK.max(it * 2));
            self.page.end_silent(at_ms - ms(look_back));
            self.report.end_silent(at_ms - ms(look_back));
        }
    }

    /// Decides about the series that may have ended.
    fn settle(&mut self) {
        let rounds = &self.rounds;
        let newest = rounds.back().map_or(i64::MIN, |(newest, _)| *newest);
        let mut open_since = None;
        self.page.settle(|at_ms| match outcome_at(rounds, at_ms) {
            Some(true) => Fate::Ended,
            Some(false) => Fate::InDoubt,
            // Nobody said how that round went, and another one has come.
            None if newest > at_ms => {
                open_since = open_since.max(Some(at_ms));
                Fate::InDoubt
            }
            None => Fate::Open,
        });
        self.report.settle(|_| Fate::Ended);
        if let (Some(since_ms), None) = (open_since, self.doubt) {
            self.doubt = Some(Doubt { since_ms, first_good_ms: Some(newest) });
        }
    }

    fn outcome_at(&self, at_ms: i64) -> Option<bool> {
        outcome_at(&self.rounds, at_ms)
    }

    fn complete(&mut self, at_ms: i64, desk: &Desk<'_>) {
        let observed = [self.page.observed_ms(), self.report.observed_ms()];
        let observed_ms = observed.into_iter().flatten().min().unwrap_or(at_ms);
        let sides = [&mut self.page, &mut self.report];
        let samples = sides.into_iter().filter_map(|it| it.samples(desk.symbols, desk.family));
        let samples = samples.collect();
        self.send(desk, desk.moment(observed_ms), at_ms, Outcome::Complete, samples);
    }

    fn failed(&mut self, at_ms: i64, desk: &Desk<'_>) {
        let report = self.report.samples(desk.symbols, desk.family);
        // What is not there cannot fail: without a report, the processor would doubt that too.
        let none = || Samples::plain(Role::Report, desk.no_series(), Vec::new());
        let samples = vec![report.unwrap_or_else(none)];
        let outcome = Outcome::Failed("the sender could not scrape the target: up is 0".into());
        self.send(desk, desk.moment(at_ms), at_ms, outcome, samples);
    }

    /// The target is no longer there.
    fn end(&mut self, at_ms: i64, desk: &Desk<'_>) {
        self.send(desk, desk.moment(at_ms), at_ms, Outcome::Ended, Vec::new());
        self.page = Page::new(Role::Page);
        self.report = Page::new(Role::Report);
        self.rounds.clear();
        self.doubt = None;
        self.ended_ms = Some(at_ms);
    }

    fn send(
        &mut self,
        desk: &Desk<'_>,
        sent: Moment,
        timestamp_ms: i64,
        outcome: Outcome,
        samples: Vec<Samples>,
    ) {
        if outcome != Outcome::Ended {
            self.ended_ms = None;
        }
        let selected = vec![Selection::All; samples.len()];
        let source = Arc::clone(&self.source);
        let batch = Batch { source, sent, timestamp_ms, outcome, samples };
        desk.sink.accept(&batch, &selected, &mut self.memo);
    }
}

fn outcome_at(rounds: &VecDeque<(i64, bool)>, at_ms: i64) -> Option<bool> {
    rounds.iter().find(|(known, _)| *known == at_ms).map(|(_, is_good)| *is_good)
}

// === impl Desk ===

impl Desk<'_> {
    /// A time of the wall clock as a moment of ours; nothing was observed later than now.
    fn moment(&self, at_ms: i64) -> Moment {
        let ago_ms = u64::try_from(self.unix_ms.saturating_sub(at_ms)).unwrap_or(0);
        self.now.before(Duration::from_millis(ago_ms))
    }

    fn no_series(&self) -> Arc<model::Layout> {
        model::LayoutBuilder::new(self.symbols).build()
    }
}

/// A value as it may stand in a batch: a sender cannot forge the NaN that means "no sample".
fn plain(value: f64) -> f64 {
    if value.is_nan() && !is_stale_marker(value) { NORMAL_NAN } else { value }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

//! Batches to changes: who may change what, and in which order of time.
//!
//! Every value carries when it was observed, by our clock: for a scrape when its request was sent,
//! for the API when the update has the store's lock. The newer observation wins, field by field.
//!
//! - What a source says is compared with what it said last; only differences take the lock. A
//!   write by anyone else *disturbs* the sources that list the object: with their next batch they
//!   say everything about it anew.
//! - A source *claims* the objects that it lists. Of several claims the newest wins, for as long as
//!   its source lists the object. An object whose last claim goes is absent, and the kind says
//!   what becomes of it. A failed scrape takes no claim away.
//! - All changes of one object in one batch are one event.
//!
//! Invariant: the sum of what the sources said last, newest claim first, overlaid by what the API
//! said later, is what the store holds.

mod block;
mod report;
mod roster;
mod rules;
mod sources;
#[cfg(test)]
mod tests;
mod time;

use std::sync::Arc;

use model::{Batch, BatchSink, Memo, Moment, Outcome, Role, Samples, Selection};

use self::block::{Block, Word};
use self::report::{Report, Speaker};
use self::roster::Roster;
pub(crate) use self::rules::Rules;
use self::sources::{Estate, Flags};
pub(crate) use self::sources::{Sources, Tombstones};
use self::time::Lingering;
pub(crate) use self::time::Timers;
use crate::store::{Center, KindNo, SourceNo};

/// Objects that are changed before the lock is given to others: about half a millisecond.
const SLICE_OBJECTS_MAX: usize = 128;

/// The sink of the status center.
#[derive(Debug)]
pub(crate) struct Processor {
    center: Arc<Center>,
}

/// What is remembered of one source between two batches.
#[derive(Debug)]
struct Plan {
    center: Arc<Center>,
    source: SourceNo,
    flags: Arc<Flags>,
    rules: Arc<Rules>,
    /// By [`place`] of a role.
    roles: [Side; 2],
    failing: Option<Failing>,
    /// To be asked about again with the next good answer.
    lingering: Vec<Lingering>,
    has_ended: bool,
}

/// What the samples of one role mean, and what they said last.
#[derive(Debug, Default)]
struct Side {
    block: Block,
    roster: Roster,
    /// Objects about which everything must be said anew.
    unsettled: Vec<u32>,
    words: Vec<Word>,
    listing_may_differ: bool,
}

/// The source has not answered since.
#[derive(Debug)]
struct Failing {
    since: Moment,
    /// Kinds with a `stale_after` up to this have been marked.
    marked: Option<std::time::Duration>,
}

// === impl Processor ===

impl Processor {
    /// Changes the objects of this status center.
    pub(crate) fn new(center: Arc<Center>) -> Processor {
        Processor { center }
    }
}

impl BatchSink for Processor {
    fn accept(&self, batch: &Batch, selected: &[Selection], memo: &mut Memo) {
        let plan = memo.get_or_insert_with(|| Plan::enter(&self.center, batch));
        if !Arc::ptr_eq(&plan.center, &self.center) {
            *plan = Plan::enter(&self.center, batch);
        }
        // A reload in the middle makes the plan worthless; it is made anew, and that is rare.
        while plan.take(batch, selected).is_err() {}
        if plan.has_ended {
            memo.clear();
        }
    }
}

/// The configuration has changed: start over.
struct Outdated;

// === impl Plan ===

impl Plan {
    fn enter(center: &Arc<Center>, batch: &Batch) -> Plan {
        let rules = Arc::clone(&center.shelf().rules);
        let (source, flags) = center.change(|state, _| state.sources.enter(&batch.source));
        let mut roles: [Side; 2] = Default::default();
        let Estate { rosters, lingering, failing } = flags.adopt();
        for (side, roster) in roles.iter_mut().zip(rosters) {
            side.roster = roster;
        }
        let center = Arc::clone(center);
        let has_ended = false;
        Plan { center, source, flags, rules, roles, failing, lingering, has_ended }
    }

    /// Takes one batch. After [`Outdated`], take it again: what was done is done, and will not be
    /// done twice.
    fn take(&mut self, batch: &Batch, selected: &[Selection]) -> Result<(), Outdated> {
        let shelf = self.center.shelf();
        if !Arc::ptr_eq(&shelf.rules, &self.rules) {
            self.start_over(&shelf.rules);
        }
        if batch.outcome == Outcome::Ended {
            self.end(batch.sent);
            return Ok(());
        }
        self.read(batch, selected);
        let complete = batch.outcome == Outcome::Complete;
        if complete {
            self.flags.confirm(batch.sent);
        }
        let disturbed = self.flags.take_disturbed();
        let quiet = self.roles.iter().all(Side::is_quiet);
        self.center.metrics.batches.inc();
        if quiet && !disturbed && complete && self.failing.is_none() && self.lingering.is_empty() {
            self.center.metrics.quiet_batches.inc();
            return Ok(());
        }
        if disturbed {
            self.find_disturbed()?;
        }
        // The report first: what it says of a host is mirrored by what is on the page.
        for role in [Role::Report, Role::Page] {
            // What an earlier page said was not observed with this request.
            if batch.samples.iter().any(|it| it.role == role) && (complete || role == Role::Report)
            {
                self.tell(role, batch.sent)?;
            }
        }
        match &batch.outcome {
            Outcome::Complete => self.has_answered(batch.sent),
            Outcome::Failed(reason) => {
                // Not even a report: who was to say something about the scrape is silent too.
                let is_silent = batch.samples.iter().all(|it| it.role != Role::Report);
                self.has_failed(batch.sent, reason, is_silent);
            }
            Outcome::Ended => {}
        }
        Ok(())
    }

    /// Compares what the samples say with what they said last.
    fn read(&mut self, batch: &Batch, selected: &[Selection]) {
        let failed = matches!(batch.outcome, Outcome::Failed(_));
        let nothing = Selection::None;
        for (at, samples) in batch.samples.iter().enumerate() {
            if failed && samples.role == Role::Page {
                continue;
            }
            let selection = selected.get(at).unwrap_or(&nothing);
            let side = &mut self.roles[place(samples.role)];
            side.read(samples, selection, &self.rules, batch.sent);
            self.center.metrics.unnamed_series.inc_by(side.block.take_unnamed());
        }
        // Only now: what ends in one block may begin again in the next.
        self.roles.iter_mut().for_each(|side| side.list(batch.sent));
    }

    /// Finds the objects that somebody else wrote to.
    fn find_disturbed(&mut self) -> Result<(), Outdated> {
        let Plan { center, rules, roles, .. } = self;
        center.look(|state| {
            if state.generation() != rules.generation() {
                return Err(Outdated);
            }
            for side in roles {
                let disturbed = side.roster.listed().filter(|(_, it)| !it.is_in_sync(state));
                side.unsettled.extend(disturbed.map(|(at, _)| at));
            }
            Ok(())
        })
    }

    /// Says what there is to say about the objects of one side, some at a time.
    fn tell(&mut self, role: Role, sent: Moment) -> Result<(), Outdated> {
        let Plan { center, source, rules, roles, lingering, .. } = self;
        let [page, report] = roles;
        let (side, other) = match role {
            Role::Page => (page, report),
            Role::Report => (report, page),
        };
        let reports = side.reports(rules, &other.roster);
        let mut later = Vec::new();
        for slice in reports.chunks(SLICE_OBJECTS_MAX) {
            center.change(|state, now| {
                if state.generation() != rules.generation() {
                    return Err(Outdated);
                }
                for report in slice {
                    let Some(reported) = side.roster.get_mut(report.object) else { continue };
                    let speaker = Speaker {
                        source: *source,
                        sent,
                        rules,
                        block: &side.block,
                        other: &other.roster,
                    };
                    let settled = state.report(now, &speaker, reported, report);
                    if !settled {
                        later.push(report.object);
                    }
                }
                Ok(())
            })?;
        }
        side.unsettled = later;
        let unlisted = side.roster.take_unlisted();
        for slice in unlisted.chunks(SLICE_OBJECTS_MAX) {
            center.change(|state, now| {
                for (no, key) in slice {
                    if other.roster.lists(*no, key) {
                        continue;
                    }
                    lingering.extend(state.release(now, *source, sent, *no, key));
                }
            });
        }
        Ok(())
    }

    /// A good answer: nothing of it is stale.
    fn has_answered(&mut self, sent: Moment) {
        let marked = self.failing.take().and_then(|failing| failing.marked);
        if let Some(marked) = marked {
            let listed = self.roles.iter().flat_map(|side| side.roster.listed());
            let stale: Vec<_> = listed.map(|(_, it)| (it.kind, it.key.clone())).collect();
            for slice in stale.chunks(SLICE_OBJECTS_MAX) {
                self.center.change(|state, now| {
                    state.sources.set_failed_for(self.source, None);
                    slice.iter().for_each(|(no, key)| state.mark_fresh(now, *no, key, marked));
                });
            }
        }
        if !self.lingering.is_empty() {
            let lingering = std::mem::take(&mut self.lingering);
            self.center.change(|state, now| {
                let rest = lingering.into_iter().filter_map(|it| state.linger(now, sent, it));
                self.lingering.extend(rest);
            });
        }
    }

    /// No answer: after their grace, the objects that only this source lists are stale; those of
    /// its report too, if there is no report either.
    fn has_failed(&mut self, sent: Moment, reason: &str, is_silent: bool) {
        let failing = self.failing.get_or_insert(Failing { since: sent, marked: None });
        let failed_for = self.center.clock.now().since(failing.since);
        let marked = failing.marked;
        let due = |no: KindNo| {
            let after = self.rules.kind(no).and_then(|kind| kind.stale_after);
            after.is_some_and(|after| after <= failed_for && marked.is_none_or(|m| after > m))
        };
        if !self.rules.kind_nos().any(due) {
            return;
        }
        failing.marked = Some(failed_for);
        let sides = if is_silent { &self.roles[..] } else { &self.roles[..=place(Role::Page)] };
        let stale: Vec<_> = sides
            .iter()
            .flat_map(|side| side.roster.listed())
            .filter(|(_, it)| due(it.kind))
            .map(|(_, it)| (it.kind, it.key.clone()))
            .collect();
        self.center.change(|state, _| state.sources.set_failed_for(self.source, Some(failed_for)));
        for slice in stale.chunks(SLICE_OBJECTS_MAX) {
            self.center.change(|state, now| {
                for (no, key) in slice {
                    state.mark_stale(now, self.source, *no, key, reason);
                }
            });
        }
    }

    /// The source is no longer scraped: it lists nothing any more.
    fn end(&mut self, sent: Moment) {
        let rosters = self.roles.each_mut().map(|side| std::mem::take(&mut side.roster));
        self.center.change(|state, now| {
            for roster in &rosters {
                for (_, it) in roster.listed() {
                    // What the API said meanwhile stays until its own time is over.
                    state.release(now, self.source, sent, it.kind, &it.key);
                }
            }
            state.sources.leave(self.source);
        });
        self.has_ended = true;
    }

    /// The kinds have changed: every series is looked at anew. What is listed stays listed, so
    /// that what the new kinds no longer list is found.
    fn start_over(&mut self, rules: &Arc<Rules>) {
        self.rules = Arc::clone(rules);
        for side in &mut self.roles {
            side.start_over(rules);
        }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        if !self.has_ended {
            let rosters = self.roles.each_mut().map(|side| std::mem::take(&mut side.roster));
            let lingering = std::mem::take(&mut self.lingering);
            let failing = self.failing.take();
            self.flags.leave_behind(Estate { rosters, lingering, failing });
        }
    }
}

// === impl Side ===

impl Side {
    fn is_quiet(&self) -> bool {
        self.words.is_empty() && self.unsettled.is_empty() && !self.roster.has_unlisted()
    }

    fn read(&mut self, samples: &Samples, selection: &Selection, rules: &Rules, sent: Moment) {
        let Side { block, roster, unsettled, words, listing_may_differ } = self;
        let is_new = block.follow(samples, selection, rules, roster, sent, words);
        let listing_changed = block.compare(samples, words);
        *listing_may_differ |= is_new || listing_changed;
        // An object with a series that was not there before may have other labels too.
        unsettled.append(&mut block.take_fresh());
    }

    /// Finds out what is listed.
    fn list(&mut self, sent: Moment) {
        if std::mem::take(&mut self.listing_may_differ) {
            self.roster.set_listed(&self.block.listed(self.roster.len()), sent);
        }
    }

    /// What there is to say, object by object.
    fn reports(&mut self, rules: &Rules, other: &Roster) -> Vec<Report> {
        let Side { block, roster, unsettled, words, .. } = self;
        // What is said of an object that is no longer listed only counts if the other side still
        // lists it.
        words.retain(|word| {
            let it = roster.get(word.object);
            it.is_some_and(|it| it.is_listed || other.lists(it.kind, &it.key))
        });
        let reports = report::gather(block, roster, unsettled, words, rules);
        words.clear();
        unsettled.clear();
        reports
    }

    fn start_over(&mut self, rules: &Rules) {
        self.block = Block::default();
        self.words.clear();
        self.unsettled.clear();
        self.roster.keep_kinds(|no| rules.kind(no).is_some());
    }
}

/// Where the side of a role is.
fn place(role: Role) -> usize {
    match role {
        Role::Page => 0,
        Role::Report => 1,
    }
}

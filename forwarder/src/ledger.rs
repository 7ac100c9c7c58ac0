//! Where every sample went that a destination was given: delivered, queued, or dropped and why.
//!
//! What holds at every moment: `accepted = delivered + queued + dropped`, kind by kind. The whole
//! account changes under one lock, once a batch or block, so whoever looks sees it balanced.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::block::Counts;

/// Why a sample was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The queue was full, and this was the oldest.
    QueueFull,
    /// The receiver refused it for good.
    Refused,
    /// The receiver took the block, and said that it did not keep this.
    NotWritten,
    /// It waited longer than `sample_age_limit`, or on disk longer than `max_age`.
    TooOld,
    /// `write_relabel_configs` dropped its series.
    DroppedSeries,
    /// A histogram with custom bounds, which remote write 1.0 cannot carry.
    CustomBounds,
    /// An exemplar or histogram, and the destination is not to send them.
    NotWanted,
    /// The queue was not empty in time when the process or the destination stopped; or this is on
    /// disk, and nobody looks for it there any more.
    Stopped,
    /// The block could not be read back.
    Damaged,
    /// The receiver refused it, and it is in the dead-letter file.
    DeadLetter,
    /// It was tried for longer than `retry_for`.
    RetriesExhausted,
    /// A sample of its series came less than `min_interval` before.
    MinInterval,
    /// Its series is `best_effort`, and the queue was filling up.
    Shed,
    /// Its value was the one sent before, less than `max_interval` ago.
    Unchanged,
}

/// The account of one destination.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Account>);

/// What became of the samples that a destination was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// Everything that was given.
    pub accepted: Counts,
    /// What the receiver confirmed.
    pub delivered: Counts,
    /// What waits or is being sent.
    pub queued: Counts,
    /// The part of `accepted` that a start found on disk.
    pub recovered: Counts,
    /// The part of `queued` that a destination left on disk for its successor.
    left: Counts,
    dropped: [Counts; Reason::ALL.len()],
}

// === impl Reason ===

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 14] = [
        Reason::QueueFull,
        Reason::Refused,
        Reason::NotWritten,
        Reason::TooOld,
        Reason::DroppedSeries,
        Reason::CustomBounds,
        Reason::NotWanted,
        Reason::Stopped,
        Reason::Damaged,
        Reason::DeadLetter,
        Reason::RetriesExhausted,
        Reason::MinInterval,
        Reason::Shed,
        Reason::Unchanged,
    ];

    /// Its word in metrics: Prometheus' where Prometheus has one.
    pub fn name(self) -> &'static str {
        match self {
            Reason::QueueFull => "queue_full",
            Reason::Refused => "refused",
            Reason::NotWritten => "not_written",
            Reason::TooOld => "too_old",
            Reason::DroppedSeries => "dropped_series",
            Reason::CustomBounds => "nhcb_in_rw1_not_supported",
            Reason::NotWanted => "not_wanted",
            Reason::Stopped => "stopped",
            Reason::Damaged => "damaged",
            Reason::DeadLetter => "dead_letter",
            Reason::RetriesExhausted => "retries_exhausted",
            Reason::MinInterval => "min_interval",
            Reason::Shed => "shed",
            Reason::Unchanged => "unchanged",
        }
    }
}

// === impl Ledger ===

impl Ledger {
    /// Books what a batch brought: `queued` of it waits now, `dropped` does not.
    pub(crate) fn accept(&self, queued: Counts, dropped: &[(Reason, Counts)]) {
        let mut account = self.account();
        account.accepted += queued + dropped.iter().map(|(_, counts)| *counts).sum();
        account.queued += queued;
        for (reason, counts) in dropped {
            account.dropped[*reason as usize] += *counts;
        }
    }

    /// Books queued samples as delivered.
    pub(crate) fn deliver(&self, counts: Counts) {
        let mut account = self.account();
        account.queued -= counts;
        account.delivered += counts;
    }

    /// Books queued samples as dropped.
    pub(crate) fn lose(&self, reason: Reason, counts: Counts) {
        let mut account = self.account();
        account.queued -= counts;
        account.dropped[reason as usize] += counts;
    }

    /// Books what was found on disk: it waits again. What a destination left there in this
    /// process is booked as waiting already.
    pub(crate) fn recover(&self, counts: Counts) {
        let mut account = self.account();
        let new = counts.without(account.left);
        account.left = account.left.without(counts);
        account.accepted += new;
        account.recovered += new;
        account.queued += new;
    }

    /// Books what records on disk held that cannot be found any more. Of which kinds it was is
    /// known only of what a destination left there in this process.
    pub(crate) fn miss(&self, total: u64) {
        let mut account = self.account();
        let known = account.left.at_most(total);
        let new = Counts { samples: total - known.total(), ..Counts::NONE };
        account.queued -= known;
        account.left = account.left.without(known);
        account.accepted += new;
        account.recovered += new;
        account.dropped[Reason::Damaged as usize] += known + new;
    }

    /// Books queued samples as left on disk.
    pub(crate) fn leave(&self, counts: Counts) {
        self.account().left += counts;
    }

    /// Nothing of what was left on disk is found there any more: it is somewhere else. How much
    /// that is.
    pub(crate) fn give_up_left(&self) -> Counts {
        let mut account = self.account();
        let left = std::mem::take(&mut account.left);
        account.queued -= left;
        account.dropped[Reason::Stopped as usize] += left;
        left
    }

    /// The account now, balanced.
    pub(crate) fn balance(&self) -> Account {
        *self.account()
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Account ===

impl Account {
    /// What was dropped for this reason.
    pub fn dropped(&self, reason: Reason) -> Counts {
        self.dropped[reason as usize]
    }

    /// What was dropped for any reason.
    pub fn dropped_in_all(&self) -> Counts {
        self.dropped.iter().copied().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(samples: u64) -> Counts {
        Counts { samples, ..Counts::default() }
    }

    #[test]
    fn the_account_is_balanced_after_every_entry() {
        let ledger = Ledger::default();
        let check = || {
            let account = ledger.balance();
            let sum = account.delivered + account.queued + account.dropped_in_all();
            assert_eq!(account.accepted, sum);
            account
        };
        ledger.accept(samples(10), &[(Reason::DroppedSeries, samples(3))]);
        check();
        ledger.deliver(samples(4));
        check();
        ledger.lose(Reason::QueueFull, samples(5));
        let account = check();
        assert_eq!(account.queued, samples(1));
        assert_eq!(account.dropped(Reason::QueueFull), samples(5));
        assert_eq!(account.dropped_in_all(), samples(8));
    }

    #[test]
    fn what_a_destination_leaves_on_disk_is_counted_once() {
        let ledger = Ledger::default();
        ledger.recover(samples(5));
        ledger.accept(samples(10), &[]);
        ledger.leave(samples(15));
        ledger.recover(samples(12));
        ledger.miss(4);
        let account = ledger.balance();
        assert_eq!((account.accepted, account.recovered), (samples(16), samples(6)));
        assert_eq!((account.queued, account.dropped(Reason::Damaged)), (samples(12), samples(4)));
        let sum = account.delivered + account.queued + account.dropped_in_all();
        assert_eq!(account.accepted, sum);
    }

    #[test]
    fn every_reason_has_its_own_place() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
        }
    }
}

//! One block's way to its end: tries, waits, what answers mean, and the search for what a
//! receiver refuses.
//!
//! What holds: every sample of the block is booked once, as delivered or as dropped with its
//! reason, or is left as it was when there is no more time. A block that a receiver refuses, and
//! whose refusals go to the dead-letter file, is halved until the offending samples are alone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kit::{Backoff, Chain};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::block::{Block, Compressor, Counts, Damaged, Encoding};
use crate::config::Action;
use crate::destination::Destination;
use crate::encode::{split, to_remote_write1, without_older_than};
use crate::ledger::Reason;
use crate::module::{self, Parcel, SendError, Verdict};

/// Requests that may be refused while one block is searched for what is wrong with it. Enough to
/// find some samples in a few thousand.
const REFUSALS_MAX: u32 = 100;
/// A block at which its module panics so often is refused: a defect may not hold up what comes
/// after it.
const PANICS_MAX: u32 = 3;
/// How long a receiver may take for its last answer to a destination that stops, and whose queue is
/// on disk: perhaps it is only slow, and what is given up is sent twice.
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The same for one that is in trouble.
const LAST_SIGN_WITHIN: Duration = Duration::from_secs(1);
/// What is on its way to the dead-letter file gets so much longer when everything is abandoned. A
/// file that hangs is not waited for.
const LAST_LETTERS_WITHIN: Duration = Duration::from_secs(5);

/// One block's way to its end.
pub(crate) struct Delivery<'d> {
    destination: &'d Destination,
    /// Which of the receivers that have the series between them.
    part: usize,
    compressor: &'d mut Compressor,
    attempt: u32,
    /// Tries at which the module panicked, since something arrived.
    panics: u32,
    backoff: Backoff,
    began: Instant,
    /// Whether the log knows that the receiver is in trouble.
    complained: bool,
    /// Requests that may still be refused before the rest goes to the dead letters as it is.
    refusals_left: u32,
    some_arrived: bool,
    /// How long it waited for its turn where the rate is limited.
    paced: Duration,
    /// And had waited when it `began`.
    paced_before: Duration,
}

/// How it ends.
#[derive(Debug)]
pub(crate) enum End {
    /// Everything is booked. Whose time it took: not the receiver's is what a limited rate took.
    Done { paced: Duration },
    /// There was no more time: so much of it is as it was.
    Left(Counts),
}

/// How many refusals a search may take: fewer while whole blocks are refused.
#[derive(Debug)]
pub(crate) struct SearchBudget(AtomicU32);

/// What comes after a try.
enum Next {
    /// The piece is at its end.
    Done,
    /// Another try, after this long.
    Wait(Duration),
    /// It is refused, for the dead letters.
    Refused(SendError),
}

/// A block that cannot be brought into form.
struct Spoilt {
    /// What of it is booked nowhere yet.
    counts: Counts,
    why: Damaged,
}

/// What became of a piece.
enum Piece {
    Done,
    Halved(Block, Block),
    Left(Block),
}

impl Default for SearchBudget {
    fn default() -> SearchBudget {
        SearchBudget(AtomicU32::new(REFUSALS_MAX))
    }
}

// === impl Delivery ===

impl<'d> Delivery<'d> {
    pub(crate) fn new(
        destination: &'d Destination,
        part: usize,
        compressor: &'d mut Compressor,
    ) -> Delivery<'d> {
        let queue = &destination.config.queue;
        let backoff = Backoff::new(queue.backoff_min, queue.backoff_max);
        Delivery {
            destination,
            part,
            compressor,
            attempt: 0,
            panics: 0,
            backoff,
            began: Instant::now(),
            complained: false,
            refusals_left: destination.search_budget.0.load(Ordering::Relaxed),
            some_arrived: false,
            paced: Duration::ZERO,
            paced_before: Duration::ZERO,
        }
    }

    /// Sends the block until all of it is delivered or dropped, or there is no more time.
    pub(crate) async fn run(mut self, block: Block) -> End {
        let mut pieces = vec![block];
        while let Some(piece) = pieces.pop() {
            match self.piece(piece).await {
                Piece::Done => {}
                Piece::Halved(first, second) => pieces.extend([second, first]),
                Piece::Left(rest) => {
                    pieces.push(rest);
                    return End::Left(pieces.iter().map(|piece| piece.counts).sum());
                }
            }
        }
        End::Done { paced: self.paced }
    }

    async fn piece(&mut self, block: Block) -> Piece {
        let mut block = match self.prepare(block) {
            Ok(block) => block,
            Err(damaged) => return self.drop_damaged(&damaged),
        };
        loop {
            if block.counts.is_empty() {
                return Piece::Done;
            }
            let Some(verdict) = self.attempt(&block).await else { return Piece::Left(block) };
            match self.judge(&block, verdict) {
                Next::Done => return Piece::Done,
                Next::Wait(wait) => {
                    if !self.wait(wait).await {
                        return Piece::Left(block);
                    }
                }
                Next::Refused(why) => return self.refused(block, why).await,
            }
            block = match self.prepare(block) {
                Ok(block) => block,
                Err(damaged) => return self.drop_damaged(&damaged),
            };
        }
    }

    /// One try; `None` if there was no more time.
    async fn attempt(&mut self, block: &Block) -> Option<Verdict> {
        let Destination { module, abandoned, meters, pace, .. } = self.destination;
        if let Some(pace) = pace {
            let began = Instant::now();
            tokio::select! {
                () = sleep_until(pace.turn_of(block.counts.total())) => {}
                () = abandoned.cancelled() => return None,
            }
            self.paced += began.elapsed();
        }
        let parcel = Parcel {
            bytes: block.bytes.clone(),
            format: block.format,
            counts: block.counts,
            families: 0,
            attempt: self.attempt,
            part: self.part,
        };
        let began = Instant::now();
        let verdict = tokio::select! {
            sent = module::send(&**module, &parcel) => sent,
            () = abandoned.cancelled() => return None,
            () = self.given_up() => return None,
        };
        let verdict = verdict.unwrap_or_else(|| self.panicked());
        meters.sent_request(began.elapsed(), block.bytes.len());
        Some(verdict)
    }

    /// What it means that the module panicked.
    fn panicked(&mut self) -> Verdict {
        self.panics += 1;
        let why = SendError::Panic;
        if self.panics < PANICS_MAX {
            Verdict::Retry { after: None, why }
        } else {
            Verdict::Refused { why }
        }
    }

    /// Waits for the next try. Whether there is time for one.
    async fn wait(&self, wait: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.destination.abandoned.cancelled() => false,
            () = self.may_leave() => false,
            () = sleep(wait) => true,
        }
    }

    /// Waits until the block may be left where it is: the destination stops, and a successor can go
    /// on from the disk.
    async fn may_leave(&self) {
        self.destination.stopping.cancelled().await;
        if !self.destination.may_leave_queue().await {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until an answer is not waited for any more, for that reason.
    async fn given_up(&self) {
        self.may_leave().await;
        sleep(if self.complained { LAST_SIGN_WITHIN } else { LAST_ANSWER_WITHIN }).await;
    }

    /// Brings a block into the form the module wants, without samples that are too old by now.
    /// What is left out is booked. Nothing happens to a block that is in this form already.
    fn prepare(&mut self, block: Block) -> Result<Block, Spoilt> {
        let Destination { config, module, clock, .. } = self.destination;
        let mut block = block;
        if let Some(limit) = config.queue.sample_age_limit {
            let limit_ms = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
            let before = block.counts;
            block = without_older_than(block, clock.unix_ms().saturating_sub(limit_ms))
                .map_err(|why| Spoilt { counts: before, why })?;
            self.book_lost(before - block.counts, Reason::TooOld);
        }
        let wanted = module.format();
        let encoding = block.format.encoding;
        let counts = block.counts;
        let spoilt = |why| Spoilt { counts, why };
        if encoding != wanted.encoding {
            match (encoding, wanted.encoding) {
                (Encoding::RemoteWrite2, Encoding::RemoteWrite1) => {
                    block = to_remote_write1(&block).map_err(spoilt)?;
                    self.book_lost(counts - block.counts, Reason::CustomBounds);
                }
                // Taken from disk by a destination that has since changed to 2.0: sent as it is.
                (Encoding::RemoteWrite1, Encoding::RemoteWrite2) => {}
                _ => return Err(spoilt(Damaged::Encoding)),
            }
        }
        let counts = block.counts;
        self.compressor.pack(block, wanted.compression).map_err(|why| Spoilt { counts, why })
    }

    /// Books what a try led to.
    fn judge(&mut self, block: &Block, verdict: Verdict) -> Next {
        let Destination { meters, config, clock, .. } = self.destination;
        let (after, why, may_retry) = match verdict {
            Verdict::Delivered { not_written, remark } => {
                self.delivered(block, not_written, remark.as_deref());
                return Next::Done;
            }
            Verdict::OtherFormat { why } => {
                warn!(destination = %config.name, error = %Chain(&why), "changing the format");
                return self.again(block, Duration::ZERO);
            }
            Verdict::Retry { after, why } => (after, why, true),
            Verdict::Refused { why } => (why.retry_after(), why, false),
        };
        let answers = &config.delivery.answers;
        let action = match why.status() {
            None if may_retry => None,
            status => answers.of(status),
        };
        match action {
            Some(Action::Retry) => self.retry(block, after, why),
            None if may_retry => self.retry(block, after, why),
            Some(Action::DeadLetter) => Next::Refused(why),
            Some(Action::Drop) | None => {
                meters.failed(&why, clock.unix_ms());
                self.book_lost(block.counts, Reason::Refused);
                error!(
                    destination = %config.name, samples = block.counts.total(),
                    error = %Chain(&why), "dropping a block that the receiver refused"
                );
                Next::Done
            }
        }
    }

    fn delivered(&mut self, block: &Block, not_written: Counts, remark: Option<&str>) {
        let Destination { ledger, meters, config, clock, .. } = self.destination;
        let not_written = Counts {
            samples: not_written.samples.min(block.counts.samples),
            histograms: not_written.histograms.min(block.counts.histograms),
            exemplars: not_written.exemplars.min(block.counts.exemplars),
        };
        let written = block.counts - not_written;
        ledger.deliver(written);
        meters.delivered(written, block.newest_ms, clock.unix_ms());
        if !not_written.is_empty() {
            self.book_lost(not_written, Reason::NotWritten);
        }
        if let Some(remark) = remark {
            let (destination, lost) = (&config.name, not_written.total());
            error!(%destination, lost, remark, "the receiver did not keep all of a block");
        }
        if std::mem::take(&mut self.complained) {
            info!(destination = %config.name, attempts = self.attempt + 1, "sending again");
        }
        self.some_arrived = true;
        self.destination.search_budget.restore();
        self.panics = 0;
        self.begin_anew();
        self.backoff.reset();
    }

    /// The receiver is in trouble: another try, unless this block had its time.
    fn retry(&mut self, block: &Block, after: Option<Duration>, why: SendError) -> Next {
        let Destination { meters, config, clock, .. } = self.destination;
        meters.failed(&why, clock.unix_ms());
        if config.delivery.retry_for.is_some_and(|limit| self.tried_for() >= limit) {
            if config.delivery.dead_letter.is_some() {
                self.refusals_left = 0; // it is not the samples: no search
                return Next::Refused(why);
            }
            error!(
                destination = %config.name, samples = block.counts.total(), error = %Chain(&why),
                "dropping a block that was tried for too long"
            );
            self.book_lost(block.counts, Reason::RetriesExhausted);
            return Next::Done;
        }
        if !std::mem::replace(&mut self.complained, true) {
            warn!(destination = %config.name, error = %Chain(&why), "sending failed, trying again");
        }
        // A receiver that asks for no wait at all is not asked without one.
        let asked = after.filter(|wait| *wait >= config.queue.backoff_min);
        let wait = asked.unwrap_or_else(|| self.backoff.next_jittered(rand::random()));
        let limit = config.delivery.retry_for;
        let left = limit.map(|limit| limit.saturating_sub(self.tried_for()));
        let wait = left.map_or(wait, |left| wait.min(left)); // then it is tried a last time
        meters.waiting_until(Instant::now() + wait);
        self.again(block, wait)
    }

    fn again(&mut self, block: &Block, wait: Duration) -> Next {
        self.destination.meters.retried(block.counts);
        self.attempt += 1;
        Next::Wait(wait)
    }

    /// Halves a refused piece, or puts it into the dead-letter file.
    async fn refused(&mut self, block: Block, why: SendError) -> Piece {
        let Destination { meters, config, clock, dead_letters, search_budget, abandoned, .. } =
            self.destination;
        meters.failed(&why, clock.unix_ms());
        if block.counts.total() > 1 && self.refusals_left > 0 {
            self.refusals_left -= 1;
            match split(&block) {
                Ok((first, second)) => return Piece::Halved(first, second),
                Err(why) => return self.drop_damaged(&Spoilt { counts: block.counts, why }),
            }
        }
        if !self.some_arrived {
            search_budget.halve();
        }
        let Some(dead_letters) = dead_letters else {
            self.book_lost(block.counts, Reason::Refused);
            return Piece::Done;
        };
        let counts = block.counts;
        let hangs = async {
            abandoned.cancelled().await;
            sleep(LAST_LETTERS_WITHIN).await;
        };
        let put = tokio::select! {
            put = dead_letters.put(block.clone(), &config.name, &why, clock.unix_ms()) => put,
            () = hangs => return Piece::Left(block),
        };
        match put {
            Ok(()) => {
                self.book_lost(counts, Reason::DeadLetter);
                error!(
                    destination = %config.name, samples = counts.total(), error = %Chain(&why),
                    "refused samples are in the dead-letter file"
                );
            }
            Err(failed) => {
                self.book_lost(counts, Reason::Refused);
                error!(
                    destination = %config.name, samples = counts.total(), error = %Chain(&failed),
                    "refused samples are lost"
                );
            }
        }
        self.begin_anew();
        Piece::Done
    }

    /// How long the piece has been tried, its turns apart.
    fn tried_for(&self) -> Duration {
        self.began.elapsed().saturating_sub(self.paced - self.paced_before)
    }

    fn begin_anew(&mut self) {
        (self.attempt, self.began, self.paced_before) = (0, Instant::now(), self.paced);
    }

    fn drop_damaged(&self, spoilt: &Spoilt) -> Piece {
        error!(
            destination = %self.destination.config.name, error = %Chain(&spoilt.why),
            lost = spoilt.counts.total(), "dropping a damaged block"
        );
        self.book_lost(spoilt.counts, Reason::Damaged);
        Piece::Done
    }

    fn book_lost(&self, counts: Counts, reason: Reason) {
        if !counts.is_empty() {
            self.destination.ledger.lose(reason, counts);
            self.destination.meters.rates.dropped(counts.total());
        }
    }
}

// === impl SearchBudget ===

impl SearchBudget {
    /// The receiver took something.
    fn restore(&self) {
        self.0.store(REFUSALS_MAX, Ordering::Relaxed);
    }

    /// The receiver refused everything: it may not be the samples.
    fn halve(&self) {
        let _always = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n / 2));
    }
}

/// Waits that are not about a block: between two rounds of metadata.
pub(crate) async fn pause(wait: Duration, abandoned: &CancellationToken) {
    tokio::select! {
        () = sleep(wait) => {}
        () = abandoned.cancelled() => {}
    }
}

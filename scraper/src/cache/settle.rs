//! Which samples of a page are late or early, and which series have ended.
//!
//! A page without timestamps of its own never gets into the slow part. The rules are those of
//! Prometheus' agent: a sample that is not newer than the last one of its series is dropped and
//! counted, and so is one more than ten minutes ahead; a series that had samples (without
//! timestamps of their own, unless these are tracked) and has none now gets a stale marker.

use model::{ABSENT, Carried, NEW_SERIES, STALE_MARKER, Stamped, is_absent};

use super::gather::Gathered;
use super::{PageCounts, ScrapeTimes};

/// Which series of the last page go on: those that get a stale marker when they are gone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Living {
    /// None: they have got their stale markers, or there has been no page.
    #[default]
    None,
    /// All.
    All,
    /// All but these, in ascending order.
    AllBut(Vec<u32>),
}

/// When each series had its last sample, as far as that was not with the last page: empty, or as
/// long as the layout.
pub(super) type Stamps = Vec<i64>;

/// In [`Stamps`]: the last sample had the timestamp of the last page, if there was any.
pub(super) const WITH_PAGE: i64 = i64::MIN;

/// How far in the future a sample may be.
const AHEAD_MS_MAX: i64 = 10 * 60 * 1000;

/// What is known of the series before this page.
#[derive(Debug)]
pub(super) struct Before<'b> {
    pub(super) living: &'b Living,
    pub(super) stamps: &'b Stamps,
    /// The timestamp of the last good page.
    pub(super) page_ms: i64,
    /// There has been no page.
    pub(super) is_first: bool,
    /// Where the series of the new layout were; none if they are where they were.
    pub(super) carried: Option<&'b Carried>,
}

impl Living {
    /// Those that are alive.
    pub(super) fn of(alive: &[bool]) -> Living {
        let ended: Vec<u32> = (0..alive.len() as u32).filter(|at| !alive[*at as usize]).collect();
        match ended.len() {
            all if all == alive.len() => Living::None,
            0 => Living::All,
            _ => Living::AllBut(ended),
        }
    }

    /// Whether series `at` goes on.
    pub(super) fn has(&self, at: u32) -> bool {
        match self {
            Living::None => false,
            Living::All => true,
            Living::AllBut(ended) => ended.binary_search(&at).is_err(),
        }
    }
}

impl Before<'_> {
    /// Drops what is late or early, ends what has ended within the page's layout, and says what
    /// is known of its series now.
    pub(super) fn settle(
        &self,
        gathered: &mut Gathered,
        times: ScrapeTimes,
        track_stamped: bool,
        counts: &mut PageCounts,
    ) -> (Living, Stamps) {
        let histograms_stamped = gathered.histograms.iter().any(|(_, own, _)| own.is_some());
        if gathered.stamped.is_empty() && self.stamps.is_empty() && !histograms_stamped {
            return (Living::All, Vec::new());
        }
        let mut stamps = vec![WITH_PAGE; gathered.values.len()];
        self.drop_late_values(gathered, times, counts, &mut stamps);
        self.drop_late_stamped(gathered, times, counts, &mut stamps);
        let ended = self.ended(gathered, times, track_stamped);
        let living = if ended.is_empty() { Living::All } else { Living::AllBut(ended) };
        if stamps.iter().all(|stamp| *stamp == WITH_PAGE) {
            stamps = Vec::new();
        }
        (living, stamps)
    }

    /// Samples with the scrape's timestamp that are not newer than an explicit one before.
    fn drop_late_values(
        &self,
        gathered: &mut Gathered,
        times: ScrapeTimes,
        counts: &mut PageCounts,
        stamps: &mut Stamps,
    ) {
        if self.stamps.is_empty() {
            return;
        }
        for (at, value) in gathered.values.iter_mut().enumerate() {
            let last = self.explicit(at as u32).unwrap_or(WITH_PAGE);
            if last >= times.timestamp_ms {
                stamps[at] = last;
                if !is_absent(*value) {
                    *value = ABSENT;
                    counts.out_of_order += 1;
                }
            } else if is_absent(*value) {
                stamps[at] = last;
            }
        }
    }

    fn drop_late_stamped(
        &self,
        gathered: &mut Gathered,
        times: ScrapeTimes,
        counts: &mut PageCounts,
        stamps: &mut Stamps,
    ) {
        let newest_ms = times.now_ms.saturating_add(AHEAD_MS_MAX);
        let mut early: Vec<u32> = Vec::new();
        let mut is_timely = |series: u32, timestamp_ms: i64| {
            if timestamp_ms > newest_ms {
                counts.out_of_bounds += 1;
                early.push(series);
                return false;
            }
            if self.last(series).is_some_and(|last| timestamp_ms <= last) {
                counts.out_of_order += 1;
                return false;
            }
            let stamp = &mut stamps[series as usize];
            *stamp = (*stamp).max(timestamp_ms);
            true
        };
        let Gathered { stamped, histograms, .. } = gathered;
        stamped.sort_by_key(|stamped| stamped.series);
        stamped.retain(|stamped| is_timely(stamped.series, stamped.timestamp_ms));
        histograms.retain(|(series, own, _)| own.is_none_or(|own| is_timely(*series, own)));
        counts.series_added = counts.series_added.saturating_sub(self.not_added(early, gathered));
        for (at, stamp) in stamps.iter_mut().enumerate() {
            // A sample with the scrape's timestamp is the last one, unless a later one is known.
            if !is_absent(gathered.values[at]) && *stamp <= times.timestamp_ms {
                *stamp = WITH_PAGE;
            } else if is_absent(gathered.values[at])
                && *stamp == WITH_PAGE
                && let Some(last) = self.last(at as u32)
            {
                *stamp = last;
            }
        }
    }

    /// How many of the new series with samples that are too early have no other: those were not
    /// added.
    fn not_added(&self, mut early: Vec<u32>, gathered: &Gathered) -> u64 {
        if early.is_empty() {
            return 0;
        }
        let taken = gathered.taken(None, true);
        early.sort_unstable();
        early.dedup();
        let is_new = |series: u32| self.is_first || self.old(series).is_none();
        early.retain(|series| is_new(*series) && !taken[*series as usize]);
        early.len() as u64
    }

    /// The series without a sample that keeps them alive, after the stale markers of those that
    /// had one before.
    fn ended(&self, gathered: &mut Gathered, times: ScrapeTimes, track_stamped: bool) -> Vec<u32> {
        let mut alive: Vec<bool> = gathered.values.iter().map(|value| !is_absent(*value)).collect();
        for (series, timestamp_ms, _) in &gathered.histograms {
            alive[*series as usize] |= timestamp_ms.is_none() || track_stamped;
        }
        if track_stamped {
            for stamped in &gathered.stamped {
                alive[stamped.series as usize] = true;
            }
        }
        let ended: Vec<u32> = (0..alive.len() as u32).filter(|at| !alive[*at as usize]).collect();
        let before = gathered.stamped.len();
        for series in &ended {
            let lived = self.old(*series).is_some_and(|old| self.living.has(old));
            // A later sample in the same page does not make the marker late.
            let last = self.explicit(*series).unwrap_or(WITH_PAGE);
            if lived && last < times.timestamp_ms {
                let timestamp_ms = times.timestamp_ms;
                gathered.stamped.push(Stamped {
                    series: *series,
                    timestamp_ms,
                    value: STALE_MARKER,
                });
            }
        }
        if gathered.stamped.len() > before {
            gathered.stamped.sort_by_key(|stamped| (stamped.series, stamped.timestamp_ms));
        }
        ended
    }

    /// Where the series was before.
    fn old(&self, series: u32) -> Option<u32> {
        match self.carried {
            None => Some(series),
            Some(carried) => Some(carried.index[series as usize]).filter(|old| *old != NEW_SERIES),
        }
    }

    /// The explicit timestamp of the last sample before this page.
    fn explicit(&self, series: u32) -> Option<i64> {
        let stamp = *self.stamps.get(self.old(series)? as usize)?;
        Some(stamp).filter(|stamp| *stamp != WITH_PAGE)
    }

    /// The timestamp of the last sample before this page.
    fn last(&self, series: u32) -> Option<i64> {
        let old = self.old(series)?;
        self.explicit(series).or_else(|| self.living.has(old).then_some(self.page_ms))
    }
}

//! A page whose lines are not those of the page before: what each of them means now.
//!
//! Lines are found again where they are expected, a few lines further, or by their hash; only a
//! line that was not in the page before is taken apart, relabelled and checked (`plan.rs`).

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use model::{ABSENT, Carried, Labels, Layout};

use super::families::Described;
use super::follow::{Followed, plain_value};
use super::gather::Gathered;
use super::lines::{Canonical, Kind, Lines, Mark, NO_SERIES};
use super::plan::{Place, Plan};
use super::seen::Seen;
use super::{PageCounts, PageError, PageFault, Shared};
use crate::exposition::{Grammar, Metadata, Next, Sample, Says, SeriesParts, number, unescape};
use crate::sample_rules::{Exposed, RuleFault, SampleRules};

/// What reading a page anew needs.
#[derive(Clone, Copy)]
pub(super) struct Task<'r> {
    pub(super) shared: &'r Shared,
    pub(super) rules: &'r SampleRules,
    pub(super) scrape_ms: i64,
    /// The lines of the page before.
    pub(super) old_lines: &'r Lines,
    /// Its series.
    pub(super) old_layout: Option<&'r Arc<Layout>>,
    /// New lines that a failed scrape has counted as added already.
    pub(super) counted_before: &'r HashSet<u64>,
}

/// A page that is being read anew, and what it has given so far.
pub(super) struct Rebuild<'r> {
    pub(super) task: Task<'r>,
    pub(super) plan: Plan<'r>,
    pub(super) gathered: Gathered,
    pub(super) counts: PageCounts,
    /// New lines that were counted as added.
    pub(super) counted: Vec<u64>,
    /// A histogram had more buckets than it may.
    pub(super) bucket_limit_hit: bool,
    /// Whether lines may be found by place: the page before was of the same format.
    trusted: bool,
    parts: SeriesParts,
    /// Samples that count for `sample_limit`.
    appended: u64,
    /// How many series the page had when there were too many samples.
    full_at: Option<u32>,
    /// The old line that is expected next, and the one before the last jump.
    expected: usize,
    before_jump: usize,
}

/// The new page, taken in.
pub(super) struct Rebuilt {
    pub(super) lines: Lines,
    pub(super) layout: Arc<Layout>,
    /// Set if the layout is another one than before.
    pub(super) carried: Option<Carried>,
    pub(super) gathered: Gathered,
    pub(super) counts: PageCounts,
}

/// A page that was not taken.
pub(super) struct Refused {
    pub(super) error: PageError,
    /// New lines that were counted as added.
    pub(super) counted: Vec<u64>,
    /// The series that were named before the fault.
    pub(super) seen: Seen,
    /// The memory.
    pub(super) gathered: Gathered,
}

/// How many lines may be missing before a line is looked for by its hash.
const LOOK_AHEAD_LINES: usize = 4;

impl<'r> Rebuild<'r> {
    /// Nothing read yet, unless the page was followed for a while: then `gathered` has what that
    /// gave.
    pub(super) fn new(task: Task<'r>, gathered: Gathered) -> Rebuild<'r> {
        let plan = Plan::new(task.shared, task.old_lines, task.old_layout);
        let (counts, counted, parts) = Default::default();
        Rebuild {
            task,
            plan,
            gathered,
            counts,
            counted,
            bucket_limit_hit: false,
            trusted: false,
            parts,
            appended: 0,
            full_at: None,
            expected: 0,
            before_jump: 0,
        }
    }

    /// Reads a page line by line. `followed` says how much of it is known to be as before; none
    /// if the page before was of another format.
    ///
    /// # Errors
    /// When the whole page must be refused; `counts` and `counted` say what was counted by then.
    pub(super) fn read_lines<G: Grammar>(
        &mut self,
        page: &[u8],
        followed: Option<Followed>,
    ) -> Result<(), PageFault> {
        self.trusted = followed.is_some();
        let mut at = match followed {
            Some(followed) if self.task.old_lines.series().is_empty() => {
                self.resume::<G>(page, followed)?
            }
            _ => {
                self.gathered.clear();
                0
            }
        };
        loop {
            match self.comments::<G>(page, at)? {
                Next::End(_) => return self.check_limits(),
                Next::Series(start) => at = self.sample::<G>(page, start)?,
            }
        }
    }

    /// Whether the page as a whole is within its limits.
    pub(super) fn check_limits(&self) -> Result<(), PageFault> {
        let limit = self.task.rules.limits.samples;
        if limit > 0 && self.appended > limit {
            return Err(PageFault::SampleLimit);
        }
        if self.bucket_limit_hit {
            return Err(PageFault::BucketLimit);
        }
        Ok(())
    }

    /// Takes over the lines that are as before, and says where to go on. Starts afresh if it
    /// cannot tell what the comments so far mean.
    fn resume<G: Grammar>(
        &mut self,
        page: &[u8],
        mut followed: Followed,
    ) -> Result<usize, PageFault> {
        let old_lines = self.task.old_lines;
        let mark_before = |line: usize| old_lines.mark(line.checked_sub(1)?);
        if let (Some(mark), Some(at)) = (mark_before(followed.line), followed.comments_at)
            && !mark.kind().is_sample()
        {
            // The run of comments may go on: it is read again as one.
            followed.line -= 1;
            followed.at = at;
        }
        let canonical = mark_before(followed.line).map(Mark::canonical).unwrap_or_default();
        (self.counts.scraped, self.counts.kept) = self.plan.take_over(followed.line);
        self.appended = self.counts.kept;
        let limit = self.task.rules.limits.samples;
        self.full_at = (limit > 0 && self.appended > limit).then_some(limit as u32);
        if let Some(at) = followed.comments_at {
            self.listen::<G>(page, at)?;
            if !self.plan.is_described() {
                self.gathered.clear();
                self.plan.start_afresh();
                self.counts = PageCounts::default();
                (self.appended, self.full_at) = (0, None);
                return Ok(0);
            }
        }
        self.plan.set_canonical(canonical);
        self.expected = followed.line;
        self.before_jump = followed.line;
        Ok(followed.at)
    }

    /// Reads a run of comments, and remembers it as one line.
    fn comments<G: Grammar>(&mut self, page: &[u8], at: usize) -> Result<Next, PageFault> {
        let next = self.listen::<G>(page, at)?;
        let (Next::Series(end) | Next::End(end)) = next;
        if end > at {
            let bytes = &page[at..end];
            let kind = if bytes.ends_with(b"\n") { Kind::Comments } else { Kind::LastComments };
            let mark = Mark::new(bytes.len(), kind, self.plan.canonical());
            self.plan.lines.push(self.task.shared.hash.of(bytes), mark, NO_SERIES);
        }
        let expected = self.task.old_lines.mark(self.expected);
        if expected.is_some_and(|mark| !mark.kind().is_sample()) {
            self.expected += 1;
        }
        Ok(next)
    }

    /// Hears what a run of comments says about the series after it.
    fn listen<G: Grammar>(&mut self, page: &[u8], at: usize) -> Result<Next, PageFault> {
        let mut described: Option<Described> = None;
        let mut canonical = self.plan.canonical();
        let next = G::comments(page, at, &mut |metadata: Metadata<'_>| {
            if let Says::Type(kind) = metadata.says {
                canonical = Canonical::of(kind);
            }
            described.get_or_insert_default().hear(metadata, G::HELP_HAS_QUOTES);
        })?;
        self.plan.set_canonical(canonical);
        if let Some(described) = described {
            self.plan.describe(described);
        }
        Ok(next)
    }

    /// Reads the line of a sample, and says where the next one starts.
    fn sample<G: Grammar>(&mut self, page: &[u8], start: usize) -> Result<usize, PageFault> {
        let expected = if self.trusted { self.expected_line::<G>(page, start) } else { None };
        let (end, hash, old) = match expected {
            Some((line, end)) => (end, self.task.old_lines.hash(line), Some(line)),
            None => {
                let end = G::series(page, start, &mut self.parts)?;
                let hash = self.task.shared.hash.of(&page[start..end]);
                (end, hash, self.jump_to(hash))
            }
        };
        let sample = match plain_value(page, end) {
            Some((value, next)) => Sample::plain(value, next),
            None => G::sample(page, start, end)?,
        };
        let next = sample.next;
        self.counts.scraped += 1;
        let (rules, parts) = (self.task.rules, &mut self.parts);
        let place = self.plan.place(hash, old, |canonical| {
            let read_to = G::series(page, start, parts)?;
            debug_assert_eq!(read_to, end, "a line that is known ends where it did");
            decided_labels(page, parts, canonical, rules)
        })?;
        self.note_line(hash, end - start, place);
        self.take_sample(place, sample, hash, old.is_none());
        Ok(next)
    }

    /// The old line with this hash, after which the next line is expected.
    pub(super) fn jump_to(&mut self, hash: u64) -> Option<usize> {
        let line = self.plan.old_line(hash)?;
        self.before_jump = self.expected;
        self.expected = line + 1;
        Some(line)
    }

    /// The old lines that are likely to stand here.
    pub(super) fn candidates(&self) -> impl Iterator<Item = (usize, Mark)> + use<'r> {
        let old_lines = self.task.old_lines;
        let ahead = self.expected + 1..self.expected + 1 + LOOK_AHEAD_LINES;
        let lines = [self.expected, self.before_jump].into_iter().chain(ahead);
        lines.filter_map(move |line| {
            let mark = old_lines.mark(line).filter(|mark| mark.kind().is_sample())?;
            Some((line, mark))
        })
    }

    /// The line after `line` is expected next.
    pub(super) fn expect_after(&mut self, line: usize) {
        self.expected = line + 1;
    }

    /// The old line that stands at `start`, if it is one of those that are likely to.
    fn expected_line<G: Grammar>(&mut self, page: &[u8], start: usize) -> Option<(usize, usize)> {
        for (line, mark) in self.candidates() {
            let end = start + mark.bytes();
            let Some(bytes) = page.get(start..end) else { continue };
            let hash = self.task.shared.hash.of(bytes);
            if hash == self.task.old_lines.hash(line) && G::ends_series(page, end) {
                self.expect_after(line);
                return Some((line, end));
            }
        }
        None
    }

    /// Remembers a line of `bytes` up to its value.
    pub(super) fn note_line(&mut self, hash: u64, bytes: usize, place: Place) {
        let (kind, series) = match place {
            Place::Dropped => (Kind::Dropped, NO_SERIES),
            Place::First(series) => (Kind::First, series),
            Place::Other(series) => (Kind::Other, series),
            Place::Repeat(series) => (Kind::Repeat, series),
        };
        let mark = Mark::new(bytes, kind, self.plan.canonical());
        self.plan.lines.push(hash, mark, series);
    }

    /// Counts a sample and keeps its value.
    pub(super) fn take_sample(
        &mut self,
        place: Place,
        sample: Sample,
        hash: u64,
        is_new_line: bool,
    ) {
        let honor = self.task.rules.honor_timestamps;
        let gathered = &mut self.gathered;
        let appended = match place {
            Place::Dropped => return,
            Place::First(series) => {
                gathered.values.resize(series as usize + 1, ABSENT);
                gathered.first(series, sample, honor);
                true
            }
            Place::Other(series) => {
                gathered.other(series, sample, honor, self.task.scrape_ms);
                true
            }
            Place::Repeat(series) => gathered.repeat(series, sample, honor),
        };
        self.count_sample(place, appended, hash, is_new_line);
    }

    /// Counts a sample that was not dropped.
    pub(super) fn count_sample(
        &mut self,
        place: Place,
        appended: bool,
        hash: u64,
        is_new_line: bool,
    ) {
        self.counts.kept += 1;
        self.appended += u64::from(appended);
        let limit = self.task.rules.limits.samples;
        let is_full = limit > 0 && self.appended > limit;
        if is_full && self.full_at.is_none() {
            self.full_at = Some(match place {
                Place::First(series) => series,
                _ => self.gathered.values.len() as u32,
            });
        }
        let within_limits = !is_full && !self.bucket_limit_hit;
        let first_time = is_new_line && !matches!(place, Place::Repeat(_));
        if first_time && within_limits && !self.task.counted_before.contains(&hash) {
            self.counts.series_added += 1;
            self.counted.push(hash);
        }
    }

    /// The page as it will be remembered, or why it is not, after it was read with this result.
    pub(super) fn conclude(self, read: Result<(), PageFault>) -> Result<Rebuilt, Box<Refused>> {
        let Rebuild { task, plan, mut gathered, counts, counted, full_at, .. } = self;
        if let Err(fault) = read {
            let error = PageError { fault, counts };
            let taken = gathered.taken(full_at, task.rules.track_timestamps_staleness);
            let seen = plan.seen(|series| taken.get(series as usize) == Some(&true));
            return Err(Box::new(Refused { error, counted, seen, gathered }));
        }
        let (lines, layout, carried) = plan.finish(&mut gathered);
        Ok(Rebuilt { lines, layout, carried, gathered, counts })
    }
}

/// The final labels of a series as it stands in the page; none if it is dropped.
fn decided_labels(
    page: &[u8],
    parts: &SeriesParts,
    canonical: Canonical,
    rules: &SampleRules,
) -> Result<Option<Labels>, PageFault> {
    let text = |range: &Range<usize>| {
        std::str::from_utf8(&page[range.clone()]).map_err(|_| {
            let name = String::from_utf8_lossy(&page[range.clone()]).into_owned();
            PageFault::Rule(RuleFault::InvalidName(name))
        })
    };
    let name = unescape(text(&parts.name)?);
    let mut labels = Vec::with_capacity(parts.labels.len());
    for (label, value) in &parts.labels {
        let (label, mut value) = (unescape(text(label)?), unescape(text(value)?));
        if canonical.concerns(&label)
            && let Some(bound) = number::canonical_bound(&value)
        {
            value = Cow::Owned(bound);
        }
        labels.push((label, value));
    }
    Ok(rules.decide(Exposed { name: &name, labels: &labels })?)
}

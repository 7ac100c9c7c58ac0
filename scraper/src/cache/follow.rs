//! The steady state: the page has the lines that it had last time, in the same order.
//!
//! A line costs one hash of its bytes and one float. Whatever is not as expected ends the
//! following, and the rest is for `rebuild.rs`: nothing here fails.

use model::ABSENT;

use super::gather::Gathered;
use super::lines::{Kind, LineHash, Lines, Mark};
use crate::exposition::{Grammar, Sample, number};

/// How far a page was as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Followed {
    /// The line that was expected next.
    pub(super) line: usize,
    /// Where it should have started.
    pub(super) at: usize,
    /// Where the comments before it started, if there were any.
    pub(super) comments_at: Option<usize>,
    /// Everything was as expected, to the end.
    pub(super) complete: bool,
}

/// What following needs to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'c> {
    pub(super) hash: &'c LineHash,
    pub(super) lines: &'c Lines,
    pub(super) series: usize,
    pub(super) honor_timestamps: bool,
    pub(super) scrape_ms: i64,
}

impl Expected<'_> {
    /// Reads `page` as long as it is as expected.
    pub(super) fn follow<G: Grammar>(&self, page: &[u8], gathered: &mut Gathered) -> Followed {
        if self.lines.series().is_empty() {
            gathered.values.reserve(self.series);
            self.follow_in_order::<G>(page, gathered)
        } else {
            gathered.values.resize(self.series, ABSENT);
            self.follow_by_series::<G>(page, gathered)
        }
    }

    /// The n-th line that is a sample is the n-th series.
    fn follow_in_order<G: Grammar>(&self, page: &[u8], gathered: &mut Gathered) -> Followed {
        let mut followed = Followed { line: 0, at: 0, comments_at: None, complete: false };
        for (hash, mark) in self.lines.iter() {
            let Some(end) = self.matches(page, followed.at, hash, mark) else { return followed };
            match mark.kind() {
                Kind::First => match plain_value(page, end) {
                    Some((value, next)) => {
                        gathered.values.push(value);
                        followed.at = next;
                    }
                    None => match unusual_sample::<G>(page, followed.at, end) {
                        Some(sample) => {
                            followed.at = sample.next;
                            gathered.values.push(ABSENT);
                            let series = gathered.values.len() as u32 - 1;
                            gathered.first(series, sample, self.honor_timestamps);
                        }
                        None => return followed,
                    },
                },
                Kind::Dropped => match ignored_sample::<G>(page, followed.at, end) {
                    Some(next) => followed.at = next,
                    None => return followed,
                },
                Kind::Comments | Kind::LastComments => followed.pass_comments(end),
                Kind::Other | Kind::Repeat => return followed,
            }
            followed.line += 1;
        }
        followed.complete = followed.at == page.len();
        followed
    }

    /// Every line says which series it is.
    fn follow_by_series<G: Grammar>(&self, page: &[u8], gathered: &mut Gathered) -> Followed {
        let mut followed = Followed { line: 0, at: 0, comments_at: None, complete: false };
        for ((hash, mark), series) in self.lines.iter().zip(self.lines.series()) {
            let Some(end) = self.matches(page, followed.at, hash, mark) else { return followed };
            if !mark.kind().is_sample() {
                followed.pass_comments(end);
                followed.line += 1;
                continue;
            }
            let sample = match plain_value(page, end) {
                Some((value, next)) => Sample::plain(value, next),
                None => match unusual_sample::<G>(page, followed.at, end) {
                    Some(sample) => sample,
                    None => return followed,
                },
            };
            followed.at = sample.next;
            followed.line += 1;
            match mark.kind() {
                Kind::First => gathered.first(*series, sample, self.honor_timestamps),
                Kind::Other => {
                    gathered.other(*series, sample, self.honor_timestamps, self.scrape_ms);
                }
                Kind::Repeat => {
                    gathered.repeat(*series, sample, self.honor_timestamps);
                }
                Kind::Dropped | Kind::Comments | Kind::LastComments => {}
            }
        }
        followed.complete = followed.at == page.len();
        followed
    }

    /// Where the line's bytes end, if it stands at `at`.
    #[inline]
    fn matches(&self, page: &[u8], at: usize, hash: u64, mark: Mark) -> Option<usize> {
        let end = at + mark.bytes();
        let bytes = page.get(at..end)?;
        let ends_well = mark.kind() != Kind::LastComments || end == page.len();
        (self.hash.of(bytes) == hash && ends_well).then_some(end)
    }
}

impl Followed {
    #[inline]
    fn pass_comments(&mut self, end: usize) {
        self.comments_at = Some(self.at);
        self.at = end;
    }
}

/// The value of a line in its most common form, ` 1.5\n`, and where the next line starts. Zero has
/// no sign: remote write, as Prometheus encodes it, has none either.
#[inline(always)]
pub(super) fn plain_value(page: &[u8], end: usize) -> Option<(f64, usize)> {
    if page.get(end) != Some(&b' ') {
        return None;
    }
    let (value, end) = number::scan_float(page, end + 1)?;
    (page.get(end) == Some(&b'\n')).then_some((value + 0.0, end + 1))
}

/// A sample in any form; none if it is malformed or the series does not end here.
#[inline(never)]
fn unusual_sample<G: Grammar>(page: &[u8], start: usize, end: usize) -> Option<Sample> {
    if !G::ends_series(page, end) {
        return None;
    }
    G::sample(page, start, end).ok()
}

#[inline]
fn ignored_sample<G: Grammar>(page: &[u8], start: usize, end: usize) -> Option<usize> {
    match plain_value(page, end) {
        Some((_, next)) => Some(next),
        None => unusual_sample::<G>(page, start, end).map(|sample| sample.next),
    }
}

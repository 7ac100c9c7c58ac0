//! What is remembered of the lines of a page: 12 bytes each, and no text.
//!
//! A line is known by the hash of its bytes up to the value. The seed is random for each process,
//! so that nobody can print two lines that are taken for each other on purpose; by chance it
//! happens once in 2^64.

use std::hash::{BuildHasher, RandomState};

use model::MetricType;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_nano_inline};

/// Hashes the bytes of lines. One per process.
#[derive(Debug, Clone)]
pub(super) struct LineHash(RapidSecrets);

/// The lines of a page, in order: comments (a run of them is one line here) and samples.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    hashes: Vec<u64>,
    marks: Vec<Mark>,
    /// The series of each line; empty if the n-th [`Kind::First`] is simply the n-th series.
    series: Vec<u32>,
}

/// How long a line is up to its value, what it is, and which labels were brought into canonical
/// form when it was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u32);

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Comments and blank lines.
    Comments,
    /// Comments that end the page without a line break.
    LastComments,
    /// The first line of a series.
    First,
    /// A first line whose series another line, written differently, has already given.
    Other,
    /// A line that was in the page before.
    Repeat,
    /// Dropped by relabelling.
    Dropped,
}

/// Which labels are brought into canonical form: what the last `# TYPE` line decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Canonical {
    /// None.
    #[default]
    Nothing,
    /// `le`, in a histogram.
    Le,
    /// `quantile`, in a summary.
    Quantile,
}

/// In [`Lines::series`]: a line without a series.
pub(super) const NO_SERIES: u32 = u32::MAX;

/// Longest line that is remembered. Longer ones are parsed each time.
const LINE_BYTES_MAX: u32 = (1 << 27) - 1;

// === impl LineHash ===

impl LineHash {
    /// With a seed of its own.
    pub(super) fn random() -> LineHash {
        LineHash(RapidSecrets::seed(RandomState::new().hash_one("lines of pages")))
    }

    /// The hash of a line's bytes.
    #[inline]
    pub(super) fn of(&self, bytes: &[u8]) -> u64 {
        rapidhash_v3_nano_inline::<true, false>(bytes, &self.0)
    }
}

// === impl Lines ===

impl Lines {
    /// Number of lines.
    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// The lines with their hashes, in order.
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Mark)> + '_ {
        self.hashes.iter().copied().zip(self.marks.iter().copied())
    }

    /// The hash of line `at`.
    pub(super) fn hash(&self, at: usize) -> u64 {
        self.hashes[at]
    }

    /// The mark of line `at`, if there is such a line.
    pub(super) fn mark(&self, at: usize) -> Option<Mark> {
        self.marks.get(at).copied()
    }

    /// The series of each line, if that must be written down; empty if not.
    pub(super) fn series(&self) -> &[u32] {
        &self.series
    }

    /// Appends a line. Its series counts only if series are written down in the end.
    pub(super) fn push(&mut self, hash: u64, mark: Mark, series: u32) {
        self.hashes.push(hash);
        self.marks.push(mark);
        self.series.push(series);
    }

    /// Replaces what is here by the first `len` lines of `other`, whose series count up.
    pub(super) fn start_as(&mut self, other: &Lines, len: usize) {
        self.clear();
        self.hashes.extend_from_slice(&other.hashes[..len]);
        self.marks.extend_from_slice(&other.marks[..len]);
        let mut next = 0..;
        self.series.extend(other.marks[..len].iter().map(|mark| match mark.kind() {
            Kind::First => next.next().expect("series never run out"),
            _ => NO_SERIES,
        }));
    }

    /// Forgets all lines, keeps the memory.
    pub(super) fn clear(&mut self) {
        self.hashes.clear();
        self.marks.clear();
        self.series.clear();
    }

    /// Changes the series of every line that has one.
    pub(super) fn map_series(&mut self, to: impl Fn(u32) -> u32) {
        for series in self.series.iter_mut().filter(|series| **series != NO_SERIES) {
            *series = to(*series);
        }
    }

    /// A copy in exactly the memory that it needs, without the series if they only count up.
    pub(super) fn packed(&self) -> Lines {
        let mut next = 0;
        let counts_up =
            self.marks.iter().zip(&self.series).all(|(mark, series)| match mark.kind() {
                Kind::First => {
                    next += 1;
                    *series == next - 1
                }
                Kind::Other | Kind::Repeat => false,
                Kind::Comments | Kind::LastComments | Kind::Dropped => true,
            });
        let series = if counts_up { Vec::new() } else { self.series.to_vec() };
        Lines { hashes: self.hashes.to_vec(), marks: self.marks.to_vec(), series }
    }

    /// Bytes of memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.hashes.capacity() * 8 + self.marks.capacity() * 4 + self.series.capacity() * 4
    }
}

// === impl Mark ===

impl Mark {
    /// A line of `bytes` up to its value.
    pub(super) fn new(bytes: usize, kind: Kind, canonical: Canonical) -> Mark {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(LINE_BYTES_MAX);
        Mark(bytes << 5 | (canonical as u32) << 3 | kind as u32)
    }

    /// Bytes of the line up to its value. One that is too long to be remembered is longer than
    /// its bytes here, and so never found again.
    #[inline]
    pub(super) fn bytes(self) -> usize {
        (self.0 >> 5) as usize
    }

    /// What the line is.
    #[inline]
    pub(super) fn kind(self) -> Kind {
        match self.0 & 7 {
            0 => Kind::Comments,
            1 => Kind::LastComments,
            2 => Kind::First,
            3 => Kind::Other,
            4 => Kind::Repeat,
            _ => Kind::Dropped,
        }
    }

    /// Which labels were brought into canonical form; of comments: will be, after them.
    pub(super) fn canonical(self) -> Canonical {
        match self.0 >> 3 & 3 {
            0 => Canonical::Nothing,
            1 => Canonical::Le,
            _ => Canonical::Quantile,
        }
    }
}

// === impl Canonical ===

impl Canonical {
    /// What a family of this type asks for.
    pub(super) fn of(kind: MetricType) -> Canonical {
        match kind {
            MetricType::Histogram => Canonical::Le,
            MetricType::Summary => Canonical::Quantile,
            _ => Canonical::Nothing,
        }
    }

    /// Whether the values of this label are brought into canonical form.
    pub(super) fn concerns(self, label: &str) -> bool {
        match self {
            Canonical::Nothing => false,
            Canonical::Le => label == "le",
            Canonical::Quantile => label == "quantile",
        }
    }
}

// === impl Kind ===

impl Kind {
    /// Whether the line is a sample.
    pub(super) fn is_sample(self) -> bool {
        !matches!(self, Kind::Comments | Kind::LastComments)
    }
}

//! The samples of a page while it is being read, and the memory for them.

use std::sync::Arc;

use model::{ABSENT, Carried, Exemplar, Histogram, Layout, Role, Samples, Stamped, is_absent};

use crate::exposition::{RawExemplar, Sample};

/// The samples of a page that is being read. `series` are indexes of its layout.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) values: Vec<f64>,
    pub(super) stamped: Vec<Stamped>,
    pub(super) histograms: Vec<(u32, Option<i64>, Histogram)>,
    pub(super) exemplars: Vec<(u32, Exemplar)>,
    pub(super) created: Vec<(u32, i64)>,
    /// Samples that were dropped because their line was in the page before.
    pub(super) duplicates: u64,
}

/// Memory that pages are read into, kept from one page to the next.
#[derive(Debug, Default)]
pub(crate) struct Room {
    spare: Vec<Gathered>,
}

/// Buffers that are kept: a batch has three blocks of samples.
const SPARE_MAX: usize = 4;

// === impl Gathered ===

impl Gathered {
    /// The sample of the first line of a series.
    #[inline]
    pub(super) fn first(&mut self, series: u32, sample: Sample, honor_timestamps: bool) {
        let value = unsigned_zero(sample.value);
        match sample.timestamp_ms.filter(|_| honor_timestamps) {
            None => self.values[series as usize] = value,
            Some(timestamp_ms) => self.stamped.push(Stamped { series, timestamp_ms, value }),
        }
        self.exemplar(series, sample.exemplar);
    }

    /// The sample of a line that is another spelling of a series which the page has had.
    /// Prometheus' agent sends both.
    pub(super) fn other(&mut self, series: u32, sample: Sample, honor: bool, scrape_ms: i64) {
        let own = sample.timestamp_ms.filter(|_| honor);
        if own.is_none() && is_absent(self.values[series as usize]) {
            return self.first(series, sample, false);
        }
        let timestamp_ms = own.unwrap_or(scrape_ms);
        let value = unsigned_zero(sample.value);
        self.stamped.push(Stamped { series, timestamp_ms, value });
        self.exemplar(series, sample.exemplar);
    }

    /// The sample of a line that was in the page before: a duplicate, unless it has a timestamp
    /// of its own. Says whether it was kept.
    pub(super) fn repeat(&mut self, series: u32, sample: Sample, honor_timestamps: bool) -> bool {
        let kept = honor_timestamps && sample.timestamp_ms.is_some();
        if kept {
            self.first(series, sample, true);
        } else {
            self.duplicates += 1;
        }
        kept
    }

    /// By series, up to `full_at`: whether it has a sample that keeps it alive.
    pub(super) fn taken(&self, full_at: Option<u32>, track_stamped: bool) -> Vec<bool> {
        let mut taken: Vec<bool> = self.values.iter().map(|value| !is_absent(*value)).collect();
        for (series, own_ms, _) in &self.histograms {
            taken[*series as usize] |= own_ms.is_none() || track_stamped;
        }
        for stamped in self.stamped.iter().filter(|_| track_stamped) {
            taken[stamped.series as usize] = true;
        }
        taken.truncate(full_at.map_or(usize::MAX, |full_at| full_at as usize));
        taken
    }

    /// Forgets all samples, keeps the memory.
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.stamped.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.created.clear();
        self.duplicates = 0;
    }

    /// The samples as a block of a batch.
    pub(super) fn into_samples(mut self, layout: Arc<Layout>, carried: Option<Carried>) -> Samples {
        sort_by(&mut self.histograms, |(series, ..)| *series);
        sort_by(&mut self.exemplars, |(series, _)| *series);
        sort_by(&mut self.created, |(series, _)| *series);
        let Gathered { values, stamped, histograms, exemplars, created, duplicates: _ } = self;
        let role = Role::Page;
        Samples { role, layout, carried, values, stamped, histograms, exemplars, created }
    }

    fn exemplar(&mut self, series: u32, exemplar: Option<Box<RawExemplar>>) {
        if let Some(exemplar) = exemplar {
            let RawExemplar { labels, value, timestamp_ms } = *exemplar;
            self.exemplars.push((series, Exemplar { labels, value, timestamp_ms }));
        }
    }
}

// === impl Room ===

impl Room {
    /// Takes back the samples of a batch that everyone has read.
    pub(crate) fn reclaim(&mut self, samples: &mut Vec<Samples>) {
        for samples in samples.drain(..) {
            let Samples { values, stamped, histograms, exemplars, created, .. } = samples;
            let duplicates = 0;
            self.give(Gathered { values, stamped, histograms, exemplars, created, duplicates });
        }
    }

    /// Empty memory for samples.
    pub(super) fn take(&mut self) -> Gathered {
        self.spare.pop().unwrap_or_default()
    }

    /// Memory for one value a series, all absent.
    pub(super) fn take_absent(&mut self, len: usize) -> Gathered {
        let mut gathered = self.take();
        gathered.values.resize(len, ABSENT);
        gathered
    }

    /// Takes memory back.
    pub(super) fn give(&mut self, mut gathered: Gathered) {
        if self.spare.len() < SPARE_MAX {
            gathered.clear();
            self.spare.push(gathered);
        }
    }
}

/// Zero without a sign, everything else as it is.
fn unsigned_zero(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value }
}

/// Sorts by series, what it has not sorted already.
fn sort_by<T>(things: &mut [T], series: impl Fn(&T) -> u32) {
    if !things.is_sorted_by_key(&series) {
        things.sort_by_key(series);
    }
}

//! Which samples arrived: a page (what one scrape of one host gave) at a time, a bit a sample.
//!
//! Series are told apart by a hash of their labels and numbered within their host. A page that has
//! every series of its host gives its bits back, so that an hour of a whole fleet fits into memory.

use std::collections::{BTreeSet, HashMap};

use rapidhash::v3::rapidhash_v3;

/// What all receivers know of the fleet: series by the hash of their labels.
#[derive(Debug, Default)]
pub(crate) struct Series {
    places: HashMap<u64, Place>,
    hosts: HashMap<u64, u32>,
    /// By host: how many series it has shown.
    counts: Vec<u32>,
}

/// A series: its host, and its number there.
#[derive(Debug, Clone, Copy)]
struct Place {
    host: u32,
    nth: u32,
}

/// What one receiver got.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pages: HashMap<Key, Page>,
    /// Samples that came for the first time.
    pub(crate) first: u64,
    /// Samples that had come before.
    pub(crate) again: u64,
}

/// A page: its host, and the timestamp of its samples.
pub(crate) type Key = (u32, i64);

/// What came of a page.
#[derive(Debug, Clone)]
enum Page {
    /// Every series that its host had.
    Whole(u32),
    Part(Vec<u64>),
}

/// What a receiver lacks that another one has.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    /// Samples that any receiver got.
    pub(crate) all: u64,
    /// Of these, samples that are missing though nothing explains it.
    pub(crate) lost: u64,
    /// Of these, samples that are missing and were scraped when the process was killed.
    pub(crate) at_kills: u64,
    /// When the first of the lost ones were scraped, in milliseconds since the epoch.
    pub(crate) lost_at_ms: BTreeSet<i64>,
}

// === impl Series ===

impl Series {
    /// The place of a series, from the bytes of its labels and those of its host's name.
    fn place(&mut self, labels: &[u8], host: &[u8]) -> Place {
        let hash = rapidhash_v3(labels);
        if let Some(place) = self.places.get(&hash) {
            return *place;
        }
        let next = self.hosts.len() as u32;
        let host = *self.hosts.entry(rapidhash_v3(host)).or_insert(next);
        if host == next {
            self.counts.push(0);
        }
        let count = &mut self.counts[host as usize];
        let place = Place { host, nth: *count };
        *count += 1;
        self.places.insert(hash, place);
        place
    }
}

// === impl Book ===

impl Book {
    /// Notes one sample.
    pub(crate) fn note(&mut self, series: &mut Series, labels: &[u8], host: &[u8], ms: i64) {
        let Place { host, nth } = series.place(labels, host);
        let page = self.pages.entry((host, ms)).or_insert_with(|| Page::Part(Vec::new()));
        let is_new = match page {
            Page::Whole(count) => {
                nth >= *count && {
                    *page = Page::Part(bits_below(*count));
                    page.set(nth)
                }
            }
            Page::Part(_) => page.set(nth),
        };
        if is_new {
            self.first += 1;
            let count = series.counts[host as usize];
            if page.count() == u64::from(count) {
                *page = Page::Whole(count);
            }
        } else {
            self.again += 1;
        }
    }

    /// What this receiver lacks of what any of `books` has. `explained` says of a timestamp whether
    /// samples of that time may be missing.
    pub(crate) fn missing(&self, books: &[&Book], explained: impl Fn(i64) -> bool) -> Missing {
        let mut missing = Missing::default();
        let keys: BTreeSet<Key> =
            books.iter().flat_map(|book| book.pages.keys()).copied().collect();
        for key in keys {
            let pages = books.iter().filter_map(|book| book.pages.get(&key));
            let mut all = Vec::new();
            pages.for_each(|page| page.add_to(&mut all));
            let mut own = Vec::new();
            if let Some(page) = self.pages.get(&key) {
                page.add_to(&mut own);
            }
            own.resize(all.len(), 0);
            let lacks = all.iter().zip(&own).map(|(all, own)| u64::from((all & !own).count_ones()));
            let lacks: u64 = lacks.sum();
            missing.all += all.iter().map(|bits| u64::from(bits.count_ones())).sum::<u64>();
            if lacks > 0 && explained(key.1) {
                missing.at_kills += lacks;
            } else if lacks > 0 {
                missing.lost += lacks;
                missing.lost_at_ms.insert(key.1);
            }
        }
        missing
    }
}

// === impl Page ===

impl Page {
    /// Sets a bit of a part. Whether it was not set.
    fn set(&mut self, nth: u32) -> bool {
        let Page::Part(bits) = self else { return false };
        let (at, bit) = (nth as usize / 64, 1 << (nth % 64));
        if bits.len() <= at {
            bits.resize(at + 1, 0);
        }
        let is_new = bits[at] & bit == 0;
        bits[at] |= bit;
        is_new
    }

    fn count(&self) -> u64 {
        match self {
            Page::Whole(count) => u64::from(*count),
            Page::Part(bits) => bits.iter().map(|bits| u64::from(bits.count_ones())).sum(),
        }
    }

    fn add_to(&self, all: &mut Vec<u64>) {
        let whole;
        let bits = match self {
            Page::Part(bits) => bits,
            Page::Whole(count) => {
                whole = bits_below(*count);
                &whole
            }
        };
        if all.len() < bits.len() {
            all.resize(bits.len(), 0);
        }
        all.iter_mut().zip(bits).for_each(|(all, bits)| *all |= bits);
    }
}

fn bits_below(count: u32) -> Vec<u64> {
    let mut bits = vec![u64::MAX; count as usize / 64];
    bits.push((1 << (count % 64)) - 1);
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A book with these samples of host `h`: `(series, timestamp)`.
    fn book(series: &mut Series, samples: &[(u8, i64)]) -> Book {
        let mut book = Book::default();
        samples.iter().for_each(|(nth, ms)| book.note(series, &[*nth], b"h", *ms));
        book
    }

    #[test]
    fn what_one_lacks_and_another_has_is_missing() {
        let mut series = Series::default();
        let whole = book(&mut series, &[(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)]);
        let part = book(&mut series, &[(0, 1), (2, 1), (2, 1), (0, 2), (1, 2), (2, 2), (3, 2)]);
        assert_eq!((part.first, part.again), (6, 1));
        let missing = part.missing(&[&whole, &part], |_| false);
        assert_eq!((missing.all, missing.lost, missing.at_kills), (7, 1, 0));
        assert_eq!(missing.lost_at_ms, BTreeSet::from([1]));
        let missing = whole.missing(&[&whole, &part], |ms| ms == 2);
        assert_eq!((missing.lost, missing.at_kills), (0, 1));
    }

    #[test]
    fn a_page_of_all_series_takes_no_room_and_grows_again() {
        let mut series = Series::default();
        let samples: Vec<(u8, i64)> = (0..=199).map(|nth| (nth, 5)).collect();
        let mut whole = book(&mut series, &samples);
        assert!(matches!(whole.pages[&(0, 5)], Page::Whole(200)));
        whole.note(&mut series, &[200], b"h", 5);
        whole.note(&mut series, &[7], b"h", 5);
        assert_eq!((whole.first, whole.again), (201, 1));
    }
}

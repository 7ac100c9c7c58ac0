//! Metric families, each once for all targets that describe it with the same words.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use hashbrown::HashTable;
use model::{Family, MetricType};
use rapidhash::v3::rapidhash_v3;

use crate::exposition::{Metadata, Says, unescape, unescape_help};

/// All families in use. Forgets those that nobody uses any more, now and then.
#[derive(Debug, Default)]
pub(super) struct Families {
    /// A lock, because workers meet here when a page has new lines; held for a look-up.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    table: HashTable<(u64, Weak<Family>)>,
    /// How many there may be before the unused ones are looked for.
    sweep_at: usize,
}

/// What the comments before a series say about its family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Described {
    name: String,
    kind: MetricType,
    help: String,
    unit: String,
}

/// Fewest families that are worth a sweep.
const SWEEP_FAMILIES_MIN: usize = 1024;

// === impl Families ===

impl Families {
    /// The family of these words.
    pub(super) fn get(&self, described: &Described) -> Arc<Family> {
        let hash = described.hash();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.table.find(hash, |(other, family)| {
            *other == hash && family.upgrade().is_some_and(|family| described.is(&family))
        });
        if let Some(family) = found.and_then(|(_, family)| family.upgrade()) {
            return family;
        }
        if known.table.len() >= known.sweep_at.max(SWEEP_FAMILIES_MIN) {
            known.table.retain(|(_, family)| family.strong_count() > 0);
            known.sweep_at = known.table.len() * 2;
        }
        let family = Arc::new(described.family());
        known.table.insert_unique(hash, (hash, Arc::downgrade(&family)), |(hash, _)| *hash);
        family
    }

    /// The family of a series that no comment describes.
    pub(super) fn unknown(&self, metric: &str) -> Arc<Family> {
        self.get(&Described { name: metric.to_owned(), ..Described::default() })
    }
}

// === impl Described ===

impl Described {
    /// Takes in one metadata line; one of another family starts afresh.
    pub(super) fn hear(&mut self, metadata: Metadata<'_>, help_has_quotes: bool) {
        let family = String::from_utf8_lossy(metadata.family);
        if self.name != family {
            *self = Described { name: family.into_owned(), ..Described::default() };
        }
        match metadata.says {
            Says::Type(kind) => self.kind = kind,
            Says::Unit(unit) => self.unit = String::from_utf8_lossy(unit).into_owned(),
            Says::Help(help) => {
                let help = String::from_utf8_lossy(help);
                let plain = if help_has_quotes { unescape(&help) } else { unescape_help(&help) };
                self.help = plain.into_owned();
            }
        }
    }

    /// Takes in what a format without escapes says.
    pub(super) fn hear_plain(&mut self, metadata: Metadata<'_>) {
        match metadata.says {
            Says::Help(help) => {
                self.name = String::from_utf8_lossy(metadata.family).into_owned();
                self.help = String::from_utf8_lossy(help).into_owned();
            }
            Says::Type(_) | Says::Unit(_) => self.hear(metadata, false),
        }
    }

    fn hash(&self) -> u64 {
        let mut hash = self.kind as u64;
        for text in [&self.name, &self.help, &self.unit] {
            hash = hash.rotate_left(21) ^ rapidhash_v3(text.as_bytes());
        }
        hash
    }

    fn is(&self, family: &Family) -> bool {
        let Family { name, kind, help, unit } = family;
        **name == *self.name && *kind == self.kind && **help == *self.help && **unit == *self.unit
    }

    fn family(&self) -> Family {
        Family {
            name: self.name.as_str().into(),
            kind: self.kind,
            help: self.help.as_str().into(),
            unit: self.unit.as_str().into(),
        }
    }
}

/// Whether a series of this name belongs to `family`: its name with one of the suffixes that the
/// family's type has (Prometheus: `isSeriesPartOfFamily`).
pub(super) fn belongs(metric: &str, family: &Family) -> bool {
    let suffixes: &[&str] = match family.kind {
        MetricType::Counter => &["_total"],
        MetricType::Histogram => &["_bucket", "_sum", "_count"],
        MetricType::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
        MetricType::Summary => &["_sum", "_count"],
        MetricType::Info => &["_info"],
        MetricType::Gauge | MetricType::StateSet | MetricType::Unknown => &[],
    };
    let name = match family.kind {
        MetricType::Counter | MetricType::Info => stem(&family.name, suffixes),
        _ => &family.name,
    };
    metric.starts_with(&*family.name) && stem(metric, suffixes) == name
}

fn stem<'n>(name: &'n str, suffixes: &[&str]) -> &'n str {
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(metric: &str, family: &str, kind: MetricType, want: bool) {
        let family = Family { name: family.into(), kind, ..Family::default() };
        assert_eq!(belongs(metric, &family), want, "{metric} of {family:?}");
    }

    #[test]
    fn a_series_belongs_to_a_family_by_name_and_suffix() {
        check("a_total", "a", MetricType::Counter, true);
        check("a_total", "a_total", MetricType::Counter, true);
        check("a", "a_total", MetricType::Counter, false);
        check("a_bucket", "a", MetricType::Histogram, true);
        check("a_bucket", "a", MetricType::Gauge, false);
        check("a_gsum", "a", MetricType::GaugeHistogram, true);
        check("ab", "a", MetricType::Gauge, false);
        check("a_info", "a", MetricType::Info, true);
        check("a", "a", MetricType::Unknown, true);
    }

    #[test]
    fn the_same_words_are_the_same_family_and_unused_ones_are_forgotten() {
        let families = Families::default();
        let cpu = families.unknown("cpu");
        assert!(Arc::ptr_eq(&cpu, &families.unknown("cpu")));
        for n in 0..10 * SWEEP_FAMILIES_MIN {
            families.unknown(&format!("churn_{n}"));
        }
        assert!(families.known.lock().unwrap().table.len() <= SWEEP_FAMILIES_MIN + 1);
        assert!(Arc::ptr_eq(&cpu, &families.unknown("cpu")));
    }
}

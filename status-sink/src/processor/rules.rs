//! Which fields of which kinds the samples of a metric go to.
//!
//! Made once per configuration. A metric that no kind names costs one look per series and layout.

use std::sync::Arc;

use hashbrown::HashMap;
use rapidhash::fast::RandomState;
use smallvec::SmallVec;

use crate::kind::{FieldId, Kind, Origin, Read};
use crate::store::KindNo;

/// A field that takes the samples of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Use {
    pub(super) kind: KindNo,
    pub(super) field: FieldId,
    /// A value that moved by less is the same.
    pub(super) change: f64,
    /// Several series say what the field is: that one does whose value is not 0.
    pub(super) is_from_label: bool,
}

/// What samples mean, in one configuration.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    generation: u64,
    by_metric: HashMap<Box<str>, SmallVec<[Use; 2]>, RandomState>,
    /// By [`KindNo`].
    kinds: Vec<Option<Arc<Kind>>>,
    /// Kinds of which others mirror fields.
    mirrored: Vec<KindNo>,
}

// === impl Rules ===

impl Rules {
    /// The rules of these kinds, which are those of the configuration `generation`.
    pub(crate) fn new<'k>(
        generation: u64,
        kinds: impl Iterator<Item = (KindNo, &'k Arc<Kind>)>,
    ) -> Rules {
        let mut rules = Rules { generation, ..Rules::default() };
        for (no, kind) in kinds {
            for (field, it) in kind.fields() {
                if let Origin::Metric { metric, read } = &it.origin {
                    let uses = rules.by_metric.entry(metric.clone()).or_default();
                    let is_from_label = matches!(read, Read::FromLabel(_));
                    uses.push(Use { kind: no, field, change: it.change, is_from_label });
                }
            }
            let at = usize::from(no.0);
            rules.kinds.resize(rules.kinds.len().max(at + 1), None);
            rules.kinds[at] = Some(Arc::clone(kind));
        }
        let paths = rules.kinds.iter().flatten().flat_map(|kind| kind.mirrors());
        let paths: Vec<&str> = paths.map(|(_, mirror)| &*mirror.path).collect();
        let is_mirrored =
            |no: &KindNo| rules.kind(*no).is_some_and(|it| paths.contains(&&*it.path()));
        rules.mirrored = rules.kind_nos().filter(is_mirrored).collect();
        rules
    }

    /// Number of the configuration.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The fields that take the samples of a metric.
    pub(super) fn uses(&self, metric: &str) -> &[Use] {
        self.by_metric.get(metric).map_or(&[], |uses| uses)
    }

    /// Whether some field takes the samples of a metric.
    pub(crate) fn reads(&self, metric: &str) -> bool {
        self.by_metric.contains_key(metric)
    }

    /// A kind; none if it was removed.
    pub(super) fn kind(&self, no: KindNo) -> Option<&Arc<Kind>> {
        self.kinds.get(usize::from(no.0))?.as_ref()
    }

    /// Whether others mirror fields of a kind.
    pub(super) fn is_mirrored(&self, no: KindNo) -> bool {
        self.mirrored.contains(&no)
    }

    /// All kinds.
    pub(super) fn kind_nos(&self) -> impl Iterator<Item = KindNo> {
        let numbered = self.kinds.iter().enumerate();
        numbered.filter(|(_, kind)| kind.is_some()).map(|(at, _)| KindNo(at as u16))
    }
}

//! What a feed remembers about one source: its plans, and which shards its series go to.

use std::time::Duration;

use kit::metrics::Share;
use model::{Labels, Role, Samples, Selection};

use super::Feed;
use super::append::stencil;
use super::plan::Plan;
use super::scatter::Scatter;
use super::thinning::{Taken, Thinning};
use crate::block::Encoding;
use crate::encode::Stencil;

/// A source with more series than this is spread over shards series by series; a smaller one goes
/// to one shard as a whole, which scatters nothing and compresses better. Decided once a source.
const SERIES_OF_A_LARGE_SOURCE: usize = 10_000;
/// A stencil is made for a page that came so often as it is: making it costs about as much as three
/// pages without one.
const USES_BEFORE_STENCIL: u8 = 2;

/// Of one source.
pub(super) struct Notes {
    /// Of the source's labels: says which shard a small source goes to.
    pub(super) hash: u64,
    is_large: Option<bool>,
    pub(super) thinning: Thinning,
    page: Option<Planned>,
    report: Option<Planned>,
    taken_page: Option<Taken>,
    taken_report: Option<Taken>,
}

/// Of one layout of the source.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) scatter: Option<Scatter>,
    /// Made when the plan is used for the [third](USES_BEFORE_STENCIL) time: pages that change each
    /// time have none.
    pub(super) stencil: Option<(Stencil, Share)>,
    /// How often it was used, as far as that matters.
    uses: u8,
}

// === impl Notes ===

impl Notes {
    pub(super) fn new(labels: &Labels) -> Notes {
        let mut hash = 0_u64;
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            hash = hash.rotate_left(21) ^ rapidhash::v3::rapidhash_v3(text.as_bytes());
        }
        Notes {
            hash,
            is_large: None,
            thinning: Thinning::default(),
            page: None,
            report: None,
            taken_page: None,
            taken_report: None,
        }
    }

    /// Whether the source is spread series by series: decided by its first page.
    pub(super) fn is_large(&mut self, series: usize) -> bool {
        *self.is_large.get_or_insert(series > SERIES_OF_A_LARGE_SOURCE)
    }

    /// The samples without those that `max_interval` leaves out, if there are such.
    pub(super) fn changed(
        &mut self,
        samples: &Samples,
        timestamp_ms: i64,
        max_interval: Option<Duration>,
    ) -> Option<Samples> {
        let last = match samples.role {
            Role::Page => &mut self.taken_page,
            Role::Report => &mut self.taken_report,
        };
        Taken::changed(last, samples, timestamp_ms, max_interval?)
    }

    /// The plan for these samples: the one that is known, or a new one. `scatter_over` says over
    /// how many shards, and parts, the series are spread.
    pub(super) fn planned(
        &mut self,
        samples: &Samples,
        selection: &Selection,
        feed: &Feed,
        scatter_over: Option<(usize, usize)>,
    ) -> &Planned {
        let slot = match samples.role {
            Role::Page => &mut self.page,
            Role::Report => &mut self.report,
        };
        let layout = &samples.layout;
        let known = slot.take();
        let mut planned = match known {
            Some(mut known) if known.plan.is_for(layout.id(), selection) => {
                known.follow(samples, feed, scatter_over.is_some());
                known
            }
            known => {
                let before = known.as_ref().map(|known| &known.plan);
                let plan = Plan::make(samples, selection, &feed.rules, before);
                let sends_metadata = feed.members.iter().any(|one| one.config.metadata.is_some());
                if samples.role == Role::Page && sends_metadata {
                    feed.families.see(layout, selection);
                }
                Planned { plan, scatter: None, stencil: None, uses: 1 }
            }
        };
        let scattered = planned.scatter.as_ref().map(Scatter::over);
        if scattered != scatter_over {
            planned.scatter =
                scatter_over.map(|(shards, parts)| Scatter::new(layout, shards, parts));
        }
        slot.insert(planned)
    }
}

// === impl Planned ===

impl Planned {
    /// Makes a stencil for the page that came again, and forgets it where it is of no use.
    fn follow(&mut self, samples: &Samples, feed: &Feed, is_scattered: bool) {
        let is_useful = samples.role == Role::Page
            && feed.encoding() == Encoding::RemoteWrite1
            && !is_scattered;
        if !is_useful {
            (self.stencil, self.uses) = (None, 0);
        } else if self.uses < USES_BEFORE_STENCIL {
            self.uses += 1;
        } else if self.uses == USES_BEFORE_STENCIL {
            self.uses += 1;
            let stencil = stencil(samples, &self.plan, feed.rules.external());
            self.stencil = stencil.map(|stencil| {
                // What members have in common is told of the first.
                let mut share = Share::of(&feed.members[0].meters.stencil_bytes);
                share.set(stencil.memory_bytes());
                (stencil, share)
            });
        }
    }
}

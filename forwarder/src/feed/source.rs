//! What a feed remembers about one source: its plans, and which shards its series go to.

use std::sync::{Arc, Weak};

use kit::metrics::Share;
use model::{Carried, Labels, NEW_SERIES, Role, Samples, Selection};

use super::Feed;
use super::append::{stencil, stencil_after};
use super::plan::Plan;
use super::scatter::Scatter;
use super::thinning::{Taken, Thinning};
use crate::block::Encoding;
use crate::encode::{Shapes, Stencil};

/// A page with more series than this is spread over shards series by series; a smaller one goes to
/// one shard as a whole, which scatters nothing and compresses better. Decided once a source: what
/// came before may still wait in its shard.
const SERIES_OF_A_LARGE_SOURCE: usize = 10_000;
/// A stencil is made for a page that came so often as it is, or nearly: making it costs about as
/// much as three pages without one.
const USES_BEFORE_STENCIL: u8 = 2;

/// A page in which one of so many series is new has nothing to do with the one before.
const NEW_SHARE_MAX: usize = 4;
/// So many pages' shapes are offered to others. Targets of more kinds have shapes of their own.
const KNOWN_SHAPES_MAX: usize = 16;

/// The shapes that pages of like targets have in common, with their memory.
#[derive(Debug, Default)]
pub(super) struct KnownShapes(Vec<(Weak<Shapes>, Share)>);

/// Of one source.
pub(super) struct Notes {
    /// Of the source's labels: says which shard a small source goes to.
    pub(super) hash: u64,
    is_large: Option<bool>,
    pub(super) thinning: Thinning,
    page: Part,
    report: Part,
}

/// Of the source's page, or of the report about its scrapes.
#[derive(Default)]
struct Part {
    planned: Option<Planned>,
    /// Which values were taken last, if that matters.
    taken: Option<Taken>,
}

/// Of one layout of the source.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) scatter: Option<Scatter>,
    /// Made at the [third](USES_BEFORE_STENCIL) page, and carried on by later ones: pages that have
    /// little in common with the one before have none.
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
            page: Part::default(),
            report: Part::default(),
        }
    }

    /// Whether these samples are spread series by series: those of a page are if the first one that
    /// has series is large. Reports come also while a target does not answer, and when nothing is
    /// remembered of it any more: they have one shard for ever.
    pub(super) fn is_large(&mut self, samples: &Samples) -> bool {
        let series = samples.layout.len();
        let is_page = samples.role == Role::Page && series > 0;
        is_page && *self.is_large.get_or_insert(series > SERIES_OF_A_LARGE_SOURCE)
    }

    /// The plan for these samples: the one that is known, or a new one; and which of them were taken
    /// last. `scatter_over` says over how many shards, and parts, the series are spread.
    pub(super) fn planned(
        &mut self,
        samples: &Samples,
        selection: &Selection,
        feed: &Feed,
        scatter_over: Option<(usize, usize)>,
    ) -> (&Planned, &mut Option<Taken>) {
        let Part { planned: slot, taken } = match samples.role {
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
                let mut planned = Planned { plan, scatter: None, stencil: None, uses: 1 };
                if let Some(known) = &known {
                    planned.come_after(known, samples, feed, scatter_over.is_some());
                }
                let sends_metadata = feed.members.iter().any(|one| one.config.metadata.is_some());
                if samples.role == Role::Page && sends_metadata {
                    feed.families.see(layout, selection);
                }
                planned
            }
        };
        let scattered = planned.scatter.as_ref().map(Scatter::over);
        if scattered != scatter_over {
            planned.scatter =
                scatter_over.map(|(shards, parts)| Scatter::new(layout, shards, parts));
        }
        (slot.insert(planned), taken)
    }
}

// === impl Planned ===

impl Planned {
    /// Makes a stencil for a page that came again and again, and forgets it where it is of no use.
    fn follow(&mut self, samples: &Samples, feed: &Feed, is_scattered: bool) {
        if !is_useful(samples, feed, is_scattered) {
            (self.stencil, self.uses) = (None, 0);
        } else if self.uses < USES_BEFORE_STENCIL {
            self.uses += 1;
        } else if self.uses == USES_BEFORE_STENCIL {
            self.uses += 1;
            let mut shapes = feed.shapes();
            let known = shapes.living();
            let stencil = stencil(samples, &self.plan, feed.rules.external(), known.iter());
            self.stencil = stencil.map(|stencil| {
                shapes.note(stencil.shapes(), || feed.stencil_share());
                counted(stencil, feed)
            });
        }
    }

    /// Goes on with what a page had that was much like this one: with its stencil, or on the way to
    /// one.
    fn come_after(&mut self, known: &Planned, samples: &Samples, feed: &Feed, is_scattered: bool) {
        let carried = samples.carried.as_ref().filter(|carried| known.plan.is_of(carried.from));
        let Some(Carried { index, .. }) = carried else { return };
        let new = index.iter().filter(|old| **old == NEW_SERIES).count();
        if new * NEW_SHARE_MAX > index.len() || !is_useful(samples, feed, is_scattered) {
            return;
        }
        if let Some((stencil, _)) = &known.stencil {
            let before = (stencil, &known.plan);
            let next = stencil_after(samples, index, &self.plan, feed.rules.external(), before);
            self.stencil = next.map(|next| counted(next, feed));
            self.uses = if self.stencil.is_some() { known.uses } else { 1 };
        } else {
            let never_will = known.uses > USES_BEFORE_STENCIL; // it had too few values
            self.uses = if never_will { 0 } else { known.uses };
            self.follow(samples, feed, is_scattered);
        }
    }
}

/// Whether samples like these are worth a stencil.
fn is_useful(samples: &Samples, feed: &Feed, is_scattered: bool) -> bool {
    let is_page = samples.role == Role::Page;
    is_page && feed.encoding() == Encoding::RemoteWrite1 && !is_scattered
}

fn counted(stencil: Stencil, feed: &Feed) -> (Stencil, Share) {
    let mut share = feed.stencil_share();
    share.set(stencil.memory_bytes());
    (stencil, share)
}

// === impl KnownShapes ===

impl KnownShapes {
    /// Those that some stencil has.
    fn living(&mut self) -> Vec<Arc<Shapes>> {
        self.0.retain(|(shapes, _)| shapes.strong_count() > 0);
        let offered = self.0.iter().take(KNOWN_SHAPES_MAX);
        offered.filter_map(|(shapes, _)| shapes.upgrade()).collect()
    }

    /// Makes shapes known, if they are new.
    fn note(&mut self, shapes: &Arc<Shapes>, share: impl FnOnce() -> Share) {
        let is_known = self.0.iter().any(|(known, _)| known.as_ptr() == Arc::as_ptr(shapes));
        if !is_known {
            let mut share = share();
            share.set(shapes.memory_bytes());
            self.0.push((Arc::downgrade(shapes), share));
        }
    }
}

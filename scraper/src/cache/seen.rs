//! What a page had said when it was refused.
//!
//! As in Prometheus: the series that a refused page has named before its fault are not sent, but
//! they do not end either. They end when the page after it lacks them too, those that no good
//! page has ever had included.

use std::sync::Arc;

use model::{Family, Labels, Layout, LayoutBuilder, Symbols};

use super::settle::Living;

/// The series that a refused page has named.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Those of the layout, in ascending order.
    pub(super) old: Vec<u32>,
    /// Those that are new.
    pub(super) fresh: Vec<(Labels, Arc<Family>)>,
}

/// The series that go on after a refused page.
pub(super) struct Survivors {
    /// The layout, longer at its end by the series that no line of the last good page gives.
    pub(super) layout: Option<Arc<Layout>>,
    /// How many these are.
    pub(super) strays: usize,
    pub(super) living: Living,
}

impl Seen {
    /// Whether this series of the layout was named.
    pub(super) fn has(&self, at: u32) -> bool {
        self.old.binary_search(&at).is_ok()
    }

    /// What is left of a layout with this many strays.
    pub(super) fn survivors(
        self,
        symbols: &Arc<Symbols>,
        layout: Option<Arc<Layout>>,
        strays: usize,
    ) -> Survivors {
        let len = layout.as_ref().map_or(0, |layout| layout.len());
        let mut alive = vec![false; len];
        self.old.iter().for_each(|at| alive[*at as usize] = true);
        if self.fresh.is_empty() {
            return Survivors { layout, strays, living: Living::of(&alive) };
        }
        let listed = len - strays;
        let mut builder = LayoutBuilder::new(symbols);
        if let Some(layout) = &layout {
            let kept = (0..len).filter(|at| *at < listed || alive[*at]);
            kept.for_each(|at| builder.push_from(layout, at, layout.family(at)));
        }
        alive.truncate(listed);
        for (labels, family) in &self.fresh {
            builder.push(labels.iter(), family);
        }
        let layout = builder.build();
        alive.resize(layout.len(), true);
        Survivors {
            strays: layout.len() - listed,
            layout: Some(layout),
            living: Living::of(&alive),
        }
    }
}

//! Sends every sample where its data type belongs. Decides once per series, never per sample.
//!
//! The router is a `BatchSink` whose memo about a source holds the plan for each of its layouts
//! and one nested memo per destination. What a destination is, it does not know.
//! What holds: the same router serves for the whole life of the process; a reload exchanges its
//! table, and a source's plans are made anew at its next batch.

mod plan;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use model::{Batch, BatchSink, Memo, Role, Selection};

pub(crate) use table::{Entry, EntryId, Table};

use plan::Plan;

/// Takes every batch; gives each destination its part.
#[derive(Debug)]
pub(crate) struct Router {
    table: ArcSwap<Table>,
    /// Samples that no route takes while there is no `remote_write`.
    unrouted: AtomicU64,
}

/// What the router remembers about one source.
#[derive(Default)]
struct Notes {
    generation: u64,
    page: Option<Plan>,
    report: Option<Plan>,
    /// Each destination's own notebook.
    memos: Vec<(EntryId, Memo)>,
    /// Per block of samples, what each destination gets. Kept to be used again.
    rows: Vec<Arc<[Selection]>>,
    column: Vec<Selection>,
}

// === impl Router ===

impl Router {
    pub(crate) fn new(table: Table) -> Router {
        Router { table: ArcSwap::from_pointee(table), unrouted: AtomicU64::new(0) }
    }

    /// Routes by another table from the next batch on. The one before: whoever is about to give a
    /// batch by it holds it too.
    pub(crate) fn follow(&self, table: Table) -> Arc<Table> {
        self.table.swap(Arc::new(table))
    }

    /// Samples that went nowhere.
    pub(crate) fn unrouted(&self) -> u64 {
        self.unrouted.load(Ordering::Relaxed)
    }
}

impl BatchSink for Router {
    fn accept(&self, batch: &Batch, selected: &[Selection], memo: &mut Memo) {
        let table = self.table.load();
        let notes = memo.get_or_insert_with(Notes::default);
        notes.follow(&table);
        notes.rows.clear();
        let (mut unrouted, mut to) = (0, table.hearers());
        for (samples, given) in batch.samples.iter().zip(selected) {
            let slot = match samples.role {
                Role::Page => &mut notes.page,
                Role::Report => &mut notes.report,
            };
            let known = slot.take();
            let plan = match known {
                Some(plan) if plan.is_for(samples.layout.id(), given) => plan,
                before => Plan::make(samples, given, &table, before.as_ref()),
            };
            unrouted += plan.count_unrouted(samples);
            to = to.union(plan.takers());
            notes.rows.push(Arc::clone(plan.selections()));
            *slot = Some(plan);
        }
        if unrouted > 0 {
            self.unrouted.fetch_add(unrouted, Ordering::Relaxed);
        }
        let Notes { memos, rows, column, .. } = notes;
        for at in to.iter() {
            let (_, memo) = &mut memos[at];
            column.clear();
            column.extend(rows.iter().map(|row| row[at].clone()));
            table.entries()[at].sink.accept(batch, column, memo);
        }
    }
}

// === impl Notes ===

impl Notes {
    /// After a reload: forgets the plans, and the memos of destinations that are gone.
    fn follow(&mut self, table: &Table) {
        if self.generation == table.generation() {
            return;
        }
        self.generation = table.generation();
        self.page = None;
        self.report = None;
        let mut before = std::mem::take(&mut self.memos);
        let entries = table.entries().iter();
        self.memos = entries
            .map(|entry| match before.iter().position(|(id, _)| *id == entry.id) {
                Some(at) => before.swap_remove(at),
                None => (entry.id, Memo::default()),
            })
            .collect();
    }
}

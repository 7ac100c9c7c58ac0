//! What the thread of a log says about what it found.

use std::sync::atomic::Ordering;

use tracing::{error, info, warn};

use super::{Reader, Worker};
use crate::disk::Recovery;

impl Worker {
    pub(super) fn report_waiting(&self, reader: &Reader, blocks: usize, missing: u64) {
        let (destination, folder) = (&reader.destination, self.config.folder.display());
        if blocks > 0 {
            info!(%destination, %folder, blocks, "going on with what waited on disk");
        }
        if missing > 0 {
            error!(%destination, %folder, samples = missing, "records on disk are missing");
        }
    }

    pub(super) fn report(&self, recovery: &Recovery) {
        let Recovery { damaged_places, torn_bytes, foreign_files, damaged_cursors, freed_cursors } =
            recovery;
        let (destination, folder) = (&self.name, self.config.folder.display());
        let damages = damaged_places + damaged_cursors.len() as u64;
        self.shared.stats.damages.fetch_add(damages, Ordering::Relaxed);
        if damages > 0 {
            error!(
                %destination, %folder, damaged_places,
                damaged_cursors = damaged_cursors.len(), "the queue on disk was damaged"
            );
        }
        if *torn_bytes > 0 {
            warn!(%destination, %folder, torn_bytes, "cutting off a record that is not whole");
        }
        for place in freed_cursors {
            let place = place.display();
            warn!(%place, "a destination is no more: what waited for it is not sent");
        }
        for file in foreign_files {
            warn!(%destination, file = %file.display(), "not a file of this queue: left alone");
        }
    }

    /// The log was not where it was, and with it so many samples that were nowhere else.
    pub(super) fn report_vanished(&self, lost: u64) {
        let (destination, folder) = (&self.name, self.config.folder.display());
        self.shared.stats.damages.fetch_add(1, Ordering::Relaxed);
        error!(%destination, %folder, lost, "the queue on disk vanished: beginning another");
    }

    /// What lies in the place of one that vanished.
    pub(super) fn report_foreign(&self, blocks: usize) {
        let (destination, folder) = (&self.name, self.config.folder.display());
        if blocks > 0 {
            warn!(%destination, %folder, blocks, "another queue is there: for the next start");
        }
    }
}

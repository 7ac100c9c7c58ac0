//! What each reader of a log is done with, and what waits for it.

use std::io;

use super::{Cursor, Located, Log, Recovery, Unreadable, Waits};

impl Log {
    /// The records that `reader` has not acknowledged, in order, and how many samples were held
    /// by records that were missing when the log was opened.
    pub(crate) fn waiting(&self, reader: &str) -> (Vec<Waits>, u64) {
        let Some(cursor) = self.readers.get(reader) else { return (Vec::new(), 0) };
        let records = self.records_from(cursor.next());
        let waiting = records.filter(|record| !cursor.is_done(record.header.sequence));
        let waits = |Located { header, .. }: &Located| Waits {
            sequence: header.sequence,
            origin: header.origin,
            counts: header.counts,
            bytes: u64::from(header.payload_bytes),
            newest_ms: header.newest_ms,
        };
        (waiting.map(waits).collect(), cursor.missing)
    }

    /// `reader` is done with these: delivered, or dropped for good. Saved before it returns.
    ///
    /// # Errors
    /// When the place cannot be written: the blocks may come again after a restart.
    pub(crate) fn acknowledge(&mut self, reader: &str, sequences: &[u64]) -> io::Result<()> {
        let Some(cursor) = self.readers.get_mut(reader) else { return Ok(()) };
        sequences.iter().for_each(|sequence| cursor.done(*sequence));
        self.pass_gaps(reader);
        let samples_before = self.samples_before(self.place(reader));
        if let Some(cursor) = self.readers.get_mut(reader) {
            (cursor.samples_before, cursor.missing) = (samples_before, 0);
            cursor.save()?;
        }
        if self.is_former { Ok(()) } else { self.remove_finished() }
    }

    /// The sequence before which `reader` is done with everything.
    pub(crate) fn place(&self, reader: &str) -> u64 {
        self.readers.get(reader).map_or(0, Cursor::next)
    }

    pub(super) fn add_reader(
        &mut self,
        name: &str,
        unreadable: Unreadable,
        recovery: &mut Recovery,
    ) -> io::Result<()> {
        let path = self.folder.join(format!("{name}.cursor"));
        let known = path.try_exists()?;
        let first = self.segments.iter().flat_map(|segment| segment.records.iter()).next();
        let oldest = first.map_or(self.next_sequence, |record| record.header.sequence);
        let start = if known { oldest } else { self.next_sequence };
        let (mut cursor, starts_anew) = Cursor::open(&path, start, unreadable)?;
        if starts_anew {
            cursor.samples_before = self.samples_before(start);
            cursor.save()?;
        }
        if starts_anew && known {
            recovery.damaged_cursors.push(name.to_owned());
        }
        // A sequence that was acknowledged is never given again, even if its record was torn off.
        self.next_sequence = self.next_sequence.max(cursor.end());
        self.appended = self.appended.max(cursor.samples_before);
        self.readers.insert(name.to_owned(), cursor);
        let missing = self.missing(name);
        self.pass_gaps(name);
        let samples_before = self.samples_before(self.place(name));
        if let Some(cursor) = self.readers.get_mut(name) {
            (cursor.missing, cursor.samples_before) = (missing, samples_before);
        }
        Ok(())
    }

    /// Samples of records behind the place of `reader` that are not there.
    fn missing(&self, reader: &str) -> u64 {
        let Some(cursor) = self.readers.get(reader) else { return 0 };
        let (mut missing, mut expected) = (0, cursor.samples_before);
        for Located { header, .. } in self.records_from(cursor.next()) {
            missing += header.before.saturating_sub(expected);
            expected = header.before + header.counts.total();
        }
        missing
    }

    fn records_from(&self, sequence: u64) -> impl Iterator<Item = &Located> {
        let records = self.segments.iter().flat_map(|segment| segment.records.iter());
        records.filter(move |record| record.header.sequence >= sequence)
    }

    /// Moves the place of `reader` to the next record that there is: what is missing is never
    /// acknowledged, and would hold the place, and everything behind it, for ever.
    fn pass_gaps(&mut self, reader: &str) {
        let mut place = self.place(reader);
        loop {
            let found = self.record_from(place);
            let first = found.map_or(self.next_sequence, |(_, record)| record.header.sequence);
            let Some(cursor) = self.readers.get_mut(reader).filter(|_| first > place) else {
                return;
            };
            cursor.skip_to(first);
            place = cursor.next();
        }
    }

    /// Samples that the log held before `sequence`.
    pub(super) fn samples_before(&self, sequence: u64) -> u64 {
        self.record_from(sequence).map_or(self.appended, |(_, record)| record.header.before)
    }
}

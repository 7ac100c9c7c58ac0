//! Interned label pairs: each `name="value"` of the whole process once, as a small number.
//!
//! A pair's bytes are kept framed as the protobuf `Label { 1: name, 2: value }` that remote write
//! and most of its kin use for a label, so that an encoder copies them; name and value are slices
//! of the same bytes.
//!
//! What holds: an id stays valid as long as a column of ids that [`Symbols::register`] has seen
//! lives. [`Symbols::sweep`] frees the pairs that no living column mentions; it cannot run while
//! an [`Interning`] is under way, so ids that are not in a column yet are safe too.
//! Not here: series and their order (`layout.rs`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};

use hashbrown::HashTable;

/// Bytes of one chunk of pair text. A pair that is longer gets a chunk of its own.
const CHUNK_BYTES: usize = 1 << 16;
/// In [`Pair::framed_bytes`]: so many, or more.
const MANY_BYTES: u16 = u16::MAX;
/// Fewer new pairs than this are not worth a sweep.
const SWEEP_PAIRS_MIN: usize = 10_000;
/// Fewer columns than this are not worth a search for dead ones.
const COLUMNS_MIN: usize = 16;

/// The number of an interned label pair. Means something only to the [`Symbols`] that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairId(pub u32);

/// All label pairs of the process. One instance, shared by reference.
#[derive(Debug, Default)]
pub struct Symbols {
    /// A lock, because encoders read while a new series is added now and then; held for one page.
    table: RwLock<PairTable>,
    /// Held shared while ids are on their way into a column, exclusively by a sweep.
    interning: RwLock<()>,
    /// Every column of ids that may live.
    columns: Mutex<Columns>,
    /// Pairs that the last sweep kept.
    kept: AtomicUsize,
}

/// Columns, some of them dead: a dead one keeps its memory as long as it is listed.
#[derive(Debug, Default)]
struct Columns {
    listed: Vec<Weak<[PairId]>>,
    /// The dead are looked for when so many are listed.
    prune_at: usize,
}

/// A read view of the pairs. Holding it keeps new pairs out: hold it for a page, not longer.
#[derive(Debug, Default)]
pub struct PairTable {
    pairs: Vec<Pair>,
    chunks: Vec<Vec<u8>>,
    lookup: HashTable<u32>,
    free: Vec<u32>,
    text_bytes_freed: usize,
}

/// Ids are being collected for a column; a sweep waits until this is dropped.
#[derive(Debug)]
pub struct Interning<'a> {
    symbols: &'a Symbols,
    _no_sweep: RwLockReadGuard<'a, ()>,
}

/// Where one pair's bytes are. How long name and value are, the frame says.
#[derive(Debug, Clone, Copy)]
struct Pair {
    chunk: u32,
    start: u16,
    framed_bytes: u16,
}

// === impl Symbols ===

impl Symbols {
    /// An empty table.
    pub fn new() -> Arc<Symbols> {
        Arc::new(Symbols::default())
    }

    /// The pairs, to read.
    pub fn read(&self) -> RwLockReadGuard<'_, PairTable> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts collecting ids for one column.
    pub fn interning(&self) -> Interning<'_> {
        let guard = self.interning.read().unwrap_or_else(PoisonError::into_inner);
        Interning { symbols: self, _no_sweep: guard }
    }

    /// Makes a sweep keep the pairs of `column` while it lives.
    fn register(&self, column: &Arc<[PairId]>) {
        let mut columns = self.columns();
        if columns.listed.len() >= columns.prune_at {
            columns.prune();
        }
        columns.listed.push(Arc::downgrade(column));
    }

    /// [Sweeps](Symbols::sweep) if a quarter more pairs are held than the last sweep kept.
    pub fn sweep_if_grown(&self) -> usize {
        let kept = self.kept.load(Ordering::Relaxed);
        if self.read().len() > kept + kept / 4 + SWEEP_PAIRS_MIN { self.sweep() } else { 0 }
    }

    /// Frees every pair that no living column mentions. Returns how many. Costs a walk over all
    /// columns (about 2 ns an id), and keeps new series waiting meanwhile.
    pub fn sweep(&self) -> usize {
        let _alone = self.interning.write().unwrap_or_else(PoisonError::into_inner);
        let living: Vec<Arc<[PairId]>> = {
            let mut columns = self.columns();
            columns.prune();
            columns.listed.iter().filter_map(Weak::upgrade).collect()
        };
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut marked = vec![false; table.pairs.len()];
        for id in living.iter().flat_map(|column| column.iter()) {
            marked[id.0 as usize] = true;
        }
        let freed = table.keep(&marked);
        self.kept.store(table.len(), Ordering::Relaxed);
        freed
    }

    /// Bytes of memory: pair text, pair table, lookup table.
    pub fn memory_bytes(&self) -> usize {
        let table = self.read();
        let text: usize = table.chunks.iter().map(Vec::capacity).sum();
        text + table.pairs.capacity() * size_of::<Pair>() + table.lookup.capacity() * 5
    }

    fn columns(&self) -> MutexGuard<'_, Columns> {
        self.columns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl PairId ===

impl PairId {
    /// A hash for tables of ids. Spreads neighbours over the whole range: tables take the top and
    /// the bottom bits.
    #[inline]
    pub fn spread(self) -> u64 {
        let mixed = u64::from(self.0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 32)
    }
}

// === impl Columns ===

impl Columns {
    /// Forgets the dead ones.
    fn prune(&mut self) {
        self.listed.retain(|column| column.strong_count() > 0);
        self.prune_at = self.listed.len() + self.listed.len() / 4 + COLUMNS_MIN;
    }
}

// === impl PairTable ===

impl PairTable {
    /// The label's name.
    pub fn name(&self, id: PairId) -> &str {
        text(field(self.framed(id)).0)
    }

    /// The label's value.
    pub fn value(&self, id: PairId) -> &str {
        text(field(field(self.framed(id)).1).0)
    }

    /// Name and value.
    pub fn get(&self, id: PairId) -> (&str, &str) {
        name_and_value(self.framed(id))
    }

    /// The protobuf message `Label { 1: name, 2: value }`, without the tag and length before it.
    pub fn framed(&self, id: PairId) -> &[u8] {
        self.pairs[id.0 as usize].framed(&self.chunks)
    }

    /// Pairs that are held.
    pub fn len(&self) -> usize {
        self.pairs.len() - self.free.len()
    }

    /// Whether no pair is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of a pair that is already held.
    pub fn find(&self, name: &str, value: &str) -> Option<PairId> {
        let found = self.lookup.find(hash(name, value), |at| {
            let (known, rest) = field(self.framed(PairId(*at)));
            known == name.as_bytes() && field(rest).0 == value.as_bytes()
        });
        found.map(|at| PairId(*at))
    }

    fn insert(&mut self, name: &str, value: &str) -> PairId {
        if let Some(id) = self.find(name, value) {
            return id;
        }
        let pair = self.store(name, value);
        let id = match self.free.pop() {
            Some(at) => {
                self.pairs[at as usize] = pair;
                at
            }
            None => {
                let at = u32::try_from(self.pairs.len()).expect("fewer than 2^32 label pairs");
                self.pairs.push(pair);
                at
            }
        };
        let PairTable { lookup, pairs, chunks, .. } = self;
        lookup.insert_unique(hash(name, value), id, |at| hash_of(pairs, chunks, *at));
        PairId(id)
    }

    /// Frames a pair and keeps it.
    fn store(&mut self, name: &str, value: &str) -> Pair {
        let mut framed = Vec::with_capacity(name.len() + value.len() + 12);
        framed.push(0x0A);
        push_varint(&mut framed, name.len());
        framed.extend_from_slice(name.as_bytes());
        framed.push(0x12);
        push_varint(&mut framed, value.len());
        framed.extend_from_slice(value.as_bytes());
        self.keep_bytes(&framed)
    }

    /// Appends bytes to the last chunk, or to a new one.
    fn keep_bytes(&mut self, framed: &[u8]) -> Pair {
        let fits = |chunk: &Vec<u8>| CHUNK_BYTES.saturating_sub(chunk.len()) >= framed.len();
        if !self.chunks.last().is_some_and(fits) {
            self.chunks.push(Vec::with_capacity(CHUNK_BYTES.max(framed.len())));
        }
        let at = self.chunks.len() - 1;
        let chunk = &mut self.chunks[at];
        let start = chunk.len() as u16;
        chunk.extend_from_slice(framed);
        let framed_bytes = u16::try_from(framed.len()).unwrap_or(MANY_BYTES);
        Pair { chunk: at as u32, start, framed_bytes }
    }

    /// Frees the unmarked pairs, and packs the text once half of it is free.
    fn keep(&mut self, marked: &[bool]) -> usize {
        let PairTable { lookup, free, pairs, chunks, text_bytes_freed } = self;
        let before = free.len();
        lookup.retain(|at| {
            let keep = marked[*at as usize];
            if !keep {
                free.push(*at);
                *text_bytes_freed += pairs[*at as usize].framed(chunks).len();
            }
            keep
        });
        let freed = free.len() - before;
        let text_bytes: usize = self.chunks.iter().map(Vec::len).sum();
        if self.text_bytes_freed * 2 > text_bytes {
            self.pack();
        }
        freed
    }

    /// Copies the text of the pairs that are held into new chunks.
    fn pack(&mut self) {
        let old = std::mem::take(&mut self.chunks);
        let held: Vec<u32> = self.lookup.iter().copied().collect();
        for at in held {
            let pair = self.pairs[at as usize];
            self.pairs[at as usize] = self.keep_bytes(pair.framed(&old));
        }
        self.text_bytes_freed = 0;
    }
}

// === impl Pair ===

impl Pair {
    #[inline]
    fn framed<'c>(&self, chunks: &'c [Vec<u8>]) -> &'c [u8] {
        let bytes = &chunks[self.chunk as usize][usize::from(self.start)..];
        match self.framed_bytes {
            MANY_BYTES => &bytes[..bytes.len() - field(field(bytes).1).1.len()],
            framed_bytes => &bytes[..usize::from(framed_bytes)],
        }
    }
}

// === impl Interning ===

impl Interning<'_> {
    /// Appends the id of each pair to `ids`, interning those that are new.
    pub fn intern<'p>(
        &self,
        pairs: impl Iterator<Item = (&'p str, &'p str)> + Clone,
        ids: &mut Vec<PairId>,
    ) {
        let before = ids.len();
        {
            let table = self.symbols.read();
            for (name, value) in pairs.clone() {
                match table.find(name, value) {
                    Some(id) => ids.push(id),
                    None => break,
                }
            }
        }
        let known = ids.len() - before;
        let mut rest = pairs.skip(known).peekable();
        if rest.peek().is_some() {
            let mut table = self.symbols.table.write().unwrap_or_else(PoisonError::into_inner);
            ids.extend(rest.map(|(name, value)| table.insert(name, value)));
        }
    }

    /// Ends collecting: the ids as a column that keeps its pairs alive.
    pub fn column(self, ids: Vec<PairId>) -> Arc<[PairId]> {
        let column: Arc<[PairId]> = ids.into();
        self.symbols.register(&column);
        column
    }
}

fn hash(name: &str, value: &str) -> u64 {
    let seed = rapidhash::v3::rapidhash_v3(name.as_bytes());
    rapidhash::v3::rapidhash_v3(value.as_bytes()) ^ seed.rotate_left(32)
}

fn hash_of(pairs: &[Pair], chunks: &[Vec<u8>], at: u32) -> u64 {
    let (name, value) = name_and_value(pairs[at as usize].framed(chunks));
    hash(name, value)
}

fn name_and_value(framed: &[u8]) -> (&str, &str) {
    let (name, rest) = field(framed);
    (text(name), text(field(rest).0))
}

/// The content of the first field of a frame (tag, length, content), and what follows it.
#[inline]
fn field(frame: &[u8]) -> (&[u8], &[u8]) {
    let (mut bytes, mut at, mut shift) = (0, 1, 0);
    loop {
        let byte = frame[at];
        bytes |= usize::from(byte & 0x7F) << shift;
        (at, shift) = (at + 1, shift + 7);
        if byte < 0x80 {
            return frame[at..].split_at(bytes);
        }
    }
}

/// The bytes were stored from a `str`; checking again costs about a nanosecond a pair.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("pair text was stored from a str")
}

fn push_varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push((n as u8) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intern(symbols: &Symbols, pairs: &[(&str, &str)]) -> Arc<[PairId]> {
        let interning = symbols.interning();
        let mut ids = Vec::new();
        interning.intern(pairs.iter().copied(), &mut ids);
        interning.column(ids)
    }

    #[test]
    fn the_same_pair_has_one_id_and_keeps_its_text() {
        let symbols = Symbols::new();
        let first = intern(&symbols, &[("job", "node"), ("cpu", "0")]);
        let second = intern(&symbols, &[("cpu", "0"), ("job", "node"), ("cpu", "1")]);
        assert_eq!(first[0], second[1]);
        assert_eq!(first[1], second[0]);
        let table = symbols.read();
        assert_eq!(table.len(), 3);
        assert_eq!(table.get(second[2]), ("cpu", "1"));
        assert_eq!(table.framed(first[0]), b"\x0A\x03job\x12\x04node");
    }

    #[test]
    fn a_sweep_frees_what_no_column_mentions_and_nothing_else() {
        let symbols = Symbols::new();
        let kept = intern(&symbols, &[("job", "node")]);
        let gone = intern(&symbols, &[("vm", "1"), ("vm", "2")]);
        assert_eq!(symbols.sweep(), 0);
        drop(gone);
        assert_eq!(symbols.sweep(), 2);
        assert_eq!(symbols.read().get(kept[0]), ("job", "node"));
        let again = intern(&symbols, &[("vm", "3"), ("job", "node")]);
        assert_eq!(symbols.read().get(again[0]), ("vm", "3"));
        assert_eq!(again[1], kept[0]);
    }

    #[test]
    fn churn_leaves_little_behind_between_sweeps() {
        let symbols = Symbols::new();
        let _kept = intern(&symbols, &[("job", "node")]);
        for round in 0..10 * SWEEP_PAIRS_MIN {
            drop(intern(&symbols, &[("container", &round.to_string())]));
            symbols.sweep_if_grown();
            assert!(symbols.columns().listed.len() <= 2 * COLUMNS_MIN);
            assert!(symbols.read().len() <= SWEEP_PAIRS_MIN + 3);
        }
    }

    #[test]
    fn text_is_packed_when_most_of_it_is_free() {
        let symbols = Symbols::new();
        let kept = intern(&symbols, &[("a", "stays")]);
        for round in 0..50 {
            let values: Vec<String> = (0..500).map(|n| format!("value-{round}-{n}")).collect();
            let pairs: Vec<_> = values.iter().map(|value| ("churn", value.as_str())).collect();
            drop(intern(&symbols, &pairs));
            symbols.sweep();
        }
        assert_eq!(symbols.read().len(), 1);
        assert_eq!(symbols.read().get(kept[0]), ("a", "stays"));
        assert!(symbols.memory_bytes() < 300_000, "{}", symbols.memory_bytes());
    }

    #[test]
    fn a_value_of_many_kilobytes_is_kept_whole() {
        let symbols = Symbols::new();
        let long = "x".repeat(200_000);
        let ids = intern(&symbols, &[("big", &long), ("small", "1")]);
        assert_eq!(symbols.read().value(ids[0]), long);
        assert_eq!(symbols.read().value(ids[1]), "1");
    }
}

//! Remote write 2.0: protobuf `io.prometheus.write.v2.Request`, strings interned per request.
//!
//! Start timestamps stand in `Sample` and `Histogram` (the published 2.0, not its early drafts).
//! The references of a label pair are looked up by the pair's id: whoever appends must keep the
//! pairs alive until the block is finished (`shard.rs` holds their layouts).

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashTable;
use model::{Exemplar, Family, Histogram, PairId};

use super::repeat::{Label, Repeat};
use super::sample_tail::SampleTail;
use super::wire::{
    begin_short_length, bytes_tag, end_short_length, put_bytes_field, put_double_field,
    put_message, put_varint, put_varint_field,
};
use super::{At, Encode, Series, histogram};
use crate::block::Compressor;

/// Tag of `Request.timeseries`.
const TIME_SERIES: u8 = bytes_tag(5);
/// Tag of `TimeSeries.labels_refs`.
const LABELS_REFS: u8 = bytes_tag(1);
/// Number of `Request.symbols`.
const SYMBOLS: u8 = 4;

/// An open `Request`. Its tables are kept from one request to the next, emptied.
#[derive(Debug, Default)]
pub(crate) struct RemoteWrite2 {
    /// The `timeseries` fields.
    out: Vec<u8>,
    strings: StringTable,
    pairs: HashTable<(PairId, PairRefs)>,
    added: Vec<Option<PairRefs>>,
    tail: SampleTail,
    repeat: Repeat,
    metadata: Vec<u8>,
    /// Whose `metadata` is: compared by text, since families are few and change seldom.
    metadata_of: Option<(Arc<str>, Arc<str>, u8)>,
}

/// References to a label's name and value.
#[derive(Debug, Clone, Copy)]
struct PairRefs {
    name: u32,
    value: u32,
}

/// The `symbols` fields, each string once. The empty string is number 0.
#[derive(Debug)]
struct StringTable {
    /// Encoded fields, in the order of their numbers.
    fields: Vec<u8>,
    /// Where in `fields` the text of each string is.
    texts: Vec<(u32, u32)>,
    lookup: HashTable<u32>,
}

// === impl RemoteWrite2 ===

impl RemoteWrite2 {
    pub(super) fn bytes(&self) -> usize {
        self.out.len() + self.strings.fields.len()
    }

    /// The block, which is over.
    pub(super) fn finish(&mut self, compressor: &mut Compressor) -> Bytes {
        self.strings.fields.extend_from_slice(&self.out);
        let block = compressor.compress(&self.strings.fields);
        self.out.clear();
        self.repeat.forget();
        self.strings.clear();
        self.pairs.clear();
        self.added.clear();
        self.metadata_of = None;
        block
    }

    /// Appends a `TimeSeries` with the labels of `series`, what `fill` appends, and its metadata.
    #[inline]
    fn put_series(
        &mut self,
        series: &Series<'_>,
        fill: impl FnOnce(&mut Vec<u8>, &mut SampleTail, &mut StringTable),
    ) {
        self.find_metadata(series.family);
        let RemoteWrite2 { out, strings, pairs, added, tail, repeat, metadata, .. } = self;
        out.push(TIME_SERIES);
        let start = begin_short_length(out);
        out.push(LABELS_REFS);
        let refs = begin_short_length(out);
        repeat.put(out, series, |out, label| {
            let refs = match label {
                Label::Own(id) => pair_refs(pairs, strings, series, id),
                Label::Added(number) => added_refs(added, strings, series, number),
            };
            put_varint(out, u64::from(refs.name));
            put_varint(out, u64::from(refs.value));
        });
        let refs = end_short_length(out, refs);
        fill(out, tail, strings);
        out.extend_from_slice(metadata);
        let moved = end_short_length(out, start);
        repeat.moved(refs + moved - start);
    }

    /// Makes `metadata` the field of `family`: empty if nothing is known of it.
    fn find_metadata(&mut self, family: &Family) {
        let kind = family.kind as u8;
        let same = |(help, unit, of): &(Arc<str>, Arc<str>, u8)| {
            *of == kind && same_text(help, &family.help) && same_text(unit, &family.unit)
        };
        if self.metadata_of.as_ref().is_some_and(same) {
            return;
        }
        self.metadata_of = Some((Arc::clone(&family.help), Arc::clone(&family.unit), kind));
        self.metadata.clear();
        let help = self.strings.number(&family.help);
        let unit = self.strings.number(&family.unit);
        if (u32::from(kind), help, unit) == (0, 0, 0) {
            return;
        }
        put_message(&mut self.metadata, 5, |out| {
            for (number, n) in [(1, u32::from(kind)), (3, help), (4, unit)] {
                if n != 0 {
                    put_varint_field(out, number, u64::from(n));
                }
            }
        });
    }
}

impl Encode for RemoteWrite2 {
    #[inline]
    fn sample(&mut self, series: &Series<'_>, value: f64, at: At) {
        self.put_series(series, |out, tail, _| {
            if at.started_ms != 0 {
                return put_started_sample(out, value, at);
            }
            if tail.timestamp_ms() != at.timestamp_ms {
                *tail = SampleTail::new(at.timestamp_ms);
            }
            tail.put(out, value);
        });
    }

    fn histogram(&mut self, series: &Series<'_>, histogram: &Histogram, at: At) {
        self.put_series(series, |out, _, _| {
            put_message(out, 3, |out| {
                histogram::put(out, histogram, at.timestamp_ms, at.started_ms);
            });
        });
    }

    fn exemplar(&mut self, series: &Series<'_>, exemplar: &Exemplar, at: At) {
        self.put_series(series, |out, _, strings| {
            put_message(out, 4, |out| {
                put_message(out, 1, |out| {
                    for (name, value) in exemplar.labels.iter() {
                        let refs = strings.refs(name, value);
                        put_varint(out, u64::from(refs.name));
                        put_varint(out, u64::from(refs.value));
                    }
                });
                if exemplar.value.to_bits() != 0 {
                    put_double_field(out, 2, exemplar.value);
                }
                if at.timestamp_ms != 0 {
                    put_varint_field(out, 3, at.timestamp_ms as u64);
                }
            });
        });
    }
}

fn put_started_sample(out: &mut Vec<u8>, value: f64, at: At) {
    put_message(out, 2, |out| {
        if value.to_bits() != 0 {
            put_double_field(out, 1, value);
        }
        if at.timestamp_ms != 0 {
            put_varint_field(out, 2, at.timestamp_ms as u64);
        }
        put_varint_field(out, 3, at.started_ms as u64);
    });
}

fn added_refs(
    added: &mut Vec<Option<PairRefs>>,
    strings: &mut StringTable,
    series: &Series<'_>,
    number: u16,
) -> PairRefs {
    let at = usize::from(number);
    if added.len() <= at {
        added.resize(at + 1, None);
    }
    let label = &series.labels[at];
    *added[at].get_or_insert_with(|| strings.refs(&label.name, &label.value))
}

#[inline]
fn pair_refs(
    pairs: &mut HashTable<(PairId, PairRefs)>,
    strings: &mut StringTable,
    series: &Series<'_>,
    id: PairId,
) -> PairRefs {
    if let Some((_, refs)) = pairs.find(id.spread(), |(known, _)| *known == id) {
        return *refs;
    }
    let (name, value) = series.table.get(id);
    let refs = strings.refs(name, value);
    pairs.insert_unique(id.spread(), (id, refs), |(known, _)| known.spread());
    refs
}

fn same_text(one: &Arc<str>, other: &Arc<str>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

// === impl StringTable ===

impl Default for StringTable {
    fn default() -> StringTable {
        let (fields, texts, lookup) = Default::default();
        let mut table = StringTable { fields, texts, lookup };
        table.append("");
        table
    }
}

impl StringTable {
    fn clear(&mut self) {
        self.fields.clear();
        self.texts.clear();
        self.lookup.clear();
        self.append("");
    }

    fn refs(&mut self, name: &str, value: &str) -> PairRefs {
        PairRefs { name: self.number(name), value: self.number(value) }
    }

    /// The number of `text`; 0 for the empty string.
    fn number(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let hash = rapidhash::v3::rapidhash_v3(text.as_bytes());
        let known = self.lookup.find(hash, |number| self.text(*number) == text.as_bytes());
        if let Some(number) = known {
            return *number;
        }
        let number = self.append(text);
        let StringTable { lookup, texts, fields } = self;
        lookup.insert_unique(hash, number, |number| {
            let (start, end) = texts[*number as usize];
            rapidhash::v3::rapidhash_v3(&fields[start as usize..end as usize])
        });
        number
    }

    fn append(&mut self, text: &str) -> u32 {
        put_bytes_field(&mut self.fields, SYMBOLS, text.as_bytes());
        let end = self.fields.len();
        self.texts.push(((end - text.len()) as u32, end as u32));
        (self.texts.len() - 1) as u32
    }

    fn text(&self, number: u32) -> &[u8] {
        let (start, end) = self.texts[number as usize];
        &self.fields[start as usize..end as usize]
    }
}

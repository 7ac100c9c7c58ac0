//! Blocks made into other blocks: without their old samples, or from remote write 2.0 into 1.0.
//!
//! For what is rare: a receiver that was away longer than `sample_age_limit`, and one that turns
//! out not to know 2.0. Reads the wire format of our own encoders and keeps every field it copies.

use super::wire::{Fields, Value, packed_varints, put_bytes_field, put_message, zigzag};
use super::{CUSTOM_BOUNDS_SCHEMA, put_label};
use crate::block::{Block, Compression, Counts, Damaged, Encoding, Format};
use crate::encode::Extent;

/// Number of `WriteRequest.timeseries`.
const SERIES_1: u64 = 1;
/// Number of `Request.symbols`.
const SYMBOLS_2: u64 = 4;
/// Number of `Request.timeseries`.
const SERIES_2: u64 = 5;

/// The samples of `block` that are not older than `oldest_ms`. A block of an encoding without
/// timestamps to find (JSON lines) goes or stays as a whole, by its newest sample.
///
/// # Errors
/// When the block is damaged.
pub(crate) fn without_older_than(block: Block, oldest_ms: i64) -> Result<Block, Damaged> {
    if block.oldest_ms >= oldest_ms {
        return Ok(block);
    }
    if block.newest_ms < oldest_ms {
        return Ok(plain_block(block.format.encoding, Vec::new(), Extent::EMPTY));
    }
    if block.format.encoding == Encoding::JsonLines {
        return Ok(block);
    }
    let series = series_number(block.format.encoding);
    let (mut kept, mut extent) = (Vec::new(), Extent::EMPTY);
    let plain = block.plain_bytes()?;
    let mut fields = Fields::of(&plain);
    for (number, value) in &mut fields {
        let Value::Bytes(bytes) = value else { return Err(Damaged::Encoding) };
        if number == series {
            let item = item(bytes, block.format.encoding)?;
            if item.timestamp_ms < oldest_ms {
                continue;
            }
            extent.add(item.counts, item.timestamp_ms);
        }
        put_bytes_field(&mut kept, number as u8, bytes);
    }
    if fields.is_damaged() {
        return Err(Damaged::Encoding);
    }
    Ok(plain_block(block.format.encoding, kept, extent))
}

/// The same samples as a block of remote write 1.0. Histograms with custom bounds, start
/// timestamps and metadata have no place there and are left out.
///
/// # Errors
/// When the block is damaged.
pub(crate) fn to_remote_write1(block: &Block) -> Result<Block, Damaged> {
    let plain = block.plain_bytes()?;
    let mut symbols = Vec::new();
    let (mut out, mut extent) = (Vec::new(), Extent::EMPTY);
    let mut fields = Fields::of(&plain);
    for (number, value) in &mut fields {
        match (number, value) {
            (SYMBOLS_2, Value::Bytes(text)) => {
                symbols.push(std::str::from_utf8(text).map_err(|_| Damaged::Encoding)?);
            }
            (SERIES_2, Value::Bytes(series)) => {
                let item = item(series, Encoding::RemoteWrite2)?;
                if !item.custom_bounds {
                    put_series1(&mut out, series, &symbols)?;
                    extent.add(item.counts, item.timestamp_ms);
                }
            }
            _ => return Err(Damaged::Encoding),
        }
    }
    if fields.is_damaged() {
        return Err(Damaged::Encoding);
    }
    Ok(plain_block(Encoding::RemoteWrite1, out, extent))
}

/// What one `TimeSeries` of ours is: they carry one sample, histogram or exemplar each.
pub(super) struct Item {
    pub(super) timestamp_ms: i64,
    pub(super) counts: Counts,
    custom_bounds: bool,
}

pub(super) fn item(series: &[u8], encoding: Encoding) -> Result<Item, Damaged> {
    let (mut counts, mut timestamp_ms, mut custom_bounds) = (Counts::default(), 0, false);
    for (number, value) in Fields::of(series) {
        let Value::Bytes(bytes) = value else { return Err(Damaged::Encoding) };
        let stamp = match (number, encoding) {
            (2, _) => {
                counts.samples += 1;
                2
            }
            (4, Encoding::RemoteWrite1) | (3, Encoding::RemoteWrite2) => {
                counts.histograms += 1;
                custom_bounds = Fields::of(bytes).any(says_custom_bounds);
                15
            }
            (3, Encoding::RemoteWrite1) | (4, Encoding::RemoteWrite2) => {
                counts.exemplars += 1;
                3
            }
            _ => continue,
        };
        let stamped = Fields::of(bytes).find(|(number, _)| *number == stamp);
        if let Some((_, Value::Varint(ms))) = stamped {
            timestamp_ms = ms as i64;
        }
    }
    Ok(Item { timestamp_ms, counts, custom_bounds })
}

/// Whether a field of a histogram is the schema of custom bounds. There need not be any bounds.
fn says_custom_bounds((number, value): (u64, Value<'_>)) -> bool {
    const SCHEMA: u64 = 4;
    let custom = zigzag(i64::from(CUSTOM_BOUNDS_SCHEMA));
    number == SCHEMA && matches!(value, Value::Varint(schema) if schema == custom)
}

fn put_series1(out: &mut Vec<u8>, series: &[u8], symbols: &[&str]) -> Result<(), Damaged> {
    let mut whole = Ok(());
    put_message(out, SERIES_1 as u8, |out| whole = put_fields1(out, series, symbols));
    whole
}

fn put_fields1(out: &mut Vec<u8>, series: &[u8], symbols: &[&str]) -> Result<(), Damaged> {
    for (number, value) in Fields::of(series) {
        let Value::Bytes(bytes) = value else { return Err(Damaged::Encoding) };
        match number {
            1 => put_labels1(out, bytes, symbols)?,
            2 => put_without(out, 2, bytes, 3),
            3 => put_without(out, 4, bytes, 17),
            4 => {
                let mut whole = Ok(());
                put_message(out, 3, |out| whole = put_exemplar1(out, bytes, symbols));
                whole?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn put_labels1(out: &mut Vec<u8>, refs: &[u8], symbols: &[&str]) -> Result<(), Damaged> {
    let text = |at: u64| symbols.get(usize::try_from(at).ok()?).copied();
    let mut refs = packed_varints(refs);
    while let Some(name) = refs.next() {
        let pair = refs.next().and_then(|value| Some((text(name)?, text(value)?)));
        let (name, value) = pair.ok_or(Damaged::Encoding)?;
        put_message(out, 1, |out| put_label(out, name, value));
    }
    Ok(())
}

fn put_exemplar1(out: &mut Vec<u8>, exemplar: &[u8], symbols: &[&str]) -> Result<(), Damaged> {
    for (number, value) in Fields::of(exemplar) {
        match (number, value) {
            (1, Value::Bytes(refs)) => put_labels1(out, refs, symbols)?,
            (number, value) => put_value(out, number, value),
        }
    }
    Ok(())
}

/// Copies a message as field `number`, without its own field `left_out`.
fn put_without(out: &mut Vec<u8>, number: u8, message: &[u8], left_out: u64) {
    put_message(out, number, |out| {
        for (number, value) in Fields::of(message).filter(|(number, _)| *number != left_out) {
            put_value(out, number, value);
        }
    });
}

fn put_value(out: &mut Vec<u8>, number: u64, value: Value<'_>) {
    use super::wire::{put_varint, put_varint_field};
    match value {
        Value::Varint(n) => put_varint_field(out, number as u8, n),
        Value::Bytes(bytes) => put_bytes_field(out, number as u8, bytes),
        Value::Fixed64(n) => {
            put_varint(out, number << 3 | 1);
            out.extend_from_slice(&n.to_le_bytes());
        }
        Value::Fixed32(n) => {
            put_varint(out, number << 3 | 5);
            out.extend_from_slice(&n.to_le_bytes());
        }
    }
}

pub(super) fn series_number(encoding: Encoding) -> u64 {
    if encoding == Encoding::RemoteWrite2 { SERIES_2 } else { SERIES_1 }
}

pub(super) fn plain_block(encoding: Encoding, bytes: Vec<u8>, extent: Extent) -> Block {
    let Extent { counts, oldest_ms, newest_ms } = extent;
    let format = Format { encoding, compression: Compression::None };
    Block { format, bytes: bytes.into(), counts, oldest_ms, newest_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_ends_in_the_middle_is_damaged() {
        let symbol = [4 << 3 | 2, 5, b'a'];
        let extent = Extent::EMPTY;
        let block = plain_block(Encoding::RemoteWrite2, symbol.to_vec(), extent);
        assert!(matches!(to_remote_write1(&block), Err(Damaged::Encoding)));
    }
}

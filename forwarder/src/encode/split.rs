//! A block cut in two halves, for the search of what a receiver refuses.

use super::Extent;
use super::rewrite::{item, plain_block, series_number};
use super::wire::{Fields, Value, put_bytes_field};
use crate::block::{Block, Counts, Damaged, Encoding};

/// The first and the second half of the samples of a block, in their order. A block of one sample
/// has an empty second half.
///
/// # Errors
/// When the block is damaged.
pub(crate) fn split(block: &Block) -> Result<(Block, Block), Damaged> {
    let plain = block.plain_bytes()?;
    match block.format.encoding {
        Encoding::JsonLines => split_lines(block, &plain),
        Encoding::RemoteWrite1 | Encoding::RemoteWrite2 => split_series(block, &plain),
    }
}

/// What is not a series (the symbols of 2.0) goes into both halves.
fn split_series(block: &Block, plain: &[u8]) -> Result<(Block, Block), Damaged> {
    let encoding = block.format.encoding;
    let series = series_number(encoding);
    let half = Fields::of(plain).filter(|(number, _)| *number == series).count().div_ceil(2);
    let (mut halves, mut extents) = ([Vec::new(), Vec::new()], [Extent::EMPTY; 2]);
    let (mut fields, mut seen) = (Fields::of(plain), 0);
    for (number, value) in &mut fields {
        let Value::Bytes(bytes) = value else { return Err(Damaged::Encoding) };
        if number != series {
            halves.iter_mut().for_each(|half| put_bytes_field(half, number as u8, bytes));
            continue;
        }
        let at = usize::from(seen >= half);
        seen += 1;
        let item = item(bytes, encoding)?;
        extents[at].add(item.counts, item.timestamp_ms);
        put_bytes_field(&mut halves[at], number as u8, bytes);
    }
    if fields.is_damaged() {
        return Err(Damaged::Encoding);
    }
    let [first, second] = halves;
    let [of_first, of_second] = extents;
    Ok((plain_block(encoding, first, of_first), plain_block(encoding, second, of_second)))
}

fn split_lines(block: &Block, plain: &[u8]) -> Result<(Block, Block), Damaged> {
    let ends: Vec<usize> = memchr::memchr_iter(b'\n', plain).map(|at| at + 1).collect();
    let half = ends.len().div_ceil(2);
    let cut = if half == 0 { 0 } else { ends[half - 1] };
    let of = |lines: &[u8]| {
        let counts = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let counts = counts.map(line_counts).sum();
        let Block { oldest_ms, newest_ms, .. } = *block;
        plain_block(Encoding::JsonLines, lines.to_vec(), Extent { counts, oldest_ms, newest_ms })
    };
    let (first, second) = (of(&plain[..cut]), of(&plain[cut..]));
    let whole = first.counts + second.counts == block.counts;
    if whole { Ok((first, second)) } else { Err(Damaged::Encoding) }
}

/// What a line of ours holds. No text in quotes has a bare quote in it, so these keys stand where
/// they seem to.
fn line_counts(line: &[u8]) -> Counts {
    let mut counts = Counts::default();
    let has = |key: &[u8]| memchr::memmem::find(line, key).is_some();
    if has(b"},\"exemplar\":") {
        counts.exemplars = 1;
    } else if has(b"},\"histogram\":") {
        counts.histograms = 1;
    } else {
        counts.samples = 1;
    }
    counts
}

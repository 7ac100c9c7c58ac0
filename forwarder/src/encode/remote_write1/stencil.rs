//! The bytes between the values of a page's samples, ready to be copied.
//!
//! A *piece* is what stands before the value of a series. Most pieces of a page have the same
//! elements as many others and differ in a few bytes of a literal (the number of a machine, the
//! name of a device). So a piece is kept as the number of its *shape* and those few bytes: about
//! five bytes a series.
//! What holds: pieces and values stand for what [`RemoteWrite1`](super::RemoteWrite1) would write
//! for a series that follows the one before it in the stencil, if that one follows a sample of the
//! same page.
//! Not here: how shapes are found (`shapes.rs`); when it is worth it (`destination/append.rs`).

use model::{PairId, is_absent};

use super::message::{Ending, Message};
use super::shapes::{OWN_BYTES_MAX, PREFIX_BYTES_MAX, SUFFIX_BYTES_MAX, Shape, Shapes};
use super::{BEFORE_VALUE, STAMP_BYTES, Stamp, all_ids};
use crate::encode::Series;
use crate::encode::snappy::Snappy;

/// In place of a shape: the piece is kept whole, with its length and plain bytes before it.
const WHOLE: u8 = 254;
/// In place of a shape: there is no piece.
const NOTHING: u8 = 255;
/// More shapes are not kept.
const SHAPES_MAX: usize = WHOLE as usize;
/// The longest piece that is kept whole.
const WHOLE_BYTES_MAX: usize = 255;
/// Bytes before a whole piece: its length, and its plain bytes as two.
const WHOLE_HEAD_BYTES: usize = 3;
/// Room for a piece with a value that is written beyond its end.
const SAMPLE_ROOM_BYTES: usize = PREFIX_BYTES_MAX + OWN_BYTES_MAX + SUFFIX_BYTES_MAX + 8;
/// A millisecond of our time: all such timestamps have [`STAMP_BYTES`].
const SOME_TIMESTAMP_MS: i64 = 1 << 40;
/// Series between two notes of where the bytes of a piece start.
const NOTED_EVERY: usize = 64;

/// Ready pieces for series in a certain order.
#[derive(Debug)]
pub(crate) struct Stencil {
    shapes: Box<[Shape]>,
    /// The shape of each series.
    shape_of: Box<[u8]>,
    /// What each piece does not share with its shape, one after the other, and some bytes more.
    own: Box<[u8]>,
    /// Where the own bytes of each [`NOTED_EVERY`]th series start.
    starts: Box<[u32]>,
}

/// Makes a stencil, series by series.
#[derive(Debug, Default)]
pub(crate) struct StencilBuilder {
    snappy: Snappy,
    stamp: Vec<u8>,
    head: [u8; BEFORE_VALUE],
    before: Message,
    next: Message,
    merged: Vec<PairId>,
    pieces: Vec<u8>,
    /// Where each piece ends, and its plain bytes with those of the value; 0 if there is none.
    ends: Vec<(u32, u16)>,
}

// === impl Stencil ===

impl Stencil {
    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.shapes) + self.shape_of.len() + self.own.len() + self.starts.len() * 4
    }

    /// Whether the series that is `nth` has a piece.
    #[inline]
    pub(crate) fn has(&self, nth: usize) -> bool {
        self.shape_of.get(nth).is_some_and(|shape| *shape != NOTHING)
    }

    /// Writes the pieces from `first` on, each with its value, up to one that has none. Returns
    /// how many.
    #[inline]
    pub(super) fn put(&self, first: usize, values: &[f64], out: &mut Snappy) -> usize {
        let shapes = &self.shape_of[first..];
        let Some(value) = values.first() else { return 0 };
        let mut before = !value.to_bits();
        let mut own = &self.own[self.start_of(first)..];
        let most = values.len().min(shapes.len());
        // Whole pieces are never longer than what is kept of them.
        let room = out.room(most * SAMPLE_ROOM_BYTES + own.len());
        let (mut end, mut count, mut plain_bytes) = (0, 0, 0);
        for (value, shape) in values.iter().zip(shapes) {
            if is_absent(*value) || *shape >= WHOLE {
                if is_absent(*value) || *shape == NOTHING {
                    break;
                }
                let (length, plain) = whole_head(own);
                room[end..end + length].copy_from_slice(&own[WHOLE_HEAD_BYTES..][..length]);
                (end, own) = (end + length, &own[WHOLE_HEAD_BYTES + length..]);
                room[end..end + 8].copy_from_slice(&value.to_le_bytes());
                (end, plain_bytes) = (end + 8, plain_bytes + plain);
            } else {
                let shape = &self.shapes[usize::from(*shape)];
                let around = &shape.around[usize::from(value.to_bits() == before)];
                let own_bytes = usize::from(shape.own_bytes);
                put_block(room, end, &around.prefix);
                end += usize::from(shape.prefix_bytes);
                put_block(room, end, own.first_chunk::<OWN_BYTES_MAX>().expect("some bytes more"));
                (end, own) = (end + own_bytes, &own[own_bytes..]);
                put_block(room, end, &around.suffix);
                end += usize::from(around.suffix_bytes);
                put_block(room, end, &value.to_le_bytes());
                end += usize::from(around.value_bytes);
                plain_bytes += usize::from(shape.plain_bytes);
            }
            (before, count) = (value.to_bits(), count + 1);
        }
        out.appended(end, plain_bytes);
        count
    }

    fn start_of(&self, nth: usize) -> usize {
        let noted = nth / NOTED_EVERY;
        let mut start = self.starts[noted] as usize;
        for shape in &self.shape_of[noted * NOTED_EVERY..nth] {
            start += match *shape {
                NOTHING => 0,
                WHOLE => WHOLE_HEAD_BYTES + whole_head(&self.own[start..]).0,
                shape => usize::from(self.shapes[usize::from(shape)].own_bytes),
            };
        }
        start
    }
}

#[inline]
fn put_block<const BYTES: usize>(room: &mut [u8], at: usize, block: &[u8; BYTES]) {
    room[at..at + BYTES].copy_from_slice(block);
}

/// The length of the whole piece that stands here, and its plain bytes.
#[inline]
fn whole_head(own: &[u8]) -> (usize, usize) {
    (usize::from(own[0]), usize::from(u16::from_le_bytes([own[1], own[2]])))
}

// === impl StencilBuilder ===

impl StencilBuilder {
    /// Nothing yet, with memory for `series` series.
    pub(crate) fn new(series: usize) -> StencilBuilder {
        let Stamp { bytes, head, .. } = Stamp::new(SOME_TIMESTAMP_MS);
        debug_assert_eq!(bytes.len(), STAMP_BYTES);
        let ends = Vec::with_capacity(series);
        StencilBuilder { stamp: bytes, head, ends, ..StencilBuilder::default() }
    }

    /// Appends a series.
    pub(crate) fn push(&mut self, series: &Series<'_>) {
        let ids = all_ids(series, &mut self.merged);
        let ending = Ending { bytes: &self.head, value_bytes: 8, stamp_bytes: STAMP_BYTES };
        self.next.set(&self.stamp, series, ids, ending);
        let start = self.snappy.elements().len();
        self.next.write(&self.before, &[0; 8], &mut self.snappy);
        let elements = &self.snappy.elements()[start..];
        let piece = &elements[..elements.len() - 8];
        let plain_bytes = u16::try_from(self.next.plain_bytes()).unwrap_or(0);
        if plain_bytes > 0 && piece.len() <= WHOLE_BYTES_MAX && self.next.repeats(&self.before) {
            self.pieces.extend_from_slice(piece);
            self.ends.push((self.pieces.len() as u32, plain_bytes));
        } else {
            self.ends.push((self.pieces.len() as u32, 0));
        }
        std::mem::swap(&mut self.next, &mut self.before);
    }

    /// The stencil of the series pushed.
    pub(crate) fn build(self) -> Stencil {
        let pieces = || {
            let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end as usize));
            let ends = self.ends.iter();
            starts.zip(ends).map(|(start, (end, plain_bytes))| {
                (&self.pieces[start..*end as usize], usize::from(*plain_bytes))
            })
        };
        let shapes = Shapes::of(pieces().filter(|(_, plain_bytes)| *plain_bytes > 0), SHAPES_MAX);
        let (mut shape_of, mut own, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        for (nth, (piece, plain_bytes)) in pieces().enumerate() {
            if nth.is_multiple_of(NOTED_EVERY) {
                starts.push(own.len() as u32);
            }
            match shapes.find(piece, plain_bytes) {
                _ if plain_bytes == 0 => shape_of.push(NOTHING),
                Some((shape, differing)) => {
                    shape_of.push(shape as u8);
                    own.extend_from_slice(differing);
                }
                None => {
                    shape_of.push(WHOLE);
                    own.push(piece.len() as u8);
                    own.extend_from_slice(&(plain_bytes as u16).to_le_bytes());
                    own.extend_from_slice(piece);
                }
            }
        }
        own.extend_from_slice(&[0; OWN_BYTES_MAX]);
        Stencil {
            shapes: shapes.into_shapes(),
            shape_of: shape_of.into(),
            own: own.into(),
            starts: starts.into(),
        }
    }
}

//! The bytes between the values of a page's samples, ready to be copied.
//!
//! A *piece* is what stands before the value of a series. Most pieces of a page have the same
//! elements as many others and differ in a few bytes of a literal (the number of a machine, the
//! name of a device). So a piece is kept as the number of its *shape* and those few bytes: about
//! five bytes a series.
//! What holds: pieces and values stand for what [`RemoteWrite1`](super::RemoteWrite1) would write
//! for a series that follows the one before it in the stencil, if that one follows a sample of the
//! same page.
//! A page that changes a little has most pieces in common with the one before: they are copied.
//! Not here: how shapes are found (`shapes.rs`); when it is worth it (`feed/source.rs`).

use std::ops::Range;
use std::sync::Arc;

use model::{PairId, is_absent};

use super::message::{Ending, Message};
use super::shapes::{
    Form, OWN_BYTES_MAX, PREFIX_BYTES_MAX, SHAPES_MAX, SUFFIX_BYTES_MAX, Shapes, form,
};
use super::{BEFORE_VALUE, STAMP_BYTES, Stamp, all_ids};
use crate::encode::Series;
use crate::encode::snappy::Snappy;

/// In place of a shape: the piece is kept whole, with its length and plain bytes before it.
const WHOLE: u8 = SHAPES_MAX as u8;
/// In place of a shape: there is no piece.
const NOTHING: u8 = 255;
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

/// A stencil takes the shapes of another page if they leave no more than one of so many pieces
/// whole that shapes of its own would not.
const SHARED_WHOLE_SHARE_MAX: usize = 16;
/// A stencil that is copied with changes is good for as long as no more than one of so many pieces
/// became whole by that.
const COPIED_WHOLE_SHARE_MAX: usize = 8;

/// Ready pieces for series in a certain order.
#[derive(Debug)]
pub(crate) struct Stencil {
    shapes: Arc<Shapes>,
    /// The shape of each series.
    shape_of: Box<[u8]>,
    /// What each piece does not share with its shape, one after the other, and some bytes more.
    own: Box<[u8]>,
    /// Where the own bytes of each [`NOTED_EVERY`]th series start.
    starts: Box<[u32]>,
    /// Copies of it may have so many whole pieces.
    whole_max: usize,
}

/// Makes a stencil, series by series.
#[derive(Debug)]
pub(crate) struct StencilBuilder {
    pen: Pen,
    pieces: Vec<u8>,
    /// Where each piece ends, and its plain bytes with those of the value; 0 if there is none.
    ends: Vec<(u32, u16)>,
}

/// Makes a stencil out of one whose series are, for the most part, the same.
#[derive(Debug)]
pub(crate) struct StencilCopy<'s> {
    from: &'s Stencil,
    pen: Pen,
    shape_of: Vec<u8>,
    own: Vec<u8>,
    /// Pieces that are copied next.
    copied: Range<usize>,
}

/// Writes pieces.
#[derive(Debug)]
struct Pen {
    snappy: Snappy,
    stamp: Vec<u8>,
    head: [u8; BEFORE_VALUE],
    before: Message,
    next: Message,
    merged: Vec<PairId>,
}

// === impl Stencil ===

impl Stencil {
    /// Puts the parts of a stencil together.
    fn of(shapes: Arc<Shapes>, shape_of: Vec<u8>, mut own: Vec<u8>, whole_max: usize) -> Stencil {
        let (mut starts, mut start) = (Vec::new(), 0);
        for (nth, shape) in shape_of.iter().enumerate() {
            if nth.is_multiple_of(NOTED_EVERY) {
                starts.push(start as u32);
            }
            start += own_bytes(&shapes, *shape, &own[start..]);
        }
        own.extend_from_slice(&[0; OWN_BYTES_MAX]);
        let (shape_of, own, starts) = (shape_of.into(), own.into(), starts.into());
        Stencil { shapes, shape_of, own, starts, whole_max }
    }

    /// Bytes of memory, without the shapes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.shape_of.len() + self.own.len() + self.starts.len() * 4
    }

    /// The shapes, which others may share.
    pub(crate) fn shapes(&self) -> &Arc<Shapes> {
        &self.shapes
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
                let shape = self.shapes.get(*shape);
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
        let Some(start) = self.starts.get(noted) else { return self.own.len() - OWN_BYTES_MAX };
        let mut start = *start as usize;
        for shape in &self.shape_of[noted * NOTED_EVERY..nth] {
            start += own_bytes(&self.shapes, *shape, &self.own[start..]);
        }
        start
    }
}

/// Bytes of what a piece has for itself; it stands at the start of `own`.
fn own_bytes(shapes: &Shapes, shape: u8, own: &[u8]) -> usize {
    match shape {
        NOTHING => 0,
        WHOLE => WHOLE_HEAD_BYTES + whole_head(own).0,
        shape => usize::from(shapes.get(shape).own_bytes),
    }
}

/// Appends what a piece has for itself. Its shape.
fn put_own(shapes: &Shapes, form: Form, piece: &[u8], plain_bytes: u16, own: &mut Vec<u8>) -> u8 {
    if let Some((shape, differing)) = shapes.find(form, piece, usize::from(plain_bytes)) {
        own.extend_from_slice(differing);
        return shape;
    }
    own.push(piece.len() as u8);
    own.extend_from_slice(&plain_bytes.to_le_bytes());
    own.extend_from_slice(piece);
    WHOLE
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

// === impl Pen ===

impl Pen {
    fn new() -> Pen {
        let Stamp { bytes, head, .. } = Stamp::new(SOME_TIMESTAMP_MS);
        debug_assert_eq!(bytes.len(), STAMP_BYTES);
        let (snappy, before, next, merged) = Default::default();
        Pen { snappy, stamp: bytes, head, before, next, merged }
    }

    /// The next piece is that of a series after this one.
    fn stand_behind(&mut self, series: &Series<'_>) {
        self.set_next(series);
        std::mem::swap(&mut self.next, &mut self.before);
    }

    /// The piece of a series that stands behind the last one, and its plain bytes with those of
    /// the value; none if it can not have one.
    fn write(&mut self, series: &Series<'_>) -> Option<(&[u8], u16)> {
        self.set_next(series);
        self.snappy.begin_part();
        self.next.write(&self.before, &[0; 8], &mut self.snappy);
        let repeats = self.next.repeats(&self.before);
        let plain_bytes = u16::try_from(self.next.plain_bytes()).ok();
        std::mem::swap(&mut self.next, &mut self.before);
        let elements = self.snappy.elements();
        let piece = &elements[..elements.len() - 8];
        (repeats && piece.len() <= WHOLE_BYTES_MAX).then_some((piece, plain_bytes?))
    }

    fn set_next(&mut self, series: &Series<'_>) {
        let ids = all_ids(series, &mut self.merged);
        let ending = Ending { bytes: &self.head, value_bytes: 8, stamp_bytes: STAMP_BYTES };
        self.next.set(&self.stamp, series, ids, ending);
    }
}

// === impl StencilBuilder ===

impl StencilBuilder {
    /// Nothing yet, with memory for `series` series.
    pub(crate) fn new(series: usize) -> StencilBuilder {
        StencilBuilder { pen: Pen::new(), pieces: Vec::new(), ends: Vec::with_capacity(series) }
    }

    /// Appends a series.
    pub(crate) fn push(&mut self, series: &Series<'_>) {
        let piece = self.pen.write(series);
        let plain_bytes = piece.map_or(0, |(_, plain_bytes)| plain_bytes);
        self.pieces.extend_from_slice(piece.map_or(&[], |(piece, _)| piece));
        self.ends.push((self.pieces.len() as u32, plain_bytes));
    }

    /// The stencil of the series pushed. It has the shapes of another page if they are good enough.
    pub(crate) fn build<'k>(self, known: impl Iterator<Item = &'k Arc<Shapes>>) -> Stencil {
        let mut start = 0;
        let pieces: Vec<(Form, &[u8], u16)> = self
            .ends
            .iter()
            .map(|(end, plain_bytes)| {
                let piece = &self.pieces[start..*end as usize];
                start = *end as usize;
                (form(piece, usize::from(*plain_bytes)), piece, *plain_bytes)
            })
            .collect();
        let real = || {
            let pieces = pieces.iter().filter(|(_, _, plain_bytes)| *plain_bytes > 0);
            pieces.map(|(form, piece, plain_bytes)| (*form, *piece, usize::from(*plain_bytes)))
        };
        let whole = |shapes: &Shapes| {
            let found = |(form, piece, plain_bytes)| shapes.find(form, piece, plain_bytes);
            real().filter(|piece| found(*piece).is_none()).count()
        };
        let shapes = Shapes::of(real());
        let whole_max = whole(&shapes) + pieces.len() / SHARED_WHOLE_SHARE_MAX;
        let known = { known }.find(|known| whole(known) <= whole_max);
        let shapes = known.cloned().unwrap_or_else(|| Arc::new(shapes));
        let whole_max = whole_max + pieces.len() / COPIED_WHOLE_SHARE_MAX;
        let mut own = Vec::new();
        let shape_of = pieces.iter().map(|(form, piece, plain_bytes)| match plain_bytes {
            0 => NOTHING,
            _ => put_own(&shapes, *form, piece, *plain_bytes, &mut own),
        });
        let shape_of = shape_of.collect();
        Stencil::of(shapes, shape_of, own, whole_max)
    }
}

// === impl StencilCopy ===

impl<'s> StencilCopy<'s> {
    /// Nothing yet.
    pub(crate) fn new(from: &'s Stencil) -> StencilCopy<'s> {
        let shape_of = Vec::with_capacity(from.shape_of.len());
        let own = Vec::with_capacity(from.own.len());
        StencilCopy { from, pen: Pen::new(), shape_of, own, copied: 0..0 }
    }

    /// Appends a series that follows the same one as the series that is `nth` in the other stencil,
    /// and is that series.
    pub(crate) fn copy(&mut self, nth: usize) {
        if self.copied.end == nth {
            self.copied.end += 1;
        } else {
            self.end_copying();
            self.copied = nth..nth + 1;
        }
    }

    /// Appends a series that is new, or follows another one than before: `before`, if there is one
    /// before it.
    pub(crate) fn push(&mut self, before: Option<&Series<'_>>, series: &Series<'_>) {
        self.end_copying();
        let piece = before.and_then(|before| {
            self.pen.stand_behind(before);
            self.pen.write(series)
        });
        let shapes = &self.from.shapes;
        self.shape_of.push(match piece {
            Some((piece, plain_bytes)) => {
                let form = form(piece, usize::from(plain_bytes));
                put_own(shapes, form, piece, plain_bytes, &mut self.own)
            }
            None => NOTHING,
        });
    }

    /// The stencil; none if too many pieces have no shape of it.
    pub(crate) fn build(mut self) -> Option<Stencil> {
        self.end_copying();
        let Stencil { shapes, whole_max, .. } = self.from;
        let whole = self.shape_of.iter().filter(|shape| **shape == WHOLE).count();
        let is_good = whole <= *whole_max;
        is_good.then(|| Stencil::of(Arc::clone(shapes), self.shape_of, self.own, *whole_max))
    }

    fn end_copying(&mut self) {
        let Range { start, end } = std::mem::take(&mut self.copied);
        self.shape_of.extend_from_slice(&self.from.shape_of[start..end]);
        if start < end {
            let own = self.from.start_of(start)..self.from.start_of(end);
            self.own.extend_from_slice(&self.from.own[own]);
        }
    }
}

//! What many pieces of a page have in common: the same elements, and all but a few bytes. Pages of
//! like targets have most of it in common too: their stencils share shapes.
//!
//! What holds: a shape around the own bytes of a piece is that piece, for a value unlike the one
//! before; and the same plain bytes, for a value that is the one before again.

use std::collections::HashMap;
use std::ops::Range;

use rapidhash::v3::rapidhash_v3;
use smallvec::SmallVec;

use crate::encode::snappy::{Element, SHORT_LITERAL_MAX, Snappy, elements};

/// The longest beginning that pieces share.
pub(super) const PREFIX_BYTES_MAX: usize = 32;
/// The most bytes in which they may differ.
pub(super) const OWN_BYTES_MAX: usize = 16;
/// The longest end that they share, with the copy of a value.
pub(super) const SUFFIX_BYTES_MAX: usize = 16;
/// More shapes than this are not kept: their numbers are bytes, and two mean something else.
pub(super) const SHAPES_MAX: usize = 254;
/// Fewer pieces are not worth a shape, which takes about as much memory as four of them.
const PIECES_MIN: usize = 8;

/// A shape: what stands around the own bytes of its pieces.
#[derive(Debug)]
pub(super) struct Shape {
    /// For a value of its own, and for one that is the value before again.
    pub(super) around: [Around; 2],
    pub(super) prefix_bytes: u8,
    pub(super) own_bytes: u8,
    /// Plain bytes of a piece and its value.
    pub(super) plain_bytes: u16,
}

/// What stands before and behind the own bytes of a piece; unused bytes are written too.
#[derive(Debug)]
pub(super) struct Around {
    pub(super) prefix: [u8; PREFIX_BYTES_MAX],
    pub(super) suffix: [u8; SUFFIX_BYTES_MAX],
    pub(super) suffix_bytes: u8,
    /// Bytes of the value that follow: 8, or none if it is copied.
    pub(super) value_bytes: u8,
}

/// Shapes of pieces, found in one page.
#[derive(Debug)]
pub(crate) struct Shapes {
    shapes: Vec<Shape>,
    /// The number of a shape, by the form of its pieces.
    by_form: HashMap<Form, u8>,
}

/// A hash of what pieces of one shape have in common: all but the bytes of literals. Two that are
/// taken for each other by chance, or on purpose, are told apart by their bytes.
pub(super) type Form = u64;

/// Pieces of one form.
struct Group<'p> {
    first: &'p [u8],
    plain_bytes: usize,
    /// Where they differ.
    differing: Range<usize>,
    pieces: usize,
}

// === impl Shapes ===

impl Shapes {
    /// The shapes of these pieces, each of which comes with its form and its plain bytes: the most
    /// frequent ones.
    pub(super) fn of<'p>(pieces: impl Iterator<Item = (Form, &'p [u8], usize)>) -> Shapes {
        let mut groups: HashMap<Form, Group<'p>> = HashMap::new();
        for (form, piece, plain_bytes) in pieces {
            let group = groups.entry(form);
            group.or_insert_with(|| Group::new(piece, plain_bytes)).take(piece);
        }
        groups.retain(|_, group| group.pieces >= PIECES_MIN);
        let mut groups: Vec<(Form, Group<'p>)> = groups.into_iter().collect();
        groups.sort_by_key(|(form, group)| (std::cmp::Reverse(group.pieces), *form));
        let mut shapes = Shapes { shapes: Vec::new(), by_form: HashMap::new() };
        for (form, group) in groups {
            if shapes.shapes.len() == SHAPES_MAX {
                break;
            }
            if let Some(shape) = Shape::new(group.first, group.differing(), group.plain_bytes) {
                shapes.by_form.insert(form, shapes.shapes.len() as u8);
                shapes.shapes.push(shape);
            }
        }
        shapes
    }

    /// The shape of a piece of this form and the bytes that it has for itself.
    pub(super) fn find<'p>(
        &self,
        form: Form,
        piece: &'p [u8],
        plain_bytes: usize,
    ) -> Option<(u8, &'p [u8])> {
        let number = *self.by_form.get(&form)?;
        Some((number, self.get(number).own_bytes_of(piece, plain_bytes)?))
    }

    /// The shape with this number.
    #[inline]
    pub(super) fn get(&self, number: u8) -> &Shape {
        &self.shapes[usize::from(number)]
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let entry_bytes = size_of::<(Form, u8)>() + 1;
        self.shapes.capacity() * size_of::<Shape>() + self.by_form.capacity() * entry_bytes
    }
}

/// The form of a piece.
pub(super) fn form(piece: &[u8], plain_bytes: usize) -> Form {
    let mut common = SmallVec::<[u8; 64]>::from_slice(piece);
    for element in elements(piece) {
        if let Element::Literal(bytes) = element {
            common[bytes.start..bytes.end.min(piece.len())].fill(0);
        }
    }
    rapidhash_v3(&common) ^ (plain_bytes as u64).rotate_left(32)
}

// === impl Group ===

impl<'p> Group<'p> {
    fn new(first: &'p [u8], plain_bytes: usize) -> Group<'p> {
        Group { first, plain_bytes, differing: first.len()..first.len(), pieces: 0 }
    }

    fn take(&mut self, piece: &[u8]) {
        if piece.len() != self.first.len() {
            return;
        }
        self.pieces += 1;
        let differs = |at: &usize| piece[*at] != self.first[*at];
        if let Some(start) = (0..piece.len()).find(differs) {
            let end = (0..piece.len()).rev().find(differs).map_or(start, |last| last + 1);
            let known = &self.differing;
            let known_end = if known.is_empty() { end } else { known.end };
            self.differing = known.start.min(start)..known_end.max(end);
        }
    }

    /// Where the pieces differ; if nowhere, a place that leaves room for the beginning.
    fn differing(&self) -> Range<usize> {
        let split = self.first.len().min(PREFIX_BYTES_MAX);
        if self.differing.is_empty() { split..split } else { self.differing.clone() }
    }
}

// === impl Shape ===

impl Shape {
    /// A shape around bytes `own` of `piece`; none if it would be too long.
    fn new(piece: &[u8], own: Range<usize>, plain_bytes: usize) -> Option<Shape> {
        let around =
            [Around::new(piece, &own, 8)?, Around::of_value_again(piece, &own, plain_bytes)?];
        let own_bytes = u8::try_from(own.len()).ok().filter(|_| own.len() <= OWN_BYTES_MAX)?;
        let prefix_bytes = own.start as u8;
        Some(Shape { around, prefix_bytes, own_bytes, plain_bytes: plain_bytes as u16 })
    }

    /// What the piece has for itself, if it is of this shape.
    fn own_bytes_of<'p>(&self, piece: &'p [u8], plain_bytes: usize) -> Option<&'p [u8]> {
        let own = usize::from(self.prefix_bytes)..usize::from(self.prefix_bytes + self.own_bytes);
        let around = &self.around[0];
        let is_like = usize::from(self.plain_bytes) == plain_bytes
            && piece.get(..own.start)? == &around.prefix[..own.start]
            && piece.get(own.end..)? == &around.suffix[..usize::from(around.suffix_bytes)];
        is_like.then_some(&piece[own])
    }
}

// === impl Around ===

impl Around {
    fn new(piece: &[u8], own: &Range<usize>, value_bytes: u8) -> Option<Around> {
        let (mut prefix, mut suffix) = ([0; PREFIX_BYTES_MAX], [0; SUFFIX_BYTES_MAX]);
        prefix.get_mut(..own.start)?.copy_from_slice(&piece[..own.start]);
        let behind = &piece[own.end..];
        suffix.get_mut(..behind.len())?.copy_from_slice(behind);
        Some(Around { prefix, suffix, suffix_bytes: behind.len() as u8, value_bytes })
    }

    /// For a value that is the one before again, and is copied: it stands where all that the piece
    /// and its value stand for ends, a message before. If the tag of the literal that the value
    /// would be in is not the shape's, or too long, the value is written nevertheless.
    fn of_value_again(piece: &[u8], own: &Range<usize>, plain_bytes: usize) -> Option<Around> {
        let Some(Element::Literal(last)) = elements(piece).last() else { return None };
        let tag = last.start - 1;
        let is_short = last.len() <= SHORT_LITERAL_MAX;
        if own.contains(&tag) || !is_short {
            return Around::new(piece, own, 8);
        }
        let mut end = Snappy::default();
        end.literal(&piece[last.start..], &[]);
        end.copy_unchecked(plain_bytes, 8);
        Around::new(&[&piece[..tag], end.elements()].concat(), own, 0)
    }
}

//! Snappy's block format, written by somebody who knows where the repetitions are.
//!
//! A compressor searches its input for repetitions; the encoder of a page knows them: what two
//! neighbours have in common stands at a known distance. So the compressed bytes are written at
//! once, and the plain ones never exist.
//! Source: `format_description.txt` of google/snappy.
//! What holds: any decoder of the format gives back what was put in, in order. What an element
//! means depends on the elements before it only through its distance.
//! Not here: what to repeat (`remote_write1.rs`).

use std::ops::Range;

use bytes::Bytes;

/// A copy reaches back this far with two bytes of offset.
pub(super) const DISTANCE_MAX: usize = u16::MAX as usize;
/// A shorter repetition between two literals is cheaper as a part of them.
pub(super) const COPY_BYTES_MIN: usize = 4;
/// The longest literal whose length fits into its tag.
pub(super) const SHORT_LITERAL_MAX: usize = 60;
/// The longest literal with one byte of length.
const MIDDLE_LITERAL_MAX: usize = 1 << 8;
/// The longest literal with two bytes of length.
const LONG_LITERAL_MAX: usize = 1 << 16;
/// The longest copy of one element.
const COPY_MAX: usize = 64;
/// Room for the length of the plain bytes, which comes first and is known last.
const HEAD_BYTES: usize = 5;
/// Room that is made at a time, at least.
const ROOM_BYTES: usize = 4096;

/// An open snappy block.
#[derive(Debug)]
pub(super) struct Snappy {
    /// The block and, behind it, room: short pieces are written as whole words.
    out: Vec<u8>,
    /// Where the block ends. It starts with [`HEAD_BYTES`] of room.
    end: usize,
    /// Plain bytes that the elements stand for.
    plain_bytes: usize,
}

/// An element of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Element {
    /// Where its bytes stand. They may reach beyond the end of what was given.
    Literal(Range<usize>),
    /// A copy, whatever it says.
    Copy,
}

/// The elements of a part of a block that was written here.
pub(super) fn elements(part: &[u8]) -> impl Iterator<Item = Element> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let tag = usize::from(*part.get(at)?);
        let byte = |nth: usize| part.get(at + nth).map_or(0, |byte| usize::from(*byte));
        let (start, length) = match (tag & 3, tag >> 2) {
            (1, _) => (at + 2, None),
            (0, 60) => (at + 2, Some(byte(1))),
            (0, 61) => (at + 3, Some(byte(1) | byte(2) << 8)),
            (0, length) => (at + 1, Some(length)),
            _ => (at + 3, None),
        };
        at = start + length.map_or(0, |length| length + 1);
        Some(length.map_or(Element::Copy, |_| Element::Literal(start..at)))
    })
}

// === impl Snappy ===

impl Default for Snappy {
    fn default() -> Snappy {
        Snappy { out: Vec::new(), end: HEAD_BYTES, plain_bytes: 0 }
    }
}

impl Snappy {
    /// Forgets everything: what is written next is a part of a block, behind as much as a copy can
    /// reach.
    pub(super) fn begin_part(&mut self) {
        (self.end, self.plain_bytes) = (HEAD_BYTES, DISTANCE_MAX);
    }

    /// Compressed bytes so far.
    pub(super) fn bytes(&self) -> usize {
        self.end
    }

    /// The elements so far.
    pub(super) fn elements(&self) -> &[u8] {
        &self.out[HEAD_BYTES.min(self.out.len())..self.end.min(self.out.len())]
    }

    /// Puts `bytes` as they are, and `more` behind them.
    #[inline]
    pub(super) fn literal(&mut self, bytes: &[u8], more: &[u8]) {
        let whole = bytes.len() + more.len();
        if whole == 0 {
            return;
        }
        self.make_room(whole);
        if whole <= SHORT_LITERAL_MAX {
            self.append(&[(whole as u8 - 1) << 2]);
            self.append(bytes);
            self.append(more);
            self.plain_bytes += whole;
        } else if whole <= MIDDLE_LITERAL_MAX {
            self.append(&[SHORT_LITERAL_MAX as u8 * 4, (whole - 1) as u8]);
            self.append(bytes);
            self.append(more);
            self.plain_bytes += whole;
        } else {
            self.long_literal(bytes);
            self.long_literal(more);
        }
    }

    /// Puts `bytes` bytes again that stand `distance` back, which is at most [`DISTANCE_MAX`] and
    /// at least 1.
    #[inline]
    pub(super) fn copy(&mut self, distance: usize, bytes: usize) {
        debug_assert!(distance <= self.plain_bytes);
        self.copy_unchecked(distance, bytes);
    }

    /// As [`Snappy::copy`], for elements that will stand behind enough others.
    #[inline]
    pub(super) fn copy_unchecked(&mut self, distance: usize, bytes: usize) {
        debug_assert!((1..=DISTANCE_MAX).contains(&distance));
        let mut rest = bytes;
        self.make_room(rest / COPY_MAX * 3 + 8);
        while rest > 0 {
            let (element, element_bytes, bytes) = if (4..12).contains(&rest) && distance < 2048 {
                (distance << 8 & 0xff00 | distance >> 8 << 5 | (rest - 4) << 2 | 1, 2, rest)
            } else {
                let bytes = rest.min(COPY_MAX);
                (distance << 8 | (bytes - 1) << 2 | 2, 3, bytes)
            };
            let word = (element as u32).to_le_bytes();
            self.out[self.end..self.end + 4].copy_from_slice(&word);
            self.end += element_bytes;
            rest -= bytes;
        }
        self.plain_bytes += bytes;
    }

    /// Room for `bytes` bytes of ready elements: they are written to the slice, which may be
    /// longer, and [noted](Snappy::appended) then.
    #[inline]
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        self.make_room(bytes);
        &mut self.out[self.end..]
    }

    /// Ready elements were written into the [room](Snappy::room) that was made.
    #[inline]
    pub(super) fn appended(&mut self, bytes: usize, plain_bytes: usize) {
        self.end += bytes;
        self.plain_bytes += plain_bytes;
    }

    /// Everything put so far as one block; starts the next one.
    pub(super) fn finish(&mut self) -> Bytes {
        self.make_room(0);
        let mut head = [0; HEAD_BYTES];
        let mut head_bytes = 0;
        let mut rest = self.plain_bytes;
        while rest >= 0x80 {
            head[head_bytes] = rest as u8 | 0x80;
            (rest, head_bytes) = (rest >> 7, head_bytes + 1);
        }
        head[head_bytes] = rest as u8;
        let start = HEAD_BYTES - head_bytes - 1;
        self.out[start..HEAD_BYTES].copy_from_slice(&head[..=head_bytes]);
        let block = Bytes::copy_from_slice(&self.out[start..self.end]);
        (self.end, self.plain_bytes) = (HEAD_BYTES, 0);
        block
    }

    fn long_literal(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(LONG_LITERAL_MAX) {
            let [low, high] = ((piece.len() - 1) as u16).to_le_bytes();
            self.append(&[(SHORT_LITERAL_MAX as u8 + 1) * 4, low, high]);
            self.append(piece);
        }
        self.plain_bytes += bytes.len();
    }

    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        self.out[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Room for a literal of `bytes` bytes, and some.
    #[inline]
    fn make_room(&mut self, bytes: usize) {
        let enough = self.end + bytes + bytes / 1024 + 16;
        if self.out.len() < enough {
            self.out.resize(enough + enough / 2 + ROOM_BYTES, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(block: &[u8]) -> Vec<u8> {
        snap::raw::Decoder::new().decompress_vec(block).unwrap()
    }

    #[test]
    fn an_empty_block_has_a_length_alone() {
        assert_eq!(Snappy::default().finish()[..], [0]);
    }

    #[test]
    fn two_pieces_are_one_literal() {
        let mut snappy = Snappy::default();
        snappy.literal(b"ab", b"cd");
        snappy.copy(4, 8);
        assert_eq!(snappy.elements(), [12, b'a', b'b', b'c', b'd', 4 << 2 | 1, 4]);
        assert_eq!(plain(&snappy.finish()), b"abcdabcdabcd");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Literal(Vec<u8>, Vec<u8>),
        Copy { back: usize, bytes: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let bytes = |max| prop::collection::vec(any::<u8>(), 0..max);
        let step = prop_oneof![
            (bytes(20), bytes(9)).prop_map(|(one, other)| Step::Literal(one, other)),
            (bytes(700), bytes(9)).prop_map(|(one, other)| Step::Literal(one, other)),
            (0..100_000_usize, 0..20_usize).prop_map(|(back, bytes)| Step::Copy { back, bytes }),
            (0..3000_usize, 0..300_usize).prop_map(|(back, bytes)| Step::Copy { back, bytes }),
            (0..9_usize, 0..300_usize).prop_map(|(back, bytes)| Step::Copy { back, bytes }),
        ];
        prop::collection::vec(step, 0..120)
    }

    proptest! {
        #[test]
        fn every_decoder_gives_back_what_was_put_in(steps in steps(), long in 0..200_000_usize) {
            let mut snappy = Snappy::default();
            let mut want: Vec<u8> = vec![7; long];
            snappy.literal(&want, b"");
            for step in steps {
                match step {
                    Step::Literal(bytes, more) => {
                        snappy.literal(&bytes, &more);
                        want.extend(bytes);
                        want.extend(more);
                    }
                    Step::Copy { back, bytes } if !want.is_empty() => {
                        let distance = 1 + back % want.len().min(DISTANCE_MAX);
                        snappy.copy(distance, bytes);
                        (0..bytes).for_each(|_| want.push(want[want.len() - distance]));
                    }
                    Step::Copy { .. } => {}
                }
            }
            prop_assert_eq!(plain(&snappy.finish()), want);
        }
    }
}

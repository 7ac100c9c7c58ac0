//! Snappy's block format, written by somebody who knows where the repetitions are.
//!
//! A compressor searches its input for repetitions; the encoder of a page knows them: what stands
//! before the differing label of two neighbours is the same bytes, at a known distance. So the
//! compressed bytes are written at once, and the plain ones never exist.
//! Source: `format_description.txt` of google/snappy.
//! What holds: any decoder of the format gives back what was put in, in order.
//! Not here: what to repeat (`remote_write1.rs`).

use bytes::Bytes;

/// A copy reaches back this far with two bytes of offset.
pub(super) const DISTANCE_MAX: usize = u16::MAX as usize;
/// The longest literal whose length fits into its tag.
const SHORT_LITERAL_MAX: usize = 60;
/// The longest literal with one byte of length.
const LITERAL_MAX: usize = 256;
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
    /// Plain bytes that the finished elements stand for, pending ones included.
    plain_bytes: usize,
    /// A copy that may still get longer; its length is 0 if there is none.
    copy_bytes: usize,
    copy_distance: usize,
    /// Where the tag of the literal at the end stands; 0 if the end is not a literal.
    literal: usize,
}

// === impl Snappy ===

impl Default for Snappy {
    fn default() -> Snappy {
        let (plain_bytes, copy_bytes, copy_distance, literal) = (0, 0, 0, 0);
        let out = Vec::new();
        Snappy { out, end: HEAD_BYTES, plain_bytes, copy_bytes, copy_distance, literal }
    }
}

impl Snappy {
    /// Plain bytes so far: the position of what comes next.
    pub(super) fn position(&self) -> usize {
        self.plain_bytes
    }

    /// Compressed bytes so far.
    pub(super) fn bytes(&self) -> usize {
        self.end
    }

    /// Puts bytes as they are.
    #[inline]
    pub(super) fn literal(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.end_copy();
        self.make_room(bytes.len());
        match self.lengthen_literal(bytes.len()) {
            true => self.append(bytes),
            false => self.long_literal(bytes),
        }
        self.plain_bytes += bytes.len();
    }

    /// Puts the first `bytes` bytes of a word, which are at most eight.
    #[inline]
    pub(super) fn literal_word(&mut self, word: u64, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.end_copy();
        self.make_room(16);
        if !self.lengthen_literal(bytes) {
            self.literal = self.end;
            self.out[self.end] = tag_of_literal(bytes);
            self.end += 1;
        }
        self.out[self.end..self.end + 8].copy_from_slice(&word.to_le_bytes());
        self.end += bytes;
        self.plain_bytes += bytes;
    }

    /// Puts `bytes` bytes again that stand `distance` back, which is at most [`DISTANCE_MAX`] and
    /// at least 1.
    #[inline]
    pub(super) fn copy(&mut self, distance: usize, bytes: usize) {
        if bytes == 0 {
            return;
        }
        debug_assert!((1..=DISTANCE_MAX).contains(&distance) && distance <= self.plain_bytes);
        if self.copy_distance != distance {
            self.end_copy();
            self.copy_distance = distance;
        }
        self.plain_bytes += bytes;
        self.copy_bytes += bytes;
    }

    /// Whether the last thing put was a copy: [`Snappy::lengthen_copy`] costs nothing then.
    #[inline]
    pub(super) fn ends_with_copy(&self) -> bool {
        self.copy_bytes > 0
    }

    /// Puts `bytes` more bytes of where the last copy came from.
    #[inline]
    pub(super) fn lengthen_copy(&mut self, bytes: usize) {
        self.copy(self.copy_distance, bytes);
    }

    /// Everything put so far as one block; starts the next one.
    pub(super) fn finish(&mut self) -> Bytes {
        self.end_copy();
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
        (self.end, self.plain_bytes, self.literal) = (HEAD_BYTES, 0, 0);
        block
    }

    /// Makes the literal at the end longer, if there is one and it stays short.
    #[inline]
    fn lengthen_literal(&mut self, bytes: usize) -> bool {
        if self.literal == 0 {
            return false;
        }
        let whole = self.end - self.literal - 1 + bytes;
        if whole <= SHORT_LITERAL_MAX {
            self.out[self.literal] = tag_of_literal(whole);
        }
        whole <= SHORT_LITERAL_MAX
    }

    /// Bytes that do not fit behind the open literal, or have none to fit behind.
    fn long_literal(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(LITERAL_MAX) {
            self.literal = 0;
            if piece.len() <= SHORT_LITERAL_MAX {
                self.literal = self.end;
                self.append(&[tag_of_literal(piece.len())]);
            } else {
                self.append(&[SHORT_LITERAL_MAX as u8 * 4, (piece.len() - 1) as u8]);
            }
            self.append(piece);
        }
    }

    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        self.out[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Room for a literal of `bytes` bytes, and some.
    #[inline]
    fn make_room(&mut self, bytes: usize) {
        let enough = self.end + bytes + bytes / 64 + 16;
        if self.out.len() < enough {
            self.out.resize(enough + enough / 2 + ROOM_BYTES, 0);
        }
    }

    /// Writes the copy that is pending.
    #[inline]
    fn end_copy(&mut self) {
        if self.copy_bytes > 0 {
            self.put_copy();
        }
    }

    fn put_copy(&mut self) {
        let mut rest = std::mem::take(&mut self.copy_bytes);
        let distance = std::mem::take(&mut self.copy_distance);
        self.literal = 0;
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
    }
}

fn tag_of_literal(bytes: usize) -> u8 {
    (bytes as u8 - 1) << 2
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
    fn copies_of_the_same_distance_are_one() {
        let mut snappy = Snappy::default();
        snappy.literal(b"abcd");
        snappy.copy(4, 3);
        snappy.copy(4, 5);
        let block = snappy.finish();
        assert_eq!(block[..], [12, 12, b'a', b'b', b'c', b'd', 4 << 2 | 1, 4]);
        assert_eq!(plain(&block), b"abcdabcdabcd");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Literal(Vec<u8>),
        Word(u64, usize),
        Lengthen(usize),
        Copy { back: usize, bytes: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Step::Literal),
            prop::collection::vec(any::<u8>(), 0..700).prop_map(Step::Literal),
            (any::<u64>(), 0..9_usize).prop_map(|(word, bytes)| Step::Word(word, bytes)),
            (0..9_usize).prop_map(Step::Lengthen),
            (0..100_000_usize, 0..20_usize).prop_map(|(back, bytes)| Step::Copy { back, bytes }),
            (0..3000_usize, 0..300_usize).prop_map(|(back, bytes)| Step::Copy { back, bytes }),
            (0..9_usize, 0..300_usize).prop_map(|(back, bytes)| Step::Copy { back, bytes }),
        ];
        prop::collection::vec(step, 0..120)
    }

    proptest! {
        #[test]
        fn every_decoder_gives_back_what_was_put_in(steps in steps()) {
            let mut snappy = Snappy::default();
            let mut want: Vec<u8> = Vec::new();
            for step in steps {
                match step {
                    Step::Literal(bytes) => {
                        snappy.literal(&bytes);
                        want.extend(bytes);
                    }
                    Step::Copy { back, bytes } if !want.is_empty() => {
                        let distance = 1 + back % want.len().min(DISTANCE_MAX);
                        snappy.copy(distance, bytes);
                        (0..bytes).for_each(|_| want.push(want[want.len() - distance]));
                    }
                    Step::Word(word, bytes) => {
                        snappy.literal_word(word, bytes);
                        want.extend(&word.to_le_bytes()[..bytes]);
                    }
                    Step::Lengthen(bytes) if snappy.ends_with_copy() => {
                        let distance = snappy.copy_distance;
                        snappy.lengthen_copy(bytes);
                        (0..bytes).for_each(|_| want.push(want[want.len() - distance]));
                    }
                    Step::Copy { .. } | Step::Lengthen(_) => {}
                }
                prop_assert_eq!(snappy.position(), want.len());
            }
            prop_assert_eq!(plain(&snappy.finish()), want);
        }
    }
}

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

/// An open snappy block.
#[derive(Debug, Default)]
pub(super) struct Snappy {
    /// Starts with [`HEAD_BYTES`] of room.
    out: Vec<u8>,
    /// Plain bytes that the finished elements stand for, pending ones included.
    plain_bytes: usize,
    /// A copy that may still get longer; its length is 0 if there is none.
    copy_bytes: usize,
    copy_distance: usize,
    /// Where the tag of the literal at the end stands; 0 if the end is not a literal.
    literal: usize,
}

// === impl Snappy ===

impl Snappy {
    /// Plain bytes so far: the position of what comes next.
    pub(super) fn position(&self) -> usize {
        self.plain_bytes
    }

    /// Compressed bytes so far.
    pub(super) fn bytes(&self) -> usize {
        self.out.len()
    }

    /// Puts bytes as they are.
    #[inline]
    pub(super) fn literal(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.end_copy();
        self.plain_bytes += bytes.len();
        let open = if self.literal == 0 { 0 } else { self.out.len() - self.literal - 1 };
        if self.literal == 0 || open + bytes.len() > SHORT_LITERAL_MAX {
            return self.long_literal(bytes);
        }
        self.out.extend_from_slice(bytes);
        self.out[self.literal] = tag_of_literal(open + bytes.len());
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

    /// Everything put so far as one block; starts the next one.
    pub(super) fn finish(&mut self) -> Bytes {
        self.end_copy();
        if self.out.is_empty() {
            self.out.extend_from_slice(&[0; HEAD_BYTES]);
        }
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
        let block = Bytes::copy_from_slice(&self.out[start..]);
        self.out.clear();
        (self.plain_bytes, self.literal) = (0, 0);
        block
    }

    /// Bytes that do not fit behind the open literal, or have none to fit behind.
    fn long_literal(&mut self, bytes: &[u8]) {
        if self.out.is_empty() {
            self.out.extend_from_slice(&[0; HEAD_BYTES]);
        }
        for piece in bytes.chunks(LITERAL_MAX) {
            self.literal = 0;
            if piece.len() <= SHORT_LITERAL_MAX {
                self.literal = self.out.len();
                self.out.push(tag_of_literal(piece.len()));
            } else {
                self.out.extend_from_slice(&[SHORT_LITERAL_MAX as u8 * 4, (piece.len() - 1) as u8]);
            }
            self.out.extend_from_slice(piece);
        }
    }

    /// Writes the copy that is pending.
    #[inline]
    fn end_copy(&mut self) {
        let mut rest = std::mem::take(&mut self.copy_bytes);
        if rest == 0 {
            return;
        }
        self.literal = 0;
        let distance = std::mem::take(&mut self.copy_distance);
        let [low, high, ..] = distance.to_le_bytes();
        while rest > 0 {
            if (4..12).contains(&rest) && distance < 2048 {
                self.out.extend_from_slice(&[high << 5 | (rest as u8 - 4) << 2 | 1, low]);
                return;
            }
            let bytes = rest.min(COPY_MAX);
            self.out.extend_from_slice(&[(bytes as u8 - 1) << 2 | 2, low, high]);
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
        Copy { back: usize, bytes: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Step::Literal),
            prop::collection::vec(any::<u8>(), 0..700).prop_map(Step::Literal),
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
                    Step::Copy { .. } => {}
                }
                prop_assert_eq!(snappy.position(), want.len());
            }
            prop_assert_eq!(plain(&snappy.finish()), want);
        }
    }
}

//! The `samples` field of a series of remote write 2.0: the same bytes but for the value, for all
//! samples of one timestamp.

use super::wire::{bytes_tag, fixed64_tag, put_int64, varint_tag};

/// Tag of `TimeSeries.samples`.
const SAMPLE: u8 = bytes_tag(2);
/// Where the value stands.
const VALUE: usize = 3;

/// The field, ready but for the value.
#[derive(Debug, Clone, Copy)]
pub(super) struct SampleTail {
    timestamp_ms: i64,
    /// Tag, length, tag of the value, value, tag of the timestamp, timestamp.
    full: [u8; 2 + 9 + 11],
    full_bytes: u8,
    /// The same without a value, for zero.
    zero: [u8; 2 + 11],
    zero_bytes: u8,
}

// === impl SampleTail ===

impl SampleTail {
    pub(super) fn new(timestamp_ms: i64) -> SampleTail {
        let mut stamp = Vec::with_capacity(11);
        if timestamp_ms != 0 {
            stamp.push(varint_tag(2));
            put_int64(&mut stamp, timestamp_ms);
        }
        let (mut full, mut zero) = ([0; 22], [0; 13]);
        full[..VALUE].copy_from_slice(&[SAMPLE, 9 + stamp.len() as u8, fixed64_tag(1)]);
        full[VALUE + 8..][..stamp.len()].copy_from_slice(&stamp);
        zero[..2].copy_from_slice(&[SAMPLE, stamp.len() as u8]);
        zero[2..][..stamp.len()].copy_from_slice(&stamp);
        let (full_bytes, zero_bytes) = (11 + stamp.len() as u8, 2 + stamp.len() as u8);
        SampleTail { timestamp_ms, full, full_bytes, zero, zero_bytes }
    }

    /// Appends the field with this value. Timestamps of our time have six bytes: for them the
    /// number of bytes to copy is known when this is compiled.
    #[inline]
    pub(super) fn put(&mut self, out: &mut Vec<u8>, value: f64) {
        const USUAL_FULL_BYTES: usize = 18;
        const USUAL_ZERO_BYTES: usize = 9;
        if value.to_bits() == 0 {
            match usize::from(self.zero_bytes) {
                USUAL_ZERO_BYTES => out.extend_from_slice(&self.zero[..USUAL_ZERO_BYTES]),
                bytes => out.extend_from_slice(&self.zero[..bytes]),
            }
            return;
        }
        self.full[VALUE..VALUE + 8].copy_from_slice(&value.to_le_bytes());
        match usize::from(self.full_bytes) {
            USUAL_FULL_BYTES => out.extend_from_slice(&self.full[..USUAL_FULL_BYTES]),
            bytes => out.extend_from_slice(&self.full[..bytes]),
        }
    }

    pub(super) fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }
}

impl Default for SampleTail {
    fn default() -> SampleTail {
        SampleTail::new(0)
    }
}

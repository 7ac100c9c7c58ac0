//! Protobuf's wire format: writing fields into a growing buffer, and walking over them again.
//!
//! Not here: any message. Writers append; what proto3 leaves out (zero, empty), the caller leaves
//! out.

/// A field as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'b> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'b [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// The fields of a message, in order. Ends early, with [`Fields::is_damaged`] true, at bytes that
/// are no field.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'b> {
    rest: &'b [u8],
    damaged: bool,
}

/// The tag byte of a field with a number below 16.
pub(crate) const fn varint_tag(number: u8) -> u8 {
    number << 3
}

/// As [`varint_tag`], for eight bytes as they are.
pub(crate) const fn fixed64_tag(number: u8) -> u8 {
    number << 3 | 1
}

/// As [`varint_tag`], for strings, messages and packed lists.
pub(crate) const fn bytes_tag(number: u8) -> u8 {
    number << 3 | 2
}

/// Appends a base-128 number.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a signed number of type `int64`.
pub(crate) fn put_int64(out: &mut Vec<u8>, n: i64) {
    put_varint(out, n as u64);
}

/// Appends a signed number of type `sint64` or `sint32`.
pub(crate) fn put_sint(out: &mut Vec<u8>, n: i64) {
    put_varint(out, zigzag(n));
}

/// A number of type `sint64` or `sint32` as it is written.
pub(crate) const fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

/// Appends a number field.
pub(crate) fn put_varint_field(out: &mut Vec<u8>, number: u8, n: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, n);
}

/// Appends a `double` field.
pub(crate) fn put_double_field(out: &mut Vec<u8>, number: u8, value: f64) {
    put_varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a string or bytes field.
pub(crate) fn put_bytes_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a field whose content `fill` writes: a message or a packed list.
#[inline]
pub(crate) fn put_message(out: &mut Vec<u8>, number: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    put_varint(out, u64::from(number) << 3 | 2);
    let start = begin_length(out);
    fill(out);
    end_length(out, start);
}

/// Leaves room for a length of two bytes, the usual one of a series. Returns where content starts.
#[inline]
pub(crate) fn begin_length(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0, 0]);
    out.len()
}

/// Leaves room for a length of one byte, for content that is expected to be short.
#[inline]
pub(crate) fn begin_short_length(out: &mut Vec<u8>) -> usize {
    out.push(0);
    out.len()
}

/// Writes the length of the content that began at `start`, with room of two bytes before it.
/// Moves the content if that is not its room; returns where it starts now.
#[inline]
pub(crate) fn end_length(out: &mut Vec<u8>, start: usize) -> usize {
    let bytes = out.len() - start;
    if (0x80..0x4000).contains(&bytes) {
        out[start - 2] = bytes as u8 | 0x80;
        out[start - 1] = (bytes >> 7) as u8;
        return start;
    }
    replace_length(out, start, 2)
}

/// As [`end_length`], with room of one byte.
#[inline]
pub(crate) fn end_short_length(out: &mut Vec<u8>, start: usize) -> usize {
    let bytes = out.len() - start;
    if bytes < 0x80 {
        out[start - 1] = bytes as u8;
        return start;
    }
    replace_length(out, start, 1)
}

/// Writes a length that does not fit its room.
#[cold]
fn replace_length(out: &mut Vec<u8>, start: usize, room: usize) -> usize {
    let mut length = Vec::with_capacity(10);
    put_varint(&mut length, (out.len() - start) as u64);
    let content = start - room + length.len();
    if length.len() < room {
        out[start - room..content].copy_from_slice(&length);
        out.copy_within(start.., content);
        out.truncate(out.len() - (start - content));
    } else {
        out.splice(start - room..start, length);
    }
    content
}

// === impl Fields ===

impl<'b> Fields<'b> {
    /// The fields of the message in `bytes`.
    pub(crate) fn of(bytes: &'b [u8]) -> Fields<'b> {
        Fields { rest: bytes, damaged: false }
    }

    /// Whether the bytes ended in something that is no field.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged
    }

    fn varint(&mut self) -> Option<u64> {
        let mut n = 0_u64;
        for (at, byte) in self.rest.iter().enumerate().take(10) {
            n |= u64::from(byte & 0x7f).checked_shl(at as u32 * 7)?;
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Some(n);
            }
        }
        None
    }

    fn take(&mut self, bytes: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Value<'b>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let bytes = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(bytes)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = (u64, Value<'b>);

    fn next(&mut self) -> Option<(u64, Value<'b>)> {
        if self.rest.is_empty() || self.damaged {
            return None;
        }
        let field = self.field();
        self.damaged = field.is_none();
        field
    }
}

/// The numbers of a packed list. Ends early at damage.
pub(crate) fn packed_varints(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let mut fields = Fields::of(bytes);
    std::iter::from_fn(move || fields.varint())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_any_length_has_the_shortest_length_prefix() {
        for bytes in [0, 1, 126, 127, 128, 129, 16_382, 16_383, 16_384, 16_385, 3_000_000] {
            let mut out = b"before".to_vec();
            let content = vec![7_u8; bytes];
            put_message(&mut out, 1, |out| out.extend_from_slice(&content));
            let mut want = b"before".to_vec();
            put_bytes_field(&mut want, 1, &content);
            assert!(out == want, "{bytes} bytes");

            out.truncate(b"before".len() + 1);
            let start = begin_short_length(&mut out);
            out.extend_from_slice(&content);
            let start = end_short_length(&mut out, start);
            assert!(out == want && out[start..] == content, "{bytes} bytes");
        }
    }

    #[test]
    fn fields_are_read_as_they_were_written() {
        let mut out = Vec::new();
        put_varint_field(&mut out, 1, 300);
        put_double_field(&mut out, 16, 1.5);
        put_bytes_field(&mut out, 3, b"abc");
        put_message(&mut out, 4, |out| [1, 200, 70_000].map(|n| put_varint(out, n)).fill(()));
        let fields: Vec<_> = Fields::of(&out).collect();
        assert_eq!(fields[0], (1, Value::Varint(300)));
        assert_eq!(fields[1], (16, Value::Fixed64(1.5_f64.to_bits())));
        assert_eq!(fields[2], (3, Value::Bytes(b"abc")));
        let (4, Value::Bytes(list)) = fields[3] else { panic!("{fields:?}") };
        assert_eq!(packed_varints(list).collect::<Vec<_>>(), [1, 200, 70_000]);
    }

    #[test]
    fn damage_ends_the_walk_and_is_seen() {
        let mut out = Vec::new();
        put_bytes_field(&mut out, 1, b"whole");
        put_bytes_field(&mut out, 1, b"torn");
        out.pop();
        let mut fields = Fields::of(&out);
        assert_eq!(fields.by_ref().count(), 1);
        assert!(fields.is_damaged());
    }
}

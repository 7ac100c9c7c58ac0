//! `status.observedAt`: when an object was last seen, for who asks (`observedAt=true`).
//!
//! It changes with each good scrape, though nothing else does; that is why it is not part of the
//! object and makes no event.

use crate::kind::Kind;
use crate::object::{Object, rfc3339_s};
use crate::store::Reader;

/// Appends the object as it is, with the time of its last observation in its status.
pub(crate) fn write(reader: &Reader, kind: &Kind, object: &Object, out: &mut Vec<u8>) {
    object.write_json(kind, out);
    let Some(at_ms) = reader.observed_unix_ms(kind, &object.key) else { return };
    // `status` is the last member: the text ends in its brace and the object's.
    let Some(inside) = out.strip_suffix(b"}}").map(<[u8]>::len) else { return };
    out.truncate(inside);
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    let seconds = rfc3339_s(u32::try_from(at_ms / 1000).unwrap_or(0));
    let text = format!(
        r#""observedAt":"{}.{:03}Z"}}}}"#,
        seconds.trim_end_matches('Z'),
        at_ms.rem_euclid(1000)
    );
    out.extend_from_slice(text.as_bytes());
}

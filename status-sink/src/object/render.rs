//! The JSON of an object, written from what it says.
//!
//! Order of keys: as Kubernetes writes them, the fields in the order of the configuration.
//! A field that is not known is not there. Nothing is allocated but room in `out`.

use super::{Condition, Object, ResourceVersion};
use crate::kind::Kind;
use crate::value::write_json_text;

/// Appends the object under a version.
pub(super) fn object(kind: &Kind, object: &Object, version: ResourceVersion, out: &mut Vec<u8>) {
    out.extend_from_slice(&kind.names.json_head);
    metadata(object, version, out);
    raw(br#","spec":"#, object.spec(), out);
    status(kind, object, out);
    out.push(b'}');
}

/// Appends the metadata of the object, under a version.
pub(super) fn metadata(object: &Object, version: ResourceVersion, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"name":"#);
    write_json_text(object.name(), out);
    if !object.namespace().is_empty() {
        out.extend_from_slice(br#","namespace":"#);
        write_json_text(object.namespace(), out);
    }
    out.extend_from_slice(br#","uid":""#);
    out.extend_from_slice(&uid(object.uid));
    out.extend_from_slice(br#"","resourceVersion":""#);
    out.extend_from_slice(itoa::Buffer::new().format(version.0).as_bytes());
    out.extend_from_slice(br#"","generation":"#);
    out.extend_from_slice(itoa::Buffer::new().format(object.generation).as_bytes());
    out.extend_from_slice(br#","creationTimestamp":""#);
    write_time(object.created_s, out);
    out.push(b'"');
    if !object.labels.is_empty() {
        out.extend_from_slice(br#","labels":"#);
        texts(object.labels.iter(), out);
    }
    if let Some(extra) = &object.extra {
        if !extra.annotations.is_empty() {
            out.extend_from_slice(br#","annotations":"#);
            texts(extra.annotations.iter().map(|(name, value)| (&**name, &**value)), out);
        }
        raw(br#","managedFields":"#, extra.managed_fields.as_deref(), out);
    }
    out.push(b'}');
}

fn status(kind: &Kind, object: &Object, out: &mut Vec<u8>) {
    out.extend_from_slice(br#","status":{"#);
    let mut first = true;
    for (field, value) in kind.fields.iter().zip(&object.fields) {
        if value.is_null() {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        out.extend_from_slice(&field.json_key);
        value.write_json(out);
    }
    if !object.conditions().is_empty() {
        let comma: &[u8] = if first { b"" } else { b"," };
        out.extend_from_slice(comma);
        out.extend_from_slice(br#""conditions":["#);
        for (at, condition) in object.conditions().iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            self::condition(condition, out);
        }
        out.push(b']');
    }
    out.push(b'}');
}

fn condition(condition: &Condition, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"type":"#);
    write_json_text(condition.name.as_str(), out);
    out.extend_from_slice(br#","status":""#);
    out.extend_from_slice(condition.status.word().as_bytes());
    out.push(b'"');
    for (key, text) in
        [(&br#","reason":"#[..], &condition.reason), (br#","message":"#, &condition.message)]
    {
        if !text.as_str().is_empty() {
            out.extend_from_slice(key);
            write_json_text(text.as_str(), out);
        }
    }
    out.extend_from_slice(br#","lastTransitionTime":""#);
    write_time(condition.since_s, out);
    out.extend_from_slice(br#""}"#);
}

fn texts<'t>(pairs: impl Iterator<Item = (&'t str, &'t str)>, out: &mut Vec<u8>) {
    for (at, (name, value)) in pairs.enumerate() {
        out.push(if at == 0 { b'{' } else { b',' });
        write_json_text(name, out);
        out.push(b':');
        write_json_text(value, out);
    }
    out.push(b'}');
}

fn raw(key: &[u8], json: Option<&str>, out: &mut Vec<u8>) {
    if let Some(json) = json {
        out.extend_from_slice(key);
        out.extend_from_slice(json.as_bytes());
    }
}

/// `metadata.uid` as text.
pub(super) fn uid_text(uid: u128) -> String {
    String::from_utf8(self::uid(uid).to_vec()).expect("hexadecimal digits are UTF-8")
}

/// As a UUID of version 4 is written.
fn uid(uid: u128) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let uid = uid & !(0xf << 76) | 4 << 76;
    let uid = uid & !(0b11 << 62) | 0b10 << 62;
    let mut text = [b'-'; 36];
    let mut at = 0;
    for byte in uid.to_be_bytes() {
        if matches!(at, 8 | 13 | 18 | 23) {
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 0xf)];
        at += 2;
    }
    text
}

/// Seconds since the epoch as Kubernetes writes a time: `2026-11-23T19:00:31Z`.
pub(crate) fn rfc3339_s(unix_s: u32) -> String {
    let mut out = Vec::with_capacity(20);
    write_time(unix_s, &mut out);
    String::from_utf8(out).expect("digits are UTF-8")
}

/// Days to a date by Howard Hinnant's `civil_from_days`.
fn write_time(unix_s: u32, out: &mut Vec<u8>) {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u32::from(month <= 2);
    out.extend_from_slice(itoa::Buffer::new().format(year).as_bytes());
    for (mark, n) in [
        (b'-', month),
        (b'-', day),
        (b'T', second / 3_600),
        (b':', second / 60 % 60),
        (b':', second % 60),
    ] {
        out.extend_from_slice(&[mark, b'0' + (n / 10) as u8, b'0' + (n % 10) as u8]);
    }
    out.push(b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_kubernetes_writes_them() {
        assert_eq!(rfc3339_s(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339_s(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339_s(1_795_460_431), "2026-11-23T19:00:31Z");
        assert_eq!(rfc3339_s(u32::MAX), "2106-02-07T06:28:15Z");
    }

    #[test]
    fn a_uid_is_a_uuid_of_version_4() {
        assert_eq!(uid_text(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uid_text(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}

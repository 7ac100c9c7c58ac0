//! A block of any encoding as lines of JSON, for people who look into the dead-letter file.
//!
//! Slow, and meant for few samples. Histograms stand there as the bytes of their message, in
//! hexadecimal digits: nothing of a refused sample is lost.

use serde_json::{Map, Value as Json, json};

use super::rewrite::series_number;
use super::wire::{Fields, Value, packed_varints};
use crate::block::{Block, Damaged, Encoding};

/// One value a sample: `{"labels": …, "value": …, "timestamp": …}`, as in JSON lines.
///
/// # Errors
/// When the block is damaged.
pub(crate) fn as_json_lines(block: &Block) -> Result<Vec<Json>, Damaged> {
    let plain = block.plain_bytes()?;
    let encoding = block.format.encoding;
    if encoding == Encoding::JsonLines {
        let lines = plain.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        return lines.map(|l| serde_json::from_slice(l).map_err(|_| Damaged::Encoding)).collect();
    }
    let mut symbols = Vec::new();
    let mut lines = Vec::new();
    for (number, value) in Fields::of(&plain) {
        let Value::Bytes(bytes) = value else { return Err(Damaged::Encoding) };
        if number == series_number(encoding) {
            lines.push(series(bytes, encoding, &symbols)?);
        } else {
            symbols.push(std::str::from_utf8(bytes).map_err(|_| Damaged::Encoding)?);
        }
    }
    Ok(lines)
}

fn series(bytes: &[u8], encoding: Encoding, symbols: &[&str]) -> Result<Json, Damaged> {
    let (mut line, mut labels) = (Map::new(), Map::new());
    for (number, value) in Fields::of(bytes) {
        let Value::Bytes(bytes) = value else { return Err(Damaged::Encoding) };
        match (number, encoding) {
            (1, _) => add_labels(&mut labels, bytes, encoding, symbols)?,
            (2, _) => add_sample(&mut line, bytes),
            (4, Encoding::RemoteWrite1) | (3, Encoding::RemoteWrite2) => {
                line.insert("histogram_message".to_owned(), hexadecimal(bytes).into());
            }
            (3, Encoding::RemoteWrite1) | (4, Encoding::RemoteWrite2) => {
                line.insert("exemplar".to_owned(), exemplar(bytes, encoding, symbols)?);
            }
            _ => {}
        }
    }
    line.insert("labels".to_owned(), Json::Object(labels));
    Ok(Json::Object(line))
}

/// The field `labels` of 1.0 (one label), or `labels_refs` of 2.0 (all of them).
fn add_labels(
    labels: &mut Map<String, Json>,
    bytes: &[u8],
    encoding: Encoding,
    symbols: &[&str],
) -> Result<(), Damaged> {
    if encoding == Encoding::RemoteWrite2 {
        let text = |at: u64| symbols.get(usize::try_from(at).ok()?).copied();
        let mut refs = packed_varints(bytes);
        while let Some(name) = refs.next() {
            let pair = refs.next().and_then(|value| Some((text(name)?, text(value)?)));
            let (name, value) = pair.ok_or(Damaged::Encoding)?;
            labels.insert(name.to_owned(), value.into());
        }
        return Ok(());
    }
    let (mut name, mut text) = (String::new(), String::new());
    for (number, value) in Fields::of(bytes) {
        if let Value::Bytes(bytes) = value {
            let part = if number == 1 { &mut name } else { &mut text };
            *part = String::from_utf8_lossy(bytes).into_owned();
        }
    }
    labels.insert(name, text.into());
    Ok(())
}

fn add_sample(line: &mut Map<String, Json>, bytes: &[u8]) {
    let (mut value, mut timestamp_ms) = (0.0, 0);
    for field in Fields::of(bytes) {
        match field {
            (1, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            (2, Value::Varint(ms)) => timestamp_ms = ms as i64,
            _ => {}
        }
    }
    line.insert("value".to_owned(), number(value));
    line.insert("timestamp".to_owned(), timestamp_ms.into());
}

fn exemplar(bytes: &[u8], encoding: Encoding, symbols: &[&str]) -> Result<Json, Damaged> {
    let (mut labels, mut value, mut timestamp_ms) = (Map::new(), 0.0, 0);
    for field in Fields::of(bytes) {
        match field {
            (1, Value::Bytes(bytes)) => add_labels(&mut labels, bytes, encoding, symbols)?,
            (2, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            (3, Value::Varint(ms)) => timestamp_ms = ms as i64,
            _ => {}
        }
    }
    Ok(json!({ "labels": labels, "value": number(value), "timestamp": timestamp_ms }))
}

/// As in JSON lines: a stale marker is null, and what JSON has no word for is a string.
fn number(value: f64) -> Json {
    match value {
        value if model::is_stale_marker(value) => Json::Null,
        value if value.is_finite() => value.into(),
        value if value.is_nan() => "NaN".into(),
        value => if value > 0.0 { "+Inf" } else { "-Inf" }.into(),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

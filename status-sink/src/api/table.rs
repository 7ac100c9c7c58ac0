//! Objects as rows: what kubectl prints.
//!
//! The first column is the name, then come the columns that the kind declares, its other fields
//! (shown by `-o wide`) and the age. Rows are written as bytes: a table of everything is as
//! common as a list of everything.

use std::sync::Arc;

use serde_json::{Value, json};

use super::options::Include;
use crate::kind::{FieldId, Kind};
use crate::object::{Object, ResourceVersion};
use crate::value::{ValueType, write_json_text};

/// How objects of one kind become rows.
#[derive(Debug)]
pub(crate) struct Columns {
    kind: Arc<Kind>,
    columns: Vec<FieldId>,
    definitions: Vec<u8>,
    include: Include,
}

impl Columns {
    /// Of `kind`, with what `include` says in each row.
    pub(crate) fn new(kind: &Arc<Kind>, include: Include) -> Columns {
        let others = kind.fields().map(|(id, _)| id).filter(|id| !kind.columns.contains(id));
        let columns: Vec<FieldId> = kind.columns.iter().copied().chain(others).collect();
        let definitions = definitions(kind, &columns).to_string().into_bytes();
        Columns { kind: Arc::clone(kind), columns, definitions, include }
    }

    /// Appends everything before the first row.
    pub(crate) fn begin(&self, metadata: &Value, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":"#);
        out.extend_from_slice(metadata.to_string().as_bytes());
        out.extend_from_slice(br#","columnDefinitions":"#);
        out.extend_from_slice(&self.definitions);
        out.extend_from_slice(br#","rows":["#);
    }

    /// Appends everything after the last row.
    pub(crate) fn end(out: &mut Vec<u8>) {
        out.extend_from_slice(b"]}");
    }

    /// Appends a row for an object under a version, as seen at `now_ms`.
    pub(crate) fn row(
        &self,
        object: &Object,
        version: ResourceVersion,
        now_ms: i64,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(br#"{"cells":["#);
        write_json_text(object.name(), out);
        for id in &self.columns {
            out.push(b',');
            object.value(*id).write_json(out);
        }
        out.extend_from_slice(b",\"");
        let age_s = now_ms / 1000 - i64::from(object.created_s);
        out.extend_from_slice(age(age_s).as_bytes());
        out.extend_from_slice(b"\"]");
        match self.include {
            Include::None => {}
            Include::Metadata => {
                out.extend_from_slice(br#","object":"#);
                partial(object, version, out);
            }
            Include::Object => {
                out.extend_from_slice(br#","object":"#);
                object.write_json_at(&self.kind, version, out);
            }
        }
        out.push(b'}');
    }
}

/// Appends the `PartialObjectMetadata` of an object under a version.
pub(crate) fn partial(object: &Object, version: ResourceVersion, out: &mut Vec<u8>) {
    out.extend_from_slice(
        br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#,
    );
    object.write_metadata_at(version, out);
    out.push(b'}');
}

fn definitions(kind: &Kind, columns: &[FieldId]) -> Value {
    let column = |name: &str, kind: &str, format: &str, description: &str, priority: u8| {
        json!({
            "name": name, "type": kind, "format": format,
            "description": description, "priority": priority,
        })
    };
    let mut all = vec![column("Name", "string", "name", "Name of the object.", 0)];
    for id in columns {
        let field = kind.field(*id);
        let sort = match field.kind {
            ValueType::Bool => "boolean",
            ValueType::Number => "number",
            ValueType::Text => "string",
        };
        let hidden = !kind.columns.is_empty() && !kind.columns.contains(id);
        all.push(column(&title(&field.name), sort, "", &field.description, u8::from(hidden)));
    }
    all.push(column("Age", "string", "", "Time since the object was first seen.", 0));
    Value::Array(all)
}

/// `cpuUsage` as a heading: `Cpu-Usage`; kubectl prints it in capitals.
fn title(name: &str) -> String {
    let mut title = String::with_capacity(name.len() + 2);
    let mut after_lower = false;
    for letter in name.chars() {
        if letter.is_uppercase() && after_lower {
            title.push('-');
        }
        after_lower = letter.is_lowercase() || letter.is_ascii_digit();
        title.push(if title.is_empty() { letter.to_ascii_uppercase() } else { letter });
    }
    title
}

/// A span of time as kubectl prints ages: `45s`, `3m20s`, `5h10m`, `12d`.
fn age(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{small_unit}"),
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if hours < 3 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => two(days, "d", hours % 24, "h"),
        () if days < 730 => format!("{days}d"),
        () if days < 2920 => two(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_printed_as_kubectl_prints_them() {
        for (seconds, want) in [
            (-5, "0s"),
            (119, "119s"),
            (120, "2m"),
            (201, "3m21s"),
            (601, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 600, "3h10m"),
            (47 * 3600, "47h"),
            (49 * 3600, "2d1h"),
            (9 * 86_400, "9d"),
            (800 * 86_400, "2y70d"),
            (9 * 365 * 86_400, "9y"),
        ] {
            assert_eq!(age(seconds), want, "{seconds}");
        }
    }

    #[test]
    fn headings_are_words() {
        assert_eq!(title("cpuUsage"), "Cpu-Usage");
        assert_eq!(title("state"), "State");
        assert_eq!(title("haEnabled"), "Ha-Enabled");
    }
}

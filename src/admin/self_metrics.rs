//! `/api/v1/status/self_metrics`: our own metrics as JSON, in the form that protobuf messages of
//! metric families have as JSON.
//!
//! Made of the classic text, which is what there is; the text is ours, so that it is well formed.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use model::GoRegex;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Admin;
use super::answer::{Answer, Failure, Success};
use super::exposition::classic;

#[derive(Deserialize, Default)]
#[serde(default)]
struct FamiliesQuery {
    metric_name_pattern: String,
}

/// A family on its way from text to JSON.
#[derive(Default)]
struct Family {
    help: String,
    kind: String,
    /// By labels: the value, or the parts of a histogram or a summary.
    metrics: BTreeMap<Vec<(String, String)>, Map<String, Value>>,
}

/// A line of a page: name, labels, value.
type Line<'t> = (&'t str, Vec<(String, String)>, &'t str);

pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new().route("/api/v1/status/self_metrics", get(self_metrics))
}

async fn self_metrics(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<FamiliesQuery>,
) -> Answer<Vec<Value>> {
    let pattern = match &*query.metric_name_pattern {
        "" => None,
        pattern => Some(GoRegex::new(pattern).map_err(|error| {
            Failure::BadData(format!("invalid metric_name_pattern: {}", kit::Chain(&error)))
        })?),
    };
    let text = admin.metrics.expose();
    let text = text.map_err(|_| Failure::Internal("error gathering self metrics".to_owned()))?;
    let families = families(&classic(&text));
    let wanted = families
        .into_iter()
        .filter(|(name, _)| pattern.as_ref().is_none_or(|pattern| pattern.is_match(name)));
    Ok(Success(wanted.map(|(name, family)| family.json(&name)).collect()))
}

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let (mut current, mut help) = (String::new(), "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            current = name.to_owned();
            let help = std::mem::take(&mut help).to_owned();
            let family = Family { help, kind: kind.to_uppercase(), ..Family::default() };
            families.insert(current.clone(), family);
        } else if let Some(line) = read(line)
            && let Some(family) = families.get_mut(&current)
        {
            family.add(&current, line);
        }
    }
    families
}

/// Reads a line with a sample.
fn read(line: &str) -> Option<Line<'_>> {
    let (series, value) = line.rsplit_once(' ')?;
    let Some((name, mut rest)) = series.split_once('{') else {
        return Some((series, Vec::new(), value));
    };
    let mut labels = Vec::new();
    while let Some((label, after)) = rest.split_once("=\"") {
        let mut text = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (_, '\\') => text.push(match letters.next()?.1 {
                    'n' => '\n',
                    letter => letter,
                }),
                (_, letter) => text.push(letter),
            }
        };
        labels.push((label.trim_start_matches(',').to_owned(), text));
        rest = &after[end + 1..];
    }
    labels.sort();
    Some((name, labels, value))
}

/// A number as protobuf's JSON has it: what JSON cannot say is a word.
fn number(text: &str) -> Value {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => json!(value),
        Ok(value) if value.is_nan() => json!("NaN"),
        Ok(value) => json!(if value > 0.0 { "Infinity" } else { "-Infinity" }),
        Err(_) => json!(text),
    }
}

// === impl Family ===

impl Family {
    fn add(&mut self, family: &str, (name, mut labels, value): Line<'_>) {
        let field = self.kind.to_lowercase();
        let own = match &*field {
            "histogram" => "le",
            "summary" => "quantile",
            _ => "",
        };
        let place = labels.iter().position(|(label, _)| label == own && !own.is_empty());
        let bound = place.map(|at| labels.remove(at).1);
        let metric = self.metrics.entry(labels).or_default();
        let parts = metric.entry(field).or_insert_with(|| json!({}));
        match (name.strip_prefix(family).unwrap_or_default(), bound) {
            ("_bucket", Some(bound)) => {
                if bound != "+Inf" {
                    let bucket = json!({ "cumulativeCount": value, "upperBound": number(&bound) });
                    push(parts, "bucket", bucket);
                }
            }
            ("_count", None) if !own.is_empty() => parts["sampleCount"] = json!(value),
            ("_sum", None) if !own.is_empty() => parts["sampleSum"] = number(value),
            (_, Some(quantile)) => {
                let quantile = json!({ "quantile": number(&quantile), "value": number(value) });
                push(parts, "quantile", quantile);
            }
            _ => parts["value"] = number(value),
        }
    }

    fn json(self, name: &str) -> Value {
        let metrics = self.metrics.into_iter().map(|(labels, mut metric)| {
            let label = labels.iter().map(|(name, value)| json!({ "name": name, "value": value }));
            let label: Vec<Value> = label.collect();
            if !label.is_empty() {
                metric.insert("label".to_owned(), Value::Array(label));
            }
            Value::Object(metric)
        });
        let metrics: Vec<Value> = metrics.collect();
        json!({ "name": name, "help": self.help, "type": self.kind, "metric": metrics })
    }
}

fn push(parts: &mut Value, list: &str, value: Value) {
    match parts[list].as_array_mut() {
        Some(list) => list.push(value),
        None => parts[list] = json!([value]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_protobuf_is_written_in_json() {
        let text = "\
# HELP a_total Counts.
# TYPE a_total counter
a_total{x=\"1 \\\"2\\\"\",y=\"z\"} 3
# HELP g Goes.
# TYPE g gauge
g NaN
# TYPE h histogram
h_bucket{le=\"0.5\"} 1
h_bucket{le=\"+Inf\"} 2
h_sum 1.5
h_count 2
# TYPE s summary
s{quantile=\"0.5\"} 7
s_sum 9
s_count 1
";
        let all: Vec<Value> =
            families(text).into_iter().map(|(name, family)| family.json(&name)).collect();
        let labels = json!([{ "name": "x", "value": "1 \"2\"" }, { "name": "y", "value": "z" }]);
        let want = json!([
            { "name": "a_total", "help": "Counts.", "type": "COUNTER",
              "metric": [{ "label": labels, "counter": { "value": 3.0 } }] },
            { "name": "g", "help": "Goes.", "type": "GAUGE",
              "metric": [{ "gauge": { "value": "NaN" } }] },
            { "name": "h", "help": "", "type": "HISTOGRAM",
              "metric": [{ "histogram": {
                  "bucket": [{ "cumulativeCount": "1", "upperBound": 0.5 }],
                  "sampleSum": 1.5, "sampleCount": "2" } }] },
            { "name": "s", "help": "", "type": "SUMMARY",
              "metric": [{ "summary": { "quantile": [{ "quantile": 0.5, "value": 7.0 }],
                  "sampleSum": 9.0, "sampleCount": "1" } }] },
        ]);
        assert_eq!(Value::Array(all), want);
    }
}

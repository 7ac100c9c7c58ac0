//! Our own metrics in the format that the client asked for.
//!
//! The registry writes OpenMetrics; clients that ask for nothing get the classic text format, as
//! from Prometheus: with `_total` in the names of counter families and without what it lacks.

use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use kit::metrics::SelfMetrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers `GET /metrics`.
pub(super) fn answer(metrics: &SelfMetrics, headers: &HeaderMap) -> Response {
    let Ok(text) = metrics.expose() else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written").into_response();
    };
    let accepts = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    if accepts.flat_map(|value| value.split(',')).any(is_open_metrics) {
        return ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response();
    }
    ([(CONTENT_TYPE, CLASSIC)], classic(&text)).into_response()
}

fn is_open_metrics(accepted: &str) -> bool {
    accepted.trim().starts_with("application/openmetrics-text")
}

/// The same metrics in the classic text format.
pub(super) fn classic(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len() + open_metrics.len() / 16);
    let mut help = None;
    let mut unknown = ("", 0);
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.rsplit_once(' ').unwrap_or((rest, "unknown"));
            if is_part_of_summary(name, unknown.0) {
                // The registry has no summaries: what looks like one is called one.
                out.replace_range(unknown.1.., &out[unknown.1..].replacen("untyped", "summary", 1));
                help = None;
                continue;
            }
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "stateset" => ("", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, text)) = help.take().and_then(|help: &str| help.split_once(' ')) {
                out.extend(["# HELP ", name, suffix, " ", text, "\n"]);
            }
            unknown = (if kind == "untyped" { name } else { "" }, out.len());
            out.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            // Some collectors write an empty label set, which nobody else does.
            let (name, value) = without_exemplar(line).split_once("{} ").unwrap_or(("", ""));
            match name {
                "" => out.extend([without_exemplar(line), "\n"]),
                name => out.extend([name, " ", value, "\n"]),
            }
        }
    }
    out
}

/// Whether family `name` is the sum or the count of the family of unknown type before it.
fn is_part_of_summary(name: &str, unknown: &str) -> bool {
    let part = name.strip_prefix(unknown).filter(|_| !unknown.is_empty());
    matches!(part, Some("_sum" | "_count"))
}

/// The line up to its exemplar, which is what follows the first `#` outside of label values.
fn without_exemplar(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'#' if !quoted => return line[..at].trim_end(),
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classic_format_names_counters_in_full_and_has_no_end_mark() {
        let open_metrics = "\
# HELP reloads Reloads so far.
# TYPE reloads counter
# UNIT reloads seconds
reloads_total{a=\"x # {y\"} 3
asks_total 4 # {trace=\"1\"} 1.0
# HELP up Whether up.
# TYPE up gauge
up{} 1
# HELP build Build.
# TYPE build info
build_info{v=\"1\"} 1
# TYPE odd unknown
odd 2
# HELP took Seconds.
# TYPE took unknown
took{quantile=\"0.5\"} 1
# HELP took_sum Seconds.
# TYPE took_sum unknown
took_sum 3
# HELP took_count Seconds.
# TYPE took_count unknown
took_count 2
# EOF
";
        let want = "\
# HELP reloads_total Reloads so far.
# TYPE reloads_total counter
reloads_total{a=\"x # {y\"} 3
asks_total 4
# HELP up Whether up.
# TYPE up gauge
up 1
# HELP build_info Build.
# TYPE build_info gauge
build_info{v=\"1\"} 1
# TYPE odd untyped
odd 2
# HELP took Seconds.
# TYPE took summary
took{quantile=\"0.5\"} 1
took_sum 3
took_count 2
";
        assert_eq!(classic(open_metrics), want);
    }
}

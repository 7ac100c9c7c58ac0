//! Names of formats and of ways to write names: `scrape_protocols`, `metric_name_…_scheme`.

use kit::config::Invalid;
use model::NameScheme;

use crate::exposition::protocol::{EscapingScheme, ScrapeProtocol};

/// In the order in which Prometheus lists them in its errors.
const PROTOCOLS: [(&str, ScrapeProtocol); 5] = [
    ("OpenMetricsText0.0.1", ScrapeProtocol::OpenMetrics0_0_1),
    ("OpenMetricsText1.0.0", ScrapeProtocol::OpenMetrics1_0_0),
    ("PrometheusProto", ScrapeProtocol::Protobuf),
    ("PrometheusText0.0.4", ScrapeProtocol::Text0_0_4),
    ("PrometheusText1.0.0", ScrapeProtocol::Text1_0_0),
];

const ESCAPINGS: [(&str, EscapingScheme); 4] = [
    ("allow-utf-8", EscapingScheme::AllowUtf8),
    ("underscores", EscapingScheme::Underscores),
    ("dots", EscapingScheme::Dots),
    ("values", EscapingScheme::Values),
];

/// What is asked for if nothing is said; with native histograms, protobuf comes first.
pub(super) fn default_protocols(native_histograms: bool) -> Vec<String> {
    let first = native_histograms.then_some("PrometheusProto");
    let text = [
        "OpenMetricsText1.0.0",
        "OpenMetricsText0.0.1",
        "PrometheusText1.0.0",
        "PrometheusText0.0.4",
    ];
    first.into_iter().chain(text).map(str::to_owned).collect()
}

/// Reads `scrape_protocols`; errors end with `context`.
pub(super) fn protocols(names: &[String], context: &str) -> Result<Vec<ScrapeProtocol>, Invalid> {
    let refuse = |message: String| Invalid::new("scrape_protocols", format!("{message}{context}"));
    if names.is_empty() {
        return Err(refuse("scrape_protocols cannot be empty".to_owned()));
    }
    let mut protocols = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        if names[..at].iter().any(|other| other.eq_ignore_ascii_case(name)) {
            let all = names.join(" ");
            return Err(refuse(format!("duplicated protocol in scrape_protocols, got [{all}]")));
        }
        let unknown = |message| refuse(format!("scrape_protocols: {message}"));
        protocols.push(protocol(name).map_err(unknown)?);
    }
    Ok(protocols)
}

/// Reads one name.
pub(super) fn protocol(name: &str) -> Result<ScrapeProtocol, String> {
    let found = PROTOCOLS.iter().find(|(known, _)| *known == name);
    found.map(|(_, protocol)| *protocol).ok_or_else(|| {
        let known: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
        format!("unknown scrape protocol {name}, supported: [{}]", known.join(" "))
    })
}

/// Reads `metric_name_validation_scheme`.
pub(super) fn name_scheme(name: &str) -> Result<Option<NameScheme>, Invalid> {
    match name {
        "" => Ok(None),
        "utf8" => Ok(Some(NameScheme::Utf8)),
        "legacy" => Ok(Some(NameScheme::Legacy)),
        _ => Err(Invalid::new(
            "metric_name_validation_scheme",
            format!("unrecognized ValidationScheme: {name:?}"),
        )),
    }
}

/// Reads `metric_name_escaping_scheme`; `whose` is `global` or `scrape config`.
pub(super) fn escaping(name: &str, whose: &str) -> Result<EscapingScheme, Invalid> {
    let found = ESCAPINGS.iter().find(|(known, _)| *known == name);
    found.map(|(_, scheme)| *scheme).ok_or_else(|| {
        let message = format!(
            "unknown {whose} name escaping method specified, must be one of 'allow-utf-8', \
             'underscores', 'dots', or 'values', got {name:?}"
        );
        Invalid::new("metric_name_escaping_scheme", message)
    })
}

/// How names are escaped for those who allow only `names`.
pub(super) fn default_escaping(names: NameScheme) -> &'static str {
    match names {
        NameScheme::Utf8 => "allow-utf-8",
        NameScheme::Legacy => "underscores",
    }
}

/// The `Accept` header: each protocol with less weight than the one before.
pub(super) fn accept_header(protocols: &[ScrapeProtocol], escaping: &str) -> String {
    let mut header = String::new();
    let mut weight = PROTOCOLS.len() + 1;
    for protocol in protocols {
        let (media_type, escapes) = match protocol {
            ScrapeProtocol::Protobuf => (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                 encoding=delimited",
                false,
            ),
            ScrapeProtocol::Text0_0_4 => ("text/plain;version=0.0.4", false),
            ScrapeProtocol::Text1_0_0 => ("text/plain;version=1.0.0", true),
            ScrapeProtocol::OpenMetrics0_0_1 => {
                ("application/openmetrics-text;version=0.0.1", false)
            }
            ScrapeProtocol::OpenMetrics1_0_0 => {
                ("application/openmetrics-text;version=1.0.0", true)
            }
        };
        header += media_type;
        if escapes {
            header += ";escaping=";
            header += escaping;
        }
        header += &format!(";q=0.{weight},");
        weight -= 1;
    }
    header + &format!("*/*;q=0.{weight}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(native: bool, want: &str) {
        let read = protocols(&default_protocols(native), "").unwrap();
        assert_eq!(accept_header(&read, "allow-utf-8"), want);
    }

    #[test]
    fn the_accept_header_weighs_formats_in_their_order() {
        check(
            false,
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,\
             */*;q=0.2",
        );
        check(
            true,
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
             encoding=delimited;q=0.6,\
             application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,\
             */*;q=0.1",
        );
    }
}

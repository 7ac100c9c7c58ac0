//! Which format an answer is in: what its `Content-Type` says, or what the job falls back to.

use crate::exposition::Format;
use crate::exposition::protocol::ScrapeProtocol;

/// Why it is not known in which format an answer is. Worded as Prometheus does.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ContentTypeError {
    #[error(
        "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol \
         specified for target"
    )]
    Blank,
    #[error("cannot parse Content-Type {0:?} and no fallback_scrape_protocol for target")]
    Malformed(String),
    #[error(
        "received unsupported Content-Type {0:?} and no fallback_scrape_protocol specified for \
         target"
    )]
    Unsupported(String),
}

/// The format of an answer with this `Content-Type`.
///
/// # Errors
/// When the header is of no help and there is no fallback.
pub(super) fn format(
    content_type: &str,
    fallback: Option<ScrapeProtocol>,
) -> Result<Format, ContentTypeError> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let known = match &*media_type.to_ascii_lowercase() {
        "text/plain" => Some(Format::Text),
        "application/openmetrics-text" => Some(Format::OpenMetrics),
        "application/vnd.google.protobuf" => Some(Format::Protobuf),
        _ => None,
    };
    let is_well_formed = has_well_formed_parameters(content_type);
    match (known, fallback) {
        (Some(format), _) if is_well_formed => Ok(format),
        (_, Some(protocol)) => Ok(format_of(protocol)),
        (_, None) if content_type.is_empty() => Err(ContentTypeError::Blank),
        (_, None) if !is_well_formed || !is_media_type(media_type) => {
            Err(ContentTypeError::Malformed(content_type.to_owned()))
        }
        (_, None) => Err(ContentTypeError::Unsupported(content_type.to_owned())),
    }
}

fn format_of(protocol: ScrapeProtocol) -> Format {
    match protocol {
        ScrapeProtocol::Protobuf => Format::Protobuf,
        ScrapeProtocol::Text0_0_4 | ScrapeProtocol::Text1_0_0 => Format::Text,
        ScrapeProtocol::OpenMetrics0_0_1 | ScrapeProtocol::OpenMetrics1_0_0 => Format::OpenMetrics,
    }
}

/// `type/subtype`, or one word, as Go's `mime` takes it.
fn is_media_type(text: &str) -> bool {
    let mut parts = text.split('/');
    let is_good = parts.by_ref().take(2).all(is_token);
    is_good && parts.next().is_none()
}

/// Each parameter is `name=value`, the value a word or quoted.
fn has_well_formed_parameters(content_type: &str) -> bool {
    let Some((_, mut rest)) = content_type.split_once(';') else { return true };
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if rest.is_empty() {
            return true;
        }
        let Some((name, value)) = rest.split_once('=') else { return false };
        let after = match value.strip_prefix('"') {
            Some(quoted) => quoted.find('"').map(|end| &quoted[end + 1..]),
            None => {
                let end = value.find(';').unwrap_or(value.len());
                is_token(value[..end].trim_end()).then(|| &value[end..])
            }
        };
        let Some(after) = after else { return false };
        let after = after.trim_start_matches([' ', '\t']);
        if !is_token(name.trim()) || !(after.is_empty() || after.starts_with(';')) {
            return false;
        }
        rest = after.strip_prefix(';').unwrap_or(after);
    }
}

fn is_token(text: &str) -> bool {
    let special = b"()<>@,;:\\\"/[]?=";
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !special.contains(&byte);
    !text.is_empty() && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content_type: &str, want: Result<Format, &str>) {
        let got = format(content_type, None).map_err(|error| error.to_string());
        match (got, want) {
            (Err(got), Err(want)) => assert!(got.starts_with(want), "{content_type}: {got}"),
            (got, want) => assert_eq!(got, want.map_err(str::to_owned), "{content_type}"),
        }
        let fallback = format(content_type, Some(ScrapeProtocol::Protobuf));
        assert_eq!(fallback, Ok(want.unwrap_or(Format::Protobuf)), "{content_type}");
    }

    #[test]
    fn the_media_type_decides_whatever_its_parameters_say() {
        check("text/plain", Ok(Format::Text));
        check("Text/Plain; version=0.0.4; charset=utf-8", Ok(Format::Text));
        check("text/plain; charset=\"utf-8\";", Ok(Format::Text));
        check("application/openmetrics-text; version=1.0.0", Ok(Format::OpenMetrics));
        check(
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily",
            Ok(Format::Protobuf),
        );
    }

    #[test]
    fn what_is_missing_malformed_or_unknown_needs_a_fallback() {
        check("", Err("non-compliant scrape target sending blank Content-Type"));
        check("text/html", Err("received unsupported Content-Type \"text/html\""));
        check("text/plain; charset", Err("cannot parse Content-Type"));
        check("text/plain; =", Err("cannot parse Content-Type"));
        check("a/b/c", Err("cannot parse Content-Type"));
    }
}

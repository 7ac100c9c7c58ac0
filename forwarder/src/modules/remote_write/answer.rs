//! What a receiver's answer means.

use std::time::Duration;

use http::HeaderMap;

use super::WireVersion;
use crate::block::Counts;
use crate::module::{Parcel, SendError, Verdict};
use crate::modules::web::retry_after;

/// What 2.0 receivers confirm.
const WRITTEN: [&str; 3] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
    "x-prometheus-remote-write-exemplars-written",
];

/// An answer as far as it matters.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) status_text: String,
    /// What the receiver asked for, by `Retry-After`.
    pub(super) retry_after: Option<Duration>,
    /// What it says that it wrote; nothing if it does not say.
    pub(super) written: Option<Counts>,
    /// The first line of the body.
    pub(super) body: String,
}

// === impl Answer ===

impl Answer {
    /// Reads status and headers. `unix_ms` is now, for dates.
    pub(super) fn new(
        status: http::StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        unix_ms: i64,
    ) -> Answer {
        let body = String::from_utf8_lossy(body);
        Answer {
            status: status.as_u16(),
            status_text: status.to_string(),
            retry_after: retry_after(headers, unix_ms),
            written: written(headers),
            body: body.lines().next().unwrap_or_default().to_owned(),
        }
    }

    /// What becomes of the parcel that it answers.
    pub(super) fn judge(
        self,
        version: WireVersion,
        parcel: &Parcel,
        retry_on_http_429: bool,
    ) -> Verdict {
        match self.status {
            200..300 if version == WireVersion::V1 => Verdict::DELIVERED,
            200..300 => match self.written {
                Some(written) => {
                    let not_written = parcel.counts.without(written);
                    let remark = (!not_written.is_empty()).then(|| confirmed(written, parcel));
                    Verdict::Delivered { not_written, remark }
                }
                None if parcel.counts.is_empty() => Verdict::DELIVERED,
                None => Verdict::Refused { why: SendError::Unconfirmed },
            },
            500.. => Verdict::Retry { after: self.retry_after, why: self.into_error() },
            429 if retry_on_http_429 => {
                Verdict::Retry { after: self.retry_after, why: self.into_error() }
            }
            _ => Verdict::Refused { why: self.into_error() },
        }
    }

    /// As the reason why the parcel did not arrive.
    pub(super) fn into_error(self) -> SendError {
        let Answer { status: code, status_text: status, body, retry_after: after, .. } = self;
        SendError::Status { status, code, body, after }
    }
}

/// What a 2.0 receiver left out, for the log.
fn confirmed(written: Counts, parcel: &Parcel) -> String {
    let sent = parcel.counts;
    format!(
        "it wrote {} of {} samples, {} of {} histograms, {} of {} exemplars",
        written.samples,
        sent.samples,
        written.histograms,
        sent.histograms,
        written.exemplars,
        sent.exemplars
    )
}

/// What a 2.0 receiver says that it wrote: nothing if it sends none of the headers. One that is
/// missing or no number beside others counts as 0.
fn written(headers: &HeaderMap) -> Option<Counts> {
    let counts = WRITTEN.map(|name| {
        let value = headers.get(name)?.to_str().ok()?;
        value.trim().parse::<u64>().ok()
    });
    if counts.iter().all(Option::is_none) {
        return None;
    }
    let [samples, histograms, exemplars] = counts.map(Option::unwrap_or_default);
    Some(Counts { samples, histograms, exemplars })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderName, HeaderValue, StatusCode};

    use super::*;
    use crate::block::{Compression, Encoding, Format};

    /// Noon on 1 January 2026.
    const NOW_MS: i64 = 1_767_268_800_000;

    fn answer(status: u16, headers: &[(&'static str, &str)]) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        Answer::new(status, &headers.collect(), b"because\nof this", NOW_MS)
    }

    #[track_caller]
    fn check(version: WireVersion, status: u16, headers: &[(&'static str, &str)], want: &str) {
        let format = Format { encoding: version.encoding(), compression: Compression::Snappy };
        let counts = Counts { samples: 10, histograms: 2, exemplars: 1 };
        let parcel =
            Parcel { bytes: Bytes::new(), format, counts, families: 0, attempt: 0, part: 0 };
        let got = match answer(status, headers).judge(version, &parcel, true) {
            Verdict::Delivered { not_written, .. } => {
                format!("delivered but {}", not_written.total())
            }
            Verdict::Retry { after, .. } => format!("retry after {after:?}"),
            Verdict::Refused { why } => format!("refused: {why}"),
            Verdict::OtherFormat { .. } => "other format".to_owned(),
        };
        assert_eq!(got, want);
    }

    #[test]
    fn answers_mean_what_they_mean_to_prometheus() {
        use WireVersion::{V1, V2};
        check(V1, 200, &[], "delivered but 0");
        check(V1, 204, &[], "delivered but 0");
        check(V1, 500, &[], "retry after None");
        check(V1, 503, &[("retry-after", "7")], "retry after Some(7s)");
        check(V1, 429, &[("retry-after", "Thu, 01 Jan 2026 12:00:05 GMT")], "retry after Some(5s)");
        check(V1, 429, &[("retry-after", "Thu, 01 Jan 2026 11:00:00 GMT")], "retry after None");
        check(V1, 429, &[("retry-after", "soon")], "retry after None");
        let refused = "refused: server returned HTTP status 400 Bad Request: because";
        check(V1, 400, &[], refused);
        check(V1, 301, &[], "refused: server returned HTTP status 301 Moved Permanently: because");
        let samples = ("x-prometheus-remote-write-samples-written", "10");
        let histograms = ("x-prometheus-remote-write-histograms-written", "2");
        let exemplars = ("x-prometheus-remote-write-exemplars-written", "1");
        check(V2, 204, &[samples, histograms, exemplars], "delivered but 0");
        check(V2, 200, &[samples], "delivered but 3");
        let unconfirmed = "refused: the answer to remote write 2.0 does not say what was written";
        check(V2, 200, &[], unconfirmed);
        check(V2, 400, &[samples], refused);
    }

    #[test]
    fn a_429_drops_unless_it_shall_be_retried() {
        let format = Format { encoding: Encoding::RemoteWrite1, compression: Compression::None };
        let counts = Counts::default();
        let parcel =
            Parcel { bytes: Bytes::new(), format, counts, families: 0, attempt: 0, part: 0 };
        let verdict = answer(429, &[]).judge(WireVersion::V1, &parcel, false);
        assert!(matches!(verdict, Verdict::Refused { .. }));
    }
}

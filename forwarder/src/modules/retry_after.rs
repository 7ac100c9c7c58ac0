//! `Retry-After`: what a receiver asks for when it has too much to do.

use std::time::Duration;

use http::{HeaderMap, header};

/// Seconds, or a date. `unix_ms` is now, in milliseconds.
pub(super) fn retry_after(headers: &HeaderMap, unix_ms: i64) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate(text)?;
    u64::try_from(date.saturating_sub(unix_ms)).ok().map(Duration::from_millis)
}

/// A date as HTTP writes it (`Sun, 06 Nov 1994 08:49:37 GMT`), in milliseconds since the epoch.
fn httpdate(text: &str) -> Option<i64> {
    let format = "%a, %d %b %Y %H:%M:%S GMT";
    let civil = jiff::civil::DateTime::strptime(format, text).ok()?;
    let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

//! `Retry-After`: what a receiver asks for when it has too much to do.

use std::time::Duration;

use http::{HeaderMap, header};

/// A receiver that asks for more is asked again after this: nobody is left alone for ever.
pub(in crate::modules) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Seconds, or a date. `unix_ms` is now, in milliseconds.
pub(in crate::modules) fn retry_after(headers: &HeaderMap, unix_ms: i64) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let asked = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) if is_number => RETRY_AFTER_MAX,
        Err(_) => {
            let wait_ms = httpdate(text)?.saturating_sub(unix_ms);
            Duration::from_millis(u64::try_from(wait_ms).ok()?)
        }
    };
    Some(asked.min(RETRY_AFTER_MAX))
}

/// A date as HTTP writes it (`Sun, 06 Nov 1994 08:49:37 GMT`), in milliseconds since the epoch.
fn httpdate(text: &str) -> Option<i64> {
    let format = "%a, %d %b %Y %H:%M:%S GMT";
    let civil = jiff::civil::DateTime::strptime(format, text).ok()?;
    let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want_s: Option<u64>) {
        let headers = [(header::RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
        // Sunday, 6 November 1994, 08:49:37.
        let now_ms = 784_111_777_000;
        assert_eq!(retry_after(&headers, now_ms), want_s.map(Duration::from_secs), "{text}");
    }

    #[test]
    fn seconds_and_dates_are_kept_within_an_hour() {
        check("0", Some(0));
        check(" 120 ", Some(120));
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(60));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(0));
        for long in ["7200", "18446744073709551615", "99999999999999999999"] {
            check(long, Some(3600));
        }
        check("Fri, 31 Dec 2100 23:59:59 GMT", Some(3600));
    }

    #[test]
    fn what_is_over_or_makes_no_sense_asks_for_nothing() {
        for text in ["Sun, 06 Nov 1994 08:49:36 GMT", "", "soon", "-1", "1.5"] {
            check(text, None);
        }
    }
}

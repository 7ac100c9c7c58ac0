//! A duration as Prometheus writes it: `1h30m`, `15s`, `0`.
//!
//! The grammar and the words of its errors are those of prometheus/common `model.ParseDuration`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration in whole milliseconds, at most what Go's `time.Duration` holds (about 292 years).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration {
    ms: u64,
}

/// Why a text is not a duration, in Prometheus' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The empty text.
    #[error("empty duration string")]
    Empty,
    /// Not the grammar.
    #[error("not a valid duration string: {0:?}")]
    Invalid(String),
    /// More than Go's `time.Duration` can hold.
    #[error("duration out of range")]
    OutOfRange,
}

/// Unit and its milliseconds, in the order in which they must be written.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Go's longest duration, in milliseconds.
const MS_MAX: u64 = i64::MAX as u64 / 1_000_000;

// === impl Duration ===

impl Duration {
    /// No time at all: what Prometheus takes for "not set".
    pub const ZERO: Duration = Duration { ms: 0 };

    /// So many milliseconds.
    pub const fn from_ms(ms: u64) -> Duration {
        Duration { ms }
    }

    /// So many seconds.
    pub const fn from_secs(secs: u64) -> Duration {
        Duration { ms: secs * 1_000 }
    }

    /// In milliseconds.
    pub const fn as_ms(self) -> u64 {
        self.ms
    }

    /// As the standard library has it.
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.ms)
    }

    /// Whether it is [`Duration::ZERO`].
    pub const fn is_zero(&self) -> bool {
        self.ms == 0
    }

    /// This one, unless it is zero: then `other`.
    pub const fn or(self, other: Duration) -> Duration {
        if self.ms == 0 { other } else { self }
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Duration, DurationError> {
        match text {
            "" => return Err(DurationError::Empty),
            "0" => return Ok(Duration::ZERO),
            _ => {}
        }
        let invalid = || DurationError::Invalid(text.to_owned());
        let (mut rest, mut units, mut ms) = (text, UNITS.as_slice(), 0_u64);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let letters = rest[digits..].bytes().take_while(u8::is_ascii_lowercase).count();
            let unit = &rest[digits..digits + letters];
            let at = units.iter().position(|(name, _)| *name == unit).ok_or_else(invalid)?;
            if digits == 0 {
                return Err(invalid());
            }
            let count = rest[..digits].parse::<u64>().map_err(|_| DurationError::OutOfRange)?;
            let part = count.checked_mul(units[at].1).ok_or(DurationError::OutOfRange)?;
            ms = ms.checked_add(part).ok_or(DurationError::OutOfRange)?;
            rest = &rest[digits + letters..];
            units = &units[at + 1..];
        }
        if ms > MS_MAX { Err(DurationError::OutOfRange) } else { Ok(Duration { ms }) }
    }
}

impl fmt::Display for Duration {
    /// As Prometheus prints it: years, weeks and days only where nothing is left over.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ms == 0 {
            return f.write_str("0s");
        }
        let mut ms = self.ms;
        for (name, unit) in UNITS {
            let whole_only = matches!(name, "y" | "w" | "d");
            if whole_only && !ms.is_multiple_of(unit) {
                continue;
            }
            if ms >= unit {
                write!(f, "{}{name}", ms / unit)?;
                ms %= unit;
            }
        }
        Ok(())
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> std::time::Duration {
        duration.to_std()
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        match Option::<String>::deserialize(deserializer)? {
            None => Ok(Duration::ZERO),
            Some(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str) {
        let got = match text.parse::<Duration>() {
            Ok(duration) => format!("{} {duration}", duration.as_ms()),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn durations_follow_the_grammar_of_prometheus() {
        check("0", "0 0s");
        check("0s", "0 0s");
        check("15s", "15000 15s");
        check("1h30m", "5400000 1h30m");
        check("324ms", "324 324ms");
        check("3s4ms", "3004 3s4ms");
        check("1w", "604800000 1w");
        check("1y", "31536000000 1y");
        check("8d", "691200000 8d");
        check("1d1h", "90000000 25h");
        check("90m", "5400000 1h30m");
        check("120m", "7200000 2h");
        check("", "empty duration string");
        check("1", r#"not a valid duration string: "1""#);
        check("-1h", r#"not a valid duration string: "-1h""#);
        check("1m1h", r#"not a valid duration string: "1m1h""#);
        check("1s1s", r#"not a valid duration string: "1s1s""#);
        check("1.5s", r#"not a valid duration string: "1.5s""#);
        check("1 s", r#"not a valid duration string: "1 s""#);
        check("s", r#"not a valid duration string: "s""#);
        check("300y", "duration out of range");
        check("99999999999999999999s", "duration out of range");
    }
}

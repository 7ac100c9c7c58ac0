//! A number of bytes with its unit: `15MB`, `512KiB`. Units are powers of 1,024, as in Prometheus.
//!
//! The grammar and the words of its errors are those of alecthomas/units `ParseBase2Bytes`, which
//! Prometheus uses: the unit is mandatory, and `KB` means the same as `KiB`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size {
    bytes: u64,
}

/// Why a text is not a size, in the words that Prometheus prints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not a number followed by a unit.
    #[error("units: invalid {0}")]
    Invalid(String),
    /// A unit that is not one.
    #[error("units: unknown unit {unit} in {text}")]
    UnknownUnit {
        /// What stands where the unit should.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// More than 2⁶³ − 1 bytes.
    #[error("units: overflow {0}")]
    Overflow(String),
}

/// Names without `B`/`iB`, in powers of 1,024.
const PREFIXES: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];

// === impl Size ===

impl Size {
    /// So many bytes.
    pub const fn from_bytes(bytes: u64) -> Size {
        Size { bytes }
    }

    /// In bytes.
    pub const fn as_bytes(self) -> u64 {
        self.bytes
    }

    /// Whether it is no byte: what Prometheus takes for "no limit".
    pub const fn is_zero(&self) -> bool {
        self.bytes == 0
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Size, SizeError> {
        if text == "0" {
            return Ok(Size { bytes: 0 });
        }
        let invalid = || SizeError::Invalid(text.to_owned());
        let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
        if rest.is_empty() || text.starts_with('-') {
            return Err(invalid());
        }
        let mut bytes = 0_f64;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
            let count: f64 = rest[..digits].parse().map_err(|_| invalid())?;
            let after = &rest[digits..];
            let letters = after.find(|c: char| c.is_ascii_digit() || c == '.');
            let unit = &after[..letters.unwrap_or(after.len())];
            let power = power_of(unit).ok_or_else(|| SizeError::UnknownUnit {
                unit: unit.to_owned(),
                text: text.to_owned(),
            })?;
            bytes += count * 1024_f64.powi(power);
            rest = &after[unit.len()..];
        }
        if bytes >= i64::MAX as f64 {
            return Err(SizeError::Overflow(text.to_owned()));
        }
        Ok(Size { bytes: bytes as u64 })
    }
}

fn power_of(unit: &str) -> Option<i32> {
    let prefix = unit.strip_suffix("iB").filter(|rest| !rest.is_empty());
    let prefix = prefix.or_else(|| unit.strip_suffix('B'))?;
    Some(PREFIXES.iter().position(|known| *known == prefix)? as i32)
}

impl fmt::Display for Size {
    /// As Prometheus prints it: `1GiB512MiB`, or `0B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.bytes;
        if bytes == 0 {
            return f.write_str("0B");
        }
        for (power, prefix) in PREFIXES.iter().enumerate().rev() {
            let unit = 1_u64 << (10 * power);
            if bytes >= unit {
                let letters = if power == 0 { "B" } else { "iB" };
                write!(f, "{}{prefix}{letters}", bytes / unit)?;
                bytes %= unit;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        match Option::<String>::deserialize(deserializer)? {
            None => Ok(Size::default()),
            Some(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str) {
        let got = match text.parse::<Size>() {
            Ok(size) => format!("{} {size}", size.as_bytes()),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn sizes_have_a_unit_and_units_are_powers_of_1024() {
        check("0", "0 0B");
        check("15MB", "15728640 15MiB");
        check("15MiB", "15728640 15MiB");
        check("1GB512MB", "1610612736 1GiB512MiB");
        check("1.5KB", "1536 1KiB512B");
        check("10B", "10 10B");
        check("100", "units: unknown unit  in 100");
        check("5xB", "units: unknown unit xB in 5xB");
        check("5kB", "units: unknown unit kB in 5kB");
        check("", "units: invalid ");
        check("MB", "units: invalid MB");
        check("-1MB", "units: invalid -1MB");
        check("9EB", "units: overflow 9EB");
    }
}

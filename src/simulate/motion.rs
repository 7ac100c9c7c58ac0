//! How a simulated value moves with time, and how its text looks.
//!
//! Values are whole numbers of a last decimal place, so that a value costs a few integer
//! operations and its text keeps its width while it has as many digits as before.

/// How a value moves. All numbers count the last decimal place of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Motion {
    /// Stays what it is.
    Still(u64),
    /// `start` plus `per_second` for each second.
    Counter {
        /// The value at second 0.
        start: u64,
        /// How fast it grows.
        per_second: u64,
    },
    /// Swings around `middle`, once each `period_s`, and trembles by `noise`.
    Gauge {
        /// What it swings around.
        middle: u64,
        /// How far it goes to either side; times the period it must fit in 62 bits.
        swing: u64,
        /// Seconds for there and back.
        period_s: u32,
        /// Differs between values, so that they do not swing in step.
        phase: u32,
        /// The most that chance adds.
        noise: u64,
    },
}

/// Chance that always comes out the same for the same seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice(u64);

/// The text of a value, on the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ValueText {
    bytes: [u8; ValueText::BYTES_MAX],
    len: u8,
}

// === impl Motion ===

impl Motion {
    /// The value at `second`.
    pub(crate) fn at(self, second: u64) -> u64 {
        match self {
            Motion::Still(value) => value,
            Motion::Counter { start, per_second } => {
                start.wrapping_add(per_second.wrapping_mul(second))
            }
            Motion::Gauge { middle, swing, period_s, phase, noise } => {
                let period = u64::from(period_s.max(2));
                let place = (second + u64::from(phase)) % period;
                let height = 2 * swing * (2 * place).abs_diff(period) / period;
                let tremble = Dice(second ^ (u64::from(phase) << 32)).below(noise + 1);
                (middle + height + tremble).saturating_sub(swing)
            }
        }
    }

    /// Whether the value never changes.
    pub(crate) fn is_still(self) -> bool {
        match self {
            Motion::Still(_) => true,
            Motion::Counter { per_second, .. } => per_second == 0,
            Motion::Gauge { swing, noise, .. } => swing == 0 && noise == 0,
        }
    }
}

// === impl Dice ===

impl Dice {
    /// Dice for the thing with this number.
    pub(crate) fn new(seed: u64, thing: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ thing)
    }

    /// The next throw.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 if `limit` is 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // The high half of a product: cheaper than a remainder, fair enough for a simulation.
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// A number between `low` and `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }
}

// === impl ValueText ===

impl ValueText {
    const BYTES_MAX: usize = 32;
    /// A number with more digits than this before the point is written with an exponent, as the
    /// exporters of the Go client library write it.
    const PLAIN_DIGITS_MAX: usize = 6;

    /// `value` with its last `decimals` digits behind the point.
    pub(crate) fn new(value: u64, decimals: u8) -> ValueText {
        let mut digits = [b'0'; 20];
        let first = write_digits(&mut digits, value, usize::from(decimals) + 1);
        let digits = &digits[first..];
        let whole = digits.len() - usize::from(decimals);
        let mut text = ValueText { bytes: [0; ValueText::BYTES_MAX], len: 0 };
        if whole > ValueText::PLAIN_DIGITS_MAX {
            text.push(&digits[..1]);
            text.push(b".");
            text.push(&digits[1..]);
            text.push(b"e+");
            let exponent = (whole - 1) as u8;
            text.push(&[b'0' + exponent / 10, b'0' + exponent % 10]);
            return text;
        }
        text.push(&digits[..whole]);
        if decimals > 0 {
            text.push(b".");
            text.push(&digits[whole..]);
        }
        text
    }

    /// The text.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn push(&mut self, bytes: &[u8]) {
        let at = usize::from(self.len);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }
}

/// Writes `value` to the end of `digits`, at least `least` of them; where the first one is.
fn write_digits(digits: &mut [u8; 20], mut value: u64, least: usize) -> usize {
    let mut first = digits.len();
    while value > 0 {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    first.min(digits.len() - least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: u64, decimals: u8, want: &str) {
        let text = ValueText::new(value, decimals);
        assert_eq!(std::str::from_utf8(text.as_bytes()).unwrap(), want);
        let number: f64 = want.parse().unwrap();
        let scale = 10_f64.powi(i32::from(decimals));
        assert!((number * scale - value as f64).abs() < 1e-3, "{number} is not {value}");
    }

    #[test]
    fn a_value_is_written_as_exporters_write_it() {
        check(0, 0, "0");
        check(0, 4, "0.0000");
        check(7, 4, "0.0007");
        check(12_345, 4, "1.2345");
        check(123_456, 0, "123456");
        check(1_234_567, 0, "1.234567e+06");
        check(123_456_789, 2, "1.23456789e+06");
        check(16_623_828_992, 0, "1.6623828992e+10");
        check(u64::MAX, 0, "1.8446744073709551615e+19");
    }

    #[test]
    fn a_gauge_stays_within_its_swing() {
        let gauge = Motion::Gauge { middle: 500, swing: 50, period_s: 60, phase: 7, noise: 9 };
        for second in 0..200 {
            let value = gauge.at(second);
            assert!((450..=559).contains(&value), "{value} at {second}");
        }
        assert_ne!(gauge.at(0), gauge.at(20));
    }

    #[test]
    fn the_same_seed_throws_the_same() {
        let (mut one, mut other) = (Dice::new(1, 2), Dice::new(1, 2));
        assert_eq!((one.next(), one.below(10)), (other.next(), other.below(10)));
        assert!(one.between(3, 5) >= 3 && other.between(3, 5) <= 5);
    }
}

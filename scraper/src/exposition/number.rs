//! Numbers as Prometheus reads and prints them: Go's `ParseFloat` without hexadecimal digits and
//! underscores, and the canonical form of `le` and `quantile` values.

use model::NORMAL_NAN;

/// Why a number cannot be read, in the words of Go's `strconv`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NumberError {
    /// `p`, `P` or `_` in a float.
    #[error("unsupported character in float")]
    Unsupported,
    /// Not a float.
    #[error("strconv.ParseFloat: parsing {0}: invalid syntax")]
    Float(String),
    /// A float beyond the largest.
    #[error("strconv.ParseFloat: parsing {0}: value out of range")]
    FloatRange(String),
    /// An integer of more than 63 bits.
    #[error("strconv.ParseInt: parsing {0}: value out of range")]
    IntegerRange(String),
}

/// A decimal number as it was read: `mantissa × 10^exponent`, and where it ended.
struct Decimal {
    negative: bool,
    mantissa: u64,
    exponent: i32,
    /// The mantissa has all digits.
    exact: bool,
    end: usize,
}

/// Powers of ten that a float holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Powers of ten that eight digits need.
const INTEGER_POWERS: [u64; 9] =
    [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Integers up to this one are floats exactly.
const EXACT_MANTISSA: u64 = 1 << 53;

/// Decimal digits that surely fit into 64 bits.
const DIGITS_MAX: usize = 19;

/// The decimal number that starts at `text[at]`, and where it ends; `None` if there is none, or if
/// it is one of the rare forms that [`parse_float`] must look at.
#[inline(always)]
pub(crate) fn scan_float(text: &[u8], at: usize) -> Option<(f64, usize)> {
    let decimal = scan_decimal(text, at)?;
    match decimal.value() {
        Some(value) => Some((value, decimal.end)),
        None => scan_long_float(&text[at..decimal.end]).map(|value| (value, decimal.end)),
    }
}

/// A number with many digits or a large exponent.
#[inline(never)]
fn scan_long_float(token: &[u8]) -> Option<f64> {
    fast_float2::parse::<f64, _>(token).ok().filter(|value| value.is_finite())
}

#[inline(always)]
fn scan_decimal(text: &[u8], at: usize) -> Option<Decimal> {
    let negative = text.get(at) == Some(&b'-');
    let start = at + usize::from(negative);
    let (mut mantissa, mut exponent) = (0_u64, 0_i32);
    let mut at = scan_digits(text, start, &mut mantissa);
    let mut digits = at - start;
    if text.get(at) == Some(&b'.') {
        let point = at + 1;
        at = scan_digits(text, point, &mut mantissa);
        digits += at - point;
        exponent = -((at - point) as i32);
    }
    if digits == 0 {
        return None;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let (written, end) = scan_exponent(text, at + 1)?;
        exponent = exponent.saturating_add(written);
        at = end;
    }
    Some(Decimal { negative, mantissa, exponent, exact: digits <= DIGITS_MAX, end: at })
}

/// Appends the run of digits at `text[at]` to `mantissa`, and says where it ends. Eight bytes at a
/// time: the length of a run is hard for a processor to predict.
#[inline]
fn scan_digits(text: &[u8], mut at: usize, mantissa: &mut u64) -> usize {
    while let Some(bytes) = text.get(at..at + 8).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()) {
        let (value, digits) = leading_digits(bytes);
        *mantissa = mantissa.wrapping_mul(INTEGER_POWERS[digits]).wrapping_add(value);
        at += digits;
        if digits < 8 {
            return at;
        }
    }
    while let Some(digit) = digit(text, at) {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(digit);
        at += 1;
    }
    at
}

/// The number that the first bytes write in decimal digits, and how many these are.
#[inline]
fn leading_digits(bytes: [u8; 8]) -> (u64, usize) {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let values = u64::from_le_bytes(bytes) ^ (b'0' as u64 * EACH);
    // The high bit of every byte that is more than 9; a carry spoils only bytes after the first.
    let others = (values.wrapping_add(0x76 * EACH) | values) & (0x80 * EACH);
    let digits = others.trailing_zeros() / 8;
    // As eight digits with zeros in front, then two, four and eight of them added up at a time.
    let eight = values.unbounded_shl(64 - 8 * digits);
    let pairs = eight.wrapping_mul(10).wrapping_add(eight >> 8);
    let high = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let low = ((pairs >> 16) & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    (high.wrapping_add(low) >> 32, digits as usize)
}

#[inline]
fn scan_exponent(text: &[u8], at: usize) -> Option<(i32, usize)> {
    let negative = text.get(at) == Some(&b'-');
    let signed = negative || text.get(at) == Some(&b'+');
    let start = at + usize::from(signed);
    let (mut exponent, mut at) = (0_i32, start);
    while let Some(digit) = digit(text, at) {
        exponent = exponent.saturating_mul(10).saturating_add(digit as i32);
        at += 1;
    }
    (at > start).then_some((if negative { -exponent } else { exponent }, at))
}

#[inline]
fn digit(text: &[u8], at: usize) -> Option<u64> {
    let digit = text.get(at)?.wrapping_sub(b'0');
    (digit < 10).then_some(u64::from(digit))
}

impl Decimal {
    /// The value, if one exact operation gives it.
    #[inline]
    fn value(&self) -> Option<f64> {
        if !self.exact || self.mantissa > EXACT_MANTISSA {
            return None;
        }
        let mantissa = self.mantissa as f64;
        let value = match self.exponent {
            0 => mantissa,
            -22..=-1 => mantissa / EXACT_POWERS[(-self.exponent) as usize],
            1..=22 => mantissa * EXACT_POWERS[self.exponent as usize],
            _ => return None,
        };
        Some(if self.negative { -value } else { value })
    }
}

/// Reads a whole token as a float. Every NaN becomes the same one.
///
/// # Errors
/// As Prometheus' parser: hexadecimal, underscores, other syntax, beyond the largest float.
pub(crate) fn parse_float(token: &[u8]) -> Result<f64, NumberError> {
    if token.iter().any(|byte| matches!(byte, b'p' | b'P' | b'_')) {
        return Err(NumberError::Unsupported);
    }
    if let Some(value) = parse_special(token) {
        return Ok(value);
    }
    let unsigned = token.strip_prefix(b"+").unwrap_or(token);
    let minus_after_plus = unsigned.len() < token.len() && unsigned.first() == Some(&b'-');
    match scan_decimal(unsigned, 0) {
        Some(decimal) if decimal.end == unsigned.len() && !minus_after_plus => decimal
            .value()
            .or_else(|| scan_long_float(unsigned))
            .ok_or_else(|| NumberError::FloatRange(quoted(token))),
        _ => Err(NumberError::Float(quoted(token))),
    }
}

/// `inf`, `infinity` and `nan` in any case; a sign only before the first two.
fn parse_special(token: &[u8]) -> Option<f64> {
    if token.eq_ignore_ascii_case(b"nan") {
        return Some(NORMAL_NAN);
    }
    let (sign, word) = match token.split_first()? {
        (b'-', word) => (-1.0, word),
        (b'+', word) => (1.0, word),
        _ => (1.0, token),
    };
    let infinite = word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"infinity");
    infinite.then_some(sign * f64::INFINITY)
}

/// Reads decimal digits as a timestamp.
///
/// # Errors
/// More than 63 bits.
pub(crate) fn parse_digits(token: &[u8]) -> Result<i64, NumberError> {
    token
        .iter()
        .try_fold(0_i64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(i64::from(digit.wrapping_sub(b'0')))
        })
        .ok_or_else(|| NumberError::IntegerRange(quoted(token)))
}

/// A `le` or `quantile` value in OpenMetrics' form (`1` → `1.0`), if it is a number. Unlike sample
/// values these may have underscores and hexadecimal digits where Go's `ParseFloat` takes them.
pub(crate) fn canonical_bound(value: &str) -> Option<String> {
    let float = parse_float(value.as_bytes()).ok().or_else(|| parse_hex(value))?;
    Some(format_float(float))
}

/// Go's hexadecimal floats: `0x1.8p3`, with an exponent always.
fn parse_hex(value: &str) -> Option<f64> {
    let (sign, unsigned) = match value.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, value.strip_prefix('+').unwrap_or(value)),
    };
    let digits = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X"))?;
    let (mantissa, exponent) = digits.split_once(['p', 'P'])?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut sum = 0.0_f64;
    for digit in whole.chars().chain(fraction.chars()) {
        sum = sum * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let scale = exponent - 4 * i32::try_from(fraction.len()).ok()?;
    let value = sign * sum * 2.0_f64.powi(scale);
    value.is_finite().then_some(value)
}

/// A float as Go prints it with `%g`, and `.0` after an integer (OpenMetrics' canonical form).
pub(crate) fn format_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').expect("`{:e}` prints an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` prints a decimal exponent");
    if (-4..6).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// Bytes as Go's `%q` prints them.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{7}' => out.push_str("\\a"),
                '\u{8}' => out.push_str("\\b"),
                '\u{b}' => out.push_str("\\v"),
                '\u{c}' => out.push_str("\\f"),
                control if control.is_ascii_control() => {
                    out.push_str(&format!("\\x{:02x}", control as u32));
                }
                other => out.push(other),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests;

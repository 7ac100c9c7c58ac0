//! The messages of remote write 1.0 and 2.0, read without copying: labels are slices of the body.
//!
//! Kept is what a status center needs: labels and float samples. Histograms and exemplars are
//! counted, everything else is skipped, as protobuf asks of unknown fields.
//! Invariant: the labels of a series are sorted by name, names are unique, values not empty.

use std::ops::Range;
use std::str::Utf8Error;

/// Labels of one series. Prometheus' own limit is none; hosts print fewer than 20.
const LABELS_MAX: usize = 256;

/// Series of one message: a sender's default is 2,000.
const SERIES_MAX: usize = 200_000;

/// Labels of one message, over all series.
const PAIRS_MAX: usize = 2_000_000;

/// Samples of one message.
const SAMPLES_MAX: usize = 1_000_000;

/// Which message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// `prometheus.WriteRequest`
    One,
    /// `io.prometheus.write.v2.Request`
    Two,
}

/// A message, read.
#[derive(Debug, Default)]
pub(crate) struct Message<'b> {
    pairs: Vec<(&'b str, &'b str)>,
    samples: Vec<Sample>,
    series: Vec<Place>,
    /// Native histograms that it has.
    pub(crate) n_histograms: usize,
    /// Exemplars that it has.
    pub(crate) n_exemplars: usize,
    /// Samples of series that cannot be, and why the first of them cannot.
    pub(crate) invalid: Option<(usize, &'static str)>,
}

/// A sample, as the wire has it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Sample {
    pub(crate) timestamp_ms: i64,
    pub(crate) value: f64,
}

/// One series of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Series<'m, 'b> {
    pub(crate) labels: &'m [(&'b str, &'b str)],
    pub(crate) samples: &'m [Sample],
}

/// Why a message cannot be read: nothing of it has been taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// A field breaks off.
    #[error("a field ends behind the end of the message")]
    Cut,
    /// A number has more bytes than any can have.
    #[error("a number of more than ten bytes")]
    Varint,
    /// A wire type that protobuf does not have, or that the field cannot have.
    #[error("field {field} has wire type {wire}")]
    WireType {
        /// Number of the field.
        field: u32,
        /// Its type.
        wire: u8,
    },
    /// A label is no text.
    #[error("a label is not UTF-8")]
    Utf8(#[source] Utf8Error),
    /// 2.0: labels are pairs of symbols.
    #[error("label reference {at} of {symbols} symbols")]
    Symbol {
        /// The reference.
        at: u64,
        /// How many there are.
        symbols: usize,
    },
    /// 2.0: a name without a value.
    #[error("an odd number of label references")]
    Odd,
    /// More of something than one message may have.
    #[error("more than {max} {what} in one message")]
    TooMany {
        /// The limit.
        max: usize,
        /// Of what.
        what: &'static str,
    },
}

/// Where the parts of a series are in a [`Message`].
#[derive(Debug, Clone, Copy)]
struct Place {
    pairs: (u32, u32),
    samples: (u32, u32),
}

/// The fields of a protobuf message, one after the other.
struct Fields<'b>(&'b [u8]);

/// The value of a field.
enum Value<'b> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'b [u8]),
    Fixed32,
}

// === impl Message ===

impl<'b> Message<'b> {
    /// Reads a message.
    ///
    /// # Errors
    /// [`WireError`]: it is not such a message, or too large.
    pub(crate) fn read(version: Version, bytes: &'b [u8]) -> Result<Message<'b>, WireError> {
        let mut message = Message::default();
        match version {
            Version::One => {
                let mut fields = Fields(bytes);
                while let Some((field, value)) = fields.next()? {
                    if field == 1 {
                        message.series_of_1(value.bytes(field)?)?;
                    }
                }
            }
            Version::Two => {
                let mut symbols = Vec::new();
                let mut fields = Fields(bytes);
                while let Some((field, value)) = fields.next()? {
                    if field == 4 {
                        limit(symbols.len(), PAIRS_MAX, "symbols")?;
                        symbols.push(text(value.bytes(field)?)?);
                    }
                }
                let mut fields = Fields(bytes);
                while let Some((field, value)) = fields.next()? {
                    if field == 5 {
                        message.series_of_2(value.bytes(field)?, &symbols)?;
                    }
                }
            }
        }
        Ok(message)
    }

    /// Its series, in order; those that cannot be are left out.
    pub(crate) fn series(&self) -> impl Iterator<Item = Series<'_, 'b>> {
        let range = |(from, to): (u32, u32)| from as usize..to as usize;
        self.series.iter().map(move |place| Series {
            labels: &self.pairs[range(place.pairs)],
            samples: &self.samples[range(place.samples)],
        })
    }

    /// Float samples, of series that can be and of those that cannot.
    pub(crate) fn n_samples(&self) -> usize {
        self.samples.len() + self.invalid.map_or(0, |(n, _)| n)
    }

    fn series_of_1(&mut self, bytes: &'b [u8]) -> Result<(), WireError> {
        let (pairs, samples) = (self.pairs.len(), self.samples.len());
        let mut fields = Fields(bytes);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => {
                    let pair = label(value.bytes(field)?)?;
                    self.pairs.push(pair);
                }
                2 => self.sample(value.bytes(field)?)?,
                3 => self.n_exemplars += 1,
                4 => self.n_histograms += 1,
                _ => {}
            }
            limit(self.pairs.len(), PAIRS_MAX, "labels")?;
        }
        self.end_series(pairs, samples)
    }

    fn series_of_2(&mut self, bytes: &'b [u8], symbols: &[&'b str]) -> Result<(), WireError> {
        let (pairs, samples) = (self.pairs.len(), self.samples.len());
        let mut name: Option<&'b str> = None;
        let mut fields = Fields(bytes);
        while let Some((field, value)) = fields.next()? {
            match (field, value) {
                (1, Value::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        let at = varint(&mut packed)?;
                        self.reference(&mut name, at, symbols)?;
                    }
                }
                (1, Value::Varint(at)) => self.reference(&mut name, at, symbols)?,
                (1, value) => return Err(value.unfit(field)),
                (2, value) => self.sample(value.bytes(field)?)?,
                (3, _) => self.n_histograms += 1,
                (4, _) => self.n_exemplars += 1,
                _ => {}
            }
        }
        if name.is_some() {
            return Err(WireError::Odd);
        }
        self.end_series(pairs, samples)
    }

    /// Takes one label reference: a name, or the value of the name before it.
    fn reference(
        &mut self,
        name: &mut Option<&'b str>,
        at: u64,
        symbols: &[&'b str],
    ) -> Result<(), WireError> {
        let symbol = usize::try_from(at).ok().and_then(|at| symbols.get(at));
        let symbol = *symbol.ok_or(WireError::Symbol { at, symbols: symbols.len() })?;
        match name.take() {
            None => *name = Some(symbol),
            Some(name) => self.pairs.push((name, symbol)),
        }
        limit(self.pairs.len(), PAIRS_MAX, "labels")
    }

    fn sample(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let mut sample = Sample::default();
        let mut fields = Fields(bytes);
        while let Some((field, value)) = fields.next()? {
            match (field, value) {
                (1, Value::Fixed64(bits)) => sample.value = f64::from_bits(bits),
                (2, Value::Varint(bits)) => sample.timestamp_ms = bits as i64,
                (1 | 2, value) => return Err(value.unfit(field)),
                _ => {}
            }
        }
        self.samples.push(sample);
        limit(self.samples.len(), SAMPLES_MAX, "samples")
    }

    /// The labels and samples from these places on are a series.
    fn end_series(&mut self, pairs: usize, samples: usize) -> Result<(), WireError> {
        let n_samples = self.samples.len() - samples;
        let why = why_not(&mut self.pairs, pairs);
        if n_samples == 0 || why.is_some() {
            self.pairs.truncate(pairs);
            self.samples.truncate(samples);
            if let Some(why) = why {
                let (n, why) = self.invalid.unwrap_or((0, why));
                self.invalid = Some((n + n_samples, why));
            }
            return Ok(());
        }
        limit(self.series.len(), SERIES_MAX, "series")?;
        let range = |Range { start, end }: Range<usize>| (start as u32, end as u32);
        self.series.push(Place {
            pairs: range(pairs..self.pairs.len()),
            samples: range(samples..self.samples.len()),
        });
        Ok(())
    }
}

/// Brings the labels from `start` on in order; why they cannot be labels, if they cannot.
fn why_not(pairs: &mut Vec<(&str, &str)>, start: usize) -> Option<&'static str> {
    let is_sorted = pairs[start..].windows(2).all(|two| two[0].0 < two[1].0);
    if !is_sorted {
        pairs[start..].sort_unstable_by_key(|(name, _)| *name);
        if pairs[start..].windows(2).any(|two| two[0].0 == two[1].0) {
            return Some("a label name is there twice");
        }
    }
    if pairs[start..].iter().any(|(_, value)| value.is_empty()) {
        let mut at = 0;
        pairs.retain(|(_, value)| {
            at += 1;
            at <= start || !value.is_empty()
        });
    }
    let labels = &pairs[start..];
    if labels.len() > LABELS_MAX {
        return Some("more than 256 labels");
    }
    if labels.iter().any(|(name, _)| name.is_empty()) {
        return Some("a label has no name");
    }
    match labels.binary_search_by_key(&"__name__", |(name, _)| name) {
        Ok(_) => None,
        Err(_) => Some("a series has no metric name"),
    }
}

fn label(bytes: &[u8]) -> Result<(&str, &str), WireError> {
    let mut pair = ("", "");
    let mut fields = Fields(bytes);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => pair.0 = text(value.bytes(field)?)?,
            2 => pair.1 = text(value.bytes(field)?)?,
            _ => {}
        }
    }
    Ok(pair)
}

fn text(bytes: &[u8]) -> Result<&str, WireError> {
    std::str::from_utf8(bytes).map_err(WireError::Utf8)
}

fn limit(n: usize, max: usize, what: &'static str) -> Result<(), WireError> {
    if n <= max { Ok(()) } else { Err(WireError::TooMany { max, what }) }
}

// === impl Fields ===

impl<'b> Fields<'b> {
    /// The next field; none at the end.
    fn next(&mut self) -> Result<Option<(u32, Value<'b>)>, WireError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = varint(&mut self.0)?;
        let (field, wire) = ((tag >> 3) as u32, (tag & 7) as u8);
        let value = match wire {
            0 => Value::Varint(varint(&mut self.0)?),
            1 => {
                let (bytes, rest) = self.0.split_first_chunk::<8>().ok_or(WireError::Cut)?;
                self.0 = rest;
                Value::Fixed64(u64::from_le_bytes(*bytes))
            }
            2 => {
                let len = usize::try_from(varint(&mut self.0)?).map_err(|_| WireError::Cut)?;
                let (bytes, rest) = self.0.split_at_checked(len).ok_or(WireError::Cut)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => {
                let (_, rest) = self.0.split_first_chunk::<4>().ok_or(WireError::Cut)?;
                self.0 = rest;
                Value::Fixed32
            }
            _ => return Err(WireError::WireType { field, wire }),
        };
        Ok(Some((field, value)))
    }
}

// === impl Value ===

impl<'b> Value<'b> {
    fn bytes(self, field: u32) -> Result<&'b [u8], WireError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            other => Err(other.unfit(field)),
        }
    }

    fn unfit(&self, field: u32) -> WireError {
        let wire = match self {
            Value::Varint(_) => 0,
            Value::Fixed64(_) => 1,
            Value::Bytes(_) => 2,
            Value::Fixed32 => 5,
        };
        WireError::WireType { field, wire }
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut number = 0;
    for at in 0..10 {
        let (byte, rest) = bytes.split_first().ok_or(WireError::Cut)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(WireError::Varint)
}

#[cfg(test)]
pub(crate) mod tests;

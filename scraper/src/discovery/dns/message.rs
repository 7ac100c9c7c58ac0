//! DNS messages, as far as service discovery needs them: one question out, its answers in.
//!
//! RFC 1035 (messages, names), 2782 (SRV), 3596 (AAAA), 6891 (EDNS). Everything that comes in is
//! checked: a message that lies about its lengths, or whose names loop, is refused.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a UDP answer that we take (said with EDNS).
pub(super) const UDP_BYTES_MAX: u16 = 4096;

/// Bytes of a name, dots included.
const NAME_BYTES_MAX: usize = 255;

/// Answers taken of one message. A TCP answer of 64 KiB holds fewer.
const ANSWERS_MAX: u16 = 6000;

const CLASS_INTERNET: u16 = 1;
const TYPE_OPTIONS: u16 = 41;
const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_TRUNCATED: u16 = 0x0200;
const FLAG_RECURSION_DESIRED: u16 = 0x0100;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    A,
    Aaaa,
    Mx,
    Ns,
    Srv,
}

/// One answer that we understand. Names end with a dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Mx(String),
    Ns(String),
    Srv { target: String, port: u16 },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: Code,
    /// It was too long for UDP.
    pub(super) truncated: bool,
    pub(super) records: Vec<Record>,
}

/// How the server judged the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Success,
    /// The name does not exist.
    NoSuchName,
    Other(u16),
}

/// Why a message is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    #[error("name {0}")]
    Name(&'static str),
    #[error("message is cut off")]
    CutOff,
    #[error("message answers another question")]
    Foreign,
}

/// Where we are in a message.
struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

// === impl Question ===

impl Question {
    fn code(self) -> u16 {
        match self {
            Question::A => 1,
            Question::Ns => 2,
            Question::Mx => 15,
            Question::Aaaa => 28,
            Question::Srv => 33,
        }
    }

    /// The message that asks for records of `name`.
    pub(super) fn ask(self, id: u16, name: &str) -> Result<Vec<u8>, MessageError> {
        let mut message = Vec::with_capacity(64);
        // Header: one question, and one additional record that says how much we can take.
        for word in [id, FLAG_RECURSION_DESIRED, 1, 0, 0, 1] {
            message.extend_from_slice(&word.to_be_bytes());
        }
        write_name(&mut message, name)?;
        for word in [self.code(), CLASS_INTERNET] {
            message.extend_from_slice(&word.to_be_bytes());
        }
        message.push(0);
        for word in [TYPE_OPTIONS, UDP_BYTES_MAX, 0, 0, 0] {
            message.extend_from_slice(&word.to_be_bytes());
        }
        Ok(message)
    }
}

fn write_name(message: &mut Vec<u8>, name: &str) -> Result<(), MessageError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > NAME_BYTES_MAX - 2 {
        return Err(MessageError::Name("is too long"));
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length));
        message.push(length.ok_or(MessageError::Name("has an empty or too long part"))?);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    Ok(())
}

// === impl Answer ===

impl Answer {
    /// Reads the answer to question `id`. Records of other types (aliases on the way) are left
    /// out.
    pub(super) fn read(message: &[u8], id: u16) -> Result<Answer, MessageError> {
        let mut reader = Reader { message, at: 0 };
        let (answered, flags) = (reader.word()?, reader.word()?);
        if answered != id || flags & FLAG_RESPONSE == 0 {
            return Err(MessageError::Foreign);
        }
        let code = match flags & 0xf {
            0 => Code::Success,
            3 => Code::NoSuchName,
            other => Code::Other(other),
        };
        let (n_questions, n_answers) = (reader.word()?, reader.word()?);
        reader.skip(4)?;
        for _ in 0..n_questions {
            reader.name()?;
            reader.skip(4)?;
        }
        let truncated = flags & FLAG_TRUNCATED != 0;
        let mut records = Vec::new();
        if !truncated {
            for _ in 0..n_answers.min(ANSWERS_MAX) {
                records.extend(reader.record()?);
            }
        }
        Ok(Answer { code, truncated, records })
    }
}

// === impl Reader ===

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let bytes = self.message.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        self.at += N;
        bytes.copied().ok_or(MessageError::CutOff)
    }

    fn word(&mut self) -> Result<u16, MessageError> {
        self.bytes().map(u16::from_be_bytes)
    }

    fn skip(&mut self, count: usize) -> Result<(), MessageError> {
        self.at += count;
        if self.at > self.message.len() { Err(MessageError::CutOff) } else { Ok(()) }
    }

    /// A name with its dots, the last one included; non-ASCII bytes escaped as `\DDD`.
    fn name(&mut self) -> Result<String, MessageError> {
        let mut name = String::new();
        let mut at = self.at;
        // Pointers must go back, so that they come to an end.
        let mut lowest = self.at;
        let mut jumped = false;
        loop {
            let length = *self.message.get(at).ok_or(MessageError::CutOff)?;
            match length {
                0 => {
                    if !jumped {
                        self.at = at + 1;
                    }
                    break;
                }
                1..=63 => {
                    let end = at + 1 + usize::from(length);
                    let label = self.message.get(at + 1..end).ok_or(MessageError::CutOff)?;
                    push_label(&mut name, label);
                    if name.len() > 4 * NAME_BYTES_MAX {
                        return Err(MessageError::Name("is too long"));
                    }
                    at = end;
                }
                0xc0.. => {
                    let low = *self.message.get(at + 1).ok_or(MessageError::CutOff)?;
                    if !jumped {
                        self.at = at + 2;
                        jumped = true;
                    }
                    at = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if at >= lowest {
                        return Err(MessageError::Name("points forward"));
                    }
                    lowest = at;
                }
                _ => return Err(MessageError::Name("has an unknown kind of part")),
            }
        }
        if name.is_empty() {
            name.push('.');
        }
        Ok(name)
    }

    fn record(&mut self) -> Result<Option<Record>, MessageError> {
        self.name()?;
        let kind = self.word()?;
        self.skip(6)?;
        let length = usize::from(self.word()?);
        let end = self.at + length;
        let record = match kind {
            1 => Some(Record::A(Ipv4Addr::from(self.bytes::<4>()?))),
            28 => Some(Record::Aaaa(Ipv6Addr::from(self.bytes::<16>()?))),
            2 => Some(Record::Ns(self.name()?)),
            15 => {
                self.skip(2)?;
                Some(Record::Mx(self.name()?))
            }
            33 => {
                self.skip(4)?;
                let port = self.word()?;
                Some(Record::Srv { target: self.name()?, port })
            }
            _ => None,
        };
        if self.at > end || end > self.message.len() {
            return Err(MessageError::CutOff);
        }
        self.at = end;
        Ok(record)
    }
}

fn push_label(name: &mut String, label: &[u8]) {
    for byte in label {
        match byte {
            b'.' | b'\\' => {
                name.push('\\');
                name.push(char::from(*byte));
            }
            b'!'..=b'~' => name.push(char::from(*byte)),
            _ => *name += &format!("\\{byte:03}"),
        }
    }
    name.push('.');
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer of `records` to `question`, with names compressed where they repeat it.
    pub(in super::super) fn answer(question: &[u8], code: u16, records: &[Record]) -> Vec<u8> {
        let end = question.len() - 11;
        let mut message = question[..2].to_vec();
        let words = [FLAG_RESPONSE | code, 1, records.len() as u16, 0, 0];
        message.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        message.extend_from_slice(&question[12..end]);
        for record in records {
            message.extend_from_slice(&[0xc0, 12]);
            let (kind, data) = data(record);
            message.extend_from_slice(&kind.to_be_bytes());
            message.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
            message.extend_from_slice(&(data.len() as u16).to_be_bytes());
            message.extend_from_slice(&data);
        }
        message
    }

    fn data(record: &Record) -> (u16, Vec<u8>) {
        let named = |start: &[u8], name: &str| {
            let mut data = start.to_vec();
            write_name(&mut data, name).unwrap();
            data
        };
        match record {
            Record::A(address) => (1, address.octets().to_vec()),
            Record::Aaaa(address) => (28, address.octets().to_vec()),
            Record::Ns(name) => (2, named(&[], name)),
            Record::Mx(name) => (15, named(&[0, 10], name)),
            Record::Srv { target, port } => (
                33,
                named(
                    &[[0, 1, 0, 2], [port.to_be_bytes()[0], port.to_be_bytes()[1], 0, 0]].concat()
                        [..6],
                    target,
                ),
            ),
        }
    }

    #[test]
    fn every_kind_of_record_is_read() {
        let records = [
            Record::A(Ipv4Addr::LOCALHOST),
            Record::Aaaa(Ipv6Addr::LOCALHOST),
            Record::Ns("ns.example.org.".to_owned()),
            Record::Mx("mail.example.org.".to_owned()),
            Record::Srv { target: "node-1.example.org.".to_owned(), port: 9100 },
        ];
        let question = Question::Srv.ask(7, "_node._tcp.example.org").unwrap();
        let read = Answer::read(&answer(&question, 0, &records), 7).unwrap();
        assert_eq!(read, Answer { code: Code::Success, truncated: false, records: records.into() });
    }

    #[test]
    fn compressed_names_are_followed_backwards_only() {
        let question = Question::Ns.ask(1, "example.org").unwrap();
        let mut message = answer(&question, 0, &[Record::Ns("x.org.".to_owned())]);
        let at = message.len() - 7;
        // The name becomes `ns` and a pointer to the question's name.
        message.truncate(at);
        let length = at - 2;
        message[length..at].copy_from_slice(&5_u16.to_be_bytes());
        message.extend_from_slice(&[2, b'n', b's', 0xc0, 12]);
        let read = Answer::read(&message, 1).unwrap();
        assert_eq!(read.records, [Record::Ns("ns.example.org.".to_owned())]);
        let last = message.len() - 1;
        message[last] = at as u8;
        assert_eq!(Answer::read(&message, 1), Err(MessageError::Name("points forward")));
    }

    #[test]
    fn what_was_not_asked_is_refused() {
        let question = Question::A.ask(1, "example.org").unwrap();
        let good = answer(&question, 3, &[]);
        assert_eq!(Answer::read(&good, 1).unwrap().code, Code::NoSuchName);
        assert_eq!(Answer::read(&good, 2), Err(MessageError::Foreign));
        assert_eq!(Answer::read(&question, 1), Err(MessageError::Foreign));
        assert_eq!(Answer::read(&good[..20], 1), Err(MessageError::CutOff));
        assert!(Question::A.ask(1, "a..b").is_err());
        assert!(Question::A.ask(1, &"a".repeat(64)).is_err());
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            let id = message.first_chunk::<2>().map_or(0, |id| u16::from_be_bytes(*id));
            let _ = Answer::read(&message, id);
        }
    }
}

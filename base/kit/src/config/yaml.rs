//! YAML text to typed values and back, with positions: the only place that knows a YAML library.
//!
//! The text becomes a tree of nodes that know their line and column ([`Document`]); typed values
//! are decoded from the tree with serde, as strictly as Prometheus decodes its own files, and a
//! later [`Invalid`] is found again by its key path. YAML 1.1 as go-yaml v2 reads it: `yes` and
//! `on` are booleans, `<<` merges, further documents of a file are ignored.

mod decode;
mod node;
mod scalar;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{INLINE, Invalid};

pub use decode::Section;
use node::Node;

/// A parsed file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Document {
    file: Arc<str>,
    root: Node,
}

/// What is wrong in a file, and where. Printed as `FILE:LINE: key: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The file as it was named to us.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1.
    pub column: u32,
    /// Key path, `scrape_configs[0].job_name`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

/// Parses `text` and decodes it. `file` is only for messages.
///
/// # Errors
/// When the text is not YAML, or not a `T`.
pub fn from_str<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Error> {
    Document::parse(file, text)?.decode()
}

/// Writes `value` as YAML, with the keys of [`INLINE`] fields in line.
///
/// # Errors
/// When `value` refuses to be serialized, or has a map whose keys are no text.
pub fn to_string(value: &impl Serialize) -> Result<String, String> {
    let mut tree = serde_json::to_value(value).map_err(|error| error.to_string())?;
    put_in_line(&mut tree);
    serde_yaml::to_string(&tree).map_err(|error| error.to_string())
}

// === impl Document ===

impl Document {
    /// Parses the first document of `text`. `file` is only for messages.
    ///
    /// # Errors
    /// When the text is not YAML, or unfolds its aliases beyond reason.
    pub fn parse(file: &str, text: &str) -> Result<Document, Error> {
        let file: Arc<str> = file.into();
        match node::parse(text) {
            Ok(root) => Ok(Document { file, root }),
            Err(problem) => Err(problem.in_file(file)),
        }
    }

    /// Decodes the whole document.
    ///
    /// # Errors
    /// When it is not a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        decode::decode(&self.root).map_err(|problem| problem.in_file(Arc::clone(&self.file)))
    }

    /// Finds the place in the file that `invalid` speaks of: its key, or the nearest thing
    /// around it that is written in the file.
    pub fn locate(&self, invalid: Invalid) -> Error {
        let (line, column) = self.root.find(&invalid.key);
        let file = Arc::clone(&self.file);
        Error { file, line, column, key: invalid.key, message: invalid.message }
    }

    /// The file's name as it was given.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Whether the document is a mapping that has this key.
    pub fn has_key(&self, key: &str) -> bool {
        self.root.has_key(key)
    }

    /// Whether the document has nothing in it.
    pub fn is_empty(&self) -> bool {
        self.root.is_null()
    }
}

// === impl Error ===

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.key.is_empty() { "" } else { ": " };
        write!(f, "{}:{}: {}{colon}{}", self.file, self.line, self.key, self.message)
    }
}

impl std::error::Error for Error {}

/// What is wrong at a place, before it is known in which file, collected from the inside out.
#[derive(Debug, Clone)]
struct Problem {
    message: String,
    at: Option<(u32, u32)>,
    /// Outermost last.
    path: Vec<Step>,
}

/// One step of a key path.
#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Item(usize),
}

// === impl Problem ===

impl Problem {
    fn new(message: impl Into<String>) -> Problem {
        Problem { message: message.into(), at: None, path: Vec::new() }
    }

    /// At this place, unless a place further inside is known.
    fn at(mut self, node: &Node) -> Problem {
        self.at.get_or_insert(node.at);
        self
    }

    fn inside(mut self, step: Step) -> Problem {
        self.path.push(step);
        self
    }

    fn in_file(self, file: Arc<str>) -> Error {
        let (line, column) = self.at.unwrap_or((1, 1));
        let mut key = String::new();
        for step in self.path.iter().rev() {
            match step {
                Step::Key(name) if key.is_empty() => key.push_str(name),
                Step::Key(name) => key.extend([".", name]),
                Step::Item(at) => key.push_str(&format!("[{at}]")),
            }
        }
        Error { file, line, column, key, message: self.message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl serde::de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Problem {
        Problem::new(message.to_string())
    }
}

/// Moves the entries of every [`INLINE`] object into the object around it.
fn put_in_line(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(items) => items.iter_mut().for_each(put_in_line),
        serde_json::Value::Object(entries) => {
            entries.values_mut().for_each(put_in_line);
            if let Some(serde_json::Value::Object(inner)) = entries.shift_remove(INLINE) {
                entries.extend(inner);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;

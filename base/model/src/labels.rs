//! A label set of its own: sorted names, each once, no empty values.
//!
//! For targets, configuration and everything rare. The series of a page are kept as ids of
//! interned pairs instead (`layout.rs`). Texts of up to 24 bytes, which most are, need no memory of
//! their own.

use std::fmt;

use compact_str::CompactString;

/// A label set. Invariant: sorted by name (bytes), names unique, no value empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Labels(Vec<(CompactString, CompactString)>);

/// Labels while they are being changed: relabel rules work on this.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelsBuilder(Vec<(CompactString, CompactString)>);

// === impl Labels ===

impl Labels {
    /// The value of `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// In the order of names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<CompactString>, V: Into<CompactString>> FromIterator<(N, V)> for Labels {
    /// Of a name given twice the last value stays; empty values vanish.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Labels {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build()
    }
}

impl fmt::Display for Labels {
    /// As Prometheus prints a label set: `{a="1", b="2"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (name, value)) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

// === impl LabelsBuilder ===

impl LabelsBuilder {
    /// Starts from `labels`.
    pub fn new(labels: &Labels) -> LabelsBuilder {
        LabelsBuilder(labels.0.clone())
    }

    /// The value of `name`; empty if there is none, as relabel rules see it.
    pub fn get(&self, name: &str) -> &str {
        match self.find(name) {
            Ok(at) => &self.0[at].1,
            Err(_) => "",
        }
    }

    /// Sets `name`; an empty value removes it.
    pub fn set(&mut self, name: impl Into<CompactString>, value: impl Into<CompactString>) {
        let (name, value) = (name.into(), value.into());
        match self.find(&name) {
            Ok(at) if value.is_empty() => {
                self.0.remove(at);
            }
            Ok(at) => self.0[at].1 = value,
            Err(_) if value.is_empty() => {}
            Err(at) => self.0.insert(at, (name, value)),
        }
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) {
        if let Ok(at) = self.find(name) {
            self.0.remove(at);
        }
    }

    /// Keeps the labels for which `keep(name, value)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    /// In the order of names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all labels, keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The finished label set.
    pub fn build(self) -> Labels {
        Labels(self.0)
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(n, _)| (**n).cmp(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_unique_and_never_empty() {
        let labels: Labels = [("b", "1"), ("a", "2"), ("c", ""), ("b", "3")].into_iter().collect();
        assert_eq!(labels.to_string(), r#"{a="2", b="3"}"#);
        assert_eq!(labels.get("b"), Some("3"));
        assert_eq!(labels.get("c"), None);
    }

    #[test]
    fn setting_an_empty_value_removes_the_label() {
        let labels: Labels = [("a", "1")].into_iter().collect();
        let mut builder = LabelsBuilder::new(&labels);
        builder.set("a", "");
        assert!(builder.build().is_empty());
    }
}

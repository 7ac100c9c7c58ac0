//! The page of one exporter: laid out once, then only its moving values are written in place.
//!
//! Invariant: `text` always is a whole, valid page.

use super::motion::{Motion, ValueText};

/// A page and where its moving values are.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: Vec<u8>,
    slots: Vec<Slot>,
    series: usize,
    second: u64,
}

/// A value of a series: how it moves, and how many digits stand behind the point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value {
    /// How it moves.
    pub(crate) motion: Motion,
    /// Digits behind the point.
    pub(crate) decimals: u8,
}

/// Where a moving value stands in the text.
#[derive(Debug, Clone, Copy)]
struct Slot {
    at: u32,
    width: u8,
    value: Value,
}

/// A moving value got more or fewer digits: the page must be laid out again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WidthChanged;

// === impl Page ===

impl Page {
    /// An empty page with the values of `second`; room for `bytes`.
    pub(crate) fn new(second: u64, bytes: usize) -> Page {
        Page { text: Vec::with_capacity(bytes), second, ..Page::default() }
    }

    /// Starts a family: its `# HELP` and `# TYPE`.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        for part in ["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"] {
            self.text.extend_from_slice(part.as_bytes());
        }
    }

    /// One series. The values of `labels` must need no escaping.
    pub(crate) fn series(&mut self, name: &str, labels: &[(&str, &str)], value: Value) {
        self.text.extend_from_slice(name.as_bytes());
        for (at, (label, text)) in labels.iter().enumerate() {
            let open = if at == 0 { "{" } else { "," };
            for part in [open, label, "=\"", text, "\""] {
                self.text.extend_from_slice(part.as_bytes());
            }
        }
        self.text.extend_from_slice(if labels.is_empty() { b" " } else { b"} " });
        self.moving(value);
        self.text.push(b'\n');
        self.series += 1;
    }

    /// The text of a value, which will move.
    fn moving(&mut self, value: Value) {
        let text = ValueText::new(value.motion.at(self.second), value.decimals);
        if !value.motion.is_still() {
            let (at, width) = (self.text.len() as u32, text.as_bytes().len() as u8);
            self.slots.push(Slot { at, width, value });
        }
        self.text.extend_from_slice(text.as_bytes());
    }

    /// Series that are others each second: as many as make `percent` of the page.
    pub(crate) fn churn(&mut self, percent: u32) {
        let (lasting, percent) = (self.series as u64, u64::from(percent.min(99)));
        let n = lasting * percent / (100 - percent);
        if n == 0 {
            return;
        }
        let name = "container_cpu_usage_seconds_total";
        self.family(name, "counter", "Seconds that a short-lived container has used.");
        for nth in 0..n {
            // The number of a container has nine digits for long.
            let motion = Motion::Counter { start: 100_000_000 + nth, per_second: n };
            self.text.extend_from_slice(name.as_bytes());
            self.text.extend_from_slice(b"{container=\"c");
            self.moving(Value { motion, decimals: 3 });
            self.text.extend_from_slice(b"\"} 1\n");
        }
        self.series += n as usize;
    }

    /// Writes the values of `second` in their places.
    ///
    /// # Errors
    /// A value no longer fits its place. Lay the page out again.
    pub(crate) fn advance(&mut self, second: u64) -> Result<(), WidthChanged> {
        for slot in &self.slots {
            let text = ValueText::new(slot.value.motion.at(second), slot.value.decimals);
            let text = text.as_bytes();
            if text.len() != usize::from(slot.width) {
                return Err(WidthChanged);
            }
            let at = slot.at as usize;
            self.text[at..at + text.len()].copy_from_slice(text);
        }
        self.second = second;
        Ok(())
    }

    /// The page as a scrape gets it.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The second whose values it shows.
    pub(crate) fn second(&self) -> u64 {
        self.second
    }

    /// Number of series.
    pub(crate) fn series_count(&self) -> usize {
        self.series
    }
}

// === impl Value ===

impl Value {
    /// A whole number that stays.
    pub(crate) fn still(value: u64) -> Value {
        Value { motion: Motion::Still(value), decimals: 0 }
    }

    /// 1 or 0, and stays.
    pub(crate) fn flag(set: bool) -> Value {
        Value::still(u64::from(set))
    }

    /// A whole number that moves.
    pub(crate) fn whole(motion: Motion) -> Value {
        Value { motion, decimals: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(second: u64) -> Page {
        let mut page = Page::new(second, 0);
        page.family("ups", "counter", "Ups so far.");
        let value = Value::whole(Motion::Counter { start: 90, per_second: 2 });
        page.series("ups", &[("a", "1"), ("b", "2")], value);
        page.series("still", &[], Value::flag(true));
        page
    }

    #[test]
    fn a_page_advanced_is_the_page_laid_out_later() {
        let mut advanced = page(0);
        assert_eq!(advanced.advance(4), Ok(()));
        assert_eq!(advanced.text(), page(4).text());
        let want = "# HELP ups Ups so far.\n# TYPE ups counter\nups{a=\"1\",b=\"2\"} 98\nstill 1\n";
        assert_eq!(std::str::from_utf8(advanced.text()).unwrap(), want);
        assert_eq!(advanced.series_count(), 2);
    }

    #[test]
    fn a_share_of_the_series_is_replaced_each_second() {
        let with_churn = |second| {
            let mut page = page(second);
            page.churn(50);
            page
        };
        let mut moved = with_churn(0);
        assert_eq!(moved.series_count(), 4);
        let numbers = |page: &Page| -> Vec<String> {
            let text = String::from_utf8(page.text().to_vec()).unwrap();
            let lines = text.lines().filter(|line| line.starts_with("container"));
            lines.map(|line| line.split('"').nth(1).unwrap().to_owned()).collect()
        };
        assert_eq!(numbers(&moved), ["c100000.000", "c100000.001"]);
        assert_eq!(moved.advance(1), Ok(()));
        assert_eq!(numbers(&moved), ["c100000.002", "c100000.003"]);
    }

    #[test]
    fn a_value_that_grows_a_digit_asks_for_a_new_layout() {
        assert_eq!(page(0).advance(5), Err(WidthChanged));
    }
}

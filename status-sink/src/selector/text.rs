//! A place in the text of a selector, and what can be read there.

use super::SelectorError;

/// Reads a selector from left to right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str) -> Cursor<'t> {
        Cursor { text, at: 0 }
    }

    /// At byte `at` of `text`.
    pub(super) fn new_at(text: &'t str, at: usize) -> Cursor<'t> {
        Cursor { text, at }
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    /// Reads one character.
    pub(super) fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    pub(super) fn skip_spaces(&mut self) {
        self.take_while(char::is_whitespace);
    }

    /// Reads `token` if it is next, after spaces.
    pub(super) fn eat(&mut self, token: &str) -> bool {
        self.skip_spaces();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Reads the word `word` if it is next, after spaces, and not just the start of a longer one.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let before = *self;
        let ends = |next: char| !is_of_name(next);
        if self.eat(word) && self.peek().is_none_or(ends) {
            return true;
        }
        *self = before;
        false
    }

    pub(super) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|next| !wanted(next)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Reads a name (of a label, or a path to a field), after spaces.
    pub(super) fn name(&mut self, what: &str) -> Result<(&'t str, Cursor<'t>), SelectorError> {
        self.skip_spaces();
        let start = *self;
        let name = self.take_while(is_of_name);
        if name.is_empty() { Err(self.expected(what)) } else { Ok((name, start)) }
    }

    /// That something else should be here.
    pub(super) fn expected(&self, what: &str) -> SelectorError {
        match self.peek() {
            Some(found) => self.error(format!("expected {what}, found {found:?}")),
            None => self.error(format!("expected {what}, found the end")),
        }
    }

    /// That something is wrong here.
    pub(super) fn error(&self, reason: impl Into<String>) -> SelectorError {
        SelectorError::at(self.text[..self.at].chars().count() + 1, reason)
    }
}

/// Whether a name of a field or label may contain `next`.
pub(super) fn is_of_name(next: char) -> bool {
    next.is_ascii_alphanumeric() || matches!(next, '.' | '_' | '-' | '/')
}

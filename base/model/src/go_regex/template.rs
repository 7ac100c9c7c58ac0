//! Replacement texts with `$1`, `${name}` and `$$`, as Go's `Regexp.Expand` reads them.

use regex::Captures;

/// A replacement text, taken apart once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    text: Box<str>,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    /// Group by number; nothing if there is no such group.
    Number(usize),
    /// Group by name; nothing if there is no such group.
    Name(Box<str>),
}

/// Go gives up numbers from here on and takes the digits for a name.
const NUMBER_MAX: usize = 100_000_000;

// === impl Template ===

impl Template {
    pub(crate) fn new(text: &str) -> Template {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            plain.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                plain.push('$');
                rest = after;
                continue;
            }
            match group(rest) {
                None => plain.push('$'),
                Some((piece, after)) => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
                    }
                    pieces.push(piece);
                    rest = after;
                }
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into()));
        }
        Template { text: text.into(), pieces }
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it has a `$` in it, of whatever meaning.
    pub(crate) fn has_dollar(&self) -> bool {
        self.text.contains('$')
    }

    /// What it always expands to, if no group is in it.
    pub(crate) fn constant(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text with its groups filled in.
    pub(crate) fn expand(&self, groups: &Captures<'_>, into: &mut String) {
        for piece in &self.pieces {
            let found = match piece {
                Piece::Text(text) => Some(&**text),
                Piece::Number(number) => groups.get(*number).map(|group| group.as_str()),
                Piece::Name(name) => groups.name(name).map(|group| group.as_str()),
            };
            into.push_str(found.unwrap_or_default());
        }
    }
}

/// The group that stands behind a `$`, and what follows it.
fn group(text: &str) -> Option<(Piece, &str)> {
    let braced = text.strip_prefix('{');
    let start = braced.unwrap_or(text);
    let is_word = |letter: char| letter.is_alphabetic() || letter.is_numeric() || letter == '_';
    let end = start.find(|letter| !is_word(letter)).unwrap_or(start.len());
    let (name, mut rest) = start.split_at(end);
    if name.is_empty() {
        return None;
    }
    if braced.is_some() {
        rest = rest.strip_prefix('}')?;
    }
    let leading_zero = name.len() > 1 && name.starts_with('0');
    let number = name.parse::<usize>().ok().filter(|number| *number < NUMBER_MAX * 10);
    Some(match number.filter(|_| !leading_zero && name.bytes().all(|b| b.is_ascii_digit())) {
        Some(number) => (Piece::Number(number), rest),
        None => (Piece::Name(name.into()), rest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, want: &str) {
        let regex = regex::Regex::new("^(a+)(?P<name>b*)(c)?$").unwrap();
        let groups = regex.captures("aabb").unwrap();
        let mut got = String::new();
        Template::new(template).expand(&groups, &mut got);
        assert_eq!(got, want, "{template}");
    }

    #[test]
    fn groups_are_filled_in_as_go_does() {
        check("x", "x");
        check("$1", "aa");
        check("${1}x", "aax");
        check("$1x", "");
        check("$1-$2", "aa-bb");
        check("$name", "bb");
        check("${name}s", "bbs");
        check("$3", "");
        check("$9", "");
        check("$0", "aabb");
        check("$01", "");
        check("$$1", "$1");
        check("$", "$");
        check("$-", "$-");
        check("${1", "${1");
        check("${}", "${}");
        check("a$$b$1c$", "a$b$");
        check("é$1é", "é");
    }
}

//! Go's pattern syntax (`regexp/syntax` with its `Perl` flags), read into a syntax tree.
//!
//! Follows Go's parser rule by rule, so that the same patterns are refused, with the same words.

use regex_syntax::hir::{Capture, Class, ClassUnicode, Dot, Hir, Look, Repetition};

use super::{GoRegexError, class};

/// How deep groups may nest (Go's `maxHeight`).
const DEPTH_MAX: usize = 1_000;

/// How often something may be repeated, nested repetitions multiplied.
const REPEAT_MAX: u32 = 1_000;

/// Parses all of `pattern`.
pub(super) fn parse(pattern: &str) -> Result<Hir, GoRegexError> {
    let flags = Flags { fold: false, multi_line: false, dot_newline: false, lazy: false };
    let mut parser = Parser { pattern, at: 0, flags, groups: 0, names: Vec::new(), depth: 0 };
    let tree = parser.alternation()?;
    if parser.at < pattern.len() {
        return Err(error("unexpected )", pattern));
    }
    Ok(tree.hir)
}

struct Parser<'p> {
    pattern: &'p str,
    at: usize,
    flags: Flags,
    groups: u32,
    names: Vec<&'p str>,
    depth: usize,
}

/// What `(?imsU)` switches.
#[derive(Clone, Copy)]
struct Flags {
    fold: bool,
    multi_line: bool,
    dot_newline: bool,
    lazy: bool,
}

/// A part of the tree, and the product of the repetitions in it.
struct Part {
    hir: Hir,
    repeats: u32,
}

/// The alternatives read so far, and the current one.
struct Pending {
    done: Vec<Part>,
    current: Vec<Part>,
}

fn error(code: &'static str, part: &str) -> GoRegexError {
    GoRegexError { code, part: part.to_owned() }
}

// === impl Part ===

impl Part {
    fn new(hir: Hir) -> Part {
        Part { hir, repeats: 1 }
    }

    fn join(parts: Vec<Part>, join: fn(Vec<Hir>) -> Hir) -> Part {
        let repeats = parts.iter().map(|part| part.repeats).max().unwrap_or(1);
        Part { hir: join(parts.into_iter().map(|part| part.hir).collect()), repeats }
    }
}

// === impl Parser ===

impl<'p> Parser<'p> {
    fn rest(&self) -> &'p str {
        &self.pattern[self.at..]
    }

    fn since(&self, start: usize) -> &'p str {
        &self.pattern[start..self.at]
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.rest().chars().next()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    /// Until the end, or until the `)` that closes the group, which is left.
    fn alternation(&mut self) -> Result<Part, GoRegexError> {
        let mut pending = Pending { done: Vec::new(), current: Vec::new() };
        // Where the repetition that has just been read started.
        let mut repeated = None;
        loop {
            let start = self.at;
            let last_repeated = repeated.take();
            match self.rest().chars().next() {
                None | Some(')') => break,
                Some('|') => {
                    self.at += 1;
                    let branch = std::mem::take(&mut pending.current);
                    pending.done.push(Part::join(branch, Hir::concat));
                }
                Some('*' | '+' | '?' | '{') => {
                    if self.repetition(&mut pending.current, last_repeated)? {
                        repeated = Some(start);
                    }
                }
                Some('(') => pending.current.extend(self.group()?),
                Some(_) => self.atom(&mut pending.current)?,
            }
        }
        pending.done.push(Part::join(pending.current, Hir::concat));
        Ok(Part::join(pending.done, Hir::alternation))
    }

    fn atom(&mut self, into: &mut Vec<Part>) -> Result<(), GoRegexError> {
        let start = self.at;
        let hir = match self.next() {
            Some('^') if self.flags.multi_line => Hir::look(Look::StartLF),
            Some('^') => Hir::look(Look::Start),
            Some('$') if self.flags.multi_line => Hir::look(Look::EndLF),
            Some('$') => Hir::look(Look::End),
            Some('.') if self.flags.dot_newline => Hir::dot(Dot::AnyChar),
            Some('.') => Hir::dot(Dot::AnyCharExceptLF),
            Some('[') => self.class(start)?,
            Some('\\') => return self.backslash(start, into),
            Some(letter) => self.literal(letter),
            None => return Ok(()),
        };
        into.push(Part::new(hir));
        Ok(())
    }

    fn literal(&self, letter: char) -> Hir {
        let mut class = class::of(&[(letter, letter)]);
        if self.flags.fold {
            class.case_fold_simple();
        }
        match class.ranges().len() {
            1 if class.ranges()[0].start() == class.ranges()[0].end() => {
                Hir::literal(letter.to_string().into_bytes())
            }
            _ => Hir::class(Class::Unicode(class)),
        }
    }

    // --- repetition ---

    /// Reads `*`, `+`, `?` or `{…}` and repeats the last part; false if it was a plain `{`.
    fn repetition(
        &mut self,
        parts: &mut Vec<Part>,
        last_repeated: Option<usize>,
    ) -> Result<bool, GoRegexError> {
        let start = self.at;
        let (min, max, counted) = match self.next() {
            Some('*') => (0, None, false),
            Some('+') => (1, None, false),
            Some('?') => (0, Some(1), false),
            _ => {
                let Some((min, max, end)) = counts(self.rest()) else {
                    parts.push(Part::new(self.literal('{')));
                    return Ok(false);
                };
                self.at += end;
                let fits = |count: Option<u32>| count.is_some_and(|count| count <= REPEAT_MAX);
                let valid = fits(min) && max.is_none_or(|max| fits(max) && max >= min);
                if !valid {
                    return Err(error("invalid repeat count", self.since(start)));
                }
                (min.unwrap_or(0), max.flatten(), true)
            }
        };
        let mut greedy = !self.flags.lazy;
        if self.rest().starts_with('?') {
            self.at += 1;
            greedy = !greedy;
        }
        if let Some(before) = last_repeated {
            return Err(error("invalid nested repetition operator", self.since(before)));
        }
        let Some(part) = parts.pop() else {
            return Err(error("missing argument to repetition operator", self.since(start)));
        };
        let times = if counted { max.unwrap_or(min) } else { 1 };
        let repeats = if counted && times == 0 { 1 } else { times.max(1) * part.repeats };
        if counted && (min >= 2 || max.is_some_and(|max| max >= 2)) && repeats > REPEAT_MAX {
            return Err(error("invalid repeat count", self.since(start)));
        }
        let hir = Hir::repetition(Repetition { min, max, greedy, sub: Box::new(part.hir) });
        parts.push(Part { hir, repeats });
        Ok(true)
    }

    // --- groups ---

    /// Reads a group; nothing for one that only switches flags.
    fn group(&mut self) -> Result<Option<Part>, GoRegexError> {
        let start = self.at;
        let before = self.flags;
        let mut number = None;
        let mut name = None;
        if self.rest().starts_with("(?") {
            let named = ["(?P<", "(?<"].iter().find(|form| self.rest().starts_with(**form));
            match named {
                Some(form) => {
                    let found = self.name(form.len())?;
                    self.groups += 1;
                    number = Some(self.groups);
                    // Rust takes a name only once; Go expands to the first that matched.
                    if !self.names.contains(&found) {
                        self.names.push(found);
                        name = Some(found.into());
                    }
                }
                None if self.switches()? => return Ok(None),
                None => {}
            }
        } else {
            self.at += 1;
            self.groups += 1;
            number = Some(self.groups);
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(error("expression nests too deeply", self.pattern));
        }
        let inner = self.alternation()?;
        self.depth -= 1;
        if !self.rest().starts_with(')') {
            return Err(error("missing closing )", self.pattern));
        }
        self.at += 1;
        self.flags = before;
        debug_assert!(self.at > start);
        let Part { hir, repeats } = inner;
        Ok(Some(match number {
            Some(index) => {
                let group = Capture { index, name, sub: Box::new(hir) };
                Part { hir: Hir::capture(group), repeats }
            }
            None => Part { hir, repeats },
        }))
    }

    /// Reads `(?P<name>`, whose name starts at `skip`.
    fn name(&mut self, skip: usize) -> Result<&'p str, GoRegexError> {
        let start = self.at;
        let Some(end) = self.rest().find('>') else {
            return Err(error("invalid named capture", self.rest()));
        };
        let name = &self.rest()[skip..end];
        self.at += end + 1;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_word) {
            return Err(error("invalid named capture", self.since(start)));
        }
        Ok(name)
    }

    /// Reads `(?i-s:` or `(?i-s)`; true for the latter, which is a group of its own.
    fn switches(&mut self) -> Result<bool, GoRegexError> {
        let start = self.at;
        self.at += 2;
        let mut flags = self.flags;
        let (mut on, mut switched) = (true, false);
        while let Some(letter) = self.next() {
            match letter {
                'i' => flags.fold = on,
                'm' => flags.multi_line = on,
                's' => flags.dot_newline = on,
                'U' => flags.lazy = on,
                '-' if on => {
                    (on, switched) = (false, false);
                    continue;
                }
                ':' | ')' if on || switched => {
                    self.flags = flags;
                    return Ok(letter == ')');
                }
                _ => break,
            }
            switched = true;
        }
        Err(error("invalid or unsupported Perl syntax", self.since(start)))
    }

    // --- backslash ---

    fn backslash(&mut self, start: usize, into: &mut Vec<Part>) -> Result<(), GoRegexError> {
        let hir = match self.rest().chars().next() {
            Some('A') => Hir::look(Look::Start),
            Some('z') => Hir::look(Look::End),
            Some('b') => Hir::look(Look::WordAscii),
            Some('B') => Hir::look(Look::WordAsciiNegate),
            Some('C') => {
                self.at += 1;
                return Err(error("invalid escape sequence", self.since(start)));
            }
            Some('Q') => {
                self.at += 1;
                let (quoted, skip) = match self.rest().find("\\E") {
                    Some(end) => (&self.rest()[..end], end + 2),
                    None => (self.rest(), self.rest().len()),
                };
                into.extend(quoted.chars().map(|letter| Part::new(self.literal(letter))));
                self.at += skip;
                return Ok(());
            }
            Some('p' | 'P') => {
                self.at = start;
                let class = self.unicode_class()?;
                into.push(Part::new(self.folded(class)));
                return Ok(());
            }
            Some(letter) if class::perl(letter).is_some() => {
                let class = class::perl(letter).unwrap_or_else(ClassUnicode::empty);
                self.folded(class)
            }
            _ => {
                let code = self.escape(start)?;
                char::from_u32(code).map_or_else(Hir::fail, |letter| self.literal(letter))
            }
        };
        if self.since(start).len() == 1 {
            self.at += 1;
        }
        into.push(Part::new(hir));
        Ok(())
    }

    fn folded(&self, mut class: ClassUnicode) -> Hir {
        if self.flags.fold {
            class.case_fold_simple();
        }
        Hir::class(Class::Unicode(class))
    }

    /// Reads what stands behind a `\` that stood at `start`, as one character.
    fn escape(&mut self, start: usize) -> Result<u32, GoRegexError> {
        let Some(letter) = self.next() else {
            return Err(error("trailing backslash at end of expression", ""));
        };
        let is_octal = |byte: Option<&u8>| byte.is_some_and(|byte| (b'0'..=b'7').contains(byte));
        let code = match letter {
            '0' => Some(self.octal(0)),
            '1'..='7' if is_octal(self.rest().as_bytes().first()) => {
                Some(self.octal(u32::from(letter) - u32::from('0')))
            }
            'x' => self.hex(),
            'a' => Some(7),
            'f' => Some(12),
            'n' => Some(10),
            'r' => Some(13),
            't' => Some(9),
            'v' => Some(11),
            sign if sign.is_ascii() && !sign.is_ascii_alphanumeric() => Some(u32::from(sign)),
            _ => None,
        };
        code.ok_or_else(|| error("invalid escape sequence", self.since(start)))
    }

    /// Up to two more octal digits behind `first`.
    fn octal(&mut self, first: u32) -> u32 {
        let mut code = first;
        for _ in 0..2 {
            match self.rest().as_bytes().first() {
                Some(digit @ b'0'..=b'7') => code = code * 8 + u32::from(digit - b'0'),
                _ => break,
            }
            self.at += 1;
        }
        code
    }

    fn hex(&mut self) -> Option<u32> {
        let first = self.next()?;
        if first != '{' {
            let second = self.next();
            return Some(first.to_digit(16)? * 16 + second?.to_digit(16)?);
        }
        let (mut code, mut digits) = (0_u32, 0);
        loop {
            match self.next()? {
                '}' if digits > 0 => return Some(code),
                letter => code = code * 16 + letter.to_digit(16)?,
            }
            if code > u32::from(char::MAX) {
                return None;
            }
            digits += 1;
        }
    }

    // --- classes ---

    /// Reads `[…]`, whose `[` stood at `start`.
    fn class(&mut self, start: usize) -> Result<Hir, GoRegexError> {
        let mut set = ClassUnicode::empty();
        let negated = self.rest().starts_with('^');
        self.at += usize::from(negated);
        let mut first = true;
        while first || !self.rest().starts_with(']') {
            first = false;
            if self.named_class(&mut set)? {
                continue;
            }
            let from_at = self.at;
            let from = self.class_letter(start)?;
            let mut to = from;
            let range = self.rest().strip_prefix('-').filter(|rest| !rest.is_empty());
            if range.is_some_and(|rest| !rest.starts_with(']')) {
                self.at += 1;
                to = self.class_letter(start)?;
                if to < from {
                    return Err(error("invalid character class range", self.since(from_at)));
                }
            }
            // Codes of surrogates cannot stand in UTF-8: a range reaches up to them.
            let from = (from..=to).find_map(char::from_u32);
            let to = char::from_u32(to).or(Some('\u{d7ff}'));
            if let (Some(from), Some(to)) = (from, to)
                && from <= to
            {
                let mut range = class::of(&[(from, to)]);
                if self.flags.fold {
                    range.case_fold_simple();
                }
                set.union(&range);
            }
        }
        self.at += 1;
        if negated {
            set.negate();
        }
        Ok(Hir::class(Class::Unicode(set)))
    }

    /// Reads `[:alpha:]`, `\pL` or `\d` inside a class; false if none stands here.
    fn named_class(&mut self, set: &mut ClassUnicode) -> Result<bool, GoRegexError> {
        let start = self.at;
        let rest = self.rest();
        let found = if let Some(posix) = rest.strip_prefix("[:") {
            let Some(end) = posix.find(":]") else { return Ok(false) };
            self.at += end + 4;
            let named = class::posix(&posix[..end]);
            let refused = || error("invalid character class range", self.since(start));
            named.ok_or_else(refused)?
        } else if rest.starts_with("\\p") || rest.starts_with("\\P") {
            self.unicode_class()?
        } else {
            let letter = rest.strip_prefix('\\').and_then(|rest| rest.chars().next());
            let Some(perl) = letter.and_then(class::perl) else { return Ok(false) };
            self.at += 2;
            perl
        };
        let mut found = found;
        if self.flags.fold {
            found.case_fold_simple();
        }
        set.union(&found);
        Ok(true)
    }

    fn class_letter(&mut self, class_start: usize) -> Result<u32, GoRegexError> {
        let start = self.at;
        match self.next() {
            None => Err(error("missing closing ]", &self.pattern[class_start..])),
            Some('\\') => self.escape(start),
            Some(letter) => Ok(u32::from(letter)),
        }
    }

    /// Reads `\pN`, `\p{Name}`, `\P{^Name}`.
    fn unicode_class(&mut self) -> Result<ClassUnicode, GoRegexError> {
        let start = self.at;
        let rest = self.rest();
        let mut negated = rest.starts_with("\\P");
        self.at += 2;
        let mut name = match self.next() {
            Some('{') => {
                let Some(end) = rest.find('}') else {
                    return Err(error("invalid character class range", rest));
                };
                self.at = start + end + 1;
                &rest[3..end]
            }
            _ => &self.since(start)[2..],
        };
        if let Some(opposite) = name.strip_prefix('^') {
            (negated, name) = (!negated, opposite);
        }
        let refused = || error("invalid character class range", self.since(start));
        let mut class = class::unicode(name).ok_or_else(refused)?;
        if negated {
            class.negate();
        }
        Ok(class)
    }
}

/// Least and most repetitions (most: `None` for no bound); each `None` if the number is too big.
type Counts = (Option<u32>, Option<Option<u32>>, usize);

/// Reads `n}`, `n,}` or `n,m}` and says where it ends; `None` if it is something else.
fn counts(text: &str) -> Option<Counts> {
    let (min, mut at) = number(text)?;
    let max = match text.as_bytes().get(at)? {
        b',' if text.as_bytes().get(at + 1) == Some(&b'}') => {
            at += 1;
            None
        }
        b',' => {
            let (max, digits) = number(&text[at + 1..])?;
            at += 1 + digits;
            Some(max)
        }
        _ => Some(min),
    };
    (text.as_bytes().get(at) == Some(&b'}')).then_some((min, max, at + 1))
}

/// Digits without a leading zero; the number is `None` if it is too big to be meant.
fn number(text: &str) -> Option<(Option<u32>, usize)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || (digits > 1 && text.starts_with('0')) {
        return None;
    }
    Some((text[..digits].parse().ok(), digits))
}

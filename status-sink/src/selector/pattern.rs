//! The patterns of `matches()`, built once.
//!
//! The interpreter would build them again for every object and event, and a pattern of a dozen
//! characters (`\p{L}{900}`) takes longer to build than everything else takes together. So
//! `text.matches('p')` becomes `text in @pattern0`, where the variable is the pattern.

use cel::ExecutionError;
use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::common::traits::Container;
use cel::common::types::{CelString, DYN_TYPE, Type};
use cel::common::value::Val;
use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind};

use super::SelectorError;

/// Bytes of a pattern.
const PATTERN_BYTES_MAX: usize = 256;

/// Patterns of one expression.
const PATTERNS_MAX: usize = 8;

/// Bytes of a pattern that is built: what it takes to build and to run it grows with them.
const BUILT_BYTES_MAX: usize = 64 * 1024;

/// The patterns of one expression, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Patterns(Vec<Built>);

/// One of them.
#[derive(Debug)]
struct Built {
    regex: Regex,
    text: String,
    /// Its length when its repetitions are written out: a text takes that long for each byte.
    length: u64,
}

/// One pattern, as a value: the texts that it matches are in it.
#[derive(Debug, Clone)]
pub(super) struct Pattern<'p>(&'p Regex);

/// Names part `id` of the expression in an error.
type At<'a> = &'a dyn Fn(u64, String) -> SelectorError;

// === impl Patterns ===

impl Patterns {
    /// Builds the patterns of `expression`, in which variables take their places.
    ///
    /// # Errors
    /// Says which pattern is none, or too large.
    pub(super) fn lift(expression: &mut IdedExpr, at: At<'_>) -> Result<Patterns, SelectorError> {
        let mut patterns = Patterns::default();
        patterns.visit(expression, at)?;
        Ok(patterns)
    }

    /// The variables and their values.
    pub(super) fn variables(&self) -> impl Iterator<Item = (String, Pattern<'_>)> {
        let patterns = self.0.iter().enumerate();
        patterns.map(|(number, built)| (variable(number), Pattern(&built.regex)))
    }

    /// How long this pattern is when its repetitions are written out.
    pub(super) fn length(&self, text: &str) -> u64 {
        self.0.iter().find(|built| built.text == text).map_or(0, |built| built.length)
    }

    fn visit(&mut self, part: &mut IdedExpr, at: At<'_>) -> Result<(), SelectorError> {
        match &mut part.expr {
            Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => Ok(()),
            Expr::Select(select) => self.visit(&mut select.operand, at),
            Expr::List(list) => list.elements.iter_mut().try_for_each(|it| self.visit(it, at)),
            Expr::Map(map) => {
                map.entries.iter_mut().try_for_each(|it| self.entry(&mut it.expr, at))
            }
            Expr::Struct(it) => {
                it.entries.iter_mut().try_for_each(|it| self.entry(&mut it.expr, at))
            }
            Expr::Call(call) => {
                let mut parts = call.target.as_deref_mut().into_iter().chain(&mut call.args);
                parts.try_for_each(|it| self.visit(it, at))?;
                if call.func_name == "matches" {
                    let pattern = self.build(part.id, call.args.last(), at)?;
                    let text = call.target.take().map_or_else(|| call.args.remove(0), |it| *it);
                    let pattern = IdedExpr { id: part.id, expr: Expr::Ident(pattern) };
                    (call.func_name, call.args) = ("@in".to_owned(), vec![text, pattern]);
                }
                Ok(())
            }
            Expr::Comprehension(it) => {
                let [range, start] = [&mut it.iter_range, &mut it.accu_init];
                let [condition, step] = [&mut it.loop_cond, &mut it.loop_step];
                let parts = [range, start, condition, step, &mut it.result];
                parts.into_iter().try_for_each(|it| self.visit(it, at))
            }
        }
    }

    fn entry(&mut self, entry: &mut EntryExpr, at: At<'_>) -> Result<(), SelectorError> {
        match entry {
            EntryExpr::StructField(field) => self.visit(&mut field.value, at),
            EntryExpr::MapEntry(entry) => {
                self.visit(&mut entry.key, at)?;
                self.visit(&mut entry.value, at)
            }
        }
    }

    /// Builds the pattern of call `id`. Returns its variable.
    fn build(
        &mut self,
        id: u64,
        pattern: Option<&IdedExpr>,
        at: At<'_>,
    ) -> Result<String, SelectorError> {
        let Some(Expr::Literal(LiteralValue::String(text))) = pattern.map(|it| &it.expr) else {
            return Err(at(id, "the pattern of matches() must be a literal".to_owned()));
        };
        if text.inner().len() > PATTERN_BYTES_MAX {
            return Err(at(id, format!("a pattern of more than {PATTERN_BYTES_MAX} bytes")));
        }
        if self.0.len() == PATTERNS_MAX {
            return Err(at(id, format!("more than {PATTERNS_MAX} patterns")));
        }
        let mut builder = RegexBuilder::new(text.inner());
        let built = builder.size_limit(BUILT_BYTES_MAX).dfa_size_limit(BUILT_BYTES_MAX).build();
        let regex = built.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => at(
                id,
                "a pattern that is too large when its repetitions are written out".to_owned(),
            ),
            error => {
                let words = error.to_string();
                let last = words.lines().last().unwrap_or_default().trim();
                at(id, format!("not a pattern: {}", last.trim_start_matches("error: ")))
            }
        })?;
        let length = regex_syntax::parse(text.inner()).map_or(0, |parsed| length(&parsed));
        self.0.push(Built { regex, text: text.inner().to_owned(), length });
        Ok(variable(self.0.len() - 1))
    }
}

fn length(pattern: &Hir) -> u64 {
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(_) => 1,
        HirKind::Repetition(it) => {
            let times = it.max.unwrap_or(it.min.saturating_add(1)).max(1);
            length(&it.sub).saturating_mul(times.into())
        }
        HirKind::Capture(it) => length(&it.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().map(length).sum(),
    }
}

/// No name that an expression could have.
fn variable(number: usize) -> String {
    format!("@pattern{number}")
}

// === impl Pattern ===

impl Val for Pattern<'_> {
    fn get_type(&self) -> &Type {
        &DYN_TYPE
    }

    fn cel_type() -> &'static Type {
        &DYN_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }
}

impl Container for Pattern<'_> {
    fn contains(&self, text: &dyn Val) -> Result<bool, ExecutionError> {
        match text.downcast_ref::<CelString<'_>>() {
            Some(text) => Ok(self.0.is_match(text.inner())),
            None => Err(ExecutionError::UnexpectedType {
                got: text.get_type().name().to_owned(),
                want: "string".to_owned(),
            }),
        }
    }
}

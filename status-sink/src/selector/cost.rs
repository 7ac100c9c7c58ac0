//! How long a CEL expression can run and how much it can build, known before it runs.
//!
//! CEL ends by construction, but `[…].map(a, a + a).map(b, b + b)` doubles with every dozen
//! characters. The estimate is from above: sizes in bytes, costs in steps, every list as long as
//! its size allows, a field as large as [`FIELD_BYTES`].

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};

use super::pattern::Patterns;

/// Steps that one evaluation may take. A step is some tens of nanoseconds.
pub(super) const STEPS_MAX: u64 = 20_000;

/// What a field of an object is taken to hold.
const FIELD_BYTES: u64 = 64;

/// Steps of running a regular expression once.
const REGEX_STEPS: u64 = 500;
/// A long one takes a step for so much of its length, for each byte of a text.
const REGEX_LENGTH_A_STEP: u64 = 3;

/// Functions and operators whose value is a truth, whatever they are given.
const TRUTHS: &[&str] = &[
    "_&&_",
    "_||_",
    "!_",
    "_==_",
    "_!=_",
    "_>=_",
    "_<=_",
    "_>_",
    "_<_",
    "@in",
    "@not_strictly_false",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "bool",
];

/// From above: what a (part of an) expression costs, and how large its value is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    /// Steps.
    pub(super) steps: u64,
    /// Bytes of the value, or number of its items if that is more.
    pub(super) size: u64,
}

/// What is known around a part of an expression.
struct Scope<'e> {
    /// Names of comprehension variables, innermost last, with the sizes of their values.
    variables: Vec<(&'e str, u64)>,
    patterns: &'e Patterns,
}

/// Estimates `expression`, which has these patterns.
pub(super) fn of(expression: &IdedExpr, patterns: &Patterns) -> Cost {
    cost(&expression.expr, &mut Scope { variables: Vec::new(), patterns })
}

fn cost<'e>(expression: &'e Expr, scope: &mut Scope<'e>) -> Cost {
    match expression {
        Expr::Unspecified => Cost::default(),
        Expr::Literal(literal) => Cost { steps: 1, size: literal_size(literal) },
        Expr::Ident(name) => {
            let known = scope.variables.iter().rev().find(|(known, _)| *known == name.as_str());
            Cost { steps: 1, size: known.map_or(FIELD_BYTES, |(_, size)| *size) }
        }
        Expr::Select(select) => cost(&select.operand.expr, scope).and(Cost { steps: 1, size: 0 }),
        Expr::List(list) => sum(list.elements.iter().map(|item| &item.expr), scope),
        Expr::Map(map) => sum(map.entries.iter().flat_map(|entry| parts(&entry.expr)), scope),
        Expr::Struct(it) => sum(it.entries.iter().flat_map(|entry| parts(&entry.expr)), scope),
        Expr::Call(call) => call_cost(call, scope),
        Expr::Comprehension(comprehension) => comprehension_cost(comprehension, scope),
    }
}

fn call_cost<'e>(call: &'e CallExpr, scope: &mut Scope<'e>) -> Cost {
    let arguments = call.target.as_deref().into_iter().chain(&call.args);
    let all = sum(arguments.map(|argument| &argument.expr), scope);
    let extra = match call.args.last().map(|pattern| &pattern.expr) {
        Some(Expr::Literal(LiteralValue::String(text))) if call.func_name == "matches" => {
            let length = scope.patterns.length(text.inner());
            REGEX_STEPS.max(FIELD_BYTES.saturating_mul(length) / REGEX_LENGTH_A_STEP)
        }
        _ => 0,
    };
    // What a call reads it reads once; no function of ours makes more than it is given.
    let size = if TRUTHS.contains(&call.func_name.as_str()) { 1 } else { all.size };
    Cost { steps: all.steps.saturating_add(all.size / 8).saturating_add(1 + extra), size }
}

fn comprehension_cost<'e>(it: &'e ComprehensionExpr, scope: &mut Scope<'e>) -> Cost {
    let range = cost(&it.iter_range.expr, scope);
    let items = match &it.iter_range.expr {
        Expr::List(list) => list.elements.len() as u64,
        _ => range.size,
    };
    let start = cost(&it.accu_init.expr, scope);
    scope.variables.push((&it.iter_var, range.size));
    scope.variables.extend(it.iter_var2.as_deref().map(|name| (name, range.size)));
    scope.variables.push((&it.accu_var, 0));
    let turn = cost(&it.loop_cond.expr, scope).and(cost(&it.loop_step.expr, scope));
    scope.variables.pop();
    // What has been gathered grows by what a turn makes; items of a range share its size.
    let gathered = start.size.saturating_add(turn.size.saturating_mul(items.max(1)));
    scope.variables.push((&it.accu_var, gathered));
    let result = cost(&it.result.expr, scope);
    let outer = scope.variables.len() - 2 - usize::from(it.iter_var2.is_some());
    scope.variables.truncate(outer);
    let copied = gathered.saturating_mul(items) / 8;
    let steps = turn.steps.saturating_add(2).saturating_mul(items).saturating_add(copied);
    Cost { steps, size: 0 }.and(range).and(start).and(result).with_size(gathered)
}

fn parts(entry: &EntryExpr) -> Vec<&Expr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value.expr],
        EntryExpr::MapEntry(entry) => vec![&entry.key.expr, &entry.value.expr],
    }
}

fn sum<'e>(parts: impl Iterator<Item = &'e Expr>, scope: &mut Scope<'e>) -> Cost {
    parts.fold(Cost { steps: 1, size: 1 }, |total, part| total.and(cost(part, scope)))
}

fn literal_size(literal: &LiteralValue) -> u64 {
    match literal {
        LiteralValue::String(text) => 1 + text.inner().len() as u64,
        LiteralValue::Bytes(bytes) => 1 + bytes.inner().len() as u64,
        _ => 8,
    }
}

impl Cost {
    fn and(self, other: Cost) -> Cost {
        Cost {
            steps: self.steps.saturating_add(other.steps),
            size: self.size.saturating_add(other.size),
        }
    }

    fn with_size(self, size: u64) -> Cost {
        Cost { size, ..self }
    }
}

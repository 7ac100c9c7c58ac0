//! Conditions in CEL: `cel:object.status.cpuUsage > 0.9 && old.status.cpuUsage <= 0.9`.
//!
//! Variables: `object` (null when the object is gone) and `old` (null when it is new, and in
//! lists). An expression that cannot be right is refused when it is compiled: it is parsed, its
//! names, functions and cost are checked, and each of its parts is tried on a sample object with
//! every field set. What can still go wrong on a real object (a missing field, a division by
//! zero) counts as *does not match*.

use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo};
use cel::common::types::{CelBool, CelNull};
use cel::common::value::Val;
use cel::{Context, Env, ExecutionError, ParseErrors, Program, Value};

use super::pattern::Patterns;
use super::view::View;
use super::{Scalar, SelectorError, Subject, Vocabulary, cost};
use crate::value::ValueType;

/// Bytes of an expression.
const SOURCE_BYTES_MAX: usize = 2048;

/// Parts of an expression inside each other: evaluation is recursive, on a stack of 2 MiB.
const DEPTH_MAX: usize = 64;

/// Functions and operators that may be called.
const FUNCTIONS: &[&str] = &[
    "_?_:_",
    "_&&_",
    "_||_",
    "!_",
    "_-_",
    "_+_",
    "_*_",
    "_/_",
    "_%_",
    "_==_",
    "_!=_",
    "_>=_",
    "_<=_",
    "_>_",
    "_<_",
    "-_",
    "_[_]",
    "@in",
    "@not_strictly_false",
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "dyn",
    "type",
];

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Expression {
    program: Program,
    /// That of the program, with variables for its patterns.
    expression: IdedExpr,
    patterns: Patterns,
    fields: Vec<Box<str>>,
    reads_old: bool,
}

// === impl Expression ===

impl Expression {
    /// Compiles `source`, with positions counted from its first character.
    pub(super) fn compile(
        source: &str,
        vocabulary: &impl Vocabulary,
    ) -> Result<Expression, SelectorError> {
        if source.len() > SOURCE_BYTES_MAX {
            let reason = format!("the expression has more than {SOURCE_BYTES_MAX} bytes");
            return Err(SelectorError::at(SOURCE_BYTES_MAX + 1, reason));
        }
        let program = ENV.compile(source).map_err(|errors| syntax(source, &errors))?;
        let fields: Vec<Box<str>> = vocabulary.fields().map(|(name, _)| name.into()).collect();
        let mut check = Check {
            places: program.source_info(),
            fields: &fields,
            bound: vec![],
            reads_old: false,
        };
        check.visit(program.expression(), 0)?;
        let reads_old = check.reads_old;
        let places = program.source_info();
        let at = |id, reason| SelectorError::at(character(places, id), reason);
        let mut expression = program.expression().clone();
        let patterns = Patterns::lift(&mut expression, &at)?;
        let steps = cost::of(program.expression(), &patterns).steps;
        if steps > cost::STEPS_MAX {
            let most = cost::STEPS_MAX;
            let reason = format!("the expression may take {steps} steps, more than {most}");
            return Err(SelectorError::at(1, reason));
        }
        let expression = Expression { program, expression, patterns, fields, reads_old };
        expression.try_on(&Sample::of(vocabulary))?;
        Ok(expression)
    }

    /// Whether the expression is about changes.
    pub(super) fn reads_old(&self) -> bool {
        self.reads_old
    }

    /// Evaluates; what fails is not true.
    pub(super) fn is_true(&self, object: Option<&dyn Subject>, old: Option<&dyn Subject>) -> bool {
        self.with_context(object, old, |context| {
            let value = Value::resolve_val(&self.expression, context);
            value.is_ok_and(|value| value.downcast_ref::<CelBool>().is_some_and(|it| *it.inner()))
        })
    }

    fn with_context<R>(
        &self,
        object: Option<&dyn Subject>,
        old: Option<&dyn Subject>,
        run: impl FnOnce(&Context<'_, '_>) -> R,
    ) -> R {
        let mut context = Context::with_env(Arc::clone(&ENV));
        let view = |subject| -> Box<dyn Val + '_> {
            match subject {
                Some(subject) => Box::new(View::new(subject, &self.fields)),
                None => Box::new(CelNull),
            }
        };
        context.add_variable_as_val("object", view(object));
        if self.reads_old {
            context.add_variable_as_val("old", view(old));
        }
        for (name, pattern) in self.patterns.variables() {
            context.add_variable_as_val(name, Box::new(pattern));
        }
        run(&context)
    }

    /// Tries every part that stands on its own: smallest first, so that the error is where it is.
    fn try_on(&self, sample: &Sample) -> Result<(), SelectorError> {
        self.with_context(Some(sample), Some(sample), |context| {
            let mut parts = Vec::new();
            gather(&self.expression, &mut parts);
            for part in parts {
                if let Err(error) = Value::resolve_val(part, context)
                    && is_certain(&error)
                {
                    return Err(self.wrong(part, error.to_string()));
                }
            }
            let whole = &self.expression;
            match Value::resolve_val(whole, context) {
                Ok(value) if value.downcast_ref::<CelBool>().is_none() => {
                    let found = value.get_type().name().to_owned();
                    Err(self.wrong(whole, format!("the expression is of type {found}, not bool")))
                }
                _ => Ok(()),
            }
        })
    }

    fn wrong(&self, part: &IdedExpr, reason: String) -> SelectorError {
        SelectorError::at(character(self.program.source_info(), part.id), reason)
    }
}

/// Whether an error on the sample object is one on every object.
fn is_certain(error: &ExecutionError) -> bool {
    matches!(
        error,
        ExecutionError::NoSuchOverload(_)
            | ExecutionError::UndeclaredReference(_)
            | ExecutionError::UnsupportedBinaryOperator(..)
            | ExecutionError::UnexpectedType { .. }
            | ExecutionError::ValuesNotComparable(..)
            | ExecutionError::InvalidArgumentCount { .. }
            | ExecutionError::UnsupportedTargetType { .. }
            | ExecutionError::NotSupportedAsMethod { .. }
            | ExecutionError::MissingArgumentOrTarget
            | ExecutionError::UnsupportedIndex(..)
    )
}

/// Parts of `expression` that do not depend on a comprehension's variables, smallest first.
fn gather<'e>(expression: &'e IdedExpr, into: &mut Vec<&'e IdedExpr>) {
    match &expression.expr {
        Expr::Call(call) => {
            call.target.iter().for_each(|target| gather(target, into));
            call.args.iter().for_each(|argument| gather(argument, into));
        }
        Expr::Select(select) => gather(&select.operand, into),
        Expr::List(list) => list.elements.iter().for_each(|item| gather(item, into)),
        Expr::Comprehension(it) => gather(&it.iter_range, into),
        _ => {}
    }
    into.push(expression);
}

fn syntax(source: &str, errors: &ParseErrors) -> SelectorError {
    let Some(first) = errors.errors.first() else {
        return SelectorError::at(1, "the expression is not valid CEL");
    };
    let (line, column) = first.pos;
    let before: usize = source
        .split_inclusive('\n')
        .take(usize::try_from(line - 1).unwrap_or(0))
        .map(|line| line.chars().count())
        .sum();
    let at = before + usize::try_from(column).unwrap_or(0).max(1);
    SelectorError::at(at, in_words(&first.msg))
}

/// What the parser says, without what only its authors understand.
fn in_words(message: &str) -> String {
    if message.contains("Recursion limit") {
        return format!("more than {DEPTH_MAX} parts inside each other");
    }
    let short = message.split(" expecting {").next().unwrap_or_default();
    short.trim_start_matches("Syntax error: ").to_owned()
}

fn character(places: &SourceInfo, id: u64) -> usize {
    places.offset_for(id).map_or(1, |(start, _)| start as usize + 1)
}

/// What can be known to be wrong without evaluating.
struct Check<'e> {
    places: &'e SourceInfo,
    fields: &'e [Box<str>],
    bound: Vec<&'e str>,
    reads_old: bool,
}

impl<'e> Check<'e> {
    fn visit(&mut self, part: &'e IdedExpr, depth: usize) -> Result<(), SelectorError> {
        if depth > DEPTH_MAX {
            let reason = format!("more than {DEPTH_MAX} parts inside each other");
            return Err(self.error(part.id, reason));
        }
        let deeper = depth + 1;
        match &part.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Struct(_) => Err(self.error(part.id, "there are no message types here")),
            Expr::Ident(name) => self.variable(part.id, name),
            Expr::Select(select) => {
                self.visit(&select.operand, deeper)?;
                self.member(part.id, &select.operand.expr, &select.field)
            }
            Expr::Call(call) => {
                if !FUNCTIONS.contains(&call.func_name.as_str()) {
                    return Err(self.error(part.id, format!("no function {:?}", call.func_name)));
                }
                self.no_whole(call)?;
                let parts = call.target.as_deref().into_iter().chain(&call.args);
                parts.into_iter().try_for_each(|argument| self.visit(argument, deeper))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|it| self.visit(it, deeper)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.visit(&entry.key, deeper)?;
                    self.visit(&entry.value, deeper)
                }
                EntryExpr::StructField(field) => self.visit(&field.value, deeper),
            }),
            Expr::Comprehension(it) => {
                self.visit(&it.iter_range, deeper)?;
                self.visit(&it.accu_init, deeper)?;
                let outside = self.bound.len();
                self.bound.extend([it.iter_var.as_str(), it.accu_var.as_str()]);
                self.bound.extend(it.iter_var2.as_deref());
                for inner in [&it.loop_cond, &it.loop_step, &it.result] {
                    self.visit(inner, deeper)?;
                }
                self.bound.truncate(outside);
                Ok(())
            }
        }
    }

    fn variable(&mut self, id: u64, name: &'e str) -> Result<(), SelectorError> {
        const TYPES: &[&str] =
            &["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"];
        if self.bound.contains(&name) || name == "object" || TYPES.contains(&name) {
            return Ok(());
        }
        if name == "old" {
            self.reads_old = true;
            return Ok(());
        }
        Err(self.error(id, format!("no variable {name:?}; there are object and old")))
    }

    /// `object.x`, `object.metadata.x`, `object.status.x`: is there such an `x`?
    fn member(&self, id: u64, of: &Expr, name: &str) -> Result<(), SelectorError> {
        let is_object =
            |it: &Expr| matches!(it, Expr::Ident(it) if ["object", "old"].contains(&it.as_str()));
        let (known, what) = match of {
            it if is_object(it) => (["metadata", "status"].contains(&name), "object"),
            Expr::Select(select) if is_object(&select.operand.expr) => {
                match select.field.as_str() {
                    "metadata" => (["name", "namespace", "labels"].contains(&name), "metadata"),
                    "status" => {
                        let declared = self.fields.iter().any(|known| **known == *name);
                        (declared || name == "conditions", "status")
                    }
                    _ => return Ok(()),
                }
            }
            _ => return Ok(()),
        };
        if known { Ok(()) } else { Err(self.error(id, format!("{what} has no {name:?}"))) }
    }

    /// `object`, `object.metadata` and the like are not values: nothing equals them but null.
    fn no_whole(&self, call: &CallExpr) -> Result<(), SelectorError> {
        let compares = ["_==_", "_!=_"].contains(&call.func_name.as_str());
        let is_null = |it: &IdedExpr| matches!(it.expr, Expr::Literal(LiteralValue::Null));
        if !compares || call.args.iter().any(is_null) {
            return Ok(());
        }
        match call.args.iter().find(|argument| is_whole(&argument.expr)) {
            Some(whole) => {
                Err(self.error(whole.id, "a whole cannot be compared, only what is in it"))
            }
            None => Ok(()),
        }
    }

    fn error(&self, id: u64, reason: impl Into<String>) -> SelectorError {
        SelectorError::at(character(self.places, id), reason)
    }
}

/// Whether a part of an expression is an object, or a part of one that has parts.
fn is_whole(part: &Expr) -> bool {
    match part {
        Expr::Ident(name) => ["object", "old"].contains(&name.as_str()),
        Expr::Select(select) if !select.test => {
            let parts = ["metadata", "status", "labels", "conditions"];
            parts.contains(&select.field.as_str()) && is_whole(&select.operand.expr)
        }
        _ => false,
    }
}

/// An object that has every field, every label and every condition.
#[derive(Debug)]
struct Sample(Vec<ValueType>);

impl Sample {
    fn of(vocabulary: &impl Vocabulary) -> Sample {
        Sample(vocabulary.fields().map(|(_, sort)| sort).collect())
    }
}

impl Subject for Sample {
    fn name(&self) -> &str {
        "name"
    }

    fn namespace(&self) -> Option<&str> {
        Some("namespace")
    }

    fn label(&self, _key: &str) -> Option<&str> {
        Some("label")
    }

    fn field(&self, at: usize) -> Option<Scalar<'_>> {
        Some(match self.0.get(at)? {
            ValueType::Text => Scalar::Text("text"),
            ValueType::Number => Scalar::Number(1.0),
            ValueType::Bool => Scalar::Bool(true),
        })
    }

    fn condition(&self, _name: &str) -> Option<&str> {
        Some("True")
    }

    fn conditions(&self) -> Vec<(&str, &str)> {
        vec![("Fresh", "True")]
    }
}

//! Relabel rules: how the labels of targets and series are changed, and which are dropped.
//!
//! Semantics and the words of errors are those of Prometheus' `model/relabel`.

use std::borrow::Cow;
use std::fmt;

use md5::{Digest, Md5};

use crate::go_regex::Template;
use crate::{GoRegex, LabelsBuilder, NameScheme};

/// What a rule says, as it is written; nothing given is [`None`] or empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleFields {
    /// Labels whose values are joined.
    pub source_labels: Vec<String>,
    /// What they are joined with; `;` if not given.
    pub separator: Option<String>,
    /// What the joined value is compared with; `(.*)` if not given.
    pub regex: Option<String>,
    /// What a hash is divided by.
    pub modulus: u64,
    /// The label to change.
    pub target_label: String,
    /// What it is set to; `$1` if not given.
    pub replacement: Option<String>,
    /// What to do; `replace` if not given.
    pub action: Option<String>,
}

/// A checked rule.
#[derive(Debug, Clone)]
pub struct Rule {
    fields: RuleFields,
    names: NameScheme,
    source: Box<[Box<str>]>,
    separator: Box<str>,
    action: Action,
}

/// Which field of a rule is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    /// The key: `regex`, `target_label`, …
    pub key: &'static str,
    /// In Prometheus' words.
    pub message: String,
}

#[derive(Debug, Clone)]
enum Action {
    /// A constant put into a label whatever the source is, if nothing can be captured.
    Replace {
        regex: GoRegex,
        default_regex: bool,
        target: Template,
        replacement: Template,
    },
    Keep(GoRegex),
    Drop(GoRegex),
    KeepEqual(Box<str>),
    DropEqual(Box<str>),
    HashMod {
        target: Box<str>,
        modulus: u64,
    },
    LabelMap {
        regex: GoRegex,
        replacement: Template,
    },
    LabelDrop(GoRegex),
    LabelKeep(GoRegex),
    Lowercase(Box<str>),
    Uppercase(Box<str>),
}

const REGEX_DEFAULT: &str = "(.*)";
const SEPARATOR_DEFAULT: &str = ";";
const REPLACEMENT_DEFAULT: &str = "$1";

/// Applies `rules` in order. False: what the labels belong to is dropped, and the labels are what
/// the dropping rule saw.
pub fn relabel(rules: &[Rule], labels: &mut LabelsBuilder) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

// === impl Rule ===

impl Rule {
    /// Checks and compiles a rule. `names` says which label names may be written.
    ///
    /// # Errors
    /// When Prometheus refuses the rule.
    pub fn new(fields: RuleFields, names: NameScheme) -> Result<Rule, RuleError> {
        let action = Action::new(&fields, names)?;
        Ok(Rule {
            names,
            source: fields.source_labels.iter().map(|name| name.as_str().into()).collect(),
            separator: fields.separator.as_deref().unwrap_or(SEPARATOR_DEFAULT).into(),
            action,
            fields,
        })
    }

    /// What the rule was made of.
    pub fn fields(&self) -> &RuleFields {
        &self.fields
    }

    /// Applies this rule. False: dropped.
    pub fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        match &self.action {
            Action::Keep(regex) => regex.is_match(&self.joined(labels)),
            Action::Drop(regex) => !regex.is_match(&self.joined(labels)),
            Action::KeepEqual(target) => labels.get(target) == self.joined(labels),
            Action::DropEqual(target) => labels.get(target) != self.joined(labels),
            changing => {
                self.change(changing, labels);
                true
            }
        }
    }

    fn change(&self, action: &Action, labels: &mut LabelsBuilder) {
        match action {
            Action::Replace { .. } => self.replace(labels),
            Action::HashMod { target, modulus } => {
                let hash = Md5::digest(self.joined(labels).as_bytes());
                let (_, last) = hash.split_at(8);
                let number = last.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
                labels.set(&**target, (number % modulus).to_string());
            }
            Action::LabelMap { regex, replacement } => label_map(regex, replacement, labels),
            Action::LabelDrop(regex) => labels.retain(|name, _| !regex.is_match(name)),
            Action::LabelKeep(regex) => labels.retain(|name, _| regex.is_match(name)),
            Action::Lowercase(target) => {
                let value = go_lowercase(&self.joined(labels));
                labels.set(&**target, value);
            }
            Action::Uppercase(target) => {
                let value = go_uppercase(&self.joined(labels));
                labels.set(&**target, value);
            }
            Action::Keep(_) | Action::Drop(_) | Action::KeepEqual(_) | Action::DropEqual(_) => {}
        }
    }

    fn replace(&self, labels: &mut LabelsBuilder) {
        let Action::Replace { regex, default_regex, target, replacement } = &self.action else {
            return;
        };
        let value = self.joined(labels);
        let plain = !target.has_dollar() && !replacement.has_dollar();
        if plain && value.is_empty() && *default_regex {
            labels.set(target.text(), replacement.text());
            return;
        }
        if let (Some(target), Some(text)) = (target.constant(), replacement.constant()) {
            if regex.is_match(&value) && self.names.is_label_name(target) {
                labels.set(target, text);
            }
            return;
        }
        let Some(groups) = regex.captures(&value) else { return };
        let (mut name, mut text) = (String::new(), String::new());
        target.expand(&groups, &mut name);
        replacement.expand(&groups, &mut text);
        drop(groups);
        if self.names.is_label_name(&name) {
            labels.set(name, text);
        }
    }

    /// The values of the source labels, joined.
    fn joined<'l>(&self, labels: &'l LabelsBuilder) -> Cow<'l, str> {
        match &*self.source {
            [] => Cow::Borrowed(""),
            [one] => Cow::Borrowed(labels.get(one)),
            [first, more @ ..] => {
                let mut value = labels.get(first).to_owned();
                for name in more {
                    value.push_str(&self.separator);
                    value.push_str(labels.get(name));
                }
                Cow::Owned(value)
            }
        }
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        self.fields == other.fields && self.names == other.names
    }
}

/// Sets, for every label whose name matches, the label that the replacement names. Labels are
/// taken as they were before.
fn label_map(regex: &GoRegex, replacement: &Template, labels: &mut LabelsBuilder) {
    let mut mapped: Vec<(String, Box<str>)> = Vec::new();
    for (name, value) in labels.iter() {
        if regex.is_match(name) {
            mapped.push((regex.replace_all(name, replacement), value.into()));
        }
    }
    for (name, value) in mapped {
        labels.set(name, value);
    }
}

/// Go maps rune by rune: `ß` has no capital of one rune and stays.
fn go_uppercase(text: &str) -> String {
    text.chars().map(|letter| single(letter.to_uppercase()).unwrap_or(letter)).collect()
}

fn go_lowercase(text: &str) -> String {
    text.chars().map(|letter| single(letter.to_lowercase()).unwrap_or(letter)).collect()
}

fn single(mut letters: impl Iterator<Item = char>) -> Option<char> {
    let first = letters.next()?;
    letters.next().is_none().then_some(first)
}

// === impl Action ===

impl Action {
    fn new(fields: &RuleFields, names: NameScheme) -> Result<Action, RuleError> {
        let word = fields.action.as_deref().unwrap_or("replace").to_lowercase();
        let pattern = fields.regex.as_deref().unwrap_or(REGEX_DEFAULT);
        // Prometheus reads the pattern before it looks at what the rule does.
        let regex = GoRegex::new(pattern).map_err(|error| refuse("regex", error.to_string()))?;
        let replacement = fields.replacement.as_deref().unwrap_or(REPLACEMENT_DEFAULT);
        let target = || Box::<str>::from(&*fields.target_label);
        check_fields(fields, &word, names)?;
        Ok(match &*word {
            "replace" => Action::Replace {
                regex,
                default_regex: fields.regex.is_none(),
                target: Template::new(&fields.target_label),
                replacement: Template::new(replacement),
            },
            "keep" => Action::Keep(regex),
            "drop" => Action::Drop(regex),
            "keepequal" => Action::KeepEqual(target()),
            "dropequal" => Action::DropEqual(target()),
            "hashmod" => Action::HashMod { target: target(), modulus: fields.modulus },
            "labelmap" => Action::LabelMap { regex, replacement: Template::new(replacement) },
            "labeldrop" => Action::LabelDrop(regex),
            "labelkeep" => Action::LabelKeep(regex),
            "lowercase" => Action::Lowercase(target()),
            "uppercase" => Action::Uppercase(target()),
            _ => return Err(refuse("action", format!("unknown relabel action {word:?}"))),
        })
    }
}

fn refuse(key: &'static str, message: impl Into<String>) -> RuleError {
    RuleError { key, message: message.into() }
}

/// The checks of `Config.Validate`, in its order.
fn check_fields(fields: &RuleFields, action: &str, names: NameScheme) -> Result<(), RuleError> {
    let RuleFields { modulus, target_label: target, replacement, .. } = fields;
    let name = |wanted: &[&str]| wanted.contains(&action);
    if action.is_empty() {
        return Err(refuse("action", "relabel action cannot be empty"));
    }
    if *modulus == 0 && name(&["hashmod"]) {
        let message = "relabel configuration for hashmod requires non-zero modulus";
        return Err(refuse("modulus", message));
    }
    let with_target = ["replace", "keepequal", "dropequal", "hashmod", "lowercase", "uppercase"];
    if name(&with_target) && target.is_empty() {
        let message =
            format!("relabel configuration for {action} action requires 'target_label' value");
        return Err(refuse("target_label", message));
    }
    let template = name(&["replace"]) && target.contains('$');
    let valid =
        if template { is_name_template(target, names) } else { names.is_label_name(target) };
    if name(&with_target) && !valid {
        let message = format!("{target:?} is invalid 'target_label' for {action} action");
        return Err(refuse("target_label", message));
    }
    let given =
        |text: &Option<String>, default: &str| text.as_deref().is_some_and(|text| text != default);
    if name(&["lowercase", "uppercase"]) && given(replacement, REPLACEMENT_DEFAULT) {
        let message = format!("'replacement' can not be set for {action} action");
        return Err(refuse("replacement", message));
    }
    let mapped = replacement.as_deref().unwrap_or(REPLACEMENT_DEFAULT);
    if name(&["labelmap"]) && !is_name_template(mapped, names) {
        let message = format!("{mapped:?} is invalid 'replacement' for {action} action");
        return Err(refuse("replacement", message));
    }
    let others = *modulus != 0
        || given(&fields.separator, SEPARATOR_DEFAULT)
        || given(replacement, REPLACEMENT_DEFAULT);
    if name(&["keepequal", "dropequal"]) && (others || fields.regex.is_some()) {
        let message = format!(
            "{action} action requires only 'source_labels' and `target_label`, and no other fields"
        );
        return Err(refuse("action", message));
    }
    let labels = !fields.source_labels.is_empty() || !target.is_empty();
    if name(&["labeldrop", "labelkeep"]) && (others || labels) {
        let message = format!("{action} action requires only 'regex', and no other fields");
        return Err(refuse("action", message));
    }
    Ok(())
}

/// Whether `text`, which may have `$1` and `${1}` in it, can become a label name.
fn is_name_template(text: &str, names: NameScheme) -> bool {
    if names == NameScheme::Utf8 {
        return names.is_label_name(text);
    }
    let mut rest = text.as_bytes();
    let word = |bytes: &[u8]| {
        bytes.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count()
    };
    let mut first = true;
    while let Some(byte) = rest.first() {
        let skip = match byte {
            b'$' if rest.get(1) == Some(&b'{') => match word(&rest[2..]) {
                0 => return false,
                digits if rest.get(2 + digits) == Some(&b'}') => digits + 3,
                _ => return false,
            },
            b'$' if word(&rest[1..]) > 0 => 1 + word(&rest[1..]),
            b'0'..=b'9' if first => return false,
            byte if byte.is_ascii_alphanumeric() || *byte == b'_' => 1,
            _ => return false,
        };
        rest = &rest[skip..];
        first = false;
    }
    !text.is_empty()
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

impl std::error::Error for RuleError {}

#[cfg(test)]
mod tests;

//! Names made of labels: `"{host}-{device}"`.
//!
//! A name becomes a segment of a URL path, so what cannot stand there (`/`, `%`, blanks, control
//! characters) becomes `-`. `{{` and `}}` stand for braces.

/// Most bytes of an object's name, a namespace or a label value that a template makes.
pub(crate) const NAME_BYTES_MAX: usize = 253;

/// A text with places for labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// As it stands.
    Text(Box<str>),
    /// The value of this label.
    Label(Box<str>),
}

// === impl Template ===

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let end = rest.find('}').filter(|_| brace == "{");
            let end = end.ok_or_else(|| {
                format!("unmatched `{brace}` in {text:?}; write `{brace}{brace}` for a brace")
            })?;
            let label = &rest[..end];
            if !is_label_name(label) {
                return Err(format!("{label:?} in {text:?} is not the name of a label"));
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain).into()));
            }
            parts.push(Part::Label(label.into()));
            rest = &rest[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Template(parts))
    }

    /// The labels that it names.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Label(label) => Some(&**label),
            Part::Text(_) => None,
        })
    }

    /// Appends the template filled with labels as they are. False, and `out` as it was, if a
    /// label is missing or empty, or the text becomes too long.
    pub(crate) fn fill<'l>(
        &self,
        label: impl Fn(&str) -> Option<&'l str>,
        out: &mut String,
    ) -> bool {
        let start = out.len();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Label(name) => match label(name).filter(|value| !value.is_empty()) {
                    Some(value) => out.push_str(value),
                    None => {
                        out.truncate(start);
                        return false;
                    }
                },
            }
        }
        let fits = (1..=NAME_BYTES_MAX).contains(&(out.len() - start));
        if !fits {
            out.truncate(start);
        }
        fits
    }

    /// As [`Template::fill`], for what must be able to stand in a path.
    pub(crate) fn fill_name<'l>(
        &self,
        label: impl Fn(&str) -> Option<&'l str>,
        out: &mut String,
    ) -> bool {
        let start = out.len();
        if !self.fill(label, out) {
            return false;
        }
        if out[start..].chars().any(unfit_for_path) {
            let fit = out[start..].replace(unfit_for_path, "-");
            out.replace_range(start.., &fit);
        }
        if matches!(&out[start..], "." | "..") {
            out.replace_range(start..=start, "-");
        }
        true
    }
}

fn unfit_for_path(c: char) -> bool {
    matches!(c, '/' | '%' | '?' | '#') || c.is_whitespace() || c.is_control()
}

fn is_label_name(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, want: Result<&str, &str>) {
        let labels = [("host", "h1"), ("device", "/dev/sd a"), ("dots", ".."), ("empty", "")];
        let label = |name: &str| labels.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let got = Template::parse(template).and_then(|template| {
            let mut out = String::from("before ");
            let filled = template.fill_name(label, &mut out);
            filled.then(|| out["before ".len()..].to_owned()).ok_or("cannot be filled".to_owned())
        });
        match (got, want) {
            (Ok(got), Ok(want)) => assert_eq!(got, want),
            (Err(got), Err(want)) => assert!(got.contains(want), "{got}"),
            (got, want) => panic!("{template}: {got:?}, wanted {want:?}"),
        }
    }

    #[test]
    fn labels_stand_where_the_template_names_them() {
        check("{host}", Ok("h1"));
        check("vm-{host}.x", Ok("vm-h1.x"));
        check("{host}-{device}", Ok("h1--dev-sd-a"));
        check("{{{host}}}", Ok("{h1}"));
        check("{dots}", Ok("-."));
    }

    #[test]
    fn a_label_that_is_missing_or_empty_makes_no_name() {
        check("{nothing}", Err("cannot be filled"));
        check("x{empty}", Err("cannot be filled"));
        check("", Err("cannot be filled"));
    }

    #[test]
    fn a_brace_without_its_other_half_is_an_error_that_says_how_to_write_it() {
        check("{host", Err("write `{{` for a brace"));
        check("host}", Err("write `}}` for a brace"));
        check("{ho st}", Err("is not the name of a label"));
        check("{}", Err("is not the name of a label"));
    }
}

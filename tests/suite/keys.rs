//! Every key that a file may have stands in `docs/config.md` and in `configs/full.yml`, every flag
//! in the page.
//!
//! Reads the sources as text: the fields of the structs whose names end in `Spec`. In the page the
//! keys of a struct are rows of one table, so that the same word of another section is no excuse.
//! In the file, a key may stand anywhere, in a comment too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::BINARY;

/// Where such structs are.
const CODE: &[&str] = &["src", "base", "scraper/src", "forwarder/src", "status-sink/src"];

/// Files whose structs nobody writes into the configuration, or that are not ours to explain.
const NOT_OURS: &[(&str, &str)] = &[
    ("src/config/ignored.rs", "sections without effect: Prometheus' manual has their keys"),
    ("src/web_config.rs", "a file of its own, in the format of Prometheus and its exporters"),
    ("src/web_config/tls.rs", "a section of that file"),
    ("scraper/src/discovery/kubernetes/objects.rs", "what an API server answers"),
];

const PAGE: &str = "docs/config.md";
const EXAMPLE: &str = "configs/full.yml";

/// A struct of a section, and its keys.
struct Section {
    /// `file: Struct`
    place: String,
    keys: Vec<String>,
}

#[test]
fn every_key_stands_in_the_page_and_in_the_example() {
    let (page, example) = (read(Path::new(PAGE)), read(Path::new(EXAMPLE)));
    let (tables, example) = (tables(&page), keys_of_yaml(&example));
    let sections = sections();
    let n_keys: usize = sections.iter().map(|section| section.keys.len()).sum();
    assert!(sections.len() > 40 && n_keys > 250, "{} structs, {n_keys} keys", sections.len());
    let mut missing = Vec::new();
    for Section { place, keys } in &sections {
        let of_tables = tables.iter().map(|table| lacking(keys, table));
        let of_page = of_tables.min_by_key(Vec::len).unwrap();
        missing.extend(of_page.into_iter().map(|key| format!("{place}.{key} is in no page")));
        let of_example = lacking(keys, &example).into_iter();
        missing.extend(of_example.map(|key| format!("{place}.{key} is not in {EXAMPLE}")));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_flag_stands_in_the_page() {
    let page = read(Path::new(PAGE));
    let help = Command::new(BINARY).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let lines = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
    let flags: Vec<&str> = lines.map(|line| line.split([' ', '[']).next().unwrap()).collect();
    assert!(flags.len() > 10, "{help}");
    let has = |flag: &&str| page.contains(&format!("\n| `--{flag}` |"));
    let missing: Vec<&str> = flags.into_iter().filter(|flag| !has(flag)).collect();
    assert!(missing.is_empty(), "{PAGE} lacks {missing:#?}");
}

#[test]
fn exceptions_have_keys_still() {
    for (path, _) in NOT_OURS {
        assert!(!sections_of(path, &read(Path::new(path))).is_empty(), "{path} needs no exception");
    }
}

#[test]
fn fields_are_read_with_what_serde_makes_of_them() {
    let source = "\
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct OneSpec {
    /// `type`
    #[serde(rename = \"type\", skip_serializing_if = \"is_default\")]
    pub(super) kind: String,
    #[serde(
        deserialize_with = \"given\",
        skip_serializing_if = \"Option::is_none\"
    )]
    r#match: String,
    #[serde(skip)]
    folder: PathBuf,
    #[serde(rename = \"<inline>\")]
    http: Http,
    #[serde(flatten)]
    more: More,
    #[serde(skip_serializing)]
    last: u8,
}

#[derive(Debug)]
struct CheckedSpec {
    no: u8,
}
";
    let sections = sections_of("a.rs", source);
    let [Section { place, keys }] = &sections[..] else { panic!("{} structs", sections.len()) };
    assert_eq!((place.as_str(), keys.join(" ").as_str()), ("a.rs: OneSpec", "type match last"));
}

fn lacking<'k>(keys: &'k [String], known: &BTreeSet<&str>) -> Vec<&'k str> {
    keys.iter().map(String::as_str).filter(|key| !known.contains(key)).collect()
}

fn read(path: &Path) -> String {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(top.join(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every struct of every file, but for those of [`NOT_OURS`].
fn sections() -> Vec<Section> {
    let mut paths = Vec::new();
    CODE.iter().for_each(|folder| collect(Path::new(folder), &mut paths));
    paths.sort();
    let names = paths.iter().map(|path| path.to_str().unwrap());
    let ours = names.filter(|name| !NOT_OURS.iter().any(|(path, _)| path == name));
    ours.flat_map(|name| sections_of(name, &read(Path::new(name)))).collect()
}

/// Rust files under a folder, by their paths from the top.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(top.join(folder)).unwrap() {
        let path = folder.join(entry.unwrap().file_name());
        if top.join(&path).is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The structs of a file that are read from a file. Relies on rustfmt: a struct begins and ends at
/// the left edge, a field has four blanks before it, and an empty line ends what belongs together.
fn sections_of(path: &str, text: &str) -> Vec<Section> {
    let lines: Vec<&str> = text.lines().collect();
    let mut sections = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.strip_prefix("pub").map_or(*line, |rest| {
            rest.trim_start_matches("(super)").trim_start_matches("(crate)").trim_start()
        });
        let Some(rest) = code.strip_prefix("struct ") else { continue };
        let name = rest.split([' ', '<', '(', ';']).next().unwrap();
        let head: Vec<&str> =
            lines[..at].iter().rev().take_while(|line| !line.is_empty()).copied().collect();
        if name.ends_with("Spec") && head.iter().any(|line| derives(line)) && line.ends_with('{') {
            let body: Vec<&str> =
                lines[at + 1..].iter().take_while(|line| **line != "}").copied().collect();
            sections.push(Section { place: format!("{path}: {name}"), keys: keys_of_body(&body) });
        }
    }
    sections
}

fn derives(line: &str) -> bool {
    let words: Vec<&str> = line.split(['(', ')', ',', ' ']).collect();
    !line.starts_with("//") && words.contains(&"Deserialize")
}

/// The keys of a struct's fields, as a file has them.
fn keys_of_body(body: &[&str]) -> Vec<String> {
    let (mut keys, mut attributes, mut is_open) = (Vec::new(), String::new(), false);
    for line in body.iter().map(|line| line.trim()).filter(|line| !line.starts_with("//")) {
        if is_open || line.starts_with("#[") {
            attributes += line;
            is_open = !line.ends_with(']');
            continue;
        }
        // What is no field ends one that takes several lines.
        let Some((field, _)) = line.split_once(": ") else { continue };
        let field = field.rsplit(' ').next().unwrap().trim_start_matches("r#");
        keys.extend(key_of(field, &attributes));
        attributes.clear();
    }
    keys
}

/// None: the field is not read, or its keys stand in line.
fn key_of(field: &str, attributes: &str) -> Option<String> {
    let mut words = attributes.split(['(', ')', ',', '[', ']']).map(str::trim);
    if words.any(|word| matches!(word, "skip" | "skip_deserializing" | "flatten")) {
        return None;
    }
    let renamed = attributes.split_once("rename = \"").and_then(|(_, rest)| rest.split_once('"'));
    let key = renamed.map_or(field, |(name, _)| name);
    (!key.starts_with('<')).then(|| key.to_owned())
}

/// The keys of each table of a page: what stands in backticks in the first cell of a row. Of
/// `disk.path` and `selectors[].role` it is the last part.
fn tables(page: &str) -> Vec<BTreeSet<&str>> {
    let mut tables = vec![BTreeSet::new()];
    for line in page.lines() {
        let Some(row) = line.strip_prefix("| ") else {
            // The line under a table's head belongs to it.
            if !line.starts_with("|-") && !tables.last().unwrap().is_empty() {
                tables.push(BTreeSet::new());
            }
            continue;
        };
        let cell = row.split(" | ").next().unwrap();
        let quoted = cell.split('`').skip(1).step_by(2);
        let last = quoted.map(|key| key.rsplit('.').next().unwrap());
        tables.last_mut().unwrap().extend(last);
    }
    tables
}

/// Every word with a colon behind it and what ends a key behind that.
fn keys_of_yaml(text: &str) -> BTreeSet<&str> {
    let is_end = |rest: &str| rest.is_empty() || rest.starts_with(' ');
    text.lines()
        .flat_map(|line| line.match_indices(':').map(move |(at, _)| (&line[..at], &line[at + 1..])))
        .filter(|(_, rest)| is_end(rest))
        .filter_map(|(before, _)| {
            before.rsplit(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c))).next()
        })
        .collect()
}

//! What review forgets: the layers, the shape of files and functions, lists that must agree.
//!
//! Reads the tree as text. An exception is a row with its reason, visible in a diff.

use std::fs;
use std::path::{Path, PathBuf};

/// Which of our crates each may use. A new edge is a new word here.
const LAYERS: &[(&str, &[&str])] = &[
    ("base/model", &[]),
    ("base/kit", &["model"]),
    ("base/testkit", &[]),
    ("scraper", &["kit", "model"]),
    ("forwarder", &["kit", "model"]),
    ("status-sink", &["kit", "model"]),
    ("client", &[]),
    ("bench", &["forwarder", "kit", "model", "scraper"]),
    (".", &["forwarder", "kit", "model", "scraper", "status-sink"]),
];

/// Crates that only tests may use.
const FOR_TESTS: &[&str] = &["testkit"];

/// Where Rust code lives.
const CODE: &[&str] =
    &["src", "base", "scraper", "forwarder", "status-sink", "client", "tests", "bench"];

/// Files and folders at the top that are not read: what is built, and git's own.
const NOT_OURS: &[&str] = &["target", ".git"];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions that may be longer, and why.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// A source file: its path from the top, and its text.
struct Source {
    path: PathBuf,
    text: String,
}

#[test]
fn crates_use_only_the_layers_below_them() {
    let ours: Vec<&str> =
        LAYERS.iter().flat_map(|(_, uses)| *uses).chain(FOR_TESTS).copied().collect();
    let mut wrong = Vec::new();
    for (folder, allowed) in LAYERS {
        let manifest = read(&Path::new(folder).join("Cargo.toml"));
        for (section, name) in dependencies(&manifest) {
            let fine = match section {
                "dev-dependencies" => allowed.contains(&name) || FOR_TESTS.contains(&name),
                _ => allowed.contains(&name),
            };
            if ours.contains(&name) && !fine {
                wrong.push(format!("{folder} uses {name} under [{section}]"));
            }
        }
    }
    nothing_in(&wrong);
}

#[test]
fn every_crate_has_a_place_in_the_layers() {
    let manifest = read(Path::new("Cargo.toml"));
    let members = manifest.lines().find(|line| line.starts_with("members")).unwrap();
    let members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    let placed = |member: &&str| LAYERS.iter().any(|(folder, _)| folder == member);
    nothing_in(&members.into_iter().filter(|member| !placed(member)).collect::<Vec<_>>());
}

#[test]
fn every_file_says_first_what_its_job_is() {
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|f| f.path)
        .collect();
    nothing_in(&wrong);
}

#[test]
fn every_file_is_claimed_by_a_mod_line() {
    let mut wrong = Vec::new();
    for file in sources() {
        let name = file.path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "mod" {
            wrong.push(format!("{}: use foo.rs and foo/", file.path.display()));
        }
        if is_root(&file.path) {
            continue;
        }
        let folder = file.path.parent().unwrap();
        let owners = [folder.with_extension("rs"), folder.join("lib.rs"), folder.join("main.rs")];
        let claims = |owner: &PathBuf| {
            let text = fs::read_to_string(top().join(owner)).unwrap_or_default();
            text.lines().any(|line| claims_module(line, &name))
        };
        if !owners.iter().any(claims) {
            wrong.push(format!("{}: no file says `mod {name}`", file.path.display()));
        }
    }
    nothing_in(&wrong);
}

#[test]
fn files_and_functions_are_short_enough_to_read() {
    let mut wrong = Vec::new();
    for file in sources() {
        let path = file.path.to_str().unwrap();
        let n_lines = file.text.lines().count();
        let excused = LONG_FILES.iter().any(|(listed, _)| *listed == path);
        if n_lines > FILE_LINES_MAX && !excused {
            wrong.push(format!("{path}: {n_lines} lines"));
        }
        for (name, line, n_lines) in functions(&file.text) {
            let excused = LONG_FUNCTIONS.iter().any(|(p, f, _)| *p == path && *f == name);
            if n_lines > FUNCTION_LINES_MAX && !excused {
                wrong.push(format!("{path}:{line}: {name} has {n_lines} lines"));
            }
        }
    }
    nothing_in(&wrong);
}

#[test]
fn exceptions_are_still_needed() {
    let mut wrong = Vec::new();
    for (path, _) in LONG_FILES {
        if read(Path::new(path)).lines().count() <= FILE_LINES_MAX {
            wrong.push(format!("{path} is short enough"));
        }
    }
    for (path, function, _) in LONG_FUNCTIONS {
        let text = read(Path::new(path));
        let long = functions(&text).any(|(name, _, n)| name == *function && n > FUNCTION_LINES_MAX);
        if !long {
            wrong.push(format!("{function} in {path} is short enough"));
        }
    }
    nothing_in(&wrong);
}

#[test]
fn nothing_in_the_tree_points_outside_it() {
    // Put together here, so that this file does not have them.
    let outside = [concat!("../", "shared"), concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let mut files = Vec::new();
    collect(&top(), &mut files, &|_| true);
    let mut wrong = Vec::new();
    for path in files {
        // What is not text has no words in it.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (at, line) in text.lines().enumerate() {
            if outside.iter().any(|word| line.contains(word)) {
                wrong.push(format!("{}:{}: {line}", path.display(), at + 1));
            }
        }
    }
    nothing_in(&wrong);
}

/// There is more than one program here: cargo refuses to guess which one is meant.
#[test]
fn what_the_makefile_runs_says_of_which_package_it_is() {
    let makefile = read(&top().join("Makefile"));
    let runs = makefile.lines().filter(|line| line.contains("$(CARGO) run"));
    let (named, unnamed): (Vec<&str>, Vec<&str>) = runs.partition(|line| line.contains(" -p "));
    assert!(named.len() >= 3, "{named:?}");
    nothing_in(&unnamed);
}

/// Fails with one thing a line.
#[track_caller]
fn nothing_in<T: std::fmt::Debug>(wrong: &[T]) {
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every Rust file, with its path from the top.
fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in CODE {
        collect(&top().join(folder), &mut paths, &|path| {
            path.extension().is_some_and(|extension| extension == "rs")
        });
    }
    assert!(paths.len() > 20, "the tree moved: {paths:?}");
    let from_top = |path: &PathBuf| path.strip_prefix(top()).unwrap().to_owned();
    let source = |path: PathBuf| Source { path: from_top(&path), text: read(&path) };
    paths.into_iter().map(source).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>, wanted: &dyn Fn(&Path) -> bool) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap().to_str().unwrap();
            if !NOT_OURS.contains(&name) {
                collect(&path, found, wanted);
            }
        } else if wanted(&path) {
            found.push(path);
        }
    }
}

/// `(section, crate)` of every dependency of a manifest.
fn dependencies(manifest: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut section = "";
    manifest.lines().filter_map(move |line| {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            return None;
        }
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        let counts = section == "dependencies" || section == "dev-dependencies";
        (counts && !name.is_empty()).then_some((section, name))
    })
}

/// Whether the file is where a crate, a test binary, a bench or a fuzz target starts.
fn is_root(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    let folder = path.parent().and_then(Path::file_name).and_then(|f| f.to_str()).unwrap_or("");
    let grandparent = path.parent().and_then(Path::parent).unwrap_or(Path::new(""));
    let of_a_crate = folder == "tests" && top().join(grandparent).join("Cargo.toml").exists();
    matches!(name, "lib.rs" | "main.rs" | "build.rs")
        || of_a_crate
        || matches!(folder, "bin" | "benches" | "examples" | "fuzz_targets")
}

fn claims_module(line: &str, name: &str) -> bool {
    let line = line.trim();
    let Some(at) = line.find("mod ") else { return false };
    let public = &line[..at];
    let declared = line[at + 4..].split(';').next().unwrap_or_default();
    line.contains(';') && declared == name && (public.is_empty() || public.starts_with("pub"))
}

/// `(name, line, number of lines)` of every function with a body of several lines. Relies on
/// rustfmt: a function ends at the first `}` that stands as far left as it does.
fn functions(text: &str) -> impl Iterator<Item = (&str, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    (0..lines.len()).filter_map(move |start| {
        let line = lines[start];
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let words = ["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe", "fn"];
        if !words.contains(&code.split(' ').next()?) {
            return None;
        }
        let (_, rest) = code.split_once("fn ")?;
        let name = rest.split(['(', '<']).next()?;
        // A signature may take several lines; without a body it ends with a semicolon.
        let ends = |line: &&&str| line.ends_with(['{', '}', ';']);
        if !lines[start..].iter().find(ends)?.ends_with('{') {
            return None;
        }
        let closes = |at: &usize| lines[*at].len() == indent + 1 && lines[*at].trim() == "}";
        let end = (start + 1..lines.len()).find(closes)?;
        Some((name, start + 1, end - start + 1))
    })
}

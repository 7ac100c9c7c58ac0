//! Jobs of the main file and of `scrape_config_files`, with one set of names for all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kit::config::{Invalid, yaml};
use model::GoRegex;
use scraper::config::{GlobalConfig, JobSpec, check_jobs};
use scraper::{Config, JobConfig};
use serde::Deserialize;

use super::LoadError;
use super::source::{Sources, folder};

/// What a further file may have.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "config.ScrapeConfigs")]
struct JobsSpec {
    scrape_configs: Vec<Option<JobSpec>>,
}

/// All jobs so far.
pub(super) struct JobFiles<'g> {
    global: &'g GlobalConfig,
    /// By name: the file that has it.
    known: BTreeMap<String, String>,
    jobs: Vec<Arc<JobConfig>>,
}

// === impl JobFiles ===

impl<'g> JobFiles<'g> {
    pub(super) fn new(global: &'g GlobalConfig) -> JobFiles<'g> {
        JobFiles { global, known: BTreeMap::new(), jobs: Vec::new() }
    }

    /// The jobs of the main file.
    pub(super) fn add_main(
        &mut self,
        jobs: Vec<Option<JobSpec>>,
        sources: &Sources,
    ) -> Result<(), LoadError> {
        let file = sources.main().file();
        let checked = check_jobs(jobs, self.global, &mut self.known, file);
        self.jobs.extend(checked.map_err(|error| sources.locate(error))?);
        Ok(())
    }

    /// The jobs of the files that match `patterns`.
    pub(super) fn add_files(
        &mut self,
        patterns: &[String],
        sources: &mut Sources,
    ) -> Result<(), LoadError> {
        for (at, pattern) in patterns.iter().enumerate() {
            let paths = matching(Path::new(pattern)).map_err(|message| {
                sources.locate(Invalid::new(format!("scrape_config_files[{at}]"), message))
            })?;
            for path in paths {
                let document = sources.read_further(&path)?;
                self.add_file(&document, &folder(&path))?;
            }
        }
        Ok(())
    }

    fn add_file(&mut self, document: &yaml::Document, dir: &Path) -> Result<(), LoadError> {
        let mut spec: JobsSpec = document.decode()?;
        spec.scrape_configs.iter_mut().flatten().for_each(|job| job.resolve_paths(dir));
        let file = document.file();
        // A file that is named twice brings its jobs twice: that must not look like one file.
        self.known.values_mut().filter(|known| *known == file).for_each(|known| known.push(' '));
        let checked = check_jobs(spec.scrape_configs, self.global, &mut self.known, file);
        self.jobs.extend(checked.map_err(|error| document.locate(error))?);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn finish(self) -> Vec<Arc<JobConfig>> {
        self.jobs
    }
}

/// Files that there are, in the order of their names. Only the last part of a pattern has stars.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !name.contains(['*', '?', '[']) {
        return Ok(if pattern.exists() { vec![pattern.to_owned()] } else { Vec::new() });
    }
    let regex = GoRegex::new(&regex_of_glob(&name));
    let regex = regex.map_err(|_| format!("error retrieving scrape config files for {name:?}"))?;
    let dir = folder(pattern);
    let looked_at = if dir.as_os_str().is_empty() { Path::new(".") } else { &*dir };
    let Ok(entries) = std::fs::read_dir(looked_at) else { return Ok(Vec::new()) };
    let names = entries.flatten().map(|entry| entry.file_name());
    let fitting = names.filter(|name| regex.is_match(&name.to_string_lossy()));
    let mut paths: Vec<PathBuf> = fitting.map(|name| dir.join(name)).collect();
    paths.sort();
    Ok(paths)
}

/// `*` and `?` stand for letters, `[…]` for one of them, `\x` for `x`.
fn regex_of_glob(glob: &str) -> String {
    let mut regex = String::new();
    let (mut letters, mut in_class) = (glob.chars(), false);
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => regex.extend(['\\', letters.next().unwrap_or('\\')]),
            ']' if in_class => {
                in_class = false;
                regex.push(']');
            }
            _ if in_class => regex.push(letter),
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' => {
                in_class = true;
                regex.push('[');
            }
            _ if letter.is_ascii_punctuation() => regex.extend(['\\', letter]),
            _ => regex.push(letter),
        }
    }
    regex
}

/// Whether every target that is written down can be scraped.
pub(super) fn check_targets(config: &Config, sources: &Sources) -> Result<(), LoadError> {
    config.check_static_targets().map_err(|(job, error)| {
        sources.locate(Invalid::new("scrape_configs", format!("job {job:?}: {error}")))
    })?;
    Ok(())
}

/// Whether every file exists that requests of jobs will be made with.
pub(super) fn check_existence(config: &Config, sources: &Sources) -> Result<(), LoadError> {
    for job in &config.jobs {
        for path in job.http().files() {
            std::fs::metadata(path).map_err(|error| {
                let (name, path) = (job.job_name(), path.display().to_string());
                let message = format!("job {name:?}: error checking file {path:?}: {error}");
                sources.locate(Invalid::new("scrape_configs", message))
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_letters_and_points_for_themselves() {
        let check = |glob: &str, name: &str, want: bool| {
            let regex = GoRegex::new(&regex_of_glob(glob)).unwrap();
            assert_eq!(regex.is_match(name), want, "{glob} {name}");
        };
        check("*.yml", "a.yml", true);
        check("*.yml", "a_yml", false);
        check("a?[bc].json", "axb.json", true);
        check("a?[bc].json", "axd.json", false);
        check("a\\*", "a*", true);
        check("a\\*", "ab", false);
    }
}

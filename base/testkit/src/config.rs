//! A configuration as a test writes it: short for what every test needs, YAML for the rest.

use crate::receiver::FakeReceiver;
use crate::target::FakeTarget;

/// How often tests scrape. Short, so that a story of several scrapes takes a second.
const INTERVAL: &str = "200ms";

/// A configuration file in the making. [`Config::yaml`] is the file.
#[derive(Debug, Clone)]
pub struct Config {
    global: String,
    jobs: Vec<Job>,
    remote_writes: Vec<String>,
    sections: String,
}

/// One entry of `scrape_configs` in the making.
#[derive(Debug, Clone)]
pub struct Job {
    text: String,
}

/// A configuration that scrapes nothing, at test speed.
pub fn config() -> Config {
    Config {
        global: format!("scrape_interval: {INTERVAL}\n"),
        jobs: Vec::new(),
        remote_writes: Vec::new(),
        sections: String::new(),
    }
}

/// A job without targets.
pub fn job(name: &str) -> Job {
    Job { text: format!("job_name: {name}\n") }
}

// === impl Config ===

impl Config {
    /// Replaces what stands under `global`.
    pub fn global(self, yaml: &str) -> Config {
        Config { global: lines(yaml), ..self }
    }

    /// Scrapes this target, as a job of its own named `test`, `test2` …
    pub fn scrape(self, target: &FakeTarget) -> Config {
        let name = match self.jobs.len() {
            0 => "test".to_owned(),
            n => format!("test{}", n + 1),
        };
        self.job(job(&name).target(&target.address()))
    }

    /// Adds a job.
    pub fn job(mut self, job: Job) -> Config {
        self.jobs.push(job);
        self
    }

    /// Sends to this receiver, at test speed: a destination named `receiver`, `receiver2` …
    pub fn forward_to(self, receiver: &FakeReceiver) -> Config {
        let name = match self.remote_writes.len() {
            0 => "receiver".to_owned(),
            n => format!("receiver{}", n + 1),
        };
        self.remote_write(&format!(
            "name: {name}\n\
             url: {}\n\
             queue_config: {{ batch_send_deadline: 50ms, min_backoff: 30ms, max_backoff: 200ms }}\n",
            receiver.url()
        ))
    }

    /// Adds an entry of `remote_write`.
    pub fn remote_write(mut self, yaml: &str) -> Config {
        self.remote_writes.push(lines(yaml));
        self
    }

    /// Adds top-level sections.
    pub fn section(mut self, yaml: &str) -> Config {
        self.sections.push_str(&lines(yaml));
        self
    }

    /// The file.
    pub fn yaml(&self) -> String {
        let mut out = String::new();
        if !self.global.is_empty() {
            out.push_str("global:\n");
            push_indented(&mut out, &self.global, "  ", "  ");
        }
        for (key, entries) in [
            ("scrape_configs", self.jobs.iter().map(|job| &job.text).collect::<Vec<_>>()),
            ("remote_write", self.remote_writes.iter().collect()),
        ] {
            if entries.is_empty() {
                continue;
            }
            out.push_str(&format!("{key}:\n"));
            for entry in entries {
                push_indented(&mut out, entry, "  - ", "    ");
            }
        }
        out + &self.sections
    }
}

// === impl Job ===

impl Job {
    /// Scrapes this address.
    pub fn target(self, address: &str) -> Job {
        self.targets(&[address])
    }

    /// Scrapes these addresses, as one group.
    pub fn targets(self, addresses: &[&str]) -> Job {
        self.with(&format!("static_configs: [{{ targets: {addresses:?} }}]"))
    }

    /// Adds keys of the job.
    pub fn with(mut self, yaml: &str) -> Job {
        self.text.push_str(&lines(yaml));
        self
    }
}

/// `yaml` without the indentation of the test that it stands in, ending in a line end.
fn lines(yaml: &str) -> String {
    let yaml = yaml.trim_matches('\n').trim_end();
    let spaces = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let filled = yaml.lines().filter(|line| !line.trim().is_empty());
    let margin = filled.map(spaces).min().unwrap_or(0);
    let unindented = yaml.lines().map(|line| line.get(margin..).unwrap_or_default());
    unindented.flat_map(|line| [line, "\n"]).collect()
}

fn push_indented(out: &mut String, text: &str, first: &str, rest: &str) {
    for (at, line) in text.lines().enumerate() {
        out.push_str(if at == 0 { first } else { rest });
        out.push_str(line);
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_keep_their_shape_wherever_the_test_indents_them() {
        let yaml = config()
            .job(job("a").target("127.0.0.1:1").with(
                "
                    metric_relabel_configs:
                      - action: drop
                ",
            ))
            .remote_write("url: http://127.0.0.1:2/")
            .section("routes: []")
            .yaml();
        let want = "\
global:
  scrape_interval: 200ms
scrape_configs:
  - job_name: a
    static_configs: [{ targets: [\"127.0.0.1:1\"] }]
    metric_relabel_configs:
      - action: drop
remote_write:
  - url: http://127.0.0.1:2/
routes: []
";
        assert_eq!(yaml, want);
    }
}

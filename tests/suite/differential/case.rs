//! One case of the differential suite: what a target answers, how its job is configured, and
//! whether both agents must do the same with it.

use testkit::Reply;

/// One target, in a job of its own.
#[derive(Debug)]
pub(super) struct Case {
    /// A sentence.
    pub(super) name: &'static str,
    /// Further keys of the job, as YAML.
    pub(super) job: String,
    /// Further keys that only 3.14 knows, for what 2.42 does after a command line flag.
    pub(super) ours: String,
    /// Further labels of the target, as YAML inside braces.
    pub(super) labels: &'static str,
    /// The answers, one a scrape; the last one for ever.
    pub(super) replies: Vec<Reply>,
    /// What must come of it.
    pub(super) want: Want,
}

/// What must come of a case.
#[derive(Debug)]
pub(super) enum Want {
    /// The same from both.
    Same,
    /// The same from both, and it is known that no scrape takes place.
    NotScraped,
    /// Prometheus 3.14 does this, 2.42 something else.
    Differs { upstream: &'static str, transcript: String },
    /// Prometheus 3.14 does this, and 2.42 does not even load the configuration.
    New { upstream: &'static str, transcript: String },
}

/// A case whose target serves this page in the text format.
pub(super) fn page(name: &'static str, page: &str) -> Case {
    reply(name, Reply::page(page.to_owned()))
}

/// A case whose target answers this.
pub(super) fn reply(name: &'static str, reply: Reply) -> Case {
    Case {
        name,
        job: String::new(),
        ours: String::new(),
        labels: "",
        replies: vec![reply],
        want: Want::Same,
    }
}

// === impl Case ===

impl Case {
    /// Then the target serves this page.
    pub(super) fn then(self, page: &str) -> Case {
        self.then_reply(Reply::page(page.to_owned()))
    }

    /// Then the target answers this.
    pub(super) fn then_reply(mut self, reply: Reply) -> Case {
        self.replies.push(reply);
        self
    }

    /// With further keys of the job.
    pub(super) fn job(mut self, yaml: &str) -> Case {
        self.job.push_str(yaml);
        self.job.push('\n');
        self
    }

    /// With native histograms.
    pub(super) fn native(mut self) -> Case {
        self.ours.push_str("scrape_native_histograms: true\n");
        self
    }

    /// With further labels of the target: `a: b, c: d`.
    pub(super) fn labels(self, labels: &'static str) -> Case {
        Case { labels, ..self }
    }

    /// No scrape takes place.
    pub(super) fn not_scraped(self) -> Case {
        Case { want: Want::NotScraped, ..self }
    }

    /// 3.14 does this, as `upstream` says; 2.42 does not.
    pub(super) fn differs(self, upstream: &'static str, transcript: &str) -> Case {
        Case { want: Want::Differs { upstream, transcript: unindented(transcript) }, ..self }
    }

    /// 3.14 does this, as `upstream` says; 2.42 does not know the configuration.
    pub(super) fn new_in_3(self, upstream: &'static str, transcript: &str) -> Case {
        Case { want: Want::New { upstream, transcript: unindented(transcript) }, ..self }
    }

    /// How many scrapes are looked at: each answer once, and a page at least twice.
    pub(super) fn n_scrapes(&self) -> usize {
        self.replies.len().max(2)
    }
}

/// `text` without the indentation of the code that it stands in.
fn unindented(text: &str) -> String {
    let text = text.trim_matches('\n').trim_end();
    let spaces = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let margin = text.lines().map(spaces).min().unwrap_or(0);
    text.lines().flat_map(|line| [line.get(margin..).unwrap_or_default(), "\n"]).collect()
}

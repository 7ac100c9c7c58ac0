//! The real binary, started for one test: own folder, own port, its log judged at the end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::ports::free_address;
use crate::process::Process;
use crate::wait::{DEADLINE, wait_until};
use crate::watcher::Watcher;

/// The name of the configuration in the folder.
const CONFIG_FILE: &str = "rollcall.yml";

/// How long a stop may take: queues drain, watchers hear the end.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// How rollcall is to be started.
#[derive(Debug)]
pub struct Launch {
    binary: PathBuf,
    yaml: String,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    folder: TempDir,
    waits_for: &'static str,
    address: Option<SocketAddr>,
}

/// A running rollcall. Killed when dropped.
#[derive(Debug)]
pub struct Rollcall {
    process: Process,
    address: SocketAddr,
    folder: TempDir,
    client: reqwest::Client,
}

/// What an ended rollcall leaves: how it ended and what it logged.
#[derive(Debug)]
pub struct Stopped {
    status: ExitStatus,
    log: String,
    // Files that it wrote can still be read.
    folder: TempDir,
}

// === impl Launch ===

impl Launch {
    /// Starts this binary.
    pub fn new(binary: impl AsRef<Path>) -> Launch {
        Launch {
            binary: binary.as_ref().to_owned(),
            yaml: String::new(),
            arguments: Vec::new(),
            variables: Vec::new(),
            folder: tempfile::tempdir().expect("create a temporary folder"),
            waits_for: "/-/ready",
            address: None,
        }
    }

    /// With this configuration.
    pub fn config(self, config: &Config) -> Launch {
        self.yaml(&config.yaml())
    }

    /// With this text as its configuration file.
    pub fn yaml(self, yaml: &str) -> Launch {
        Launch { yaml: yaml.to_owned(), ..self }
    }

    /// With one more command line argument.
    pub fn argument(mut self, argument: &str) -> Launch {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With one more environment variable.
    pub fn variable(mut self, name: &str, value: &str) -> Launch {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Does not wait until everything is warm, only until it answers.
    pub fn not_waiting_until_ready(self) -> Launch {
        Launch { waits_for: "/-/healthy", ..self }
    }

    /// At this address, where another one listened before it; otherwise at one that is free.
    pub fn at(self, address: SocketAddr) -> Launch {
        Launch { address: Some(address), ..self }
    }

    /// The folder it runs in: relative paths in its configuration start here.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it, and waits until it is ready.
    pub async fn start(self) -> Rollcall {
        let waits_for = self.waits_for;
        let mut app = self.spawn();
        let url = app.url(waits_for);
        app.process.answers(&url, DEADLINE).await;
        app
    }

    /// Starts it where it will refuse to run, and returns how it ended.
    pub async fn start_and_fail(self) -> Stopped {
        let mut app = self.spawn();
        let status = app.process.exit(DEADLINE).await;
        assert!(!status.success(), "it ran:\n{}", app.log());
        Stopped { status, log: app.log(), folder: app.folder }
    }

    fn spawn(self) -> Rollcall {
        let address = self.address.unwrap_or_else(free_address);
        let path = self.folder.path().join(CONFIG_FILE);
        std::fs::write(&path, &self.yaml).expect("write the configuration");
        let mut command = Command::new(&self.binary);
        command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.enable-lifecycle")
            .args(&self.arguments)
            .current_dir(self.folder.path())
            .env("NO_COLOR", "1")
            .envs(self.variables);
        let log = self.folder.path().join("rollcall.log");
        let process = Process::start("rollcall", command, &log);
        let client = reqwest::Client::builder().timeout(DEADLINE).build();
        let client = client.expect("build an HTTP client");
        Rollcall { process, address, folder: self.folder, client }
    }
}

// === impl Rollcall ===

impl Rollcall {
    /// `http://127.0.0.1:port` and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder it runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until it has logged a line with these words in it.
    pub async fn wait_for_log(&self, words: &str) {
        wait_until(&format!("it logs {words:?}"), DEADLINE, || async {
            let log = self.log();
            if log.contains(words) { Ok(()) } else { Err(log) }
        })
        .await;
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A client that keeps its connections.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Status and body of `GET path`.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let url = self.url(path);
        let response = self.client.get(&url).send().await;
        let response = response.unwrap_or_else(|error| panic!("GET {url}: {error:?}"));
        let status = response.status().as_u16();
        (status, response.text().await.unwrap_or_else(|error| panic!("GET {url}: {error:?}")))
    }

    /// The JSON that `GET path` answers, with 200.
    pub async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("GET {path}: {error}: {body}"))
    }

    /// Opens a watch on this path.
    pub async fn watch(&self, path: &str) -> Watcher {
        Watcher::open(&self.url(path)).await
    }

    /// The names of the objects that `GET path` lists, sorted.
    pub async fn names(&self, path: &str) -> Vec<String> {
        let list = self.json(path).await;
        let items = list["items"].as_array().unwrap_or_else(|| panic!("no list: {list}"));
        let name = |item: &Value| item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut names: Vec<String> = items.iter().map(name).collect();
        names.sort();
        names
    }

    /// Sends a request with a JSON body; status and answer.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> (u16, Value) {
        let method = method.parse().expect("an HTTP method");
        let request = self.client.request(method, self.url(path));
        let request = request.header("Content-Type", content_type).body(body.to_string());
        let response = request.send().await.unwrap_or_else(|error| panic!("{path}: {error:?}"));
        let status = response.status().as_u16();
        let text = response.text().await.unwrap_or_else(|error| panic!("{path}: {error:?}"));
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Waits until this target (`host:port`) was scraped `n` more times, whatever came of it.
    pub async fn wait_for_scrapes(&self, target: &str, n: usize) {
        let mut last = String::new();
        for nth in 0..=n {
            let what = format!("{target} is scraped ({nth} of {n})");
            last = wait_until(&what, DEADLINE, || async {
                let seen = self.last_scrape(target).await;
                if seen != last { Ok(seen) } else { Err(seen) }
            })
            .await;
        }
    }

    async fn last_scrape(&self, target: &str) -> String {
        let targets = self.json("/api/v1/targets").await;
        let active = targets["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        let found = active.iter().find(|found| {
            found["scrapeUrl"].as_str().is_some_and(|url| url.contains(&format!("{target}/")))
        });
        found.map_or_else(String::new, |found| found["lastScrape"].to_string())
    }

    /// Its own metrics.
    pub async fn metrics(&self) -> Metrics {
        let (status, body) = self.get("/metrics").await;
        assert_eq!(status, 200, "{body}");
        Metrics::parse(&body)
    }

    /// Waits until `wanted` holds of its own metrics.
    pub async fn wait_for_metrics(&self, what: &str, wanted: impl Fn(&Metrics) -> bool) {
        wait_until(what, DEADLINE, || async {
            let metrics = self.metrics().await;
            if wanted(&metrics) { Ok(()) } else { Err(metrics.report()) }
        })
        .await;
    }

    /// Writes a new configuration file; nothing is reloaded yet.
    pub fn write_config(&self, yaml: &str) {
        std::fs::write(self.folder.path().join(CONFIG_FILE), yaml).expect("write the new file");
    }

    /// Writes a new configuration and asks for a reload over HTTP; status and body of the answer.
    pub async fn reload(&self, config: &Config) -> (u16, String) {
        self.reload_yaml(&config.yaml()).await
    }

    /// As [`Rollcall::reload`], with the text of a configuration.
    pub async fn reload_yaml(&self, yaml: &str) -> (u16, String) {
        self.write_config(yaml);
        let response = self.client.post(self.url("/-/reload")).send().await;
        let response = response.expect("POST /-/reload");
        (response.status().as_u16(), response.text().await.expect("read the answer"))
    }

    /// Stops it with SIGTERM.
    ///
    /// # Panics
    /// If it does not end with 0, or logged a warning or an error.
    pub async fn stop(self) -> Stopped {
        self.stop_expecting(&[]).await
    }

    /// As [`Rollcall::stop`], but warnings and errors with one of these words in them are fine.
    pub async fn stop_expecting(self, announced: &[&str]) -> Stopped {
        self.process.signal("TERM").await;
        self.ended_expecting(announced).await
    }

    /// Waits until it has ended, after it was told to; what holds for
    /// [`Rollcall::stop_expecting`] must hold.
    pub async fn ended_expecting(mut self, announced: &[&str]) -> Stopped {
        let status = self.process.exit(STOP_WITHIN).await;
        let stopped = Stopped { status, log: self.process.log(), folder: self.folder };
        assert!(stopped.status.success(), "it ended with {}:\n{}", stopped.status, stopped.log);
        let complaints = complaints(&stopped.log);
        let surprises: Vec<_> =
            complaints.iter().filter(|line| !announced.iter().any(|a| line.contains(a))).collect();
        assert!(surprises.is_empty(), "warnings that the test did not announce: {surprises:#?}");
        stopped
    }

    /// Stops it with SIGTERM, whatever comes of it.
    pub async fn terminate(mut self) -> Stopped {
        self.process.signal("TERM").await;
        let status = self.process.exit(STOP_WITHIN).await;
        Stopped { status, log: self.process.log(), folder: self.folder }
    }

    /// Ends it without a chance to say anything.
    pub async fn kill(mut self) -> Stopped {
        self.process.signal("KILL").await;
        let status = self.process.exit(DEADLINE).await;
        Stopped { status, log: self.process.log(), folder: self.folder }
    }
}

// === impl Stopped ===

impl Stopped {
    /// Its exit code, unless a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// What it logged.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The folder it ran in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// The lines of a log that say WARN or ERROR, in either of the two log formats.
fn complaints(log: &str) -> Vec<String> {
    let levels = ["level=warn", "level=error", "\"level\":\"warn\"", "\"level\":\"error\""];
    let complains = |line: &&str| {
        let line = line.to_ascii_lowercase();
        line.contains("panicked at") || levels.iter().any(|level| line.contains(level))
    };
    log.lines().filter(complains).map(str::to_owned).collect()
}

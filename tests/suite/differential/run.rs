//! One run of all cases of a kind through one agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use testkit::{Config, DEADLINE, FakeReceiver, FakeTarget, Prometheus, Reply, Request, wait_until};

use super::case::{Case, Want};
use super::transcript::{Transcript, transcripts};

/// Scrapes are this far apart: enough for two agents and all their targets on two busy cores.
const INTERVAL: &str = "2s";

/// A job of no case.
pub(super) const WAKING: &str = "waking";

/// How long a run may take.
const RUN_WITHIN: Duration = Duration::from_secs(120);

/// Timestamps that targets print are this far ahead: an agent sends nothing from before its own
/// start, takes nothing more than ten minutes ahead, and a run is over before then.
const AHEAD_MS: i64 = 180_000;

/// Who scrapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agent {
    Prometheus,
    Rollcall,
}

/// Runs the cases, where the moment 0 is `base_ms`; a transcript for each of them, in order. For a
/// case that the agent cannot load, an empty one.
pub(super) async fn run(agent: Agent, cases: &[Case], base_ms: i64) -> Vec<Transcript> {
    let stage = Stage::new(cases, base_ms).await;
    let yaml = stage.yaml(agent, cases);
    match agent {
        Agent::Prometheus => {
            // Of what it scrapes before its sender has begun it sends nothing.
            let first = stage.waking_yaml(cases);
            let prometheus = match is_native(cases) {
                true => Prometheus::agent_with_histograms(&first).await,
                false => Prometheus::agent(&first).await,
            };
            stage.wait_for_sender(&prometheus).await;
            prometheus.reload(&yaml).await;
            stage.wait(agent, cases, &|| prometheus.log()).await;
        }
        Agent::Rollcall => {
            let app = crate::rollcall().yaml(&yaml).start().await;
            stage.wait(agent, cases, &|| app.log()).await;
        }
    }
    transcripts(cases, &stage.receiver, &stage.target, stage.base_ms)
}

/// Where an agent is watched: the target that answers for all cases, and the receiver.
struct Stage {
    target: FakeTarget,
    receiver: FakeReceiver,
    base_ms: i64,
}

// === impl Stage ===

impl Stage {
    async fn new(cases: &[Case], base_ms: i64) -> Stage {
        let scripts: Vec<(AtomicUsize, Vec<Reply>)> =
            cases.iter().map(|case| (AtomicUsize::new(0), timed(&case.replies, base_ms))).collect();
        let scripts = Arc::new(scripts);
        let target = FakeTarget::answering(move |request, _| answer(&scripts, request)).await;
        let receiver = FakeReceiver::accepting().await;
        Stage { target, receiver, base_ms }
    }

    /// A configuration that sends as that of the cases does, and has one job that is none of them.
    fn waking_yaml(&self, cases: &[Case]) -> String {
        let job =
            testkit::job(WAKING).target(&self.target.address()).with("scrape_interval: 100ms");
        self.sending(Stage::config().job(job), cases).yaml()
    }

    /// Waits until something of that job arrives.
    async fn wait_for_sender(&self, prometheus: &Prometheus) {
        wait_until("the sender of Prometheus has begun", DEADLINE, || async {
            match self.receiver.samples(&[("job", WAKING)]).is_empty() {
                true => Err(prometheus.log()),
                false => Ok(()),
            }
        })
        .await;
    }

    fn config() -> Config {
        testkit::config().global(&format!("scrape_interval: {INTERVAL}"))
    }

    /// The configuration: a job for each case that the agent can load.
    fn yaml(&self, agent: Agent, cases: &[Case]) -> String {
        let mut config = Stage::config();
        for (at, case) in cases.iter().enumerate() {
            if !loads(agent, case) {
                continue;
            }
            let comma = if case.labels.is_empty() { "" } else { ", " };
            let job = testkit::job(&format!("case-{at}"))
                .with(&format!("metrics_path: /case/{at}"))
                .with(&format!(
                    "static_configs: [{{ targets: [\"{}\"], labels: {{ case: \"{at}\"{comma}{} }} }}]",
                    self.target.address(),
                    case.labels,
                ))
                .with(&case.job);
            let ours = if agent == Agent::Rollcall { case.ours.as_str() } else { "" };
            config = config.job(job.with(ours));
        }
        self.sending(config, cases).yaml()
    }

    fn sending(&self, config: Config, cases: &[Case]) -> Config {
        let url = self.receiver.url();
        let queue = "{ batch_send_deadline: 200ms, max_shards: 1 }";
        let more = match is_native(cases) {
            true => "send_native_histograms: true\nsend_exemplars: true\n",
            false => "",
        };
        let send = format!("url: {url}\nqueue_config: {queue}\n{more}");
        config.remote_write(&send)
    }

    /// Waits until every case that is scraped was scraped often enough.
    async fn wait(&self, agent: Agent, cases: &[Case], log: &dyn Fn() -> String) {
        let what = format!("{agent:?} reported every case often enough");
        wait_until(&what, RUN_WITHIN, || async {
            let ups = self.receiver.samples(&[("__name__", "up")]);
            let missing = cases.iter().enumerate().filter(|(at, case)| {
                let label = at.to_string();
                let seen = ups.iter().filter(|up| up.labels.get("case") == Some(&label));
                loads(agent, case)
                    && !matches!(case.want, Want::NotScraped)
                    && seen.count() < case.n_scrapes() + 1
            });
            let missing: Vec<&str> = missing.map(|(_, case)| case.name).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}\n{}", log())) }
        })
        .await;
    }
}

/// Whether native histograms are what the cases are about: a flag, and keys of the sender.
fn is_native(cases: &[Case]) -> bool {
    cases.iter().any(|case| !case.ours.is_empty())
}

fn loads(agent: Agent, case: &Case) -> bool {
    agent == Agent::Rollcall || !matches!(case.want, Want::New { .. })
}

/// The answer to a request for `/case/N…`: the next one of that case's script.
fn answer(scripts: &[(AtomicUsize, Vec<Reply>)], request: &Request) -> Reply {
    let number = request.path().split('/').nth(2).and_then(|number| number.parse::<usize>().ok());
    let Some((turn, replies)) = number.and_then(|number| scripts.get(number)) else {
        return Reply::status(404);
    };
    let turn = turn.fetch_add(1, Ordering::Relaxed);
    replies[turn.min(replies.len() - 1)].clone()
}

/// The answers with `{T0}` … `{T9}` turned into timestamps in milliseconds and `{S0}` … `{S9}`
/// into the same in seconds.
fn timed(replies: &[Reply], base_ms: i64) -> Vec<Reply> {
    let moment = |reply: &Reply| {
        reply.clone().rewritten(|text| {
            let mut text = text.to_owned();
            for nth in 0..10 {
                let at_ms = base_ms + nth * 1000;
                text = text.replace(&format!("{{T{nth}}}"), &at_ms.to_string());
                let seconds = format!("{}.{:03}", at_ms / 1000, at_ms % 1000);
                text = text.replace(&format!("{{S{nth}}}"), &seconds);
            }
            text
        })
    };
    replies.iter().map(moment).collect()
}

/// The moment 0 of runs that begin now. Those that are compared have the same: how digits become
/// milliseconds depends on them.
#[expect(clippy::disallowed_methods, reason = "the wall clock of the agents under test")]
pub(super) fn base_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis() as i64 + AHEAD_MS
}

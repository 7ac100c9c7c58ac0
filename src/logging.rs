//! The log: one line an event on standard error, as logfmt or JSON, with Prometheus' keys.
//!
//! `time=… level=INFO target=… msg="…" key=value …`. Rust's target takes the place of Prometheus'
//! `source`.

use std::fmt::{self, Write as _};
use std::io;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

/// `--log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogLevel {
    /// Everything, each scrape too.
    Debug,
    /// What the daemon does.
    Info,
    /// What is unexpected.
    Warn,
    /// What needs somebody.
    Error,
}

/// `--log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// `key=value`.
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// Starts logging for the life of the process.
pub(crate) fn start(level: LogLevel, format: LogFormat) {
    let filter = Targets::new()
        // What our libraries have to say at DEBUG is about themselves.
        .with_default(level.filter().min(LevelFilter::INFO))
        // It tells of each attempt to connect. What became of a block is told by its destination.
        .with_target("async_nats", LevelFilter::OFF)
        .with_targets(OURS.map(|target| (target, level.filter())));
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).event_format(format);
    tracing_subscriber::registry().with(filter).with(layer).init();
}

/// Our own crates, by the target of their events.
const OURS: [&str; 5] = ["rollcall", "kit", "scraper", "forwarder", "status_sink"];

/// The facts of an event, in order; the message apart.
#[derive(Default)]
struct Facts {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

// === impl LogLevel ===

impl LogLevel {
    fn filter(self) -> LevelFilter {
        match self {
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Error => LevelFilter::ERROR,
        }
    }
}

// === impl LogFormat ===

impl<S, N> FormatEvent<S, N> for LogFormat
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut facts = Facts::default();
        event.record(&mut facts);
        let (level, target) = (event.metadata().level(), event.metadata().target());
        let line = self.line(Timestamp::now(), level, target, facts);
        out.write_str(&line)
    }
}

impl LogFormat {
    fn line(self, time: Timestamp, level: &Level, target: &str, facts: Facts) -> String {
        let head = [
            ("time", format!("{time:.3}")),
            ("level", level.to_string()),
            ("target", target.to_owned()),
            ("msg", facts.message),
        ];
        let head = head.into_iter().map(|(key, text)| (key, Value::String(text)));
        let all = head.chain(facts.fields);
        let mut line = match self {
            LogFormat::Json => {
                let all: Map<String, Value> =
                    all.map(|(key, value)| (key.to_owned(), value)).collect();
                Value::Object(all).to_string()
            }
            LogFormat::Logfmt => {
                let pairs: Vec<String> =
                    all.map(|(key, value)| format!("{key}={}", logfmt_value(&value))).collect();
                pairs.join(" ")
            }
        };
        line.push('\n');
        line
    }
}

/// The value as logfmt writes it: quoted only where it must be.
fn logfmt_value(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let bare = !text.is_empty()
        && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"\"=\\".contains(c));
    if bare { text } else { Value::String(text).to_string() }
}

// === impl Facts ===

impl Visit for Facts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.fields.push((field.name(), format!("{value:?}").into()));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.fields.push((field.name(), value.into()));
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.fields.push((field.name(), value.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(format: LogFormat, want: &str) {
        let facts = Facts {
            message: "scrape failed".to_owned(),
            fields: vec![("url", "http://a/?b=c".into()), ("tries", 3.into())],
        };
        let time = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        assert_eq!(format.line(time, &Level::WARN, "scraper", facts), want);
    }

    #[test]
    fn a_line_has_the_keys_of_prometheus() {
        check(
            LogFormat::Logfmt,
            "time=2023-11-14T22:13:20.123Z level=WARN target=scraper msg=\"scrape failed\" \
             url=\"http://a/?b=c\" tries=3\n",
        );
        check(
            LogFormat::Json,
            "{\"time\":\"2023-11-14T22:13:20.123Z\",\"level\":\"WARN\",\"target\":\"scraper\",\
             \"msg\":\"scrape failed\",\"url\":\"http://a/?b=c\",\"tries\":3}\n",
        );
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(logfmt_value(&"a\nb\u{1b}[31m".into()), r#""a\nb\u001b[31m""#);
        assert_eq!(logfmt_value(&"".into()), r#""""#);
    }
}

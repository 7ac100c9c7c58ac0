//! What the client library is told: our defaults, and options that stand in the configuration or in
//! a file of their own.

use std::collections::BTreeMap;

use kit::config::Invalid;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;

/// Names for which librdkafka has others, which are meant (its CONFIGURATION.md): in which order it
/// is told of both is left to chance.
const ALIASES: [(&str, &str); 8] = [
    ("acks", "request.required.acks"),
    ("bootstrap.servers", "metadata.broker.list"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
];
/// How long the library tries to deliver a message before the block is ours again.
const DELIVERED_WITHIN_MS: &str = "30000";

/// All options, by the names that are meant: those that are `stated`, and what `in_file` adds.
pub(super) fn all(
    stated: &BTreeMap<String, String>,
    in_file: Option<&str>,
) -> Result<BTreeMap<String, String>, Invalid> {
    let mut all: BTreeMap<String, String> =
        in_file.map(options_of).transpose()?.unwrap_or_default().into_iter().collect();
    all.extend(stated.iter().map(|(name, value)| (meant(name).to_owned(), value.clone())));
    Ok(all)
}

/// The configuration of a producer. `stated` are those of the options whose values may be shown.
pub(super) fn check(
    brokers: &str,
    options: &BTreeMap<String, String>,
    stated: &BTreeMap<String, String>,
) -> Result<ClientConfig, Invalid> {
    let config = client_config(brokers, options);
    let is = |name: &str, wanted: fn(&str) -> bool| {
        config.get(name).is_some_and(|value| wanted(&value.to_ascii_lowercase()))
    };
    let by_sasl = is("security.protocol", |protocol| protocol.starts_with("sasl"));
    let has_mechanism = is("sasl.mechanisms", |mechanism| mechanism != "gssapi");
    if by_sasl && !has_mechanism {
        let message = "Kerberos (GSSAPI, which librdkafka takes if nothing is said) is not built \
            in: set sasl.mechanism to PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512";
        return Err(Invalid::new("options", message));
    }
    match config.create_native_config() {
        Ok(_) => Ok(config),
        Err(error) => Err(refused_option(error, stated)),
    }
}

fn client_config(brokers: &str, options: &BTreeMap<String, String>) -> ClientConfig {
    let mut config = ClientConfig::new();
    let ours = [
        ("bootstrap.servers", brokers),
        ("client.id", "rollcall"),
        ("enable.idempotence", "true"),
        ("message.timeout.ms", DELIVERED_WITHIN_MS),
        ("linger.ms", "5"),
        ("ssl.ca.location", "probe"), // our OpenSSL has no authorities: those of the system
    ];
    for (name, value) in ours {
        config.set(meant(name), value);
    }
    for (name, value) in options {
        config.set(name, value);
    }
    config
}

/// The name that librdkafka means by this one.
fn meant(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, meant)| meant)
}

/// Which option the client library does not take; of the file's, without the value.
fn refused_option(error: KafkaError, stated: &BTreeMap<String, String>) -> Invalid {
    match error {
        KafkaError::ClientConfig(_, why, name, value) => {
            if stated.keys().any(|stated| meant(stated) == name) {
                Invalid::new("options", why)
            } else if !value.is_empty() && why.contains(&value) {
                Invalid::new("options_file", format!("not a value of {name:?}"))
            } else {
                Invalid::new("options_file", why)
            }
        }
        other => Invalid::new("options", other.to_string()),
    }
}

/// What a file of options says. Its values are secrets: none is in an error.
fn options_of(text: &str) -> Result<Vec<(String, String)>, Invalid> {
    let lines = text.lines().map(str::trim).zip(1..);
    let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    let option = |(line, nth): (&str, u32)| match line.split_once('=') {
        Some((name, value)) => Ok((meant(name.trim()).to_owned(), value.trim().to_owned())),
        None => Err(Invalid::new("options_file", format!("line {nth} is not name=value"))),
    };
    lines.map(option).collect()
}

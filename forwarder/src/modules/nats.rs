//! Publishes blocks to NATS JetStream: one acknowledged message a block, lines of JSON.
//!
//! Every message carries the hash of its bytes as `Nats-Msg-Id`: a block that is sent again after
//! a lost acknowledgement is stored once, within the stream's duplicate window.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode, message::PublishMessage};
use async_nats::{ConnectOptions, ServerAddr};
use futures::future::BoxFuture;
use kit::Clock;
use kit::config::{Invalid, yaml::Section};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize, Serializer};
use tokio::sync::Mutex;

use super::secrets;
use crate::block::{Compression, Encoding, Format};
use crate::config::QueueConfig;
use crate::module::{Checked, Module, ModuleKind, Parcel, SendError, Verdict};

pub(super) const KIND: ModuleKind = ModuleKind {
    name: "nats",
    about: "publishes to a NATS JetStream subject, each message acknowledged",
    check,
};

/// How long an acknowledgement may take.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.Nats")]
struct Spec {
    /// `nats://host:4222`, or `tls://`; several, separated by commas, are tried in turn.
    #[serde(serialize_with = "serialize_urls")]
    url: String,
    /// A file with the URL, in its place.
    url_file: String,
    /// What to publish to; a stream must capture it.
    subject: String,
    /// The URL, wherever it stands.
    #[serde(skip)]
    servers: String,
}

/// The servers without their passwords.
fn serialize_urls<S: Serializer>(urls: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown(urls))
}

fn shown(urls: &str) -> String {
    let hosts = urls.split(',').map(|url| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => url.to_owned(),
    });
    hosts.collect::<Vec<_>>().join(",")
}

struct Nats {
    spec: Spec,
    /// Made when a block is to be sent and there is none. A lock, because it is exchanged; held
    /// while it is made.
    connection: Mutex<Option<jetstream::Context>>,
}

fn check(section: &Section, _: &QueueConfig, folder: &Path) -> Result<Checked, Invalid> {
    let mut spec: Spec = section.decode()?;
    spec.servers = secrets::url(&spec.url, &mut spec.url_file, folder)?;
    if spec.servers.is_empty() {
        return Err(Invalid::new("url", "nats forwarder has no url"));
    }
    let mut servers = spec.servers.split(',').map(str::trim);
    if let Some(bad) = servers.find(|server| server.parse::<ServerAddr>().is_err()) {
        return Err(Invalid::new("url", format!("not the URL of a NATS server: {:?}", shown(bad))));
    }
    let is_empty = spec.subject.split('.').any(str::is_empty);
    if is_empty || spec.subject.contains(['*', '>']) || spec.subject.contains(char::is_whitespace) {
        let message = "nats forwarder needs a subject without wildcards, spaces and empty parts";
        return Err(Invalid::new("subject", message));
    }
    let settings = Arc::new(spec.clone());
    let build = move |_: &Arc<dyn Clock>| -> Result<Box<dyn Module>, _> {
        Ok(Box::new(Nats { spec: spec.clone(), connection: Mutex::default() }))
    };
    Ok(Checked::new(settings, Arc::new(build), Encoding::JsonLines))
}

impl Module for Nats {
    fn format(&self) -> Format {
        Format { encoding: Encoding::JsonLines, compression: Compression::None }
    }

    fn endpoint(&self) -> String {
        format!("{} {}", shown(&self.spec.servers), self.spec.subject)
    }

    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Verdict> {
        Box::pin(async {
            let published = tokio::time::timeout(ACKNOWLEDGED_WITHIN, self.publish(parcel)).await;
            let why = match published {
                Ok(Ok(())) => return Verdict::DELIVERED,
                Ok(Err(source)) if is_too_large(&*source) => {
                    let why = SendError::Send { endpoint: self.endpoint(), source };
                    return Verdict::Refused { why };
                }
                Ok(Err(source)) => {
                    if !is_answered(&*source) {
                        self.leave().await;
                    }
                    SendError::Send { endpoint: self.endpoint(), source }
                }
                Err(_) => {
                    self.leave().await;
                    SendError::Timeout { endpoint: self.endpoint(), limit: ACKNOWLEDGED_WITHIN }
                }
            };
            Verdict::Retry { after: None, why }
        })
    }
}

/// Whether the server, or the stream, will never take a message of this size.
fn is_too_large(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let Some(error) = error.downcast_ref::<PublishError>() else { return false };
    error.kind() == PublishErrorKind::MaxPayloadExceeded
        || answer(error)
            .is_some_and(|answer| answer.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM)
}

/// Whether a server said no: it is there.
fn is_answered(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<PublishError>().is_some_and(|error| match error.kind() {
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => false,
        PublishErrorKind::Other => answer(error).is_some(),
        _ => true,
    })
}

/// What the server said of a message that it did not take.
fn answer(error: &PublishError) -> Option<&jetstream::Error> {
    std::error::Error::source(error).and_then(|source| source.downcast_ref())
}

impl Nats {
    fn servers(&self) -> Vec<&str> {
        self.spec.servers.split(',').map(str::trim).collect()
    }

    /// Who we are, as the first URL with a user says: the library looks at none of them.
    fn options(&self) -> ConnectOptions {
        // A client that never gives up would outlive the destination, and keep what was published
        // while there was no connection. Each server is asked once; then we make another client.
        let options = ConnectOptions::new().max_reconnects(self.servers().len());
        let servers = self.servers().into_iter().filter_map(|url| url.parse::<ServerAddr>().ok());
        let Some(server) = servers.into_iter().find(ServerAddr::has_user_pass) else {
            return options;
        };
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = plain(server.username().unwrap_or_default());
        match server.password() {
            Some(password) => options.user_and_password(user, plain(password)),
            None => options.token(user),
        }
    }

    async fn connection(&self) -> Result<jetstream::Context, async_nats::ConnectError> {
        let mut slot = self.connection.lock().await;
        if let Some(context) = &*slot {
            return Ok(context.clone());
        }
        let client = self.options().connect(&self.servers()[..]).await?;
        Ok(slot.insert(jetstream::new(client)).clone())
    }

    /// Nobody may be at the connection's other end: another one for the next block.
    async fn leave(&self) {
        self.connection.lock().await.take();
    }

    async fn publish(
        &self,
        parcel: &Parcel,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let context = self.connection().await?;
        let id = rapidhash::v3::rapidhash_v3(&parcel.bytes);
        let message =
            PublishMessage::build().payload(parcel.bytes.clone()).message_id(format!("{id:016x}"));
        context.send_publish(self.spec.subject.clone(), message).await?.await?;
        Ok(())
    }
}

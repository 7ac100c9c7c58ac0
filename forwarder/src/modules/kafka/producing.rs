//! A producer of the client library, and what it says of its connections.

use std::ops::Deref;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, Producer as _};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::watch;
use tracing::{debug, info, warn};

/// A producer, which takes its time to end: not on a thread that serves.
pub(super) struct Producing {
    producer: Option<FutureProducer<Trouble>>,
    pub(super) trouble: Trouble,
}

/// What the client library said last about itself and its connections, since something arrived: of
/// a message for which there was no way it says only that it took too long.
#[derive(Clone, Default)]
pub(super) struct Trouble(watch::Sender<Option<String>>);

// === impl Producing ===

impl Producing {
    pub(super) fn start(config: &ClientConfig) -> Result<Producing, KafkaError> {
        let trouble = Trouble::default();
        let producer = Some(config.create_with_context(trouble.clone())?);
        Ok(Producing { producer, trouble })
    }

    /// Waits until it can never be used again. The library fails what it holds then, but for a
    /// message that was on its way in: that one would wait for its timeout, which is minutes.
    pub(super) async fn lost(&self) {
        let mut trouble = self.trouble.0.subscribe();
        while self.client().fatal_error().is_none() && trouble.changed().await.is_ok() {}
    }
}

impl Deref for Producing {
    type Target = FutureProducer<Trouble>;

    fn deref(&self) -> &FutureProducer<Trouble> {
        self.producer.as_ref().expect("it is taken when this is dropped, and no earlier")
    }
}

impl Drop for Producing {
    fn drop(&mut self) {
        let producer = self.producer.take();
        std::thread::spawn(move || drop(producer)); // what it still has is sent again
    }
}

// === impl Trouble ===

impl Trouble {
    pub(super) fn set(&self, said: Option<String>) {
        self.0.send_replace(said);
    }

    pub(super) fn get(&self) -> Option<String> {
        self.0.borrow().clone()
    }
}

impl ClientContext for Trouble {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug => debug!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                info!(target: "librdkafka", facility, "{message}");
            }
            // It tries again by itself, and says so every few seconds; that a block did not arrive is
            // said elsewhere.
            _ if self.get().is_some() => debug!(target: "librdkafka", facility, "{message}"),
            _ => warn!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "librdkafka", %error, "{reason}"); // it was logged
        // That no broker is left says less than why one of them is not.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.set(Some(reason.to_owned()));
        }
    }
}

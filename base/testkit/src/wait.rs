//! Waiting for a value: with a deadline, and a report of what was seen last.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How long a test waits for what must happen soon. Long, since two cores may be busy; a wait that
/// succeeds costs nothing of it.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks again and again until `look` returns `Ok`; `Err` says what it saw instead.
///
/// # Panics
/// After `within`, with `what` was waited for and what was seen last.
#[track_caller]
pub fn wait_until<T, L, F>(what: &str, within: Duration, mut look: L) -> impl Future<Output = T>
where
    L: FnMut() -> F,
    F: Future<Output = Result<T, String>>,
{
    let caller = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        let deadline = Instant::now() + within;
        let mut seen = String::from("nothing: the first look did not return");
        loop {
            match timeout_at(deadline, look()).await {
                Ok(Ok(value)) => return value,
                Ok(Err(last)) => seen = last,
                Err(_) => {}
            }
            assert!(
                Instant::now() < deadline,
                "{caller}: waited {within:?} until {what}; last seen: {seen}"
            );
            sleep(PAUSE).await;
        }
    }
}

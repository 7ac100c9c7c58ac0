//! What every part needs and none owns: clock, shutdown, backoff, error chains, the pieces of
//! configuration that several sections share, and the HTTP client they describe.
//!
//! Knows no target, no queue and no kind.

mod backoff;
mod chain;
mod clock;
pub mod config;
mod host;
pub mod http;
pub mod metrics;
pub mod open_files;
mod outlet;
mod shutdown;

pub use backoff::Backoff;
pub use chain::Chain;
pub use clock::{Clock, ManualClock, SystemClock};
pub use host::host_name;
pub use outlet::{Offer, Outlet, Plug};
pub use shutdown::{Shutdown, Stopper};

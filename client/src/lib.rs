//! The status center from Rust: read what everything is doing, change it, and be told of edges.
//!
//! ```no_run
//! use rollcall_client::{Client, Condition, Event};
//!
//! #[derive(Debug, serde::Deserialize)]
//! struct Vm {
//!     state: Option<String>,
//!     host: Option<String>,
//! }
//!
//! # async fn example() -> Result<(), rollcall_client::Error> {
//! let client = Client::new(["http://control-1:9090", "http://control-2:9090"])?;
//! let vms = client.resource::<Vm>("virtualmachines");
//!
//! let mut crashed = vms.subscribe(Condition::fields("status.state=crashed"));
//! loop {
//!     match crashed.next().await? {
//!         Event::Reset(all) => println!("{} are down now", all.len()),
//!         Event::Applied(vm) => println!("{} went down on {:?}", vm.name(), vm.status.host),
//!         Event::Left(vm) => println!("{} is up again, or gone", vm.name()),
//!     }
//! }
//! # }
//! ```
//!
//! A subscription never loses the level: after a restart of the server, a change to another
//! endpoint, or an absence longer than the server remembers, it reads everything again and says
//! so ([`Event::Reset`]); otherwise it goes on exactly where it was. Edges between two resets may
//! have happened unseen; the level is always right.

mod client;
mod endpoints;
mod error;
mod object;
mod subscription;

#[cfg(test)]
mod tests;

pub use client::{Client, Condition, List, Resource};
pub use error::Error;
pub use object::{Metadata, Object};
pub use subscription::{Event, Subscription};

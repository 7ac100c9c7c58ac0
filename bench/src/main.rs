//! `bench`: rollcall and its rivals, each as its own process, on the same fleet and interval.
//!
//! `bench scrape` prints CPU per sample and memory of each agent, as `make bench` shows them;
//! `bench queue` what queues on disk cost; `bench status` the status center beside etcd and Redis;
//! `bench instructions` counts those of each part; `bench soak` looks for losses and leaks while
//! everything fails; `bench sink` is the receiver alone. Figures come from the kernel (`/proc`),
//! ratios first.

mod agents;
mod fleet;
mod instructions;
mod process;
mod queue;
mod scrape;
mod sink;
mod soak;
mod status;
mod table;

use clap::{Parser, Subcommand};

/// Measures rollcall beside its rivals.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Scrape a simulated fleet and remote-write it to a sink that answers 204.
    Scrape(scrape::Options),
    /// What queues cost rollcall: in memory, on disk, shared, idle.
    Queue(queue::Options),
    /// Update and watch many objects, in rollcall, etcd and Redis.
    Status(status::Options),
    /// Count the instructions of each part of the way of a sample.
    Instructions,
    /// Run one part so often: what `instructions` counts.
    Part {
        /// Its name.
        part: String,
        /// How often.
        runs: u64,
    },
    /// Run for an hour while receivers, disks and processes fail; then count what arrived.
    Soak(soak::Options),
    /// Only receive remote write, count samples, and print the count when asked (GET /count).
    Sink {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:19291")]
        listen: std::net::SocketAddr,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Scrape(options) => scrape::run(&options),
        Command::Queue(options) => queue::run(&options),
        Command::Status(options) => status::run(&options),
        Command::Instructions => instructions::count(),
        Command::Part { part, runs } => instructions::run(&part, runs),
        Command::Soak(options) => soak::run(&options),
        Command::Sink { listen } => sink::serve(listen),
    }
}

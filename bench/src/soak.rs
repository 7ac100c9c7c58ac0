//! An hour of everything that goes wrong, on a whole simulated fleet, and then the count.
//!
//! Receivers fail every few seconds, one of them has its queue on a file system that fills up, the
//! configuration is reloaded, and in the first half of the time the process is killed every few
//! minutes. The second half is one life, so that memory and open files can be seen to be flat.
//! What must hold: the books of every destination are balanced whenever one looks, and what one
//! receiver got all receivers got, sample by sample, but for what was scraped just before a kill.

mod book;
mod daemon;
mod receiver;
mod report;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use crate::fleet::Fleet;
use book::Series;
use daemon::{Daemon, Look};
use receiver::{Mood, Receiver};
use report::{Report, Window};

/// Destinations. The first one is never disturbed; `durable` and `twin` are alike.
const NAMES: [&str; 4] = ["reference", "durable", "twin", "small"];
/// Before a kill so much may not have reached a disk: a scrape's time limit, an open block, and
/// what was scraped before it was killed.
const BEFORE_KILL_MS: i64 = 12_000;
/// A scrape that was under way.
const AFTER_KILL_MS: i64 = 2_000;
/// After a reload the one before may hold the small disk, and what it could not write, for so long:
/// its successor does not know yet that the disk is full.
const HAND_OVER: Duration = Duration::from_secs(75);
/// Between two looks at the daemon.
const LOOK: Duration = Duration::from_secs(1);
/// How long queues may take to empty in the end.
const DRAIN: Duration = Duration::from_secs(240);

/// How long, and on what.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The rollcall binary, also used to simulate the fleet.
    #[arg(long, default_value = "target/release/rollcall")]
    rollcall: PathBuf,
    /// How long.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Hosts of the fleet.
    #[arg(long, default_value_t = 256)]
    hosts: usize,
    /// Virtual machines a host.
    #[arg(long, default_value_t = 200)]
    vms: usize,
    /// Bytes of the file system that fills up, as `mount` reads them.
    #[arg(long, default_value = "48m")]
    small: String,
    /// Seeds the faults.
    #[arg(long)]
    seed: Option<u64>,
    /// Where logs and queues go; kept if it is given.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// Numbers that depend on a seed alone.
struct Chance(u64);

/// A small file system, unmounted in the end.
struct SmallDisk(PathBuf);

/// Everything that runs.
struct Soak {
    fleet: Fleet,
    receivers: Vec<Arc<Receiver>>,
    daemon: Daemon,
    small: PathBuf,
    chance: Chance,
    report: Report,
    version: u32,
    began: Instant,
    /// When each receiver is well again.
    well_at: Vec<Option<Instant>>,
    /// Since when the small disk refuses.
    full_since_ms: Option<i64>,
    reloaded: Instant,
}

/// Runs it, prints what came of it, and fails if something did not hold.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let folder = options.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(folder.join("small"))?;
    let seed = options.seed.unwrap_or_else(|| unix_ms() as u64);
    println!("seed {seed}, folder {}", folder.display());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let disk = SmallDisk::mount(&folder.join("small"), &options.small);
    let series = Arc::new(Mutex::new(Series::default()));
    let mut receivers = Vec::new();
    for name in NAMES {
        receivers.push(runtime.block_on(Receiver::start(name, Arc::clone(&series)))?);
    }
    let mut soak = Soak {
        fleet: Fleet::start(&options.rollcall, options.hosts, options.vms, &[], &folder)?,
        well_at: vec![None; receivers.len()],
        receivers,
        daemon: Daemon::new(&options.rollcall, &folder)?,
        small: folder.join("small"),
        chance: Chance(seed | 1),
        report: Report::new(disk.is_some()),
        version: 0,
        began: Instant::now(),
        full_since_ms: None,
        reloaded: Instant::now(),
    };
    let ran = soak.run(Duration::from_secs(options.minutes * 60));
    if ran.is_err() {
        println!("the daemon logged: {:?}", soak.daemon.errors());
    }
    ran?;
    soak.report.print(&soak.receivers, &soak.daemon)
}

// === impl Soak ===

impl Soak {
    fn run(&mut self, time: Duration) -> anyhow::Result<()> {
        self.configure()?;
        self.daemon.start()?;
        self.report.life_began(self.began);
        let second_half = self.began + time / 2;
        let mut next_fault = Instant::now() + Duration::from_secs(20);
        let mut next_reload = Instant::now() + Duration::from_secs(45);
        let mut next_end = Instant::now() + Duration::from_secs(60);
        while self.began.elapsed() < time {
            std::thread::sleep(LOOK);
            self.look()?;
            self.recover();
            let now = Instant::now();
            if now >= next_fault {
                self.disturb();
                next_fault = now + Duration::from_secs(2 + self.chance.below(6));
            }
            if now >= next_reload {
                self.version += 1;
                self.configure()?;
                self.daemon.reload()?;
                self.reloaded = Instant::now();
                self.report.reloads += 1;
                next_reload = now + Duration::from_secs(30 + self.chance.below(40));
            }
            if now >= next_end && now < second_half {
                self.end_a_life()?;
                next_end = now + Duration::from_secs(90 + self.chance.below(150));
            }
        }
        self.drain()
    }

    fn configure(&self) -> anyhow::Result<()> {
        let targets = &self.fleet.targets_file;
        self.daemon.configure(targets, &self.receivers, &self.small, self.version)
    }

    /// Looks at the daemon; the books must be balanced.
    fn look(&mut self) -> anyhow::Result<Look> {
        let look = self.daemon.look()?;
        let fails = look.accounts.get("small").is_some_and(|account| account.disk_failing);
        match fails {
            true => _ = self.full_since_ms.get_or_insert_with(unix_ms),
            false if self.reloaded.elapsed() < HAND_OVER => {}
            false => self.full_since_ms = None,
        }
        self.report.looked(self.began.elapsed(), &look, self.daemon.lives());
        Ok(look)
    }

    /// Something goes wrong with a receiver, now and then for long.
    fn disturb(&mut self) {
        let at = 1 + self.chance.below(self.receivers.len() as u64 - 1) as usize;
        if self.well_at[at].is_some() {
            return;
        }
        let (mood, seconds) = match self.chance.below(12) {
            0 => (Mood::Gone, 30 + self.chance.below(30)),
            _ => {
                let faults = Mood::FAULTS;
                let mood = faults[self.chance.below(faults.len() as u64) as usize];
                (mood, if mood == Mood::Status(400) { 1 } else { 1 + self.chance.below(5) })
            }
        };
        self.receivers[at].set_mood(mood);
        self.report.fault(mood);
        self.well_at[at] = Some(Instant::now() + Duration::from_secs(seconds));
    }

    fn recover(&mut self) {
        for (receiver, well_at) in self.receivers.iter().zip(&mut self.well_at) {
            if well_at.is_some_and(|at| at <= Instant::now()) {
                receiver.set_mood(Mood::Well);
                *well_at = None;
            }
        }
    }

    /// Ends the process, mostly without a word, and starts the next one.
    fn end_a_life(&mut self) -> anyhow::Result<()> {
        self.look()?; // the last account of this life
        let kills = self.chance.below(4) > 0;
        let ended_ms = unix_ms();
        match kills {
            true => self.daemon.kill(),
            false => self.daemon.stop()?,
        }
        let began_ms = unix_ms() + AFTER_KILL_MS;
        self.report.ended(kills);
        // What is in memory alone, because a disk is full, a kill takes with it.
        let full_since_ms = self.full_since_ms.take().filter(|_| kills).unwrap_or(ended_ms);
        let window =
            |since_ms: i64| Window { since_ms: since_ms - BEFORE_KILL_MS, until_ms: began_ms };
        for name in NAMES {
            let since_ms = if name == "small" { full_since_ms } else { ended_ms };
            self.report.may_miss(name, window(since_ms.min(ended_ms)));
        }
        self.daemon.start()?;
        self.report.life_began(Instant::now());
        Ok(())
    }

    /// All is well: waits until the queues are empty, and ends.
    fn drain(&mut self) -> anyhow::Result<()> {
        self.receivers.iter().for_each(|receiver| receiver.set_mood(Mood::Well));
        self.report.draining();
        let began = Instant::now();
        loop {
            std::thread::sleep(LOOK);
            let look = self.look()?;
            let queued = |account: &daemon::Account| account.queued > 200_000;
            if !look.accounts.values().any(queued) {
                self.report.drained_s = began.elapsed().as_secs_f64();
                break;
            }
            anyhow::ensure!(began.elapsed() < DRAIN, "the queues do not empty: {look:?}");
        }
        self.report.end_ms = unix_ms() - BEFORE_KILL_MS;
        self.daemon.stop()
    }
}

// === impl SmallDisk ===

impl SmallDisk {
    /// Needs root; without it the queue is on the common disk, and never full.
    fn mount(folder: &Path, size: &str) -> Option<SmallDisk> {
        let options = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder)
            .status()
            .context("run mount");
        mounted.is_ok_and(|status| status.success()).then(|| SmallDisk(folder.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _left_to_the_system = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

// === impl Chance ===

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[expect(clippy::disallowed_methods, reason = "a tool: nothing here is ever tested in other times")]
fn unix_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

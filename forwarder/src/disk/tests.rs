//! What a log survives: restarts, torn writes, flipped bits, missing and foreign files, caps.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::block::{Compression, Counts, Encoding, Format};

/// Two who share a log.
const BOTH: [&str; 2] = ["central", "second"];

fn limits() -> Limits {
    let (bytes_max, records_max, age_ms_max) = (u64::MAX, usize::MAX, i64::MAX);
    Limits { segment_bytes: 1000, bytes_max, records_max, age_ms_max, free_bytes_min: 0 }
}

/// A block of `samples` samples whose bytes say `number`.
fn block(number: u64, samples: u64) -> Block {
    Block {
        format: Format { encoding: Encoding::RemoteWrite1, compression: Compression::Snappy },
        bytes: Bytes::from(format!("block {number:0>100}")),
        counts: Counts { samples, ..Counts::default() },
        oldest_ms: number as i64,
        newest_ms: number as i64,
    }
}

fn open(folder: &Path) -> (Log, Recovery) {
    open_for(folder, limits(), &["central"]).unwrap()
}

/// For these readers, who are all that are known.
fn open_for(folder: &Path, limits: Limits, readers: &[&str]) -> Result<(Log, Recovery), OpenError> {
    let known = readers.iter().map(|name| (*name).to_owned()).collect();
    Log::open(folder, limits, readers, &known, Unreadable::Fails)
}

/// Everything that waits for the reader: the numbers in the blocks, and samples lost.
fn drain(log: &mut Log) -> (Vec<u64>, u64) {
    drain_for(log, "central")
}

fn drain_for(log: &mut Log, reader: &str) -> (Vec<u64>, u64) {
    let (waiting, mut lost) = log.waiting(reader);
    let mut numbers = Vec::new();
    for one in waiting {
        match log.read(one.sequence).unwrap() {
            Some(block) => {
                assert_eq!(block.counts, one.counts);
                let text = String::from_utf8(block.bytes.to_vec()).unwrap();
                numbers.push(text[6..].parse().unwrap());
            }
            None => lost += one.counts.total(),
        }
    }
    (numbers, lost)
}

fn append(log: &mut Log, number: u64, samples: u64) {
    log.append(&block(number, samples), Origin::default()).unwrap();
}

fn segment_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| Segment::sequence_of(path).is_some())
        .collect();
    files.sort();
    files
}

#[test]
fn a_restart_hands_out_what_was_not_acknowledged_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    for number in 1..=20 {
        append(&mut log, number, 10);
    }
    assert_eq!(drain(&mut log).0.len(), 20);
    log.acknowledge("central", &[1, 2, 3, 5, 8]).unwrap();
    drop(log);
    let (mut log, recovery) = open(folder.path());
    assert_eq!(recovery.damaged_places, 0);
    let (numbers, lost) = drain(&mut log);
    assert_eq!(numbers[..4], [4, 6, 7, 9]);
    assert_eq!((numbers.len(), lost), (15, 0));
}

#[test]
fn segments_go_when_every_reader_is_done_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open_for(folder.path(), limits(), &["central", "second"]).unwrap();
    for number in 1..=30 {
        append(&mut log, number, 1);
    }
    let files = segment_files(folder.path()).len();
    assert!(files > 3);
    drain(&mut log);
    let all: Vec<u64> = (1..=30).collect();
    log.acknowledge("central", &all).unwrap();
    assert_eq!(segment_files(folder.path()).len(), files);
    log.acknowledge("second", &all).unwrap();
    assert_eq!(segment_files(folder.path()).len(), 1);
}

#[test]
fn a_torn_tail_costs_only_the_torn_record() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    for number in 1..=3 {
        append(&mut log, number, 1);
    }
    drop(log);
    let file = segment_files(folder.path()).pop().unwrap();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 7]).unwrap();
    let (mut log, recovery) = open(folder.path());
    assert!(recovery.damaged_places == 0 && recovery.torn_bytes > 7, "{recovery:?}");
    append(&mut log, 9, 1);
    assert_eq!(drain(&mut log).0, [1, 2, 9]);
}

#[test]
fn a_missing_segment_is_counted_by_its_samples() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    for number in 1..=30 {
        append(&mut log, number, 10);
    }
    drop(log);
    fs::remove_file(&segment_files(folder.path())[1]).unwrap();
    let (mut log, _) = open(folder.path());
    let (numbers, lost) = drain(&mut log);
    assert_eq!(numbers.len() as u64 * 10 + lost, 300);
    assert!(lost > 0);
}

#[test]
fn foreign_and_older_files_are_left_alone_and_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    fs::write(Segment::path(folder.path(), 1), "an older format").unwrap();
    let (mut log, recovery) = open(folder.path());
    assert_eq!(recovery.foreign_files.len(), 2);
    append(&mut log, 1, 1);
    assert_eq!(drain(&mut log), (vec![1], 0));
    assert!(
        recovery.foreign_files.iter().any(|path| fs::read(path).unwrap() == b"an older format")
    );
}

#[test]
fn the_oldest_segment_goes_when_a_cap_is_passed_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let caps = Limits { bytes_max: 4000, age_ms_max: 1_000_000, ..limits() };
    let (mut log, _) = open_for(folder.path(), caps, &["central"]).unwrap();
    let mut forgotten = 1;
    for number in 1..=100 {
        append(&mut log, number, 10);
        log.trim(0).unwrap();
        if let Some(gone) = log.take_forgotten() {
            assert_eq!(gone.reason, Reason::QueueFull);
            forgotten = gone.before;
        }
    }
    assert!(log.bytes() <= 5000, "{}", log.bytes());
    let (numbers, lost) = drain(&mut log);
    assert_eq!((numbers[0], numbers.len() as u64, lost), (forgotten, 101 - forgotten, 0));
    log.trim(1_000_085).unwrap();
    let aged = log.take_forgotten().unwrap();
    assert_eq!(aged.reason, Reason::TooOld);
    assert!((forgotten..=85).contains(&aged.before), "{aged:?}");
    assert_eq!(drain(&mut log).0[0], aged.before);
}

#[test]
fn a_log_with_nothing_left_in_it_gives_its_room_back_and_goes_on_counting() {
    let folder = tempfile::tempdir().unwrap();
    let caps = Limits { segment_bytes: u64::MAX, ..limits() };
    let (mut log, _) = open_for(folder.path(), caps.clone(), &["central"]).unwrap();
    append(&mut log, 1, 10);
    append(&mut log, 2, 10);
    let full = Limits { free_bytes_min: u64::MAX, ..caps.clone() };
    log.limits = full;
    log.append(&block(3, 10), Origin::default()).unwrap_err();
    log.acknowledge("central", &[1]).unwrap();
    assert_eq!(segment_files(folder.path()).len(), 1);
    log.acknowledge("central", &[2]).unwrap();
    assert_eq!(segment_files(folder.path()).len(), 0);
    drop(log);
    let (mut log, _) = open_for(folder.path(), caps, &["central"]).unwrap();
    append(&mut log, 4, 10);
    let (waiting, missing) = log.waiting("central");
    assert_eq!((waiting[0].sequence, waiting.len(), missing), (3, 1, 0));
    assert_eq!(drain(&mut log).0, [4]);
}

#[test]
fn a_log_of_former_times_is_read_by_each_for_itself_and_goes_with_the_last_one() {
    let folder = tempfile::tempdir().unwrap();
    let known: BTreeSet<String> = BOTH.map(str::to_owned).into();
    let readers = ["central", "second", "gone"];
    let (mut log, _) = open_for(folder.path(), limits(), &readers).unwrap();
    (1..=30).for_each(|number| append(&mut log, number, 10));
    let former =
        |reader| Log::open_former(folder.path(), limits(), reader, &known, Unreadable::Fails);
    assert!(matches!(former("central"), Err(OpenError::InUse { .. })));
    drop(log);
    let (mut first, recovery) = former("central").unwrap();
    assert_eq!(recovery.freed_cursors, [folder.path().join("gone.cursor")]);
    assert!(matches!(former("central"), Err(OpenError::InUse { .. })));
    let (mut second, _) = former("second").unwrap();

    let files = segment_files(folder.path()).len();
    first.acknowledge("central", &(1..=30).collect::<Vec<_>>()).unwrap();
    first.trim(0).unwrap();
    assert_eq!(segment_files(folder.path()).len(), files);
    second.acknowledge("second", &(1..=20).collect::<Vec<_>>()).unwrap();
    second.trim(0).unwrap();
    let left = segment_files(folder.path()).len();
    assert!(left > 0 && left < files, "{left} of {files}");
    first.retire().unwrap();
    assert_eq!(drain_for(&mut second, "second").0, (21..=30).collect::<Vec<_>>());
    second.acknowledge("second", &(21..=30).collect::<Vec<_>>()).unwrap();
    second.retire().unwrap();
    assert!(!folder.path().exists());
}

#[test]
fn nobody_else_opens_a_log_that_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    let second = open_for(folder.path(), limits(), &["central"]);
    assert!(matches!(second, Err(OpenError::InUse { .. })));
    drop(log);
    open(folder.path());
}

#[test]
fn a_sequence_that_was_acknowledged_is_not_given_again_when_its_record_was_torn_off() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    (1..=3).for_each(|number| append(&mut log, number, 1));
    log.acknowledge("central", &[3]).unwrap();
    drop(log);
    let file = segment_files(folder.path()).pop().unwrap();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 7]).unwrap();
    let (mut log, _) = open(folder.path());
    append(&mut log, 9, 1);
    assert_eq!(drain(&mut log).0, [1, 2, 9]);
}

#[test]
fn a_segment_that_cannot_be_opened_now_is_not_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    (1..=30).for_each(|number| append(&mut log, number, 10));
    drop(log);
    let segment = segment_files(folder.path()).remove(1);
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&segment, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&segment, &segment).unwrap(); // to itself: nobody can open it
    let refused = open_for(folder.path(), limits(), &["central"]);
    assert!(matches!(refused, Err(OpenError::Io { .. })), "{refused:?}");
    fs::rename(&elsewhere, &segment).unwrap();
    let (mut log, recovery) = open(folder.path());
    assert!(recovery.foreign_files.is_empty());
    assert_eq!(drain(&mut log), ((1..=30).collect(), 0));
}

/// A process' memory has no first page, so the system says of it what it says of a bad sector.
#[test]
fn a_segment_that_the_disk_does_not_read_is_kept_and_its_sequences_are_not_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    (1..=30).for_each(|number| append(&mut log, number, 10));
    drop(log);
    let segment = segment_files(folder.path()).pop().unwrap();
    let first = Segment::sequence_of(&segment).unwrap();
    fs::remove_file(&segment).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", &segment).unwrap();
    let refused = open_for(folder.path(), limits(), &["central"]);
    assert!(refused.is_err_and(|error| error.is_unreadable()));

    let known = ["central".to_owned()].into();
    let open_all =
        || Log::open(folder.path(), limits(), &["central"], &known, Unreadable::IsDamage);
    let (mut log, recovery) = open_all().unwrap();
    assert_eq!(recovery.damaged_places, 1);
    append(&mut log, 99, 10);
    assert!(log.newest() > first, "{} is given again", log.newest());
    assert_eq!(drain(&mut log).0, (1..first).chain([99]).collect::<Vec<_>>());
    let sequences: Vec<u64> = log.waiting("central").0.iter().map(|one| one.sequence).collect();
    log.acknowledge("central", &sequences).unwrap();
    log.trim(0).unwrap();
    assert!(segment.with_extension("segment.unreadable").is_symlink() && !segment.is_symlink());
}

#[test]
fn a_long_log_has_few_files_open() {
    let folder = tempfile::tempdir().unwrap();
    let open_files = || {
        let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let links = links.filter_map(|link| fs::read_link(link.path()).ok());
        links
            .filter(|to| to.starts_with(folder.path()) && Segment::sequence_of(to).is_some())
            .count()
    };
    let (mut log, _) = open(folder.path());
    for number in 1..=60 {
        append(&mut log, number, 10);
        log.sync().unwrap();
    }
    assert_eq!((segment_files(folder.path()).len(), open_files()), (10, 1));
    drop(log);
    let (mut log, _) = open(folder.path());
    append(&mut log, 61, 10);
    assert_eq!(drain(&mut log).0.len(), 61);
    assert!(open_files() <= 2, "{} files", open_files());
}

#[test]
fn a_gap_does_not_hold_a_reader_and_its_segments_for_ever() {
    let damages: [fn(&Path); 2] = [
        |segment| fs::remove_file(segment).unwrap(),
        |segment| {
            let mut bytes = fs::read(segment).unwrap();
            bytes[12 + 178 + 20] ^= 1; // in the header of the second record
            fs::write(segment, bytes).unwrap();
        },
    ];
    for damage in damages {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = open_for(folder.path(), limits(), &BOTH).unwrap();
        (1..=40).for_each(|number| append(&mut log, number, 10));
        log.acknowledge("second", &(1..=8).collect::<Vec<_>>()).unwrap();
        drop(log);
        damage(&segment_files(folder.path())[1]);
        let (mut log, _) = open_for(folder.path(), limits(), &BOTH).unwrap();
        for reader in BOTH {
            let (waiting, missing) = log.waiting(reader);
            let all = waiting.len() as u64 * 10 + missing;
            assert_eq!(all, if reader == "second" { 320 } else { 400 });
            let waiting: Vec<u64> = waiting.iter().map(|one| one.sequence).collect();
            log.acknowledge(reader, &waiting).unwrap();
            assert_eq!((log.place(reader), log.waiting(reader)), (41, (Vec::new(), 0)));
        }
        assert_eq!(segment_files(folder.path()).len(), 1);
    }
}

#[test]
fn what_is_missing_is_told_by_itself_whatever_is_done_behind_it() {
    for count in [7, 8] {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = open(folder.path());
        (1..=count).for_each(|number| append(&mut log, number, 10));
        log.acknowledge("central", &[1, 2, 3, 4, 6, 7]).unwrap();
        let holds = |one: &&OpenSegment| one.records.iter().any(|at| at.header.sequence == 5);
        let segment = log.segments.iter().find(holds).unwrap();
        let at = segment.records.iter().find(|at| at.header.sequence == 5).unwrap().offset;
        let path = segment.file.path.clone();
        drop(log);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at as usize + 20] ^= 1;
        fs::write(&path, bytes).unwrap();
        let (log, _) = open(folder.path());
        let (waiting, missing) = log.waiting("central");
        let waiting: Vec<u64> = waiting.iter().map(|one| one.sequence).collect();
        let want: Vec<u64> = (8..=count).collect();
        assert_eq!((waiting, missing), (want, 10), "of {count}");
    }
}

#[test]
fn a_sync_reaches_the_segments_that_were_left_since_the_last_one() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    let unsynced = |log: &Log| log.segments.iter().filter(|one| one.file.is_unsynced).count();
    (1..=30).for_each(|number| append(&mut log, number, 10));
    assert_eq!(unsynced(&log), log.segments.len());
    log.sync().unwrap();
    assert_eq!(unsynced(&log), 0);
    log.never_syncs();
    append(&mut log, 31, 10);
    assert_eq!(unsynced(&log), 0);
}

#[test]
fn what_is_too_old_goes_though_its_segment_is_not_full() {
    let folder = tempfile::tempdir().unwrap();
    let caps = Limits { segment_bytes: u64::MAX, age_ms_max: 8000, ..limits() };
    let (mut log, _) = open_for(folder.path(), caps, &["central"]).unwrap();
    let (mut now_ms, mut gone) = (0, 0);
    while now_ms < 60_000 {
        now_ms += 250;
        append(&mut log, now_ms, 10);
        log.trim(now_ms as i64).unwrap();
        gone = log.take_forgotten().map_or(gone, |forgotten| forgotten.before);
    }
    let oldest_ms = now_ms - drain(&mut log).0[0];
    assert!((7750..=9500).contains(&oldest_ms), "{oldest_ms}");
    log.trim(now_ms as i64 + 8001).unwrap();
    let forgotten = log.take_forgotten().unwrap();
    assert_eq!((forgotten.before, forgotten.reason), (241, Reason::TooOld));
    assert!(gone > 200 && segment_files(folder.path()).is_empty());
    append(&mut log, 1, 10);
    assert_eq!(log.waiting("central").0[0].sequence, 241);
}

#[test]
fn what_is_gone_is_told_though_a_place_can_not_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let caps = Limits { bytes_max: 4000, ..limits() };
    let (mut log, _) = open_for(folder.path(), caps, &["central"]).unwrap();
    (1..=40).for_each(|number| append(&mut log, number, 10));
    log.readers.get_mut("central").unwrap().refuse();
    log.trim(0).unwrap_err();
    let forgotten = log.take_forgotten().unwrap();
    assert_eq!(forgotten.reason, Reason::QueueFull);
    assert_eq!((drain(&mut log).0[0], log.take_forgotten()), (forgotten.before, None));
    assert!(segment_files(folder.path()).len() <= 5);
}

#[test]
fn nothing_is_written_to_where_nobody_will_find_it() {
    let damages: [fn(&Path); 3] = [
        |folder| fs::remove_dir_all(folder).unwrap(),
        |folder| {
            fs::remove_dir_all(folder).unwrap();
            fs::create_dir(folder).unwrap();
        },
        |folder| fs::remove_file(segment_files(folder).pop().unwrap()).unwrap(),
    ];
    for (at, damage) in damages.into_iter().enumerate() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("q");
        let (mut log, _) = open(&folder);
        (1..=8).for_each(|number| append(&mut log, number, 10));
        damage(&folder);
        let refused = log.append(&block(9, 10), Origin::default());
        assert!(matches!(refused, Err(AppendError::Vanished { .. })), "{refused:?}");
        let vanished = log.vanish();
        let (mut log, _) = open(&folder);
        assert_eq!(log.follow(&vanished).unwrap(), at == 2);
        assert_eq!((log.has(1), log.has(8)), (at == 2, false));
        append(&mut log, 9, 10);
        let waiting = log.waiting("central").0;
        assert_eq!(waiting.last().unwrap().sequence, 9);
        let waiting: Vec<u64> = waiting.iter().map(|one| one.sequence).collect();
        log.acknowledge("central", &waiting).unwrap();
        assert_eq!(log.place("central"), 10);
    }
}

/// What is done to one byte, or to what follows it.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip,
    Truncate,
}

/// Forty blocks of ten samples for two readers, one file of the log damaged at a place. Whether it is the last
/// file, and whether the place says whose file it is.
fn damaged(file: usize, at: usize, damage: Damage) -> (tempfile::TempDir, bool, bool) {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open_for(folder.path(), limits(), &BOTH).unwrap();
    (1..=40).for_each(|number| append(&mut log, number, 10));
    log.acknowledge("central", &[1, 2]).unwrap();
    log.acknowledge("second", &[1]).unwrap();
    drop(log);
    let files = segment_files(folder.path());
    let file = file % files.len();
    let mut bytes = fs::read(&files[file]).unwrap();
    let at = at % bytes.len();
    match damage {
        Damage::Flip => bytes[at] ^= 0x40,
        Damage::Truncate => bytes.truncate(at),
    }
    fs::write(&files[file], bytes).unwrap();
    (folder, file + 1 == files.len(), at < 12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whatever byte is flipped: other records come, and the samples add up. The last file is
    /// apart: what is lost at the end of everything has nothing behind it that would tell.
    #[test]
    fn damage_costs_the_damaged_records_and_is_counted(
        file in 0_usize..9,
        at in 0_usize..2000,
        flip in any::<bool>(),
    ) {
        let damage = if flip { Damage::Flip } else { Damage::Truncate };
        let (folder, is_last, in_preamble) = damaged(file, at, damage);
        let (mut log, _) = open_for(folder.path(), limits(), &BOTH).unwrap();
        let (numbers, lost) = drain(&mut log);
        let (of_second, lost_to_second) = drain_for(&mut log, "second");
        prop_assert!(numbers.is_sorted() && !numbers.contains(&1) && !numbers.contains(&2));
        prop_assert!(of_second.is_sorted() && !of_second.contains(&1));
        if !is_last {
            prop_assert_eq!(numbers.len() as u64 * 10 + lost, 380);
            prop_assert_eq!(of_second.len() as u64 * 10 + lost_to_second, 390);
        }
        if flip && !in_preamble && !is_last {
            prop_assert!(numbers.len() >= 37);
        }
        append(&mut log, 99, 10);
        prop_assert_eq!(drain(&mut log).0.pop(), Some(99));
    }

    /// A cursor that is damaged at any place costs nothing but blocks sent again.
    #[test]
    fn a_damaged_cursor_loses_nothing(at in 0_usize..9000) {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = open_for(folder.path(), limits(), &BOTH).unwrap();
        (1..=40).for_each(|number| append(&mut log, number, 10));
        (1..=20).for_each(|number| log.acknowledge("central", &[number]).unwrap());
        (1..=30).for_each(|number| log.acknowledge("second", &[number]).unwrap());
        drop(log);
        let path = folder.path().join("central.cursor");
        let mut bytes = fs::read(&path).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 0x11;
        fs::write(&path, bytes).unwrap();
        let (mut log, _) = open_for(folder.path(), limits(), &BOTH).unwrap();
        let (numbers, _) = drain(&mut log);
        prop_assert!((21..=40).all(|number| numbers.contains(&number)), "{:?}", numbers);
        prop_assert_eq!(drain_for(&mut log, "second").0, (31..=40).collect::<Vec<_>>());
    }
}

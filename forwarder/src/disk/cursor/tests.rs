//! What a place survives: restarts, torn writes, and many acknowledgements out of order.

use super::*;

fn open(path: &Path, start: u64) -> io::Result<(Cursor, bool)> {
    Cursor::open(path, start, Unreadable::Fails)
}

#[test]
fn a_restart_goes_on_where_it_was_and_skips_what_was_done_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("central.cursor");
    let (mut cursor, _) = open(&path, 10).unwrap();
    for sequence in [10, 12, 13] {
        cursor.done(sequence);
    }
    cursor.save().unwrap();
    drop(cursor);
    let (mut cursor, starts_anew) = open(&path, 99).unwrap();
    assert!(!starts_anew);
    assert_eq!(cursor.next(), 11);
    assert!(cursor.is_done(12) && !cursor.is_done(11));
    cursor.done(11);
    assert_eq!(cursor.next(), 14);
}

#[test]
fn thousands_acknowledged_from_the_end_take_the_room_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("central.cursor");
    let (mut cursor, _) = open(&path, 1).unwrap();
    (11..=10_000).rev().for_each(|sequence| cursor.done(sequence));
    [5, 7, 6, 6, 10].into_iter().for_each(|sequence| cursor.done(sequence));
    cursor.save().unwrap();
    drop(cursor);
    let (mut cursor, _) = open(&path, 1).unwrap();
    let open: Vec<u64> = (1..10_005).filter(|sequence| !cursor.is_done(*sequence)).collect();
    assert_eq!(open, [1, 2, 3, 4, 8, 9, 10_001, 10_002, 10_003, 10_004]);
    assert_eq!((cursor.next(), cursor.end()), (1, 10_001));
    cursor.skip_to(6);
    assert_eq!(cursor.next(), 8);
    [8, 9].into_iter().for_each(|sequence| cursor.done(sequence));
    assert_eq!((cursor.next(), cursor.end()), (10_001, 10_001));
}

#[test]
fn a_damaged_slot_leaves_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("central.cursor");
    let (mut cursor, _) = open(&path, 1).unwrap();
    cursor.done(1);
    cursor.save().unwrap();
    cursor.done(2);
    cursor.save().unwrap();
    let second_slot = (cursor.generation % 2) * SLOT_BYTES as u64;
    cursor.file.write_all_at(&[0xFF; 9], second_slot + 4).unwrap();
    drop(cursor);
    assert_eq!(open(&path, 1).unwrap().0.next(), 2);
}

#[test]
fn every_second_of_many_that_is_done_does_not_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("central.cursor");
    let (mut cursor, _) = open(&path, 1).unwrap();
    (1..=500_000).for_each(|half| cursor.done(half * 2));
    cursor.save().unwrap();
    cursor.done(1);
    cursor.save().unwrap();
    drop(cursor);
    let (mut cursor, _) = open(&path, 1).unwrap();
    assert!((3..=1_000_000).all(|sequence| cursor.is_done(sequence) == (sequence % 2 == 0)));
    assert_eq!((cursor.next(), cursor.end()), (3, 1_000_001));

    // A torn write leaves what was saved before, however much that is.
    let half = words_at((cursor.generation % 2) as usize) + 100_000;
    cursor.file.write_all_at(&[0xFF; 9], half).unwrap();
    let (before, _) = open(&path, 1).unwrap();
    assert_eq!((before.next(), before.end()), (1, 1_000_001));

    // When the gaps close, little is left to write.
    (1..=500_000).for_each(|half| cursor.done(half * 2 - 1));
    cursor.save().unwrap();
    let (closed, _) = open(&path, 1).unwrap();
    assert_eq!((closed.next(), closed.ahead.0.len()), (1_000_001, 0));
}

#[test]
fn a_place_that_could_not_be_written_is_written_where_it_should_have_been() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("central.cursor");
    let (mut cursor, _) = open(&path, 1).unwrap();
    cursor.done(1);
    cursor.save().unwrap();
    let generation = cursor.generation;
    cursor.refuse();
    cursor.done(2);
    cursor.save().unwrap_err();
    assert_eq!(cursor.generation, generation);
    assert_eq!(open(&path, 1).unwrap().0.next(), 2);
}

proptest::proptest! {
    /// Whatever is done in whatever order: a restart knows it, with many ranges or few.
    #[test]
    fn what_is_done_is_known_after_a_restart(
        done in proptest::collection::vec(1_u64..3000, 0..900),
        skip in 0_u64..3000,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("central.cursor");
        let (mut cursor, _) = open(&path, 1).unwrap();
        done.iter().for_each(|sequence| cursor.done(*sequence));
        cursor.skip_to(skip);
        cursor.save().unwrap();
        let (cursor, _) = open(&path, 1).unwrap();
        for sequence in 1..3000 {
            let is_done = sequence < skip || done.contains(&sequence);
            proptest::prop_assert_eq!(cursor.is_done(sequence), is_done, "{}", sequence);
        }
    }
}

#[test]
fn a_place_with_few_ranges_is_written_as_it_always_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("central.cursor");
    // Generation, next, samples before it, count; 12 and 13 are done, 20 is.
    let mut slot: Vec<u8> = [2_u64, 11, 500, 2, 12, 14, 20, 21].map(u64::to_le_bytes).concat();
    slot.extend(crc32c::crc32c(&slot).to_le_bytes());
    std::fs::write(&path, &slot).unwrap();
    let (mut cursor, starts_anew) = open(&path, 1).unwrap();
    let open: Vec<u64> = (1..22).filter(|sequence| !cursor.is_done(*sequence)).collect();
    assert_eq!(open, [11, 14, 15, 16, 17, 18, 19, 21]);
    assert_eq!((cursor.samples_before, starts_anew), (500, false));
    cursor.generation = 1;
    cursor.save().unwrap();
    assert_eq!(std::fs::read(&path).unwrap()[..slot.len()], slot);
}

#[test]
fn a_place_that_the_disk_does_not_read_is_set_aside_when_that_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("central.cursor");
    // A process' memory has no first page: the system says of it what it says of a bad sector.
    std::os::unix::fs::symlink("/proc/self/mem", &path).unwrap();
    assert!(open(&path, 7).is_err_and(|error| is_unreadable(&error)));
    let (mut cursor, starts_anew) = Cursor::open(&path, 7, Unreadable::IsDamage).unwrap();
    assert!(starts_anew && cursor.next() == 7);
    cursor.done(7);
    cursor.save().unwrap();
    assert_eq!(open(&path, 1).unwrap().0.next(), 8);
    assert!(folder.path().join("central.cursor.unreadable").is_symlink());
}

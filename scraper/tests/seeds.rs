//! What the fuzz targets look for, without a fuzzer: their seeds, and neighbours of these.
//!
//! Nothing that a target prints may make the reader panic, and what is remembered of a page must
//! not change what the next one says.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use scraper::lab::{PageFormat, check_like_fresh, split_pages};

fn seeds(format: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(format);
    let files = std::fs::read_dir(folder).unwrap();
    files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

/// Reads a seed in which some bytes are others, or missing, or there twice.
fn check(name: &str, format: PageFormat, seed: Index, changes: &[(Index, u8, u8)]) {
    let seeds = seeds(name);
    let mut data = seeds[seed.index(seeds.len())].clone();
    for (at, way, byte) in changes.iter().filter(|_| !seeds.is_empty()) {
        if data.is_empty() {
            break;
        }
        let at = at.index(data.len());
        match way % 4 {
            0 => data[at] = *byte,
            1 => drop(data.remove(at)),
            2 => data.insert(at, *byte),
            _ => data.truncate(at),
        }
    }
    check_like_fresh(&split_pages(&data), format);
}

/// Where a byte is changed, how, and to what: mostly to one that means something.
fn changes() -> impl Strategy<Value = Vec<(Index, u8, u8)>> {
    let meaningful = prop::sample::select(b"{}\",= \n#\\0e.-\x00\xff".to_vec());
    let byte = prop_oneof![3 => meaningful, 1 => any::<u8>()];
    prop::collection::vec((any::<Index>(), any::<u8>(), byte), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pages_of_text_are_read_as_if_each_were_the_first(
        seed in any::<Index>(),
        changes in changes(),
    ) {
        check("text", PageFormat::Text, seed, &changes);
    }

    #[test]
    fn pages_of_openmetrics_are_read_as_if_each_were_the_first(
        seed in any::<Index>(),
        changes in changes(),
    ) {
        check("openmetrics", PageFormat::OpenMetrics, seed, &changes);
    }

    #[test]
    fn pages_of_protobuf_are_read_as_if_each_were_the_first(
        seed in any::<Index>(),
        changes in changes(),
    ) {
        check("protobuf", PageFormat::Protobuf, seed, &changes);
    }
}

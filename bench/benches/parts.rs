//! Time of each part of the way of a sample: `cargo bench -p bench`.

use bench::parts::{PARTS, SAMPLES, prepare};
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

#[divan::bench(args = PARTS)]
fn page(bencher: Bencher<'_, '_>, part: &str) {
    let run = prepare(part).expect("the list has only parts that there are");
    bencher.counter(ItemsCount::new(SAMPLES)).bench_local(run);
}

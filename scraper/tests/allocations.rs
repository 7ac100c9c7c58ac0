//! The steady state allocates nothing: neither a sample nor a page costs an allocation.
//!
//! A binary of its own, because it replaces the allocator of the process.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use scraper::lab::{Lab, PageFormat};

/// Counts what the system's allocator is asked for.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one only counts")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(block, layout, bytes) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A page whose values differ from tick to tick, in value and in width.
fn page(tick: u64, stamped: bool) -> String {
    let mut page = String::new();
    let stamp = if stamped { format!(" {}", 1_700_000_000_000 + tick * 5000) } else { "".into() };
    for family in 0..50 {
        writeln!(page, "# HELP m{family} Help.\n# TYPE m{family} counter").unwrap();
        for series in 0..20 {
            let value = (tick * 7919).pow(2) * series;
            writeln!(page, "m{family}{{n=\"{series}\"}} {value}.{tick}{stamp}").unwrap();
        }
    }
    page.push_str("# TYPE h histogram\nh_bucket{le=\"1\"} NaN\nh_bucket{le=\"+Inf\"} +Inf\n");
    page.push_str("repeated 1\nrepeated 2\n");
    page
}

fn check(pages: impl Fn(u64) -> String, format: PageFormat) {
    let mut reader = Lab::new().target([("job", "j")].into_iter().collect());
    let pages: Vec<String> = (1..10).map(pages).collect();
    // The first pages are learnt, and the buffers grow.
    for page in &pages[..3] {
        reader.read(page.as_bytes(), format).unwrap();
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for page in &pages[3..] {
        reader.read(page.as_bytes(), format).unwrap();
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
}

#[test]
fn a_page_of_known_lines_is_read_without_an_allocation() {
    check(|tick| page(tick, false), PageFormat::Text);
    check(|tick| format!("{}# EOF\n", page(tick, false)), PageFormat::OpenMetrics);
}

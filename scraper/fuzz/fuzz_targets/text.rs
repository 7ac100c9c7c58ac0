//! Pages of the text format, one after the other: nothing panics, and each is
//! read as if it were the first.

#![no_main]

use libfuzzer_sys::fuzz_target;
use scraper::lab::{PageFormat, check_like_fresh, split_pages};

fuzz_target!(|data: &[u8]| check_like_fresh(&split_pages(data), PageFormat::Text));

//! What libFuzzer runs: the target that the environment names.
#![no_main]

use std::sync::LazyLock;

#[expect(clippy::panic, reason = "there is nobody to give an error to")]
static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("WEFT_FUZZ_TARGET").unwrap_or_default();
    weft_fuzz::by_name(&name).unwrap_or_else(|| panic!("WEFT_FUZZ_TARGET is {name:?}, which is no target"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));

//! Takes more than a call may take.

use std::hint::black_box;

pub(crate) fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Takes memory, and touches it, for ever.
pub(crate) fn grow() -> ! {
    loop {
        std::mem::forget(black_box(vec![1_u8; 1024 * 1024]));
    }
}

/// Stops without a word.
pub(crate) fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort()
}

pub(crate) fn recurse(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX { 0 } else { black_box(recurse(black_box(depth + 1))) + 1 }
}

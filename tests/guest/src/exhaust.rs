//! Uses more time, memory or stack than a call may.

use std::hint::black_box;

pub(crate) fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Allocates and touches memory without end.
pub(crate) fn grow() -> ! {
    loop {
        std::mem::forget(black_box(vec![1_u8; 1024 * 1024]));
    }
}

/// Traps without a message.
pub(crate) fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort()
}

pub(crate) fn recurse(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX { 0 } else { black_box(recurse(black_box(depth + 1))) + 1 }
}

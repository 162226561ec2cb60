#!/bin/sh
# Compiles what is of this workspace so that libFuzzer sees which code an input reaches: RUSTC_WORKSPACE_WRAPPER of
# `cargo verify fuzz`. These flags are stable, as the sanitizers are not; without `unsafe` there is little for those to find.
exec "$@" -Copt-level=1 -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares

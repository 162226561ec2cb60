#!/bin/sh
# Builds python-team-label.wasm with the componentize-py in the PATH.
set -eu
cd "$(dirname "$0")"
componentize-py --wit-path ../../wit --world mapping-plugin --quiet \
    componentize plugin --stub-wasi --output python-team-label.wasm

#!/bin/sh
# Builds dist/python-team-label.wasm with the componentize-py in the PATH.
set -eu
cd "$(dirname "$0")"
mkdir -p dist
componentize-py --wit-path ../../wit --world mapping-plugin --quiet \
    componentize plugin --stub-wasi --output dist/python-team-label.wasm

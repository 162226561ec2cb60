# Builds the images of a virtual cluster: `docker build --target weft .` and `docker build --target kubernetes .`
# `cargo image` makes the same without a container engine. Pin the bases by digest with --build-arg RUST=rust@sha256:…

ARG RUST=rust:1.95.0
ARG GO=golang:1.26.5

FROM ${RUST} AS build-weft
# As it comes with the base: the file in the repository asks for more than this build needs.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /source
COPY . .
# With its copy of the C library inside, and a short list of addresses to relocate; a target is named so that build
# scripts and macros are built without these. Paths get the names that `cargo image` gives them, and C code that names the
# time of its build gets none.
RUN target=$(rustc --version --verbose | sed -n 's/^host: //p') \
    && SOURCE_DATE_EPOCH=0 RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs --remap-path-prefix=${CARGO_HOME:?}=/cargo --remap-path-prefix=/source/target=/target" \
        cargo build --locked --release --package weft --bin weft --target "$target" \
    && cp "target/$target/release/weft" /weft

FROM ${GO} AS build-kubernetes
# Another version than the default, such as v1.37.2.
ARG KUBERNETES=
WORKDIR /source
COPY host/kubernetes .
RUN ./build.sh ${KUBERNETES:+--kubernetes "$KUBERNETES"} /kubernetes

FROM scratch AS kubernetes
COPY --from=build-kubernetes /kubernetes /kubernetes
USER 65532:65532
ENTRYPOINT ["/kubernetes"]

FROM scratch AS weft
COPY --from=build-weft /weft /weft
USER 65532:65532
ENTRYPOINT ["/weft"]

//! WASI stubs, for toolchains that cannot do without: nothing is read, what is written goes to the log, and
//! every call has the same result each time.
//!
//! What a language's runtime calls at its start is implemented here. The rest of the interfaces named in
//! [`OFFERED`] traps when it is called; other interfaces, such as sockets, are not there at all.

use std::collections::BTreeSet;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};

use crate::plugin::sandbox::Inside;

/// Packages of which something is offered.
pub(super) const OFFERED: &[&str] =
    &["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/"];
/// Begins the versions that are offered: what a component of one imports is the same in all.
const TRACK: &str = "0.2.";
/// What `check-write` permits at a time, and what the blocking functions take at most.
const ROOM: u64 = 4096;
/// More than any seed needs.
const RANDOM_BYTES: u64 = 64 * 1024;
/// Seed of everything that wants to be random: the same on every machine, so that answers are.
const SEED: (u64, u64) = (0x7765_6674, 0x6d61_7070_696e_6773);

struct IoError;
struct Pollable;
struct InputStream;
struct OutputStream;
struct Terminal;
struct Descriptor;

type Store<'a> = StoreContextMut<'a, Inside>;

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// Offers the stubs to a component with these imports, in each version of WASI 0.2 that they name: a linker that makes
/// traps of what is unknown takes other versions for unknown.
///
/// # Errors
/// One of the names is taken already.
pub(super) fn add_to_linker<'a>(
    linker: &mut Linker<Inside>,
    imports: impl Iterator<Item = &'a str>,
) -> wasmtime::Result<()> {
    let versions: BTreeSet<&str> = imports.filter_map(version).collect();
    versions.into_iter().try_for_each(|version| {
        surroundings(linker, version)?;
        streams(linker, version)?;
        standard_streams(linker, version)?;
        terminals(linker, version)?;
        files(linker, version)?;
        clocks(linker, version)?;
        random(linker, version)
    })
}

/// The version of an import of WASI 0.2.
fn version(import: &str) -> Option<&str> {
    let (_, version) = import.strip_prefix("wasi:")?.split_once('@')?;
    version.starts_with(TRACK).then_some(version)
}

fn named(interface: &str, version: &str) -> String {
    format!("wasi:{interface}@{version}")
}

fn surroundings(linker: &mut Linker<Inside>, version: &str) -> wasmtime::Result<()> {
    let mut environment = linker.instance(&named("cli/environment", version))?;
    environment.func_wrap("get-environment", |_: Store<'_>, (): ()| Ok((Vec::<(String, String)>::new(),)))?;
    environment.func_wrap("get-arguments", |_: Store<'_>, (): ()| Ok((Vec::<String>::new(),)))?;
    environment.func_wrap("initial-cwd", |_: Store<'_>, (): ()| Ok((None::<String>,)))
}

/// A resource that the interface defines or, by `use`, takes from another one: it is the same only if it is given to both.
fn resource<R: 'static>(instance: &mut LinkerInstance<'_, Inside>, name: &str) -> wasmtime::Result<()> {
    instance.resource(name, ResourceType::host::<R>(), |_, _| Ok(()))
}

fn streams(linker: &mut Linker<Inside>, version: &str) -> wasmtime::Result<()> {
    resource::<IoError>(&mut linker.instance(&named("io/error", version))?, "error")?;
    resource::<Pollable>(&mut linker.instance(&named("io/poll", version))?, "pollable")?;
    let mut streams = linker.instance(&named("io/streams", version))?;
    resource::<IoError>(&mut streams, "error")?;
    resource::<Pollable>(&mut streams, "pollable")?;
    resource::<InputStream>(&mut streams, "input-stream")?;
    resource::<OutputStream>(&mut streams, "output-stream")?;
    for name in ["[method]input-stream.read", "[method]input-stream.blocking-read"] {
        streams.func_wrap(name, |_: Store<'_>, _: (Resource<InputStream>, u64)| {
            Ok((Err::<Vec<u8>, StreamError>(StreamError::Closed),))
        })?;
    }
    for name in ["[method]input-stream.skip", "[method]input-stream.blocking-skip"] {
        streams.func_wrap(name, |_: Store<'_>, _: (Resource<InputStream>, u64)| {
            Ok((Err::<u64, StreamError>(StreamError::Closed),))
        })?;
    }
    output_streams(&mut streams)
}

/// They take what `check-write` permits, or what the blocking functions take at once, and more of it is a trap (WASI
/// 0.2, `wasi:io/streams`).
fn output_streams(streams: &mut LinkerInstance<'_, Inside>) -> wasmtime::Result<()> {
    type Stream = Resource<OutputStream>;
    streams.func_wrap("[method]output-stream.check-write", |_: Store<'_>, _: (Stream,)| {
        Ok((Ok::<u64, StreamError>(ROOM),))
    })?;
    for name in ["[method]output-stream.write", "[method]output-stream.blocking-write-and-flush"] {
        streams.func_wrap(name, |mut store: Store<'_>, (_, bytes): (Stream, Vec<u8>)| {
            permitted(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
            store.data_mut().imports.print(&bytes);
            Ok((Ok::<(), StreamError>(()),))
        })?;
    }
    for name in
        ["[method]output-stream.write-zeroes", "[method]output-stream.blocking-write-zeroes-and-flush"]
    {
        streams.func_wrap(name, |mut store: Store<'_>, (_, length): (Stream, u64)| {
            store.data_mut().imports.print(&vec![0; permitted(length)?]);
            Ok((Ok::<(), StreamError>(()),))
        })?;
    }
    for name in ["[method]output-stream.splice", "[method]output-stream.blocking-splice"] {
        // It reads, whatever it may write, and nothing can be read.
        streams.func_wrap(name, |_: Store<'_>, _: (Stream, Resource<InputStream>, u64)| {
            Ok((Err::<u64, StreamError>(StreamError::Closed),))
        })?;
    }
    for name in ["[method]output-stream.flush", "[method]output-stream.blocking-flush"] {
        streams.func_wrap(name, |_: Store<'_>, _: (Stream,)| Ok((Ok::<(), StreamError>(()),)))?;
    }
    Ok(())
}

/// The length of a write that may be made.
fn permitted(length: u64) -> wasmtime::Result<usize> {
    if length > ROOM {
        wasmtime::bail!("it writes {length} bytes at once to a stream that permits {ROOM}");
    }
    Ok(usize::try_from(length)?)
}

fn standard_streams(linker: &mut Linker<Inside>, version: &str) -> wasmtime::Result<()> {
    let mut stdin = linker.instance(&named("cli/stdin", version))?;
    resource::<InputStream>(&mut stdin, "input-stream")?;
    stdin.func_wrap("get-stdin", |_: Store<'_>, (): ()| Ok((Resource::<InputStream>::new_own(0),)))?;
    for (interface, function) in [("cli/stdout", "get-stdout"), ("cli/stderr", "get-stderr")] {
        let mut output = linker.instance(&named(interface, version))?;
        resource::<OutputStream>(&mut output, "output-stream")?;
        output.func_wrap(function, |_: Store<'_>, (): ()| Ok((Resource::<OutputStream>::new_own(0),)))?;
    }
    Ok(())
}

fn terminals(linker: &mut Linker<Inside>, version: &str) -> wasmtime::Result<()> {
    for kind in ["terminal-input", "terminal-output"] {
        resource::<Terminal>(&mut linker.instance(&named(&format!("cli/{kind}"), version))?, kind)?;
    }
    for (stream, kind) in
        [("stdin", "terminal-input"), ("stdout", "terminal-output"), ("stderr", "terminal-output")]
    {
        let mut terminal = linker.instance(&named(&format!("cli/terminal-{stream}"), version))?;
        resource::<Terminal>(&mut terminal, kind)?;
        terminal.func_wrap(&format!("get-terminal-{stream}"), |_: Store<'_>, (): ()| {
            Ok((None::<Resource<Terminal>>,))
        })?;
    }
    Ok(())
}

/// There is no folder to begin with, so nothing else can be called.
fn files(linker: &mut Linker<Inside>, version: &str) -> wasmtime::Result<()> {
    let mut types = linker.instance(&named("filesystem/types", version))?;
    resource::<Descriptor>(&mut types, "descriptor")?;
    resource::<IoError>(&mut types, "error")?;
    resource::<InputStream>(&mut types, "input-stream")?;
    resource::<OutputStream>(&mut types, "output-stream")?;
    let mut preopens = linker.instance(&named("filesystem/preopens", version))?;
    resource::<Descriptor>(&mut preopens, "descriptor")?;
    preopens.func_wrap("get-directories", |_: Store<'_>, (): ()| {
        Ok((Vec::<(Resource<Descriptor>, String)>::new(),))
    })
}

fn clocks(linker: &mut Linker<Inside>, version: &str) -> wasmtime::Result<()> {
    let mut monotonic = linker.instance(&named("clocks/monotonic-clock", version))?;
    resource::<Pollable>(&mut monotonic, "pollable")?;
    monotonic.func_wrap("now", |_: Store<'_>, (): ()| Ok((0_u64,)))?;
    monotonic.func_wrap("resolution", |_: Store<'_>, (): ()| Ok((1_u64,)))?;
    let mut wall = linker.instance(&named("clocks/wall-clock", version))?;
    for name in ["now", "resolution"] {
        wall.func_wrap(name, |_: Store<'_>, (): ()| Ok((Datetime { seconds: 0, nanoseconds: 0 },)))?;
    }
    Ok(())
}

fn random(linker: &mut Linker<Inside>, version: &str) -> wasmtime::Result<()> {
    let bytes = |_: Store<'_>, (length,): (u64,)| {
        // A guest that gets less than it has asked for takes what lies behind it for the rest.
        if length > RANDOM_BYTES {
            wasmtime::bail!("it asks for {length} random bytes at once, where {RANDOM_BYTES} are given");
        }
        let length = usize::try_from(length)?;
        Ok((SEED.0.to_le_bytes().into_iter().cycle().take(length).collect::<Vec<u8>>(),))
    };
    let mut random = linker.instance(&named("random/random", version))?;
    random.func_wrap("get-random-bytes", bytes)?;
    random.func_wrap("get-random-u64", |_: Store<'_>, (): ()| Ok((SEED.0,)))?;
    let mut insecure = linker.instance(&named("random/insecure", version))?;
    insecure.func_wrap("get-insecure-random-bytes", bytes)?;
    insecure.func_wrap("get-insecure-random-u64", |_: Store<'_>, (): ()| Ok((SEED.1,)))?;
    let mut seed = linker.instance(&named("random/insecure-seed", version))?;
    seed.func_wrap("insecure-seed", |_: Store<'_>, (): ()| Ok((SEED,)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stubs_are_for_all_versions_of_wasi_0_2_and_no_others() {
        assert_eq!(version("wasi:io/streams@0.2.0"), Some("0.2.0"));
        assert_eq!(version("wasi:cli/stdout@0.2.12"), Some("0.2.12"));
        for other in
            ["wasi:io/streams@0.3.0", "wasi:io/streams@0.20.0", "wasi:io/streams", "weft:mapping/log@0.2.0"]
        {
            assert_eq!(version(other), None, "{other}");
        }
    }
}

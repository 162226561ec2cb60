//! WASI stubs, for toolchains that cannot do without: nothing is read, what is written goes to the log, and
//! every call has the same result each time.
//!
//! What a language's runtime calls at its start is implemented here. The rest of the interfaces named in
//! [`OFFERED`] traps when it is called; other interfaces, such as sockets, are not there at all.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource, ResourceType};

use crate::plugin::sandbox::Inside;

/// Packages of which something is offered.
pub(super) const OFFERED: &[&str] =
    &["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/"];
/// The version that is offered to every component of WASI 0.2.
const VERSION: &str = "0.2.6";
/// What `check-write` allows at a time.
const ROOM: u64 = 4096;
/// Seed of everything that wants to be random: the same on every machine, so that answers are.
const SEED: (u64, u64) = (0x7765_6674, 0x6d61_7070_696e_6773);

struct IoError;
struct Pollable;
struct InputStream;
struct OutputStream;
struct Terminal;

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

/// Offers the stubs to components.
///
/// # Errors
/// One of the names is taken already.
pub(super) fn add_to_linker(linker: &mut Linker<Inside>) -> wasmtime::Result<()> {
    surroundings(linker)?;
    streams(linker)?;
    standard_streams(linker)?;
    terminals(linker)?;
    clocks(linker)?;
    random(linker)
}

fn named(interface: &str) -> String {
    format!("wasi:{interface}@{VERSION}")
}

fn surroundings(linker: &mut Linker<Inside>) -> wasmtime::Result<()> {
    let mut environment = linker.instance(&named("cli/environment"))?;
    environment.func_wrap("get-environment", |_: Store<'_>, (): ()| Ok((Vec::<(String, String)>::new(),)))?;
    environment.func_wrap("get-arguments", |_: Store<'_>, (): ()| Ok((Vec::<String>::new(),)))?;
    environment.func_wrap("initial-cwd", |_: Store<'_>, (): ()| Ok((None::<String>,)))
}

fn streams(linker: &mut Linker<Inside>) -> wasmtime::Result<()> {
    linker.instance(&named("io/error"))?.resource("error", ResourceType::host::<IoError>(), |_, _| Ok(()))?;
    let mut poll = linker.instance(&named("io/poll"))?;
    poll.resource("pollable", ResourceType::host::<Pollable>(), |_, _| Ok(()))?;
    let mut streams = linker.instance(&named("io/streams"))?;
    streams.resource("input-stream", ResourceType::host::<InputStream>(), |_, _| Ok(()))?;
    streams.resource("output-stream", ResourceType::host::<OutputStream>(), |_, _| Ok(()))?;
    for name in ["[method]input-stream.read", "[method]input-stream.blocking-read"] {
        streams.func_wrap(name, |_: Store<'_>, _: (Resource<InputStream>, u64)| {
            Ok((Err::<Vec<u8>, StreamError>(StreamError::Closed),))
        })?;
    }
    streams
        .func_wrap("[method]output-stream.check-write", |_: Store<'_>, _: (Resource<OutputStream>,)| {
            Ok((Ok::<u64, StreamError>(ROOM),))
        })?;
    for name in ["[method]output-stream.write", "[method]output-stream.blocking-write-and-flush"] {
        streams.func_wrap(name, |mut store: Store<'_>, (_, bytes): (Resource<OutputStream>, Vec<u8>)| {
            store.data_mut().imports.print(&bytes);
            Ok((Ok::<(), StreamError>(()),))
        })?;
    }
    for name in ["[method]output-stream.flush", "[method]output-stream.blocking-flush"] {
        streams
            .func_wrap(name, |_: Store<'_>, _: (Resource<OutputStream>,)| Ok((Ok::<(), StreamError>(()),)))?;
    }
    Ok(())
}

fn standard_streams(linker: &mut Linker<Inside>) -> wasmtime::Result<()> {
    linker
        .instance(&named("cli/stdin"))?
        .func_wrap("get-stdin", |_: Store<'_>, (): ()| Ok((Resource::<InputStream>::new_own(0),)))?;
    for (interface, function) in [("cli/stdout", "get-stdout"), ("cli/stderr", "get-stderr")] {
        linker
            .instance(&named(interface))?
            .func_wrap(function, |_: Store<'_>, (): ()| Ok((Resource::<OutputStream>::new_own(0),)))?;
    }
    Ok(())
}

fn terminals(linker: &mut Linker<Inside>) -> wasmtime::Result<()> {
    for kind in ["terminal-input", "terminal-output"] {
        let mut instance = linker.instance(&named(&format!("cli/{kind}")))?;
        instance.resource(kind, ResourceType::host::<Terminal>(), |_, _| Ok(()))?;
    }
    for stream in ["stdin", "stdout", "stderr"] {
        linker
            .instance(&named(&format!("cli/terminal-{stream}")))?
            .func_wrap(&format!("get-terminal-{stream}"), |_: Store<'_>, (): ()| {
                Ok((None::<Resource<Terminal>>,))
            })?;
    }
    Ok(())
}

fn clocks(linker: &mut Linker<Inside>) -> wasmtime::Result<()> {
    let mut monotonic = linker.instance(&named("clocks/monotonic-clock"))?;
    monotonic.func_wrap("now", |_: Store<'_>, (): ()| Ok((0_u64,)))?;
    monotonic.func_wrap("resolution", |_: Store<'_>, (): ()| Ok((1_u64,)))?;
    let mut wall = linker.instance(&named("clocks/wall-clock"))?;
    for name in ["now", "resolution"] {
        wall.func_wrap(name, |_: Store<'_>, (): ()| Ok((Datetime { seconds: 0, nanoseconds: 0 },)))?;
    }
    Ok(())
}

fn random(linker: &mut Linker<Inside>) -> wasmtime::Result<()> {
    let bytes = |_: Store<'_>, (length,): (u64,)| {
        // More than any seed needs; a guest that wants to fill its memory with it gets less than it asks for.
        let length = usize::try_from(length.min(64 * 1024)).unwrap_or_default();
        Ok((SEED.0.to_le_bytes().into_iter().cycle().take(length).collect::<Vec<u8>>(),))
    };
    let mut random = linker.instance(&named("random/random"))?;
    random.func_wrap("get-random-bytes", bytes)?;
    random.func_wrap("get-random-u64", |_: Store<'_>, (): ()| Ok((SEED.0,)))?;
    let mut insecure = linker.instance(&named("random/insecure"))?;
    insecure.func_wrap("get-insecure-random-bytes", bytes)?;
    insecure.func_wrap("get-insecure-random-u64", |_: Store<'_>, (): ()| Ok((SEED.1,)))?;
    let mut seed = linker.instance(&named("random/insecure-seed"))?;
    seed.func_wrap("insecure-seed", |_: Store<'_>, (): ()| Ok((SEED,)))
}

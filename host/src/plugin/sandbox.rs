//! Where foreign code runs: nothing to read, nowhere to write, a bound on time and on memory.
//!
//! Every call gets a fresh instance in a store of its own, so nothing is kept from one object to the next
//! and a trap ends no more than the call it happened in. This file belongs to the trusted base: see
//! ARCHITECTURE.md.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::warn;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Cache, CacheConfig, Config, Engine, ResourceLimiter, Store, Trap};
use weft_core::causes::causes;

use crate::plugin::apart::Workplace;
use crate::plugin::bindings::{MappingPlugin, MappingPluginPre};
use crate::plugin::compiled;
use crate::plugin::imports::Imports;
use crate::plugin::wasi_stubs;

/// How often the engine looks whether a call has had its time.
const TICK: Duration = Duration::from_millis(10);
/// Stack of a call.
const STACK: usize = 512 * 1024;
/// What a guest may hand to the host at a time: an object of the largest size that etcd takes, a few times.
const HANDED_OVER: usize = 8 * 1024 * 1024;
/// Entries of one table; Python needs a few thousand.
const TABLE: usize = 200_000;
/// Core instances, memories and tables of one component; Python has many core modules.
const PARTS: usize = 100;
/// Resources that a call may hold at once, of those that the host keeps the list of. No mapping has any; a runtime with
/// WASI has a few streams.
const HANDLES: usize = 10_000;
/// Machine code of one component, which stays in memory while it is loaded; a whole Python has 35 MiB.
const IMAGE: usize = 128 * 1024 * 1024;

/// Compiles components and runs calls. One for the process.
pub struct Sandbox {
    engine: Engine,
    bare: Linker<Inside>,
    stop: Arc<AtomicBool>,
    workplace: Workplace,
    compiled: Option<compiled::Folder>,
}

/// What one call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time of one call, in steps of 10 ms.
    pub time: Duration,
    /// In bytes, all memories and tables of the component together.
    pub memory: usize,
}

/// What a store holds.
pub(super) struct Inside {
    pub(super) imports: Imports,
    meter: Meter,
}

/// Counts the memory of one call.
struct Meter {
    limit: usize,
    used: usize,
    is_exceeded: bool,
}

/// A component that is ready to be instantiated.
#[derive(Clone)]
pub struct Prepared {
    pre: MappingPluginPre<Inside>,
}

/// Why foreign code did not do what it was called for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine cannot be set up.
    #[error("failed to set up the WebAssembly engine")]
    Engine(#[source] wasmtime::Error),
    /// The bytes cannot be compiled.
    #[error("failed to compile the component")]
    Compile(#[source] wasmtime::Error),
    /// There is too much machine code.
    #[error("its machine code has {} MiB; {} MiB at most are loaded", .0 / 1024 / 1024, IMAGE / 1024 / 1024)]
    Image(usize),
    /// The component wants something that is not offered.
    #[error("the component does not fit the interface")]
    Link(#[source] wasmtime::Error),
    /// The call took longer than it may.
    #[error("it ran longer than {} ms", .0.as_millis())]
    Time(Duration),
    /// The component wanted more memory than it may have.
    #[error("it wanted more memory than {} MiB", .0 / 1024 / 1024)]
    Memory(usize),
    /// The component gave up: a panic, an exception, a stack that was too deep.
    #[error("it stopped: {why}")]
    Trap {
        /// What happened, with the panic's message where there is one.
        why: String,
    },
}

impl Sandbox {
    /// A sandbox that compiles in this process, and keeps compiled components in the folder `cache`, if there is one.
    ///
    /// # Errors
    /// The engine cannot be set up.
    pub fn new(cache: Option<&Path>) -> Result<Self, Error> {
        Self::at(Workplace::Here, cache)
    }

    /// The same; what takes unbounded time or memory is done at `workplace` first. A folder that others can write to is
    /// not used, with a warning.
    ///
    /// # Errors
    /// The engine cannot be set up.
    pub fn at(workplace: Workplace, cache: Option<&Path>) -> Result<Self, Error> {
        let kept = cache.and_then(|folder| match compiled::Folder::kept(folder) {
            Ok(folder) => Some(folder),
            Err(error) => {
                warn!(
                    "`plugins.cache` is not used; components are compiled at each start: {}",
                    causes(&error)
                );
                None
            }
        });
        let compiled = match &workplace {
            Workplace::Here => kept,
            Workplace::Child(_) => kept.or_else(compiled::Folder::passing),
        };
        let engine = Engine::new(&config(compiled.as_ref())?).map_err(Error::Engine)?;
        let mut bare = Linker::new(&engine);
        MappingPlugin::add_to_linker::<_, HasSelf<Imports>>(&mut bare, |inside: &mut Inside| {
            &mut inside.imports
        })
        .map_err(Error::Engine)?;
        let stop = Arc::new(AtomicBool::new(false));
        tick(&engine, stop.clone()).map_err(|error| Error::Engine(error.into()))?;
        Ok(Self { engine, bare, stop, workplace, compiled })
    }

    /// The engine, to ask about types.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where foreign bytes are compiled and foreign schemas are applied first.
    pub(super) fn workplace(&self) -> &Workplace {
        &self.workplace
    }

    /// The folder of compiled components.
    pub(super) fn compiled(&self) -> Option<&compiled::Folder> {
        self.compiled.as_ref()
    }

    /// The folder that is kept from one start to the next, if it is used: nobody else can write there.
    pub fn kept(&self) -> Option<&Path> {
        match &self.compiled {
            Some(compiled::Folder::Kept(path)) => Some(path),
            _ => None,
        }
    }

    /// Compiles a component, or takes it from the folder of compiled ones.
    ///
    /// # Errors
    /// The bytes are no component that this engine runs, or become too much machine code.
    pub fn compile(&self, bytes: &[u8]) -> Result<Component, Error> {
        let component = Component::from_binary(&self.engine, bytes).map_err(Error::Compile)?;
        let image = component.image_range();
        match (image.end as usize).saturating_sub(image.start as usize) {
            size if size > IMAGE => Err(Error::Image(size)),
            _ => Ok(component),
        }
    }

    /// Connects what the component imports; stubs for WASI are offered only where they are allowed.
    ///
    /// # Errors
    /// It imports something else, or does not export what a mapping plugin has to.
    pub fn prepare(&self, component: &Component, wasi: bool) -> Result<Prepared, Error> {
        let pre = if wasi {
            let mut linker = self.bare.clone();
            let imports = component.component_type();
            let imports = imports.imports(&self.engine).map(|(name, _)| name);
            wasi_stubs::add_to_linker(&mut linker, imports).map_err(Error::Link)?;
            // What has no answer traps; what is not offered at all was refused before.
            linker.define_unknown_imports_as_traps(component).map_err(Error::Link)?;
            linker.instantiate_pre(component)
        } else {
            self.bare.instantiate_pre(component)
        };
        let pre = pre.map_err(Error::Link)?;
        Ok(Prepared { pre: MappingPluginPre::new(pre).map_err(Error::Link)? })
    }

    /// Runs `call` in a fresh instance; gives its answer and what is left of `imports`.
    ///
    /// # Errors
    /// The component took more than `limits`, or stopped.
    pub(super) fn run<T>(
        &self,
        prepared: &Prepared,
        imports: Imports,
        limits: Limits,
        call: impl FnOnce(&mut Store<Inside>, &MappingPlugin) -> wasmtime::Result<T>,
    ) -> (Result<T, Error>, Imports) {
        let meter = Meter { limit: limits.memory, used: 0, is_exceeded: false };
        let mut store = Store::new(&self.engine, Inside { imports, meter });
        store.limiter(|inside| &mut inside.meter);
        store.set_hostcall_fuel(HANDED_OVER);
        store.set_max_component_handles(HANDLES);
        // The tick that is running counts as well, so one more is given.
        let ticks = limits.time.as_millis().div_ceil(TICK.as_millis()).saturating_add(1);
        store.set_epoch_deadline(u64::try_from(ticks).unwrap_or(u64::MAX));
        let result = prepared.pre.instantiate(&mut store).and_then(|plugin| call(&mut store, &plugin));
        let Inside { mut imports, meter } = store.into_data();
        imports.end_printing();
        (result.map_err(|error| explain(&error, limits, &meter, &imports)), imports)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What it can mean that a component stops without a word: bindings of scripting languages do so.
const SILENT: &str =
    "it wrote no error before, as where a value has not the type that wit/types.wit gives it";

/// Only what a mapping can need. What is off cannot be a way out: threads, garbage collection and shared
/// memory are not even compiled in.
fn config(compiled: Option<&compiled::Folder>) -> Result<Config, Error> {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .max_wasm_stack(STACK)
        // The same answer for the same question on every machine.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        // Registration of many images is slow, and nothing unwinds through them.
        .native_unwind_info(false)
        // Where in the file a trap happened helps in no message, and takes a fifth of an image.
        .generate_address_map(false);
    if let Some(folder) = compiled {
        let mut settings = CacheConfig::new();
        settings.with_directory(folder.path());
        config.cache(Some(Cache::new(settings).map_err(Error::Engine)?));
    }
    Ok(config)
}

/// Moves the engine's clock on, in a thread of its own that ends with the engine.
fn tick(engine: &Engine, stop: Arc<AtomicBool>) -> std::io::Result<()> {
    let engine = engine.weak();
    let run = move || {
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(TICK);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
        }
    };
    std::thread::Builder::new().name("plugin-clock".to_owned()).spawn(run).map(drop)
}

impl Meter {
    fn take(&mut self, bytes: usize) -> wasmtime::Result<bool> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.limit {
            self.is_exceeded = true;
            wasmtime::bail!("out of memory");
        }
        Ok(true)
    }
}

impl ResourceLimiter for Meter {
    /// All memories of the component together; what does not fit ends the call, so that no allocator gets
    /// to answer in another way than on a machine with more memory.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.take(desired.saturating_sub(current))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > TABLE {
            self.is_exceeded = true;
            wasmtime::bail!("out of table entries");
        }
        // An entry is a pointer.
        self.take(desired.saturating_sub(current).saturating_mul(size_of::<usize>()))
    }

    fn instances(&self) -> usize {
        PARTS
    }

    fn tables(&self) -> usize {
        PARTS
    }

    fn memories(&self) -> usize {
        PARTS
    }
}

fn explain(error: &wasmtime::Error, limits: Limits, meter: &Meter, imports: &Imports) -> Error {
    if meter.is_exceeded {
        return Error::Memory(limits.memory);
    }
    if let Some(Trap::Interrupt) = error.downcast_ref::<Trap>() {
        return Error::Time(limits.time);
    }
    // The first line is a list of frames; what went wrong stands behind it.
    let cause = error.root_cause().to_string();
    let words = imports.last_words().map(|words| format!("{words} ({cause})"));
    let is_silent = matches!(error.downcast_ref::<Trap>(), Some(Trap::UnreachableCodeReached));
    let why = words.unwrap_or_else(|| if is_silent { format!("{cause}; {SILENT}") } else { cause });
    Error::Trap { why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_count_as_memory() {
        let mut meter = Meter { limit: 1024 * 1024, used: 0, is_exceeded: false };
        assert!(meter.table_growing(0, 100_000, None).is_ok());
        assert!(meter.table_growing(0, 100_000, None).is_err() && meter.is_exceeded);
    }
}

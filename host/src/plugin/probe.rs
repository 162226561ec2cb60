//! One recorded call, made again and again, to be measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weft_core::extension::Direction;
use weft_core::names::Names;

use crate::plugin::bindings::exports::weft::mapping::mapper;
use crate::plugin::generation::Generation;
use crate::plugin::recorder::Recorded;
use crate::plugin::sandbox::Error;

/// A call that can be made any number of times.
pub struct Probe {
    generation: Arc<Generation>,
    recorded: Recorded,
    request: mapper::Request,
    names: Names,
}

impl Probe {
    /// The call `recorded` of `generation`; what it looked up is answered as before.
    pub fn new(generation: Arc<Generation>, recorded: Recorded, names: Names) -> Self {
        let request = recorded.to_request();
        Self { generation, recorded, request, names }
    }

    /// Makes an instance and does nothing with it; returns how long that took.
    ///
    /// # Errors
    /// The sandbox stops it.
    pub fn instantiate(&self) -> Result<Duration, Error> {
        let generation = &self.generation;
        let imports = generation.replaying(&self.names, &self.recorded);
        let start = Instant::now();
        let (answer, _) =
            generation.sandbox.run(&generation.loaded.prepared, imports, generation.limits, |_, _| Ok(()));
        let took = start.elapsed();
        answer.map(|()| took)
    }

    /// Calls a fresh instance, which takes its settings first, `times` times; returns how long the last call took.
    ///
    /// # Errors
    /// The sandbox stops it.
    pub fn call(&self, times: usize) -> Result<Duration, Error> {
        let generation = &self.generation;
        let imports = generation.replaying(&self.names, &self.recorded);
        let prepared = &generation.loaded.prepared;
        let (answer, _) = generation.sandbox.run(prepared, imports, generation.limits, |store, plugin| {
            // The settings were accepted when the plugin was loaded; here only the time that they take counts.
            let _ = plugin.weft_mapping_plugin().call_configure(&mut *store, &generation.settings)?;
            let mut took = Duration::ZERO;
            for _ in 0..times {
                let start = Instant::now();
                let mapper = plugin.weft_mapping_mapper();
                match self.recorded.direction {
                    Direction::ToHost => mapper.call_to_host(&mut *store, &self.request)?,
                    Direction::ToVirtual => mapper.call_to_virtual(&mut *store, &self.request)?,
                };
                took = start.elapsed();
            }
            Ok(took)
        });
        answer
    }
}

//! Builds the misbehaving guest, `tests/guest`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::binaries::cache;
use crate::guests::rust;

/// The variants of the guest, for what neither an annotation nor a setting can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// It does what annotations of objects say.
    Obedient,
    /// The same; it maps more kinds, and imports WASI to print with.
    Worst,
    /// Its descriptor requests a kind that no plugin may map.
    Greedy,
    /// Its settings have a schema that no validator comes to an end with.
    SlowSchema,
    /// `describe` never ends.
    SpinsAtOnce,
    /// `describe` traps.
    TrapsAtOnce,
}

impl Guest {
    /// The feature of the crate that selects it.
    fn feature(self) -> Option<&'static str> {
        match self {
            Self::Obedient => None,
            Self::Worst => Some("worst"),
            Self::Greedy => Some("wants-too-much"),
            Self::SlowSchema => Some("schema-spins"),
            Self::SpinsAtOnce => Some("describe-spins"),
            Self::TrapsAtOnce => Some("describe-traps"),
        }
    }

    /// The component `guest.wasm`, alone in its folder.
    pub async fn component(self) -> Result<PathBuf> {
        let module = rust::module(&package(), self.feature()).await?;
        self.keep("component", &weft::author::encode::encode(module)?)
    }

    /// The core module of the component.
    pub async fn module(self) -> Result<PathBuf> {
        let module = rust::module(&package(), self.feature()).await?;
        self.keep("module", &module)
    }

    /// Writes a file of the guest, unless it exists with this content.
    fn keep(self, form: &str, bytes: &[u8]) -> Result<PathBuf> {
        let folder =
            cache("guests")?.join("misbehaving").join(self.feature().unwrap_or("obedient")).join(form);
        let file = folder.join("guest.wasm");
        if fs::read(&file).is_ok_and(|found| found == bytes) {
            return Ok(file);
        }
        fs::create_dir_all(&folder)?;
        let part = tempfile::NamedTempFile::new_in(&folder)?;
        fs::write(part.path(), bytes)?;
        part.persist(&file)?;
        Ok(file)
    }
}

/// The crate of the guest.
fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guest")
}

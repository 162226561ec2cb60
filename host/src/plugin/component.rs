//! From the bytes of a file to a component that can be called, or to one readable line that says why not.

use std::sync::Arc;

use weft_core::causes::causes;
use weft_core::digest;

use crate::plugin::apart::{self, Compiled, Work, Workplace};
use crate::plugin::compiled::Folder;
use crate::plugin::convert;
use crate::plugin::imports::Imports;
use crate::plugin::log_lines::Lines;
use crate::plugin::sandbox::{self, Limits, Prepared, Sandbox};
use crate::plugin::surface::{self, Surface};
use crate::plugin::wasi_stubs;
use crate::registry::descriptor::{Descriptor, Invalid};

/// Larger than a component with a whole Python in it.
pub const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Begins every WebAssembly file.
const MAGIC: &[u8] = b"\0asm";
/// Follows it in components.
const COMPONENT: &[u8] = &[0x0d, 0x00, 0x01, 0x00];
/// Follows it in core modules.
const MODULE: &[u8] = &[0x01, 0x00, 0x00, 0x00];
/// The interface's package.
const PACKAGE: &str = "weft:mapping/";
/// The versions of the package that this host calls.
const TRACK: &str = "0.1.";
/// What `describe` and `configure` may take: the first call of an instance of Python is slow.
pub const START: Limits = Limits { time: std::time::Duration::from_secs(5), memory: 64 * 1024 * 1024 };

/// A component with what it says about itself.
#[derive(Clone)]
pub struct Loaded {
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// Bytes of the file.
    pub size: usize,
    /// Interfaces that it imports, with their versions.
    pub imports: Vec<String>,
    /// What it says about itself.
    pub descriptor: Descriptor,
    pub(super) prepared: Prepared,
}

/// Why a file is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More than [`MAX_BYTES`].
    #[error("it has {} MiB; {} MiB at most are loaded", .0 / 1024 / 1024, MAX_BYTES / 1024 / 1024)]
    Size(usize),
    /// Something other than WebAssembly, or the beginning of a file that is still being written.
    #[error("not a WebAssembly file")]
    NotWasm,
    /// A module without the component around it.
    #[error("it is a core module, not a component; `weft plugin build` makes a component of it")]
    Module,
    /// The file is damaged, or uses what this host does not have.
    #[error("it cannot be compiled: {0}")]
    Compile(String),
    /// It becomes more machine code than is loaded.
    #[error(transparent)]
    Image(sandbox::Error),
    /// Compiling it takes more time or memory than it may.
    #[error(transparent)]
    Apart(#[from] apart::Error),
    /// Nothing of our interface is exported.
    #[error("it does not export `{PACKAGE}mapper`")]
    NoPlugin,
    /// Built for another version of the interface.
    #[error(
        "it is built for weft:mapping {built_for}; this weft calls {TRACK}x. Build it against wit/ of this version"
    )]
    Version {
        /// The version.
        built_for: String,
    },
    /// It imports WASI.
    #[error("it imports {import}; build it without WASI, or allow stubs with `wasi: true` for this plugin")]
    Wasi {
        /// The interface.
        import: String,
    },
    /// An import or export does not fit.
    #[error("it does not fit the interface: {0}")]
    Link(String),
    /// `describe` did not answer.
    #[error("it cannot describe itself")]
    Describe(#[from] sandbox::Error),
    /// The descriptor makes no sense.
    #[error(transparent)]
    Descriptor(#[from] Invalid),
}

impl Loaded {
    /// The version for people: `version 0.1.0 (17e12e496937)`. Versions under development have one number.
    pub fn title(&self) -> String {
        let digest = self.digest.get(..12).unwrap_or_default();
        format!("version {} ({digest})", self.descriptor.version)
    }
}

/// Reads, checks, compiles and describes a component: the cheap before the dear, and what has no end of its own first in
/// a process that can be killed.
///
/// # Errors
/// Why it cannot be loaded, for the person who put it there.
pub fn load(sandbox: &Sandbox, bytes: &[u8], wasi: bool) -> Result<Loaded, Error> {
    check_head(bytes)?;
    let Surface { imports, exports } = surface::read(bytes).map_err(Error::Compile)?;
    check_interface(&imports, &exports, wasi)?;
    rehearse(sandbox, bytes, wasi)?;
    // From here on nothing is compiled: the child has left it in the folder. Where there is none it is done once more,
    // within what the child has shown to be enough.
    let prepared = sandbox.compile(bytes).and_then(|component| sandbox.prepare(&component, wasi));
    sandbox.compiled().inspect(|folder| folder.taken());
    let prepared = prepared.map_err(refused)?;
    let closed = Imports::closed(Arc::from("?"), "describe", Lines::per_second(20));
    let (described, _) = sandbox
        .run(&prepared, closed, START, |store, plugin| plugin.weft_mapping_plugin().call_describe(store));
    let descriptor = convert::descriptor(described?);
    descriptor.check()?;
    Ok(Loaded { digest: digest::of_bytes(bytes), size: bytes.len(), imports, descriptor, prepared })
}

/// Has a child compile the component and hold it against the interface.
fn rehearse(sandbox: &Sandbox, bytes: &[u8], wasi: bool) -> Result<(), Error> {
    let Workplace::Child(program) = sandbox.workplace() else { return Ok(()) };
    let cache = sandbox.compiled().map(|folder: &Folder| folder.path().to_owned());
    match apart::run(program, &Work::Compile { cache, wasi }, bytes)? {
        Compiled::Fits => Ok(()),
        Compiled::Image(size) => Err(Error::Image(sandbox::Error::Image(size))),
        Compiled::Compile(why) => Err(Error::Compile(why)),
        Compiled::Link(why) => Err(Error::Link(why)),
    }
}

fn refused(error: sandbox::Error) -> Error {
    match error {
        sandbox::Error::Image(_) => Error::Image(error),
        sandbox::Error::Link(_) => Error::Link(causes(&error)),
        _ => Error::Compile(causes(&error)),
    }
}

fn check_head(bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() > MAX_BYTES {
        return Err(Error::Size(bytes.len()));
    }
    match bytes.strip_prefix(MAGIC) {
        Some(rest) if rest.starts_with(COMPONENT) => Ok(()),
        Some(rest) if rest.starts_with(MODULE) => Err(Error::Module),
        _ => Err(Error::NotWasm),
    }
}

/// Whether the component is for this interface at all: the linker's message would not say so.
fn check_interface(imports: &[String], exports: &[String], wasi: bool) -> Result<(), Error> {
    let ours = imports.iter().chain(exports).filter_map(|name| name.strip_prefix(PACKAGE));
    for (_, version) in ours.filter_map(|name| name.split_once('@')) {
        if !version.starts_with(TRACK) {
            return Err(Error::Version { built_for: version.to_owned() });
        }
    }
    if !exports.iter().any(|name| name.strip_prefix(PACKAGE).is_some_and(|name| name.starts_with("mapper@")))
    {
        return Err(Error::NoPlugin);
    }
    let is_offered = |name: &str| wasi && wasi_stubs::OFFERED.iter().any(|package| name.starts_with(package));
    let foreign = imports.iter().find(|name| !name.starts_with(PACKAGE) && !is_offered(name));
    match foreign {
        Some(import) if import.starts_with("wasi:") && !wasi => Err(Error::Wasi { import: import.clone() }),
        Some(import) => Err(Error::Link(format!("{import} is not offered to plugins"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::plugin::testing::{MODULE, component, sandbox};

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Why a component with these imports and exports is refused; empty if it is not.
    fn refused(imports: &[&str], exports: &[&str], wasi: bool) -> String {
        let checked = check_interface(&strings(imports), &strings(exports), wasi);
        checked.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_file_is_known_by_its_first_bytes() {
        let refused =
            |bytes: &[u8]| check_head(bytes).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(refused(&component()), "");
        assert!(refused(MODULE).starts_with("it is a core module, not a component"));
        for bytes in [&b""[..], b"\0as", b"\0asm", b"apiVersion: v1"] {
            assert_eq!(refused(bytes), "not a WebAssembly file");
        }
        let large = vec![0; MAX_BYTES + 1024 * 1024];
        assert_eq!(refused(&large), "it has 33 MiB; 32 MiB at most are loaded");
    }

    #[test]
    fn a_component_imports_what_this_host_offers_and_exports_a_mapper() {
        let (log, mapper) = ("weft:mapping/log@0.1.0", "weft:mapping/mapper@0.1.3");
        assert_eq!(refused(&[log], &[mapper], false), "");
        assert_eq!(
            refused(&[log], &["weft:mapping/plugin@0.1.0"], false),
            "it does not export `weft:mapping/mapper`"
        );
        assert!(
            refused(&[log], &["weft:mapping/mapper@0.2.0"], false)
                .starts_with("it is built for weft:mapping 0.2.0")
        );
        assert!(refused(&["wasi:cli/stdout@0.2.6"], &[mapper], false).contains("`wasi: true`"));
        assert_eq!(refused(&["wasi:cli/stdout@0.2.6"], &[mapper], true), "");
        for import in ["wasi:sockets/tcp@0.2.6", "acme:cache/store@1.0.0"] {
            assert!(
                refused(&[import], &[mapper], true).contains(&format!("{import} is not offered")),
                "{import}"
            );
        }
    }

    #[test]
    fn a_published_component_is_loaded_and_describes_itself() {
        let loaded = load(&sandbox(), &component(), false).unwrap();
        assert_eq!((loaded.descriptor.name.as_str(), loaded.size), ("team-label", component().len()));
        assert_eq!(loaded.title(), format!("version 0.1.0 ({})", &loaded.digest[..12]));
        assert!(loaded.imports.iter().all(|import| import.starts_with(PACKAGE)), "{:?}", loaded.imports);
    }
}

//! Files that cannot be loaded as plugins, each with words of the error.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use weft::plugin::sandbox::Sandbox;
use weft_tests::guests::misbehaving::Guest;
use weft_tests::shared::in_runtime;

use super::bench::component;

/// A file in the folder of plugins.
pub(crate) struct File {
    pub(crate) title: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// Words of the error.
    pub(crate) words: &'static [&'static str],
}

/// One file of each sort.
pub(crate) fn files() -> Result<Vec<File>> {
    let file = |title, bytes, words| File { title, bytes, words };
    let mut files = vec![
        file("nothing", Vec::new(), &["not a WebAssembly file"]),
        file("a YAML file", b"apiVersion: v1\n".to_vec(), &["not a WebAssembly file"]),
        file("machine code", machine_code()?, &["not a WebAssembly file"]),
        file(
            "a core module",
            fs::read(in_runtime(Guest::Obedient.module())?)?,
            &["core module", "weft plugin build"],
        ),
    ];
    files.extend(changed()?);
    files.extend([
        file(
            "one that traps in describe",
            bytes(Guest::TrapsAtOnce)?,
            &["cannot describe itself", "stopped", "unreachable"],
        ),
        file(
            "one whose describe does not end",
            bytes(Guest::SpinsAtOnce)?,
            &["cannot describe itself", "longer than 5000 ms"],
        ),
        file(
            "one that requests too much",
            bytes(Guest::Greedy)?,
            &["mappings[2].kind", "rbac.authorization.k8s.io/v1/ClusterRole", "cannot be mapped by a plugin"],
        ),
    ]);
    Ok(files)
}

/// A valid component with one change.
fn changed() -> Result<Vec<File>> {
    let good = bytes(Guest::Obedient)?;
    let file = |title, bytes, words| File { title, bytes, words };
    let named =
        |title, from, to, words| Ok::<_, anyhow::Error>(file(title, renamed(&good, from, to)?, words));
    let (log, mapper) = ("weft:mapping/log@0.1.0", "weft:mapping/mapper@0.1.0");
    let mut large = good.clone();
    large.resize(50 * 1024 * 1024, 0);
    let half = good.get(..good.len() / 2).context("is within")?.to_vec();
    Ok(vec![
        file("half a file", half, &["cannot be compiled"]),
        file("a file with trailing bytes", [good.clone(), vec![0; 8]].concat(), &["cannot be compiled"]),
        file("a damaged file", damaged(&good)?, &["cannot be compiled"]),
        file("too large a file", large, &["50 MiB", "32 MiB at most"]),
        named("a newer interface", "@0.1.0", "@0.2.0", &["weft:mapping 0.2.0", "calls 0.1.x", "wit/"])?,
        named("an older interface", "@0.1.0", "@0.0.9", &["weft:mapping 0.0.9", "calls 0.1.x"])?,
        named("WASI", log, "wasi:random/get@0.2.10", &["wasi:random/get@0.2.10", "`wasi: true`"])?,
        named("something unknown", log, "evil:mapping/log@0.1.0", &["evil:mapping/log@0.1.0"])?,
        named("no rules", mapper, "weft:mapping/mopper@0.1.0", &["does not export `weft:mapping/mapper`"])?,
    ])
}

pub(crate) fn bytes(guest: Guest) -> Result<Vec<u8>> {
    Ok(fs::read(component(guest)?)?)
}

/// Machine code, as in the cache of compiled components; run without checks, it could do anything.
fn machine_code() -> Result<Vec<u8>> {
    let compiled = Sandbox::new(None)?.engine().precompile_component(&bytes(Guest::Obedient)?);
    compiled.map_err(|error| anyhow::anyhow!("{error:#}"))
}

/// The file with the bytes after its header inverted, which hold lengths and order of its sections.
fn damaged(good: &[u8]) -> Result<Vec<u8>> {
    const HEAD: usize = 8;
    let mut damaged = good.to_vec();
    damaged.get_mut(HEAD..2 * HEAD).context("is within")?.iter_mut().for_each(|byte| *byte = !*byte);
    Ok(damaged)
}

/// The file with one name replaced by another of the same length.
pub(crate) fn renamed(bytes: &[u8], from: &str, to: &str) -> Result<Vec<u8>> {
    ensure!(from.len() == to.len(), "{from} and {to} are not of one length");
    let mut renamed = bytes.to_vec();
    let mut found = 0;
    for start in 0..renamed.len().saturating_sub(from.len()) {
        let place = renamed.get_mut(start..start + from.len()).context("is within")?;
        if place == from.as_bytes() {
            place.copy_from_slice(to.as_bytes());
            found += 1;
        }
    }
    ensure!(found > 0, "{from} is not in the file");
    Ok(renamed)
}

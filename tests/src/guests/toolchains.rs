//! Builds the example plugins in JavaScript and Python, with toolchains that are installed once with npm and pip.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::binaries::cache;

/// The result of building an example.
#[derive(Debug)]
pub enum Guest {
    /// The component, under the name of the plugin.
    Built(PathBuf),
    /// A tool is missing on this machine, and why; the example was not tested.
    Skipped(String),
}

/// The component of an example with a `package-lock.json` and the script `build`. Blocks during installation and
/// build.
pub fn javascript(example: &Path) -> Result<Guest> {
    if version("npm")?.is_none() {
        return Ok(Guest::Skipped("npm is not installed".to_owned()));
    }
    let toolchain = Toolchain::claim("javascript", &[&read(&example.join("package-lock.json"))?])?;
    if !toolchain.is_installed() {
        for file in ["package.json", "package-lock.json", ".npmrc"] {
            copy(&example.join(file), &toolchain.folder.join(file))?;
        }
        let npm = || command("npm", &toolchain.folder);
        let install = run(npm().args([
            "ci",
            "--include=dev",
            "--ignore-scripts",
            "--prefer-offline",
            "--fetch-retries=1",
        ]));
        if let Err(error) = install {
            let answer = run(npm().args(["view", "componentize-qjs", "version", "--fetch-retries=0"]));
            return not_installed("npm", error, answer.is_ok());
        }
        toolchain.set_installed()?;
    }
    // npm looks for programs in the `node_modules` of all folders above, and so finds the toolchain's.
    toolchain.build(example, |folder| run(command("npm", folder).args(["run", "build"])))
}

/// The component of an example with a `requirements.txt` and a `build.sh`. Blocks during installation and build.
pub fn python(example: &Path) -> Result<Guest> {
    let Some(version) = version("python3")? else {
        return Ok(Guest::Skipped("python3 is not installed".to_owned()));
    };
    let requirements = example.join("requirements.txt");
    // An environment only works with the Python that created it.
    let toolchain = Toolchain::claim("python", &[&read(&requirements)?, version.as_bytes()])?;
    let environment = toolchain.folder.join("venv");
    if !toolchain.is_installed() {
        let made = run(command("python3", &toolchain.folder).args(["-m", "venv", "--clear", "venv"]));
        if let Err(error) = made {
            return Ok(Guest::Skipped(format!("python3 cannot create environments: {error:#}")));
        }
        let pip = || {
            let mut pip = command(environment.join("bin").join("python"), &toolchain.folder);
            pip.args(["-m", "pip", "--disable-pip-version-check", "--retries=1"]);
            pip
        };
        let install = run(pip().args(["install", "--only-binary=:all:", "--requirement"]).arg(&requirements));
        if let Err(error) = install {
            let answer = run(pip().args(["index", "versions", "componentize-py"]));
            return not_installed("pip", error, answer.is_ok());
        }
        toolchain.set_installed()?;
    }
    toolchain.build(example, |folder| {
        // As after `activate`.
        let inherited = env::var_os("PATH").unwrap_or_default();
        let path = [environment.join("bin")].into_iter().chain(env::split_paths(&inherited));
        let script = folder.join("build.sh");
        run(command(script, folder).env("VIRTUAL_ENV", &environment).env("PATH", env::join_paths(path)?))
    })
}

/// A failed installation is an error, unless the registry does not answer a simple request either.
fn not_installed(client: &str, error: anyhow::Error, registry_answers: bool) -> Result<Guest> {
    if registry_answers {
        return Err(error.context(format!("failed to install a toolchain with {client}")));
    }
    Ok(Guest::Skipped(format!("{client} cannot reach its registry: {error:#}")))
}

/// A folder in the cache with one installation, and the components that were built with it. It is locked while it is
/// used.
struct Toolchain {
    folder: PathBuf,
    _lock: File,
}

impl Toolchain {
    /// Waits for the lock.
    fn claim(language: &str, installed_from: &[&[u8]]) -> Result<Self> {
        let folder = cache("guests")?.join(language).join(fingerprint(installed_from));
        create_folder(&folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.lock()?;
        Ok(Self { folder, _lock: lock })
    }

    fn is_installed(&self) -> bool {
        self.folder.join("installed").is_file()
    }

    fn set_installed(&self) -> Result<()> {
        fs::write(self.folder.join("installed"), "").context("failed to record that a toolchain is installed")
    }

    /// Builds a copy, so that nothing is written beside the sources.
    fn build(&self, example: &Path, build: impl FnOnce(&Path) -> Result<()>) -> Result<Guest> {
        let name = example.file_name().context("an example has a name")?;
        let file = Path::new(name).with_extension("wasm");
        let sources = sources(example)?;
        let folder = self.folder.join(fingerprint_of(&sources)?);
        let component = folder.join(&file);
        if !component.is_file() {
            // As in the repository, because the build looks for the interface at `../../wit`.
            let root = folder.join("work");
            let copied = root.join("examples").join(name);
            copy_all(&sources, &copied)?;
            copy_all(&interface()?, &root.join("wit"))?;
            build(&copied).with_context(|| format!("failed to build {}", example.display()))?;
            let made = copied.join("dist").join(&file);
            fs::rename(&made, &component)
                .with_context(|| format!("the build did not write {}", made.display()))?;
            fs::remove_dir_all(root)?;
        }
        Ok(Guest::Built(component))
    }
}

/// The sources of a component, beside the interface: no documentation, and no build output.
fn sources(example: &Path) -> Result<Vec<PathBuf>> {
    files(example, |path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        !matches!(extension, Some("md" | "wasm" | "yaml"))
    })
}

fn interface() -> Result<Vec<PathBuf>> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit"), |_| true)
}

fn files(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_file() && wanted(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// A fingerprint of the sources and of the interface.
fn fingerprint_of(sources: &[PathBuf]) -> Result<String> {
    let mut parts = Vec::new();
    for path in sources.iter().chain(&interface()?) {
        parts.push(path.file_name().unwrap_or_default().as_encoded_bytes().to_vec());
        parts.push(read(path)?);
    }
    Ok(fingerprint(&parts))
}

fn fingerprint(parts: &[impl AsRef<[u8]>]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_ref().len().to_le_bytes());
        hash.update(part);
    }
    BASE64_URL_SAFE_NO_PAD.encode(hash.finalize())
}

/// The output of `--version`, if the program exists and works.
fn version(program: &str) -> Result<Option<String>> {
    match Command::new(program).arg("--version").output() {
        Ok(output) if output.status.success() => {
            Ok(Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()))
        }
        // Version managers install scripts that find no program.
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to run {program}")),
    }
}

fn command(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    command
}

/// The error has the output of the program.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    let output = command.output().with_context(|| format!("failed to run {}", program.display()))?;
    if !output.status.success() {
        let written = [output.stdout, output.stderr].concat();
        bail!("{} failed:\n{}", program.display(), String::from_utf8_lossy(&written).trim());
    }
    Ok(())
}

fn copy_all(paths: &[PathBuf], folder: &Path) -> Result<()> {
    create_folder(folder)?;
    paths.iter().try_for_each(|path| copy(path, &folder.join(path.file_name().unwrap_or_default())))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

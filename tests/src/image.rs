//! Writes container images as OCI archives: without a container engine, and the same bytes from the same files.
//!
//! An archive holds one image of one layer. `ctr images import`, `skopeo copy oci-archive:…` and `podman load` read it.

pub mod components;
pub mod products;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The user of images that need no other: nobody's, as in distroless images.
pub const NON_ROOT: &str = "65532:65532";

/// What an image holds and how it starts.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Its full reference, as in `docker.io/library/nginx:1.29`.
    pub reference: String,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// The arguments that a pod may replace.
    pub command: Vec<String>,
    /// `user:group`, as numbers; root where empty.
    pub user: String,
    /// `name=value`.
    pub environment: Vec<String>,
    /// Labels, which tell what is inside.
    pub labels: Vec<(&'static str, String)>,
    /// Its files, in any order.
    pub entries: Vec<Entry>,
}

/// One path of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Without the leading slash.
    pub path: String,
    /// What is there.
    pub content: Content,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// A folder, with its mode.
    Folder(u32),
    /// A file like this one, executable.
    Program(PathBuf),
    /// A file with this content.
    Text(String),
    /// A symbolic link.
    Link(String),
}

/// Whether layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layers {
    /// Quick to write and to import, for images that stay here.
    Plain,
    /// For images that travel.
    Gzip,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The digest of the manifest, by which the image is pinned.
    pub digest: String,
    /// What a registry stores and nodes pull: the sum of all blobs.
    pub size: u64,
    /// What its files take on a node.
    pub unpacked: u64,
}

/// Writes the archive of an image.
///
/// # Errors
/// A file of it cannot be read, or the archive cannot be written.
pub fn write(image: &Image, layers: Layers, archive: &Path) -> Result<Written> {
    let files = layer(&image.entries).with_context(|| format!("failed to pack {}", image.reference))?;
    let unpacked = files.len() as u64;
    let config = Blob::json(CONFIG, &config(image, &files))?;
    let layer = match layers {
        Layers::Plain => Blob::new(LAYER, files),
        Layers::Gzip => Blob::new(&format!("{LAYER}+gzip"), compress(&files)?),
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    });
    let manifest = Blob::json(MANIFEST, &manifest)?;
    let written = Written {
        digest: manifest.digest.clone(),
        size: [&config, &layer, &manifest].iter().map(|blob| blob.bytes.len() as u64).sum(),
        unpacked,
    };
    write_archive(&image.reference, &manifest, &[&config, &layer, &manifest], archive)
        .with_context(|| format!("failed to write {}", archive.display()))?;
    Ok(written)
}

/// The files as a tar archive that depends on nothing but their content.
fn layer(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut entries = entries.to_vec();
    entries.sort();
    let mut layer = Builder::new(Vec::new());
    for entry in entries {
        let twice = format!("{} cannot be packed", entry.path);
        append(&mut layer, &entry).context(twice)?;
    }
    Ok(layer.into_inner()?)
}

fn append(layer: &mut Builder<Vec<u8>>, entry: &Entry) -> Result<()> {
    ensure!(!entry.path.starts_with('/'), "a path in an image has no leading slash");
    match &entry.content {
        Content::Folder(mode) => {
            let mut header = header(EntryType::Directory, *mode, 0);
            layer.append_data(&mut header, format!("{}/", entry.path), std::io::empty())?;
        }
        Content::Program(from) => {
            let content = fs::read(from).with_context(|| format!("failed to read {}", from.display()))?;
            let mut header = header(EntryType::Regular, 0o755, content.len() as u64);
            layer.append_data(&mut header, &entry.path, content.as_slice())?;
        }
        Content::Text(text) => {
            let mut header = header(EntryType::Regular, 0o644, text.len() as u64);
            layer.append_data(&mut header, &entry.path, text.as_bytes())?;
        }
        Content::Link(to) => {
            let mut header = header(EntryType::Symlink, 0o777, 0);
            layer.append_link(&mut header, &entry.path, to)?;
        }
    }
    Ok(())
}

/// Everything belongs to root and was written at the beginning of time.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn config(image: &Image, layer: &[u8]) -> Value {
    let labels: Map<String, Value> =
        image.labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "User": image.user,
            "Env": image.environment,
            "Entrypoint": image.entrypoint,
            "Cmd": image.command,
            "WorkingDir": "/",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "cargo image"}],
    })
}

/// The header of the stream names neither a file nor a time.
fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// One of the parts of an image, found by its digest.
struct Blob {
    kind: String,
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(kind: &str, bytes: Vec<u8>) -> Self {
        Self { kind: kind.to_owned(), digest: digest(&bytes), bytes }
    }

    fn json(kind: &str, value: &Value) -> Result<Self> {
        Ok(Self::new(kind, serde_json::to_vec(value)?))
    }

    fn descriptor(&self) -> Map<String, Value> {
        let (kind, digest) = (self.kind.as_str(), self.digest.as_str());
        [("mediaType", json!(kind)), ("digest", json!(digest)), ("size", json!(self.bytes.len()))]
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect()
    }
}

fn digest(bytes: &[u8]) -> String {
    let mut digest = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}

fn write_archive(reference: &str, manifest: &Blob, blobs: &[&Blob], path: &Path) -> Result<()> {
    let mut archive = Builder::new(BufWriter::new(File::create(path)?));
    let tag = reference.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    let mut descriptor = manifest.descriptor();
    // The first for containerd, which wants the whole name; the other as the specification has it.
    let names = json!({"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": tag});
    descriptor.extend([("annotations".to_owned(), names)]);
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]});
    put(&mut archive, "oci-layout", &serde_json::to_vec(&json!({"imageLayoutVersion": "1.0.0"}))?)?;
    put(&mut archive, "index.json", &serde_json::to_vec(&index)?)?;
    for blob in blobs {
        put(&mut archive, &format!("blobs/{}", blob.digest.replace(':', "/")), &blob.bytes)?;
    }
    archive.into_inner()?.flush()?;
    Ok(())
}

fn put(archive: &mut Builder<impl Write>, path: &str, bytes: &[u8]) -> Result<()> {
    let mut header = header(EntryType::Regular, 0o644, bytes.len() as u64);
    Ok(archive.append_data(&mut header, path, bytes)?)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn image(dir: &Path) -> Image {
        let program = dir.join("program");
        fs::write(&program, "not really").unwrap();
        Image {
            reference: "registry.test/team/thing:7".to_owned(),
            entrypoint: vec!["/thing".to_owned()],
            user: NON_ROOT.to_owned(),
            entries: vec![
                Entry { path: "thing".to_owned(), content: Content::Program(program) },
                Entry { path: "etc".to_owned(), content: Content::Folder(0o755) },
                Entry { path: "etc/link".to_owned(), content: Content::Link("../thing".to_owned()) },
            ],
            ..Image::default()
        }
    }

    fn files(archive: &[u8]) -> Vec<(String, Vec<u8>, Header)> {
        let mut archive = tar::Archive::new(archive);
        let files = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes, entry.header().clone())
        });
        files.collect()
    }

    #[test]
    fn the_same_files_give_the_same_digest_whenever_and_in_whatever_order_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let first = write(&image(dir.path()), Layers::Gzip, &dir.path().join("first.tar")).unwrap();
        let mut turned = image(dir.path());
        turned.entries.reverse();
        let program = File::options().write(true).open(dir.path().join("program")).unwrap();
        program.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let second = write(&turned, Layers::Gzip, &dir.path().join("second.tar")).unwrap();
        assert_eq!(first, second);
        assert_eq!(
            fs::read(dir.path().join("first.tar")).unwrap(),
            fs::read(dir.path().join("second.tar")).unwrap()
        );

        fs::write(dir.path().join("program"), "changed").unwrap();
        let third = write(&turned, Layers::Gzip, &dir.path().join("third.tar")).unwrap();
        assert_ne!(first.digest, third.digest);
    }

    #[test]
    fn an_archive_leads_from_its_index_to_files_of_root_that_may_be_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image.tar");
        let written = write(&image(dir.path()), Layers::Plain, &path).unwrap();
        let parts = files(&fs::read(path).unwrap());
        let part = |name: &str| &parts.iter().find(|(path, _, _)| path == name).unwrap().1;
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
            part(&format!("blobs/{digest}"))
        };
        let index: Value = serde_json::from_slice(part("index.json")).unwrap();
        assert_eq!(index["manifests"][0]["digest"], written.digest);
        let manifest: Value = serde_json::from_slice(blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(blob(&manifest["config"])).unwrap();
        let layer = blob(&manifest["layers"][0]);
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(layer));
        assert_eq!(config["config"]["User"], NON_ROOT);
        let packed = files(layer);
        let names: Vec<_> = packed.iter().map(|(name, _, _)| name.as_str()).collect();
        assert_eq!(names, ["etc/", "etc/link", "thing"]);
        assert_eq!(packed[2].1, b"not really");
        for (name, _, header) in &packed {
            assert_eq!((header.uid().unwrap(), header.mtime().unwrap()), (0, 0), "{name}");
        }
        assert_eq!(packed[2].2.mode().unwrap(), 0o755);
    }

    #[test]
    fn a_layer_that_travels_unpacks_to_the_one_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        let plain = layer(&image(dir.path()).entries).unwrap();
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(compress(&plain).unwrap().as_slice())
            .read_to_end(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, plain);
    }
}

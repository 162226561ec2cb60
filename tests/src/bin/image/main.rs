//! `cargo image`: writes the images of a virtual cluster as OCI archives, without a container engine.
#![expect(clippy::print_stdout, reason = "printing what was written is its work")]

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use weft_tests::arguments::arguments;
use weft_tests::binaries::{self, statics};
use weft_tests::image::components::{self, Component};
use weft_tests::image::{self, Image, Layers, products};

/// Writes the images of a virtual cluster as OCI archives; equal sources give equal digests, in whatever folder.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these images.
    #[arg(value_name = "IMAGE")]
    images: Vec<Product>,
    /// The folder for the archives, `<image>.tar` each, and for what is in them, `<image>.cdx.json`.
    #[arg(long, value_name = "FOLDER", default_value = "target/images")]
    out: PathBuf,
}

/// An image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Product {
    /// The syncer and the commands.
    Weft,
    /// The control plane of a virtual cluster.
    Kubernetes,
}

impl Product {
    /// The image and what it is made of.
    async fn image(self) -> Result<(Image, Vec<Component>)> {
        Ok(match self {
            Self::Weft => (products::weft(&statics::weft().await?), components::of_weft().await?),
            Self::Kubernetes => {
                let program = binaries::kubernetes().await?;
                (products::kubernetes(&program), components::of_go(&program).await?)
            }
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Weft => "weft",
            Self::Kubernetes => "kubernetes",
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse_from(arguments());
    let out = arguments.out;
    fs::create_dir_all(&out).with_context(|| format!("failed to create {}", out.display()))?;
    let chosen = if arguments.images.is_empty() { Product::value_variants() } else { &arguments.images };
    for product in chosen {
        let (image, components) = product.image().await?;
        let archive = out.join(format!("{}.tar", product.name()));
        let written = image::write(&image, Layers::Gzip, &archive)?;
        let list = out.join(format!("{}.cdx.json", product.name()));
        let text = format!("{:#}\n", components::cyclonedx(&image, &components));
        fs::write(&list, text).with_context(|| format!("failed to write {}", list.display()))?;
        let (unpacked, packed) = (megabytes(written.unpacked), megabytes(written.size));
        println!(
            "{}@{}  {unpacked} MB ({packed} MB compressed)  {}",
            image.reference,
            written.digest,
            archive.display()
        );
    }
    Ok(())
}

/// With one digit: enough to see what a change costs.
fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

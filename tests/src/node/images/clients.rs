//! Makes the image with which pods use their API server: a program with client-go, Python with the Kubernetes client, curl.

use anyhow::Result;

use super::debian::{entries, unpacked};
use super::{CLIENTS, folder, program};
use crate::binaries;
use crate::image::{Content, Entry, Image, NON_ROOT};

/// The shell is what Debian's programs expect.
const PACKAGES: [&str; 3] = ["curl", "dash", "python3-kubernetes"];

/// What runs needs these; documentation and translations are elsewhere.
const PARTS: [&str; 5] = ["bin", "lib", "lib64", "usr/bin", "usr/lib"];

/// The image; the packages stay in the cache, and are not installed.
pub(super) async fn image() -> Result<Image> {
    let files = unpacked("clients", &PACKAGES).await?;
    let client = binaries::client().await?;
    let users = Entry {
        path: "etc/passwd".to_owned(),
        content: Content::Text("nobody:x:65532:65532::/tmp:/bin/sh\n".to_owned()),
    };
    let mut all = vec![program("client", &client), users, folder(("tmp", 0o1777))];
    for part in PARTS {
        all.extend(entries(&files, part)?);
    }
    Ok(Image {
        reference: CLIENTS.to_owned(),
        entrypoint: vec!["/client".to_owned()],
        user: NON_ROOT.to_owned(),
        environment: vec!["PATH=/usr/bin:/bin".to_owned(), "HOME=/tmp".to_owned()],
        entries: all,
        ..Image::default()
    })
}

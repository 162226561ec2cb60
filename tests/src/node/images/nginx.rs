//! Makes an image of the real nginx from Debian's package and the libraries that it is linked with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::debian::output;
use super::{NGINX, folder, program};
use crate::binaries::{cache, exclusively};
use crate::image::{Content, Entry, Image};

/// As in the image that it stands for: sites are in `conf.d`. Any user can run it.
const CONFIG: &str = "\
worker_processes 1;
error_log stderr notice;
pid /tmp/nginx.pid;
events { worker_connections 256; }
http {
  default_type text/plain;
  types { text/html html; text/css css; application/json json; }
  access_log /dev/stdout;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  include /etc/nginx/conf.d/*.conf;
}
";

/// What is served where nobody mounts another one.
const SITE: &str = "server { listen 80; location / { root /usr/share/nginx/html; } }\n";

const PAGE: &str = "<!DOCTYPE html>\n<title>Welcome to nginx!</title>\n<h1>Welcome to nginx!</h1>\n";

const FOLDERS: [(&str, u32); 5] = [
    ("etc/nginx/conf.d", 0o755),
    ("tmp", 0o1777),
    ("usr/sbin", 0o755),
    ("usr/share/nginx/html", 0o755),
    // The package opens a file here before it reads its configuration.
    ("var/log/nginx", 0o1777),
];

/// The image; the package stays in the cache, and is not installed.
pub(super) async fn image() -> Result<Image> {
    let nginx = unpacked().await?.join("usr/sbin/nginx");
    let libraries = libraries(&nginx).await?;
    let texts = [
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ("etc/nginx/conf.d/default.conf", SITE),
        ("etc/nginx/nginx.conf", CONFIG),
        ("etc/passwd", "root:x:0:0:root:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
        ("usr/share/nginx/html/index.html", PAGE),
    ];
    let texts =
        texts.map(|(path, text)| Entry { path: path.to_owned(), content: Content::Text(text.to_owned()) });
    Ok(Image {
        reference: NGINX.to_owned(),
        command: ["nginx", "-g", "daemon off;"].map(str::to_owned).to_vec(),
        environment: vec!["PATH=/usr/sbin".to_owned()],
        entries: libraries
            .iter()
            .map(|library| program(library.trim_start_matches('/'), Path::new(library)))
            .chain([program("usr/sbin/nginx", &nginx)])
            .chain(texts)
            .chain(FOLDERS.map(folder))
            .collect(),
        ..Image::default()
    })
}

/// The folder with the files of the package.
async fn unpacked() -> Result<PathBuf> {
    let folder = cache("debian")?;
    let files = folder.join("nginx");
    fs::create_dir_all(&files)?;
    let _lock = exclusively(&folder.join("lock")).await?;
    if find(&folder)?.is_none() {
        output(Command::new("apt-get").args(["download", "--quiet", "nginx"]).current_dir(&folder)).await?;
    }
    let package = find(&folder)?;
    let package = package.with_context(|| format!("apt-get has put no package into {}", folder.display()))?;
    output(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&files)).await?;
    Ok(files)
}

fn find(folder: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The files of this machine that the loader would map; all of them are in every Debian.
async fn libraries(program: &Path) -> Result<Vec<String>> {
    let listed = output(Command::new("ldd").arg(program)).await?;
    ensure!(!listed.contains("not found"), "a library of {} is missing:\n{listed}", program.display());
    let words = listed.split_whitespace();
    Ok(words.filter(|word| word.starts_with('/')).map(str::to_owned).collect())
}

//! Says what the two images of a virtual cluster hold; the Dockerfile makes the same.

use std::path::Path;

use super::{Content, Entry, Image, NON_ROOT};

/// Names the version of Kubernetes that is built by default.
const MODULE: &str = include_str!("../../../host/kubernetes/go.mod");

/// Where images are looked for unless the chart is given another registry.
const REGISTRY: &str = "ghcr.io";

/// The image of the syncer, from its static binary.
pub fn weft(binary: &Path) -> Image {
    let version = env!("CARGO_PKG_VERSION");
    let title = "The syncer of a virtual Kubernetes cluster.";
    image("weft", version, title, binary)
}

/// The image of a virtual control plane, from the binary of `host/kubernetes`.
pub fn kubernetes(binary: &Path) -> Image {
    image("kubernetes", kubernetes_version(), "The control plane of a virtual Kubernetes cluster.", binary)
}

/// As in `v1.36.3`, which is the tag too.
fn kubernetes_version() -> &'static str {
    let mut words = MODULE.split_whitespace().skip_while(|word| *word != "k8s.io/kubernetes");
    words.nth(1).unwrap_or_default()
}

/// From scratch, with one program.
fn image(name: &str, version: &str, title: &str, binary: &Path) -> Image {
    Image {
        reference: format!("{REGISTRY}/weft/{name}:{version}"),
        entrypoint: vec![format!("/{name}")],
        user: NON_ROOT.to_owned(),
        labels: vec![
            ("org.opencontainers.image.description", title.to_owned()),
            ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE").to_owned()),
            ("org.opencontainers.image.title", name.to_owned()),
            ("org.opencontainers.image.version", version.trim_start_matches('v').to_owned()),
        ],
        entries: vec![Entry { path: name.to_owned(), content: Content::Program(binary.to_owned()) }],
        ..Image::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKERFILE: &str = include_str!("../../../Dockerfile");
    const TOOLCHAIN: &str = include_str!("../../../rust-toolchain.toml");

    /// The words after the first `start`, up to the end of the line.
    fn after<'a>(text: &'a str, start: &str) -> &'a str {
        text.split_once(start).unwrap_or_else(|| panic!("there is no {start:?}")).1.lines().next().unwrap()
    }

    #[test]
    fn the_dockerfile_builds_with_the_toolchains_of_the_repository() {
        let rust = after(TOOLCHAIN, "channel = ").trim_matches('"');
        assert_eq!(after(DOCKERFILE, "ARG RUST="), format!("rust:{rust}"));
        assert_eq!(after(DOCKERFILE, "ENV RUSTUP_TOOLCHAIN="), rust);
        assert_eq!(after(DOCKERFILE, "ARG GO="), format!("golang:{}", after(MODULE, "\ngo ")));
    }

    #[test]
    fn the_dockerfile_makes_the_same_images() {
        for image in [weft(Path::new("weft")), kubernetes(Path::new("kubernetes"))] {
            let name = &image.entries[0].path;
            let stage = DOCKERFILE.split_once(&format!("FROM scratch AS {name}\n")).unwrap().1;
            let stage: Vec<_> = stage.lines().take_while(|line| !line.is_empty()).collect();
            let copy = format!("COPY --from=build-{name} /{name} /{name}");
            let entrypoint = format!("ENTRYPOINT {}", serde_json::to_string(&image.entrypoint).unwrap());
            assert_eq!(stage, [copy, format!("USER {}", image.user), entrypoint]);
        }
    }

    #[test]
    fn tags_are_those_of_the_chart_and_of_kubernetes() {
        let reference = |image: Image| image.reference;
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(reference(weft(Path::new("weft"))), format!("ghcr.io/weft/weft:{version}"));
        let kubernetes = reference(kubernetes(Path::new("kubernetes")));
        assert!(kubernetes.starts_with("ghcr.io/weft/kubernetes:v1."), "{kubernetes}");
    }
}

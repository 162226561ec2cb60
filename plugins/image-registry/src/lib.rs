//! Rewrites the registries of pod images, by the operator's table.

mod reference;

use std::collections::BTreeMap;

use serde::Deserialize;
use weft_plugin::{Call, Descriptor, Mapping, Object, Patch, Plugin, Problem, Result, problem};

use crate::reference::Reference;

/// The operator's table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageRegistry {
    /// From a registry to its replacement: `mirror.example` or `mirror.example/hub`.
    #[serde(default)]
    registries: BTreeMap<String, String>,
    /// Replaces every registry that is not in the table.
    #[serde(default)]
    default: Option<String>,
}

/// Placeholder for the registry in a target.
const PLACEHOLDER: &str = "{registry}";

impl Plugin for ImageRegistry {
    fn describe() -> Descriptor {
        let mapping = Mapping::mutate("v1", "Pod", "pods", 100).host_writes(&[
            "/spec/containers",
            "/spec/initContainers",
            "/spec/ephemeralContainers",
            "/spec/volumes",
        ]);
        Descriptor::new("image-registry", env!("CARGO_PKG_VERSION"), "Takes images from other registries.")
            .mapping(mapping)
            .settings_schema(include_str!("../settings.schema.json"))
    }

    fn check(&self) -> Vec<Problem> {
        let targets = self
            .registries
            .iter()
            .map(|(registry, target)| (weft_plugin::pointer::below("/registries", registry), target));
        let default = self.default.iter().map(|target| ("/default".to_owned(), target));
        targets
            .chain(default)
            .filter(|(_, target)| !is_target(target))
            .map(|(pointer, target)| {
                let message =
                    format!("{target:?} is no place for images; write a host with or without a path, mirror.example/hub");
                problem("InvalidTarget", message).at(pointer)
            })
            .collect()
    }

    /// Parses only the images, because pods are large.
    fn to_host(&self, _call: &Call, draft: &mut Object) -> Result {
        let mut patch = Patch::new();
        draft.read::<Pod>()?.spec.each_image(|pointer, image| {
            if let Some(image) = self.rewritten(image) {
                patch.replace(pointer, &image);
            }
        });
        draft.push(&patch);
        Ok(())
    }
}

impl ImageRegistry {
    /// The image in the new registry; none if it stays.
    fn rewritten(&self, image: &str) -> Option<String> {
        let reference = Reference::parse(image)?;
        let target = self.target(reference.registry)?;
        let target = target.replace(PLACEHOLDER, reference.registry);
        Some(format!("{}/{}{}", target.trim_end_matches('/'), reference.library, reference.rest))
    }

    fn target(&self, registry: &str) -> Option<&str> {
        let default = self.default.as_deref().filter(|_| !self.is_target_host(registry));
        self.registries.get(registry).map(String::as_str).or(default)
    }

    /// Whether this registry is one of the operator's targets.
    fn is_target_host(&self, registry: &str) -> bool {
        let mut targets = self.registries.values().chain(&self.default);
        targets.any(|target| target.split('/').next() == Some(registry))
    }
}

/// Whether `target` is a host, or a host with a path, without tag or digest.
fn is_target(target: &str) -> bool {
    let host = target.split('/').next().unwrap_or_default();
    let path = target.get(host.len()..).unwrap_or_default();
    !host.is_empty()
        && !target.contains("//")
        && !target.contains(|character: char| character.is_whitespace() || character == '@')
        && !path.contains(':')
}

/// The fields of a pod that contain images.
#[derive(Debug, Deserialize)]
struct Pod {
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    containers: Option<Vec<Container>>,
    #[serde(default)]
    init_containers: Option<Vec<Container>>,
    #[serde(default)]
    ephemeral_containers: Option<Vec<Container>>,
    #[serde(default)]
    volumes: Option<Vec<Volume>>,
}

#[derive(Debug, Deserialize)]
struct Container {
    #[serde(default)]
    image: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Volume {
    #[serde(default)]
    image: Option<ImageVolume>,
}

#[derive(Debug, Deserialize)]
struct ImageVolume {
    #[serde(default)]
    reference: Option<String>,
}

impl Spec {
    /// Calls `visit` with every image and its pointer.
    fn each_image(&self, mut visit: impl FnMut(&str, &str)) {
        let lists = [
            ("containers", &self.containers),
            ("initContainers", &self.init_containers),
            ("ephemeralContainers", &self.ephemeral_containers),
        ];
        for (list, containers) in lists {
            for (index, container) in containers.iter().flatten().enumerate() {
                if let Some(image) = &container.image {
                    visit(&format!("/spec/{list}/{index}/image"), image);
                }
            }
        }
        for (index, volume) in self.volumes.iter().flatten().enumerate() {
            if let Some(image) = volume.image.as_ref().and_then(|volume| volume.reference.as_ref()) {
                visit(&format!("/spec/volumes/{index}/image/reference"), image);
            }
        }
    }
}

weft_plugin::export!(ImageRegistry);

#[cfg(test)]
mod tests {
    use weft_plugin::json;
    use weft_plugin::testing::Test;

    use super::*;

    fn plugin(registries: &[(&str, &str)], default: Option<&str>) -> ImageRegistry {
        let registries =
            registries.iter().map(|&(registry, target)| (registry.to_owned(), target.to_owned())).collect();
        ImageRegistry { registries, default: default.map(str::to_owned) }
    }

    #[test]
    fn an_image_of_a_registry_in_the_table_is_rewritten_to_its_target() {
        let plugin =
            plugin(&[("docker.io", "mirror.example/hub"), ("localhost:5000", "mirror.example:443")], None);
        let rewritten = |image| plugin.rewritten(image);
        assert_eq!(rewritten("nginx").as_deref(), Some("mirror.example/hub/library/nginx"));
        assert_eq!(rewritten("bitnami/redis:8").as_deref(), Some("mirror.example/hub/bitnami/redis:8"));
        assert_eq!(rewritten("localhost:5000/a/b:1").as_deref(), Some("mirror.example:443/a/b:1"));
        assert_eq!(rewritten("quay.io/a/b"), None);
    }

    #[test]
    fn the_default_rewrites_other_registries_but_not_the_targets() {
        let plugin = plugin(&[("docker.io", "mirror.example/hub")], Some("mirror.example/{registry}"));
        let rewritten = |image| plugin.rewritten(image);
        assert_eq!(rewritten("quay.io/a/b:1").as_deref(), Some("mirror.example/quay.io/a/b:1"));
        assert_eq!(rewritten("mirror.example/hub/library/nginx"), None);
    }

    #[test]
    fn every_field_with_an_image_is_found() {
        let draft = json!({"spec": {
            "containers": [{"name": "a", "image": "a"}, {"name": "without"}],
            "initContainers": [{"image": "b@sha256:0123"}],
            "ephemeralContainers": [{"image": "quay.io/c"}],
            "volumes": [{"emptyDir": {}}, {"image": {"reference": "d:1", "pullPolicy": "Always"}}],
        }});
        let answer = Test::new("v1/Pod")
            .draft(draft)
            .to_host(&plugin(&[("docker.io", "m.example")], Some("q.example")));
        assert_eq!(
            answer.object(),
            &json!({"spec": {
                "containers": [{"name": "a", "image": "m.example/library/a"}, {"name": "without"}],
                "initContainers": [{"image": "m.example/library/b@sha256:0123"}],
                "ephemeralContainers": [{"image": "q.example/c"}],
                "volumes": [{"emptyDir": {}}, {"image": {"reference": "m.example/library/d:1", "pullPolicy": "Always"}}],
            }})
        );
    }

    #[test]
    fn an_invalid_target_is_a_problem_of_its_field() {
        let plugin =
            plugin(&[("a", "m.example/x:1"), ("b/c", ""), ("d", "m.example:5000/x")], Some("https://m"));
        let fields: Vec<_> = plugin.check().into_iter().filter_map(|problem| problem.field).collect();
        assert_eq!(fields, ["/registries/a", "/registries/b~1c", "/default"]);
    }
}
